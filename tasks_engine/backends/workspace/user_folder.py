"""What a workspace is, and the simplest one: the user's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Workspace(Protocol):
    """One run's files. `mounts` and `fill` are for containers, `folder` is for builds. Thread-safe."""

    def mounts(self) -> list[dict[str, Any]]:
        """Mounts of a step's container (Engine API, Mount)."""

    @property
    def is_seen_by_engine(self) -> bool:
        """Paths of this machine mean the same to the engine."""

    def source(self, folder: str, *, make: bool = False) -> dict[str, Any]:
        """Type and source of a mount of the files, or of a folder of them (Engine API, Mount).

        `make` the folder where it is missing and that is possible. Raises StepFailed.
        """

    def fill(self, container: str) -> None:
        """Makes the files visible in a created, not yet started container."""

    def changed(self) -> None:
        """A container may have changed the files."""

    def make_output(self, name: str) -> None:
        """Makes an empty file of a new name in the home folder of steps, after `fill`. Raises BackendError."""

    def take_output(self, name: str, at_most: int) -> bytes:
        """What a step has written to that file, up to `at_most` bytes and one; nothing when it has removed it.

        Raises StepFailed when something else is there, BackendError.
        """

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

    @property
    def is_seen_by_engine(self) -> bool:
        return False

    def source(self, folder: str, *, make: bool = False) -> dict[str, Any]:  # noqa: ARG002
        return {"Type": "bind", "Source": str(self._context / folder)}

    def fill(self, container: str) -> None:
        pass

    def changed(self) -> None:
        pass

    def make_output(self, name: str) -> None:
        pass

    def take_output(self, name: str, at_most: int) -> bytes:  # noqa: ARG002 - part of the protocol
        return b""

    def folder(self) -> Path:
        return self._context

    def remove(self) -> None:
        pass
