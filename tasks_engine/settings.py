"""All settings of one process, fixed at its start: defaults < file < environment < flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks_engine.errors import UsageError

#: key of the settings file -> type of its value
_FILE_KEYS: Mapping[str, type] = {"registry": str, "image_aliases": dict}


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
    from_file = _read_file(environ, home)
    tls_dir = environ.get("TASKS_BUILDKIT_TLS_DIR", "").strip()
    if registry is None:
        registry = environ.get("TASKS_REGISTRY", "").strip() or from_file.get("registry", "")
    return Settings(
        state_dir=chosen.absolute(),
        docker_config_dir=Path(environ.get("DOCKER_CONFIG") or home / ".docker"),
        home=home,
        buildkit_host=environ.get("BUILDKIT_HOST", "").strip(),
        buildkit_tls_dir=Path(tls_dir) if tls_dir else None,
        registry=registry,
        environ=environ,
        image_aliases=from_file.get("image_aliases", {}),
    )


def _read_file(environ: Mapping[str, str], home: Path) -> Mapping[str, Any]:
    given = environ.get("TASKS_CONFIG")
    config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    path = Path(given) if given else config_home / "tasks" / "settings.toml"
    if not given and not path.exists():
        return {}
    import tomllib  # only where there may be a file: most have none

    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if given:
            raise UsageError(
                f"settings file {path} does not exist",
                hint="TASKS_CONFIG names it: correct or unset that variable",
            ) from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"settings file {path} cannot be read: {error}") from error
    for key, value in settings.items():
        if key not in _FILE_KEYS:
            raise UsageError(
                f"settings file {path} has an unknown key '{key}'", hint=f"known: {', '.join(_FILE_KEYS)}"
            )
        if not isinstance(value, _FILE_KEYS[key]):
            what = "a table" if _FILE_KEYS[key] is dict else "text"
            raise UsageError(f"'{key}' in settings file {path} must be {what}")
    for name, image in settings.get("image_aliases", {}).items():
        if not (name.isascii() and name.isalnum() and isinstance(image, str)):
            raise UsageError(
                f"image alias '{name}' in settings file {path} must be letters and digits that stand for text"
            )
    return settings
