"""All settings of one process, fixed at its start: defaults < file < environment < flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks_engine.errors import UsageError
from tasks_engine.policy import Policy


@dataclass(frozen=True)
class RegistrySettings:
    """How registries are reached."""

    #: `registry[/prefix]` -> what is asked instead
    mirrors: Mapping[str, str] = field(default_factory=dict)
    #: `host[:port]` of those that are asked over plain HTTP, or TLS without checks
    insecure: frozenset[str] = frozenset()
    #: `host[:port]` -> file with certificates of authorities
    ca_files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class HistorySettings:
    """What is kept of finished runs of this machine; the oldest go first."""

    keep_bytes: int = 1_000_000_000
    keep_runs: int = 1000


@dataclass(frozen=True)
class Settings:
    #: runs, and the embedded engine where there is one
    state_dir: Path
    #: folder of docker's config.json
    docker_config_dir: Path
    #: the person's home folder
    home: Path
    #: address of a standalone buildkitd; empty: the BuildKit inside the engine
    buildkit_host: str
    #: `$Registry`; empty when not given
    registry: str
    #: the environment this was read from, for what docker's own tools define
    environ: Mapping[str, str]
    #: name -> image: image aliases that win over the predefined ones
    image_aliases: Mapping[str, str] = field(default_factory=dict)
    #: ca.pem, cert.pem and key.pem for a buildkitd at tcp://; None: no TLS
    buildkit_tls_dir: Path | None = None
    registries: RegistrySettings = field(default_factory=RegistrySettings)
    policy: Policy = field(default_factory=Policy)
    history: HistorySettings = field(default_factory=HistorySettings)

    @property
    def runs_dir(self) -> Path:
        return self.state_dir / "runs"


def read_settings(
    environ: Mapping[str, str], *, state_dir: Path | None = None, registry: str | None = None
) -> Settings:
    """Settings from the settings file and the environment; arguments are flags and win.

    The file is `$TASKS_CONFIG`, else `tasks/settings.toml` in `$XDG_CONFIG_HOME` or `~/.config`. Raises UsageError.
    """
    home = Path(environ.get("HOME") or "/")
    state_home = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    chosen = state_dir or Path(environ.get("TASKS_STATE_DIR") or state_home / "tasks")
    from_file = _from_file(environ, home)
    tls_dir = environ.get("TASKS_BUILDKIT_TLS_DIR", "").strip()
    if registry is None:
        registry = environ.get("TASKS_REGISTRY", "").strip() or from_file.pop("registry", "")
    from_file.pop("registry", None)
    return Settings(
        state_dir=chosen.absolute(),
        docker_config_dir=Path(environ.get("DOCKER_CONFIG") or home / ".docker"),
        home=home,
        buildkit_host=environ.get("BUILDKIT_HOST", "").strip(),
        buildkit_tls_dir=Path(tls_dir) if tls_dir else None,
        registry=registry,
        environ=environ,
        **from_file,
    )


def _from_file(environ: Mapping[str, str], home: Path) -> dict[str, Any]:
    """Field of Settings -> value, of those the file sets. Raises UsageError."""
    given = environ.get("TASKS_CONFIG")
    config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    path = Path(given) if given else config_home / "tasks" / "settings.toml"
    if not path.exists():
        if given:
            raise UsageError(
                f"settings file {path} does not exist",
                hint="TASKS_CONFIG names it: correct or unset that variable",
            )
        return {}
    from tasks_engine.settings_file import read_file  # most machines have no such file

    return read_file(path)
