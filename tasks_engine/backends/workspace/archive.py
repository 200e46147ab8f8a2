"""Folders as tar streams, for engines that do not see our file system."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks_engine.errors import StoreError

_CHUNK_BYTES = 1 << 20


def pack_folder(folder: Path) -> Iterator[bytes]:
    """A tar of everything below `folder`, as it is read; nothing is kept in memory or on disk.

    Links stay links; sockets are left out. Times keep their fractions (pax).
    """
    tar = tarfile.TarFile(fileobj=io.BytesIO(), mode="w", format=tarfile.PAX_FORMAT)
    for path in _walk(folder):
        info = tar.gettarinfo(path, arcname=str(path.relative_to(folder)))
        if info is None:
            continue
        yield info.tobuf(tarfile.PAX_FORMAT)
        if info.isreg():
            yield from _content(path, info.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def pack_files(files: Mapping[str, bytes], mode: int = 0o600, folder_mode: int = 0o700) -> bytes:
    """A tar of a few small files with the folders they need; path -> content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            for folder in reversed(Path(name).parents[:-1]):
                info = tarfile.TarInfo(str(folder))
                info.type, info.mode = tarfile.DIRTYPE, folder_mode
                tar.addfile(info)
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def unpack_folder(chunks: Iterator[bytes], strip: str, into: Path) -> None:
    """Unpacks a tar of the engine below the new folder `into`, without its leading folder `strip`.

    The content was written by steps, so nothing in it may reach outside: no `..`, no writing through links,
    no devices. Raises StoreError.
    """
    into.mkdir()
    folder_times: list[tuple[Path, float]] = []
    try:
        with tarfile.open(fileobj=_Reader(chunks), mode="r|") as tar:
            for member in tar:
                relative = os.path.relpath(member.name, strip)
                if relative == ".":
                    continue
                target = _inside(into, relative)
                _unpack_member(tar, member, target, into, strip)
                if member.isdir():
                    folder_times.append((target, member.mtime))
        for folder, mtime in reversed(folder_times):
            os.utime(folder, (mtime, mtime))
    except (OSError, tarfile.TarError) as error:
        raise StoreError(f"the engine's copy of the workspace cannot be read: {error}") from error


def _unpack_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, into: Path, strip: str
) -> None:
    if member.isdir():
        target.mkdir(exist_ok=True)
        target.chmod(member.mode)
    elif member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        target.hardlink_to(_inside(into, os.path.relpath(member.linkname, strip)))
    elif member.isfifo():
        os.mkfifo(target, member.mode)
    elif member.isreg():
        content = tar.extractfile(member)
        assert content is not None
        with target.open("xb") as writer:
            shutil.copyfileobj(content, writer, _CHUNK_BYTES)
        target.chmod(member.mode)
        os.utime(target, ns=(int(member.mtime * 1e9), int(member.mtime * 1e9)))


def _inside(root: Path, relative: str) -> Path:
    """The path below `root`; its folder must be a real one there, reached without links."""
    target = root / relative
    if relative.startswith(("/", "..")) or target.parent.resolve() != root.resolve() / Path(relative).parent:
        raise StoreError(f"the workspace holds a path that leads outside: {relative!r}")
    return target


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _content(path: Path, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes and the padding of a tar block, even when the file changes meanwhile."""
    left = size
    with path.open("rb") as reader:
        while left and (chunk := reader.read(min(_CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
    yield bytes(left + -size % tarfile.BLOCKSIZE)


class _Reader(io.RawIOBase):
    """A file object over chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
