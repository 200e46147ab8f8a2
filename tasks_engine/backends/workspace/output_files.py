"""Files in which steps leave their outputs, made and read safely: containers may put anything in their place."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks_engine.errors import StepFailed, StoreError

_TAR_BYTES = 64 * 1024
#: type bits of Go's os.FileMode, in which the Engine API tells of a file; a plain one has none
_GO_TYPE_BITS = 0x8F280000


def make_output_file(folder: Path, name: str) -> None:
    """Makes an empty file in a folder, to be written by every user of a container. Raises StoreError."""
    try:
        with _opened(folder) as directory:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(name, flags, 0o666, dir_fd=directory)
            try:
                os.fchmod(file, 0o666)
            finally:
                os.close(file)
    except OSError as error:
        raise StoreError(f"the file for a step's outputs cannot be made: {error}") from error


def take_output_file(folder: Path, name: str, at_most: int) -> bytes:
    """What is in the file, up to `at_most` bytes and one; nothing when it is gone. The file is removed.

    Raises StepFailed when it is no file any more, or cannot be read.
    """
    try:
        with _opened(folder) as directory:
            try:
                return _read(directory, name, at_most)
            finally:
                with suppress(OSError):  # then it stays until the run ends
                    os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _failed(f"cannot be read: {error.strerror}") from error


def read_output_archive(chunks: Iterable[bytes], status: Mapping[str, Any], at_most: int) -> bytes:
    """The same from an engine's archive of that one file, and what the engine says of it (Engine API, archive)."""
    if int(status["mode"]) & _GO_TYPE_BITS:
        raise _not_a_file()
    size = int(status["size"])
    if size > at_most:
        return bytes(at_most + 1)
    if not size:
        return b""
    archive = bytearray()
    for chunk in chunks:
        archive += chunk
        if len(archive) > size + _TAR_BYTES:
            break  # it has grown since
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            member = tar.next()
            content = tar.extractfile(member) if member is not None and member.isreg() else None
            if content is None:
                raise _not_a_file()
            return content.read(at_most + 1)
    except (tarfile.TarError, OSError) as error:
        raise StoreError(f"the engine's copy of a step's outputs cannot be read: {error}") from error


def _read(directory: int, name: str, at_most: int) -> bytes:
    """Looks at what there is before it is opened, as opening a pipe waits and opening a device does something."""
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise _not_a_file()
        with Path(f"/proc/self/fd/{place}").open("rb") as reader:
            return reader.read(at_most + 1)
    finally:
        os.close(place)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield directory
    finally:
        os.close(directory)


def _not_a_file() -> StepFailed:
    return _failed("is no file any more")


def _failed(what: str) -> StepFailed:
    return StepFailed(
        f"$TASKS_OUTPUT {what}",
        exit_status=125,
        hint="write to it only with: echo NAME=VALUE >> $TASKS_OUTPUT",
    )
