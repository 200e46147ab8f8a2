"""Temporary folders that show whether the process that made them still lives."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from tasks_engine.backends.buildkit.ids import random_id

#: how the names of this package's folders begin
PREFIX = "buildkit-client-"


class TemporaryFolder:
    """A new, empty folder for this user alone, locked (flock) until it is removed or this process ends.

    Under /tmp, not under a long TMPDIR: the path of a unix socket has at most 107 bytes. Raises OSError.
    """

    def __init__(self, prefix: str = PREFIX, parent: Path = Path("/tmp")) -> None:  # noqa: S108
        # Nobody can guess the name, and mkdir fails if it is there.
        self.path = parent / f"{prefix}{random_id()}"
        self.path.mkdir(mode=0o700)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(OSError):  # a file system without locks: then nobody takes the folder for abandoned
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Removes it with everything in it; once more does nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()
