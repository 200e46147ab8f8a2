"""A private copy of the user's folder, for runs without containers whose builds write files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks_engine.backends.workspace.private_copy import make_private_copy, remove_private_copy


class PrivateFolder:
    def __init__(self, context: Path, into: Path) -> None:
        """Raises StoreError."""
        self._into = into
        self._copy = make_private_copy(context, into)

    def mounts(self) -> list[dict[str, Any]]:
        return []

    @property
    def is_seen_by_engine(self) -> bool:
        return False

    def source(self, folder: str, *, make: bool = False) -> dict[str, Any]:  # noqa: ARG002
        return {"Type": "bind", "Source": str(self._copy.path / folder)}

    def fill(self, container: str) -> None:
        pass

    def changed(self) -> None:
        pass

    def make_output(self, name: str) -> None:
        pass

    def take_output(self, name: str, at_most: int) -> bytes:  # noqa: ARG002 - part of the protocol
        return b""

    def folder(self) -> Path:
        return self._copy.path

    def remove(self) -> None:
        """Raises StoreError."""
        remove_private_copy(self._into)
