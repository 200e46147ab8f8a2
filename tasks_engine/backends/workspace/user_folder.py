"""What a workspace is, and the simplest one: the user's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Workspace(Protocol):
    """One run's files. `mounts` and `fill` are for containers, `folder` is for builds. Thread-safe."""

    def mounts(self) -> list[dict[str, Any]]:
        """Mounts of a step's container (Engine API, Mount)."""

    def fill(self, container: str) -> None:
        """Makes the files visible in a created, not yet started container."""

    def changed(self) -> None:
        """A container may have changed the files."""

    def folder(self) -> Path:
        """The files as the steps so far left them."""

    def remove(self) -> None:
        """Removes what is on this machine; what is on the engine carries the run's label."""


class UserFolder:
    """The user's own folder, for runs without containers: read, never written."""

    def __init__(self, context: Path) -> None:
        self._context = context

    def mounts(self) -> list[dict[str, Any]]:
        return []

    def fill(self, container: str) -> None:
        pass

    def changed(self) -> None:
        pass

    def folder(self) -> Path:
        return self._context

    def remove(self) -> None:
        pass
