"""All settings of one process, fixed at its start: defaults < environment < flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


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

    @property
    def runs_dir(self) -> Path:
        return self.state_dir / "runs"


def read_settings(
    environ: Mapping[str, str], *, state_dir: Path | None = None, registry: str | None = None
) -> Settings:
    """Settings from the environment; arguments are flags and win."""
    home = Path(environ.get("HOME") or "/")
    state_home = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    chosen = state_dir or Path(environ.get("TASKS_STATE_DIR") or state_home / "tasks")
    return Settings(
        state_dir=chosen.absolute(),
        docker_config_dir=Path(environ.get("DOCKER_CONFIG") or home / ".docker"),
        home=home,
        buildkit_host=environ.get("BUILDKIT_HOST", "").strip(),
        registry=environ.get("TASKS_REGISTRY", "").strip() if registry is None else registry,
        environ=environ,
    )
