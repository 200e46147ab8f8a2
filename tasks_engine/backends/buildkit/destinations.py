"""Where the tar of an exporter docker, oci or tar goes: a path, or a file object of the caller.

docker_load.py has one more: a Docker Engine.
"""

from __future__ import annotations

import io
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tasks_engine.backends.buildkit.errors import ExportError

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TarWriter(Protocol):
    """Takes one tar. Methods may be called from any thread, `abort` also while `write` runs."""

    def write(self, data: bytes) -> None:
        """The next bytes; raises ExportError, also after `abort`."""

    def finish(self) -> None:
        """Everything came and the build succeeded: makes the tar visible. Raises ExportError."""

    def abort(self) -> None:
        """Gives up and leaves nothing half-written where that can be. Does nothing after `finish`."""


class TarDestination(Protocol):
    """A place for tars; each `open` is for one of them."""

    def open(self) -> TarWriter:
        """Raises ExportError."""


@dataclass(frozen=True)
class ToPath:
    """Into a file, which appears or is replaced when the tar is complete. A link to a file stays a link."""

    path: Path

    def open(self) -> TarWriter:
        """A writer; raises ExportError when there is no place for the file."""
        with _writing(self.path):
            place = Path(os.path.realpath(self.path))
            try:
                mode = place.stat().st_mode
            except FileNotFoundError:
                mode = stat.S_IFREG
            if stat.S_ISDIR(mode):
                raise ExportError(f"cannot write {self.path}: it is a folder; add the name of a file")
            if not stat.S_ISREG(mode):
                # Renaming over it would destroy /dev/null for everybody.
                raise ExportError(f"cannot write {self.path}: it is no regular file; open it and use ToFile")
            if not place.parent.exists():
                raise ExportError(f"cannot write {self.path}: there is no folder {place.parent}; create it")
            temporary = place.with_name(f".buildkit-{secrets.token_hex(8)}")
            return _PathWriter(self.path, place, temporary, os.open(temporary, _CREATE, 0o666))


class _PathWriter:
    def __init__(self, path: Path, place: Path, temporary: Path, fd: int) -> None:
        self._path = path
        self._place = place
        self._temporary = temporary
        self._fd = fd
        self._lock = threading.Lock()
        self._finished = False

    def write(self, data: bytes) -> None:
        with self._lock, _writing(self._path):
            self._check_open()
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def finish(self) -> None:
        with self._lock, _writing(self._path):
            if self._finished:
                return
            self._check_open()
            try:
                self._close()
                self._temporary.rename(self._place)
            except OSError:
                self._remove()
                raise
            self._finished = True

    def abort(self) -> None:
        with self._lock:
            if self._fd >= 0:
                with suppress(OSError):
                    self._close()
                self._remove()

    def _check_open(self) -> None:
        if self._fd < 0:
            raise ExportError(f"cannot write {self._path}: it was given up")

    def _close(self) -> None:
        # Not open any more, whatever close says.
        fd, self._fd = self._fd, -1
        os.close(fd)

    def _remove(self) -> None:
        with suppress(OSError):
            self._temporary.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from error


@dataclass(frozen=True)
class ToFile:
    """Into an open binary file of the caller, who closes it. What was written before an abort stays in it.

    What the file raises comes out as it is.
    """

    file: BinaryIO

    def open(self) -> TarWriter:
        """A writer; nothing is written by opening."""
        return _FileWriter(self.file)


class _FileWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._finished = False
        self._aborted = False

    def write(self, data: bytes) -> None:
        if self._aborted or self._finished:
            raise ExportError("the tar was given up" if self._aborted else "the tar is complete already")
        while data:
            # An unbuffered file may take a part only. Of one that would block it says None, while None from
            # other objects only means that they do not count.
            count: int | None = self._file.write(data)
            if count == 0 or (count is None and isinstance(self._file, io.RawIOBase)):
                raise ExportError("the file for the tar takes no data now; it must block, or be buffered")
            data = b"" if count is None else data[count:]

    def finish(self) -> None:
        if self._aborted:
            raise ExportError("the tar was given up")
        if not self._finished:
            self._file.flush()
            self._finished = True

    def abort(self) -> None:
        self._aborted = not self._finished
