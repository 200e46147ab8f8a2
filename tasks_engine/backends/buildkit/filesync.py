"""Sends a folder to the daemon, the sender's half of `FileSync.DiffCopy`.

First a STAT packet for every entry, parents first and siblings in byte order; an entry's id is its place in
that sequence. Then DATA packets for the regular files the daemon requests. Nothing outside of the folder is
ever read: it is walked and opened through descriptors, one component at a time, without following links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from google.protobuf.message import DecodeError

from tasks_engine.backends.buildkit.errors import ContextError
from tasks_engine.backends.buildkit.follow_paths import resolve_follow_paths
from tasks_engine.backends.buildkit.patterns import Matched, PatternList, compile_patterns
from tasks_engine.backends.buildkit.proto.fsutil_pb2 import Packet

#: of file content in one DATA packet; 0.8 daemons take messages of at most 4 MiB, and Python's costs go by
#: message
CHUNK_BYTES = 1 << 20
#: handed on in one go, more or less: the daemon compares the first thousand entries while we list the next
_BATCH_BYTES = 32 * 1024
#: entries between two looks at what the daemon requests
_LISTED_AT_ONCE = 256
#: the STAT packet that ends the listing: one without a stat
END_OF_LISTING = b""
FIN = Packet(type=Packet.PACKET_FIN).SerializeToString()

_REGULAR = stat.S_IFREG
#: st_mode's type -> flag in Go's FileMode. A socket keeps no flag: it is sent as an empty regular file, as
#: all other clients do.
_GO_TYPE = {
    stat.S_IFREG: 0,
    stat.S_IFSOCK: 0,
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
}
_GO_PERMISSION = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a file that became a fifo since it was listed must not block us.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Selection:
    """Which part of a folder the daemon asked for, its words."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    follow: Sequence[str] = ()


@cache
def go_mode(st_mode: int) -> int:
    """`st_mode` in the bits of Go's FileMode."""
    mode = st_mode & 0o777 | _GO_TYPE.get(stat.S_IFMT(st_mode), 1 << 19)
    for bit, go_bit in _GO_PERMISSION:
        if st_mode & bit:
            mode |= go_bit
    return mode


def data_packet(entry_id: int, data: bytes) -> bytes:
    """A serialised DATA packet; empty `data` ends the file. By hand: a Packet object would copy once more."""
    head = b"\x08\x02\x18" + _varint(entry_id)
    return b"".join((head, b"\x22", _varint(len(data)), data)) if data else head


def error_packet(text: str) -> bytes:
    """A serialised ERR packet; the daemon fails the solve with `text`."""
    return Packet(type=Packet.PACKET_ERR, data=text.encode("utf-8", "backslashreplace")).SerializeToString()


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class Requests(Protocol):
    """The daemon's packets, in their order."""

    def next_message(self, *, wait: bool = True) -> bytes | None:
        """The next one, serialised; None at the end, or, not to `wait`, when there is none yet."""


@dataclass
class FolderSender:
    """One DiffCopy call: answers the daemon's packets with ours."""

    root: Path
    selection: Selection
    #: entry id -> path and announced size, of what the daemon may still request
    _files: dict[int, tuple[str, int]] = field(default_factory=dict, init=False)
    #: the folder the last requested file was in, and its descriptor; requests come in the order of the
    #: listing
    _last_folder: tuple[str, int] | None = field(default=None, init=False)
    #: the daemon has neither finished nor failed
    _running: bool = field(default=True, init=False)

    def batches(self, requests: Requests) -> Iterator[list[bytes]]:
        """Serialised packets to send, as many as there are without waiting for the daemon; the last is FIN.

        Raises ContextError for what can not be sent.
        """
        batch: list[bytes] = []
        size = 0
        with closing(self._packets(requests)) as packets:
            for packet in packets:
                if packet is not None:
                    batch.append(packet)
                    size += len(packet)
                if batch and (packet is None or size >= _BATCH_BYTES):
                    yield batch
                    batch, size = [], 0

    def _packets(self, requests: Requests) -> Generator[bytes | None]:
        """Our packets; None before we wait, and at the end."""
        root_fd = _open_root(self.root)
        try:
            for number, entry in enumerate(self._listing(root_fd), start=1):
                yield entry
                # The daemon requests while we list: what it has asked for goes out in between.
                if number % _LISTED_AT_ONCE == 0:
                    while (request := requests.next_message(wait=False)) is not None:
                        yield from self._answer(root_fd, request)
                    if not self._running:
                        return
            yield END_OF_LISTING
            while self._running:
                request = requests.next_message(wait=False)
                if request is None:
                    yield None
                    request = requests.next_message()
                if request is None:
                    return
                yield from self._answer(root_fd, request)
            yield None
        finally:
            if self._last_folder is not None:
                os.close(self._last_folder[1])
            os.close(root_fd)

    def _answer(self, root_fd: int, request: bytes) -> Iterator[bytes]:
        try:
            packet = Packet.FromString(request)
        except DecodeError as error:
            raise ContextError("the daemon requested something that cannot be read") from error
        if packet.type == Packet.PACKET_REQ:
            yield from self._content(root_fd, packet.id)
        elif packet.type == Packet.PACKET_FIN:
            yield FIN
            # No waiting for its end of the stream: the daemon now waits for ours.
            self._running = False
        elif packet.type == Packet.PACKET_ERR:
            self._running = False

    def _listing(self, root_fd: int) -> Iterator[bytes]:
        for entry_id, entry in enumerate(walk(self.root, root_fd, self.selection)):
            if entry.requestable:
                self._files[entry_id] = (entry.path, entry.status.st_size)
            yield entry.stat_packet()

    def _content(self, root_fd: int, entry_id: int) -> Iterator[bytes]:
        if entry_id not in self._files:
            raise ContextError(f"the daemon requested entry {entry_id}, which is no file or was sent before")
        path, size = self._files.pop(entry_id)
        try:
            fd = self._open(root_fd, path)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise ContextError(f"cannot read {_shown(self.root, path)}: {error.strerror}") from error
            # What ENXIO says: a socket, which goes as an empty file.
            yield data_packet(entry_id, b"")
            return
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                yield from self._chunks(fd, path, entry_id, size)
        finally:
            os.close(fd)
        yield data_packet(entry_id, b"")

    def _chunks(self, fd: int, path: str, entry_id: int, size: int) -> Iterator[bytes]:
        """At most the announced size: a log that grows while it is read would never end."""
        while size > 0:
            try:
                data = os.read(fd, min(size, CHUNK_BYTES))
            except OSError as error:
                raise ContextError(f"cannot read {_shown(self.root, path)}: {error.strerror}") from error
            if not data:
                return
            size -= len(data)
            yield data_packet(entry_id, data)

    def _open(self, root_fd: int, path: str) -> int:
        folder, _, name = path.rpartition("/")
        if not folder:
            return os.open(name, _OPEN_FILE, dir_fd=root_fd)
        if self._last_folder is None or self._last_folder[0] != folder:
            folder_fd = _open_below(root_fd, folder)
            if self._last_folder is not None:
                os.close(self._last_folder[1])
            self._last_folder = (folder, folder_fd)
        return os.open(name, _OPEN_FILE, dir_fd=self._last_folder[1])


# --- walking ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Entry:
    """One entry of the listing."""

    path: str
    status: os.stat_result
    #: target of a symlink, or the path of an earlier entry that is the same file
    link: str = ""
    xattrs: dict[str, bytes] | None = None

    @property
    def requestable(self) -> bool:
        """The daemon may ask for its content: regular, and not another name of an earlier entry."""
        return stat.S_IFMT(self.status.st_mode) in (_REGULAR, stat.S_IFSOCK) and not self.link

    def stat_packet(self) -> bytes:
        """Serialised. Root owns all: host ids mean nothing in an image and would spoil shared caches."""
        status = self.status
        kind = stat.S_IFMT(status.st_mode)
        packet = Packet()
        message = packet.stat
        message.path = self.path
        message.mode = go_mode(status.st_mode)
        message.mod_time = status.st_mtime_ns
        message.linkname = self.link
        if self.xattrs:
            message.xattrs.update(self.xattrs)
        if kind in (stat.S_IFLNK, _REGULAR):
            message.size = status.st_size
        elif kind in (stat.S_IFBLK, stat.S_IFCHR):
            message.devmajor, message.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        return packet.SerializeToString()


def walk(root: Path, root_fd: int, selection: Selection) -> Iterator[Entry]:
    """The selected entries below `root`, ordered by path component and names by their bytes.

    `root_fd` is an open descriptor of `root`. Raises ContextError for what can not be read or named; what
    vanishes while we look is left out.
    """
    include = list(selection.include)
    include += resolve_follow_paths(str(root), selection.follow)
    walker = _Walker(root, compile_patterns(include), compile_patterns(selection.exclude))
    yield from walker.folder(root_fd, "", walker.include.nothing(), walker.exclude.nothing(), [])


@dataclass
class _Walker:
    root: Path
    include: PatternList
    exclude: PatternList
    #: (device, inode) -> the first sent path of a file with several names
    _first_name: dict[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._prune_excluded = not self.exclude.has_exceptions
        self._includes, self._excludes = bool(self.include), bool(self.exclude)

    def folder(
        self, folder_fd: int, path: str, included: Matched, excluded: Matched, unsent: list[Entry]
    ) -> Iterator[Entry]:
        """Entries below the open folder; `unsent` are those of itself and above that nobody needed yet."""
        prefix = f"{path}/" if path else ""
        wanted, ignored, entry_included, entry_excluded = True, False, included, excluded
        for name, status in _statuses(self.root, path, folder_fd):
            entry_path = prefix + name
            if self._includes:
                wanted, entry_included = self.include.match(entry_path, included)
            if self._excludes:
                ignored, entry_excluded = self.exclude.match(entry_path, excluded)
            if wanted and not ignored:
                if unsent:
                    yield from unsent
                    unsent.clear()
                yield self._entry(folder_fd, name, entry_path, status)
            if not stat.S_ISDIR(status.st_mode) or not self._may_hold(entry_path, wanted, ignored):
                continue
            below = (
                unsent
                if wanted and not ignored
                else [*unsent, self._entry(folder_fd, name, entry_path, status)]
            )
            yield from self._enter(folder_fd, name, entry_path, entry_included, entry_excluded, below)
            if not below:
                unsent.clear()

    def _may_hold(self, path: str, wanted: bool, ignored: bool) -> bool:
        """Whether something below the folder `path` can be selected."""
        if ignored and self._prune_excluded:
            return False
        return wanted or self.include.has_exceptions or self.include.may_match_below(path)

    def _enter(
        self, parent_fd: int, name: str, path: str, included: Matched, excluded: Matched, unsent: list[Entry]
    ) -> Iterator[Entry]:
        try:
            fd = os.open(name, _OPEN_FOLDER, dir_fd=parent_fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ContextError(f"cannot read {_shown(self.root, path)}: {error.strerror}") from error
        try:
            yield from self.folder(fd, path, included, excluded, unsent)
        finally:
            os.close(fd)

    def _entry(self, folder_fd: int, name: str, path: str, status: os.stat_result) -> Entry:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise ContextError(f"the name {os.fsencode(path)!r} in {self.root} is not UTF-8") from error
        kind = stat.S_IFMT(status.st_mode)
        link = ""
        if kind == stat.S_IFLNK:
            link = self._target(folder_fd, name, path)
        elif status.st_nlink > 1 and kind != stat.S_IFDIR:
            first = self._first_name.setdefault((status.st_dev, status.st_ino), path)
            link = first if first != path else ""
        xattrs = _xattrs(folder_fd, name)
        try:
            if xattrs:
                "".join(xattrs).encode()
        except UnicodeEncodeError as error:
            raise ContextError(
                f"an extended attribute of {_shown(self.root, path)} has a name that is not UTF-8"
            ) from error
        return Entry(path, status, link, xattrs)

    def _target(self, folder_fd: int, name: str, path: str) -> str:
        try:
            target = os.readlink(name, dir_fd=folder_fd)
            target.encode()
        except OSError as error:
            raise ContextError(f"cannot read {_shown(self.root, path)}: {error.strerror}") from error
        except UnicodeEncodeError as error:
            raise ContextError(f"the target of {_shown(self.root, path)} is not UTF-8") from error
        return target


def _statuses(root: Path, path: str, folder_fd: int) -> list[tuple[str, os.stat_result]]:
    """Names and states of a folder's entries. Sorted as text, which for UTF-8 is the order of the bytes."""
    found = []
    try:
        with os.scandir(folder_fd) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
    except OSError as error:
        raise ContextError(f"cannot read {_shown(root, path)}: {error.strerror}") from error
    found.sort(key=lambda named: named[0])
    return found


def _xattrs(folder_fd: int, name: str) -> dict[str, bytes] | None:
    """The readable extended attributes. Through /proc, as there is no call with dir_fd."""
    place = f"/proc/self/fd/{folder_fd}/{name}"
    try:
        names = os.listxattr(place, follow_symlinks=False)
    except OSError:
        return None
    if not names:
        return None
    values = {}
    for attribute in names:
        with suppress(OSError):
            values[attribute] = os.getxattr(place, attribute, follow_symlinks=False)
    return values


def _open_root(root: Path) -> int:
    try:
        # The root itself may be a link: it is the caller's own word.
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ContextError(f"cannot read the folder {root}: {error.strerror}") from error


def _open_below(root_fd: int, folder: str) -> int:
    """Descriptor of the folder, opened component by component so that no link is followed."""
    fd = root_fd
    try:
        for name in folder.split("/"):
            below = os.open(name, _OPEN_FOLDER, dir_fd=fd)
            if fd != root_fd:
                os.close(fd)
            fd = below
    except OSError:
        if fd != root_fd:
            os.close(fd)
        raise
    return fd


def _shown(root: Path, path: str) -> str:
    return os.fsencode(root / path).decode("utf-8", "backslashreplace")
