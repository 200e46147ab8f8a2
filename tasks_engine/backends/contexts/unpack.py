"""Unpacks tar archives of strangers: nothing gets outside of a folder, and nothing grows without bounds.

Refused are paths and links that lead outside, devices, pipes and sparse files. Owners and the bits setuid, setgid and
sticky are dropped; times, other permissions and links within the archive stay.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tasks_engine.backends.contexts.decompress import (
    BROKEN_STREAM,
    CHUNK_BYTES,
    Counted,
    Peeked,
    decompressed,
)
from tasks_engine.errors import SourceError


@dataclass(frozen=True)
class UnpackLimits:
    #: as it arrives
    compressed_bytes: int = 4 << 30
    #: the tar itself, so headers count too
    unpacked_bytes: int = 16 << 30
    entries: int = 1_000_000
    #: how many times larger than its compressed form it may be, once it has `ratio_from_bytes`
    ratio: int = 200
    ratio_from_bytes: int = 256 << 20


LIMITS = UnpackLimits()
#: of one name, link target or extended header
_MAX_HEADER_BYTES = 1 << 20
_PERMISSIONS = 0o777
_LONG_HEADERS = frozenset(
    {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X"}
)
_HINT_DAMAGED = "make or upload the archive again"


def unpack_tar(stream: BinaryIO, into: Path, limits: UnpackLimits = LIMITS) -> None:
    """Unpacks a tar, plain or compressed with gzip, bzip2, xz or zstd, into an existing folder.

    The stream is read to its end, as it is unpacked. Entries may replace files and links of earlier ones. Raises
    SourceError, after which the folder holds what came before.
    """
    content = open_content(stream, limits)
    if not is_tar(content.head):
        raise SourceError(
            "this is no tar archive",
            hint="tar, plain or compressed with gzip, bzip2, xz or zstd, is understood",
        )
    unpack_content(content, into, limits)


def open_content(stream: BinaryIO, limits: UnpackLimits) -> Peeked:
    """The decompressed content, with its first bytes. Raises SourceError, also when it is read."""

    def check_compressed(count: int) -> None:
        if count > limits.compressed_bytes:
            raise SourceError(f"the archive is larger than {_size(limits.compressed_bytes)}")

    def check_unpacked(count: int) -> None:
        if count > limits.unpacked_bytes:
            raise SourceError(f"the archive holds more than {_size(limits.unpacked_bytes)}")
        if count > limits.ratio_from_bytes and count > limits.ratio * compressed.count:
            raise SourceError(f"the archive unpacks to more than {limits.ratio} times its size")

    compressed = Counted(stream, check_compressed)
    try:
        unpacked = Counted(decompressed(compressed), check_unpacked)  # type: ignore[arg-type]
        return Peeked(unpacked, tarfile.BLOCKSIZE)  # type: ignore[arg-type]
    except BROKEN_STREAM as error:
        raise SourceError(f"the archive is damaged: {error}", hint=_HINT_DAMAGED) from error


def is_tar(head: bytes) -> bool:
    """Whether content that begins with these bytes is a tar, which may be an empty one."""
    if len(head) < tarfile.BLOCKSIZE:
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return True
    except tarfile.TarError:
        return False
    return True


def unpack_content(content: Peeked, into: Path, limits: UnpackLimits = LIMITS) -> None:
    """Unpacks decompressed content; see `unpack_tar`."""
    try:
        with tarfile.open(
            fileobj=content,
            mode="r|",
            tarinfo=_Member,
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=CHUNK_BYTES,
        ) as tar:
            _Unpacking(tar, into, limits).run()
        while content.read(CHUNK_BYTES):
            pass  # what a checksum or a length at the end tells
    except BROKEN_STREAM as error:
        raise SourceError(f"the archive is damaged: {error}", hint=_HINT_DAMAGED) from error
    except (tarfile.TarError, ValueError, RecursionError) as error:
        raise SourceError(f"the archive is no tar as it should be: {error}", hint=_HINT_DAMAGED) from error
    except OSError as error:
        raise SourceError(
            f"the archive cannot be unpacked: {error.strerror or error}", hint="check the free space"
        ) from error


class _Member(tarfile.TarInfo):
    """A header that is refused before the library acts on it: it trusts sizes, and takes damage for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0:
            raise SourceError("the archive has an entry of negative size", hint=_HINT_DAMAGED)
        if member.type in _LONG_HEADERS and member.size > _MAX_HEADER_BYTES:
            raise SourceError(f"the archive has a header of more than {_size(_MAX_HEADER_BYTES)}")
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse_error()
        return member

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Member:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            what = str(error)
            if isinstance(error, tarfile.EmptyHeaderError | tarfile.TruncatedHeaderError):  # type: ignore[attr-defined]
                what = "it is cut off"
            raise SourceError(f"the archive is damaged: {what}", hint=_HINT_DAMAGED) from error

    def _proc_gnusparse_00(self, *_: object) -> None:
        raise _sparse_error()

    _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse_00


def _sparse_error() -> SourceError:
    return SourceError("the archive has a sparse file", hint="make the archive without --sparse")


class _Unpacking:
    """One archive on its way into a folder that nobody else writes to."""

    def __init__(self, tar: tarfile.TarFile, into: Path, limits: UnpackLimits) -> None:
        self._tar = tar
        self._into = into
        self._limits = limits
        #: folders that are known to be real ones
        self._folders = {""}
        #: folder -> its permissions and time, to be set last: the time changes with each entry
        self._late: dict[str, tuple[int, float]] = {}

    def run(self) -> None:
        count = 0
        while (member := self._tar.next()) is not None:
            # The library keeps every member, for archives that it can read twice.
            self._tar.members.clear()  # type: ignore[attr-defined]
            count += 1
            if count > self._limits.entries:
                raise SourceError(f"the archive has more than {self._limits.entries} entries")
            self._unpack(member)
        for name, (mode, mtime) in sorted(self._late.items(), reverse=True):
            folder = self._into / name
            folder.chmod(mode | stat.S_IRWXU)
            _set_time(folder, mtime)

    def _unpack(self, member: tarfile.TarInfo) -> None:
        name = _inside(member.name)
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise SourceError(f"the archive has a device or pipe: '{member.name}'", hint="leave it out")
        if member.isdir():
            self._make_folder(name, replaces_link=True)
            if name:
                self._late[name] = (member.mode & _PERMISSIONS, member.mtime)
            return
        if not name:
            raise SourceError("the archive has an entry without a name", hint=_HINT_DAMAGED)
        parent = name.rpartition("/")[0]
        self._make_folder(parent)
        target = self._into / name
        if name in self._folders or (target.is_dir() and not target.is_symlink()):
            raise SourceError(f"the archive has '{name}' as a folder and as something else")
        link_target = self._linked_file(member, name) if member.islnk() else None
        if link_target != target:
            target.unlink(missing_ok=True)
        if member.issym():
            _check_link(parent, member)
            target.symlink_to(member.linkname)
        elif link_target is None:
            self._write(member, target)
        elif link_target != target:
            target.hardlink_to(link_target)

    def _make_folder(self, name: str, *, replaces_link: bool = False) -> None:
        """Makes a folder and those above it. `replaces_link`: a link in the place of the last one gives way."""
        if name in self._folders:
            return
        at = -1
        while True:
            at = name.find("/", at + 1)
            part = name if at < 0 else name[:at]
            if part not in self._folders:
                path = self._into / part
                if replaces_link and at < 0 and path.is_symlink():
                    path.unlink()
                if path.is_symlink() or (path.exists() and not path.is_dir()):
                    raise SourceError(
                        f"the archive has '{name}' behind '{part}', which is a link or file in it",
                        hint="put the files into the folder itself",
                    )
                path.mkdir(exist_ok=True)
                self._folders.add(part)
            if at < 0:
                return

    def _linked_file(self, member: tarfile.TarInfo, name: str) -> Path:
        linked = _inside(member.linkname)
        path = self._into / linked
        if linked.rpartition("/")[0] not in self._folders or path.is_symlink() or not path.is_file():
            raise SourceError(
                f"the archive links '{name}' to '{member.linkname}', which is no file before it"
            )
        return path

    def _write(self, member: tarfile.TarInfo, target: Path) -> None:
        content = self._tar.extractfile(member)
        assert content is not None  # only for other kinds of entries
        with target.open("xb") as writer:
            shutil.copyfileobj(content, writer, CHUNK_BYTES)
            if writer.tell() != member.size:
                raise SourceError("the archive is damaged: it is cut off", hint=_HINT_DAMAGED)
        target.chmod(member.mode & _PERMISSIONS | stat.S_IRUSR | stat.S_IWUSR)
        _set_time(target, member.mtime)


def _inside(name: str) -> str:
    """The path of an entry without needless parts; empty for the root."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise SourceError(
            f"the archive has a path that leads outside: '{name}'",
            hint="make it with relative paths, without '..'",
        )
    return "/".join(part for part in parts if part not in ("", "."))


def _check_link(parent: str, member: tarfile.TarInfo) -> None:
    """A link may climb with its first parts only, and no higher than the root, so that links in a row do not either."""
    parts = [part for part in member.linkname.split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    depth = parent.count("/") + 1 if parent else 0
    if member.linkname.startswith("/") or climbs > depth or ".." in parts[climbs:]:
        raise SourceError(
            f"the archive has a link that leads outside: '{member.name}' to '{member.linkname}'",
            hint="let links point to files of the archive, relative to their place",
        )


def _set_time(path: Path, mtime: float) -> None:
    with suppress(OverflowError, OSError, ValueError):  # a time no file system knows
        os.utime(path, ns=(int(mtime * 1e9), int(mtime * 1e9)))


def _size(count: int) -> str:
    for unit, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << unit:
            return f"{count / (1 << unit):g} {name}"
    return f"{count} bytes"
