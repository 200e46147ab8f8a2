"""Receives a folder from the daemon for the exporter local: the receiver's half of `FileSend.DiffCopy`.

The daemon lists what it has in STAT packets, as filesync.py does. We request the regular files, a few at a
time and while the listing still comes, write their DATA where it belongs, and say FIN when all of it is there.

A daemon may be hostile, or carry the files of somebody who is. So nothing outside of the folder is touched,
whatever the packets say: paths must come clean and in the order of a walk, and every access goes through
descriptors, one component at a time, without following links.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError

from tasks_engine.backends.buildkit.errors import ExportError
from tasks_engine.backends.buildkit.filesync import FIN
from tasks_engine.backends.buildkit.proto.fsutil_pb2 import Packet, Stat

#: a listing is kept in memory until its files have come, about 500 bytes for an entry
MAX_ENTRIES = 1_000_000
#: components of a path. Deeper folders can be made, but many tools fail to remove them.
MAX_DEPTH = 256
#: files requested and not finished. The daemon stops reading our requests when too many of them wait.
MAX_IN_FLIGHT = 64

# Flags of Go's FileMode.
_GO_FOLDER = 1 << 31
_GO_SYMLINK = 1 << 27
_GO_FIFO = 1 << 25
_GO_STICKY = 1 << 20
#: those that make a type: the three above, device, socket, character device, irregular
_GO_TYPE = _GO_FOLDER | _GO_SYMLINK | 1 << 26 | _GO_FIFO | 1 << 24 | 1 << 21 | 1 << 19

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a fifo waits for its writer otherwise.
_OPEN_FIFO = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FOLDERS = 16
_SHOWN_CHARS = 200


@dataclass
class FolderReceiver:
    """One DiffCopy call: takes the daemon's packets and answers them.

    Entries keep permission bits, sticky bit and modification time. They belong to the user who runs us; so
    setuid and setgid, which would then mean somebody else, are left out, as are extended attributes. A file
    that is there already is replaced when the new one is complete; what else is there stays.
    """

    #: made if missing; may be a link itself, as it is the caller's own word
    root: Path
    max_entries: int = MAX_ENTRIES
    #: paths of devices, sockets and the like, which are not made
    skipped: list[str] = field(default_factory=list, init=False)

    def packets(self, incoming: Iterable[bytes]) -> Iterator[bytes]:
        """Serialised packets to send, the last one FIN.

        Raises ExportError for what must not or can not be written, and for a daemon that breaks the protocol
        or gives up. Entries that were complete by then stay; of the others nothing is left.
        """
        arriving = iter(incoming)
        tree = _Tree(self.root)
        transfer = _Transfer(tree, self.max_entries, self.skipped)
        try:
            while not transfer.complete:
                transfer.take(_next(arriving))
                yield from transfer.requests()
            transfer.finish()
            yield FIN
            answer = _next(arriving)
            if answer.type != Packet.PACKET_FIN:
                raise _out_of_place(answer)
        finally:
            transfer.discard()
            tree.close()


def _next(arriving: Iterator[bytes]) -> Packet:
    try:
        packet = Packet.FromString(next(arriving))
    except StopIteration:
        raise ExportError("the daemon stopped sending before the folder was complete") from None
    except DecodeError as error:
        raise ExportError(f"the daemon sent something that is no packet: {error}") from error
    if packet.type == Packet.PACKET_ERR:
        raise ExportError(f"the daemon could not send the folder: {_printable(_text(packet.data))}")
    return packet


def _out_of_place(packet: Packet) -> ExportError:
    known = packet.type in Packet.PacketType.values()
    name = Packet.PacketType.Name(packet.type) if known else f"packet of type {packet.type}"
    return ExportError(f"the daemon sent a {name} where the protocol has none")


# --- what is listed and what has come -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is kept of a STAT until it is done."""

    path: str
    #: in the bits of st_mode
    permissions: int
    #: nanoseconds since 1970
    mod_time: int
    #: bytes; of files only
    size: int = 0


class _Order:
    """Checks that paths come clean, once, parents first and siblings in byte order.

    Then the parent of each is the last entry or above it, so nothing else needs to be remembered.
    """

    def __init__(self) -> None:
        self._last: list[str] = []
        self._last_is_folder = True

    def check(self, path: str, *, is_folder: bool) -> None:
        """Raises ExportError."""
        parts = path.split("/")
        if not path:
            raise _refused(path, "a name is missing")
        if path.startswith("/"):
            raise _refused(path, "paths must be relative")
        if "\0" in path or any(part in ("", ".", "..") for part in parts):
            raise _refused(path, "no path may have a NUL, '.', '..' or an empty component")
        if len(parts) > MAX_DEPTH:
            raise _refused(path, f"it lies deeper than {MAX_DEPTH} folders")
        # Compared by component. The order of code points is that of the bytes in UTF-8.
        if parts <= self._last:
            raise _refused(path, "it comes twice or out of order")
        parent = parts[:-1]
        if parent != self._last[: len(parent)]:
            raise _refused(path, "its folder did not come before it")
        if len(parent) == len(self._last) and not self._last_is_folder:
            raise _refused(path, "what should be its folder came as something else")
        self._last, self._last_is_folder = parts, is_folder


class _Transfer:
    """What has been announced, requested and received."""

    def __init__(self, tree: _Tree, max_entries: int, skipped: list[str]) -> None:
        self._tree = tree
        self._max_entries = max_entries
        self._skipped = skipped
        self._order = _Order()
        self._entry_count = 0
        self._listed = False
        #: not yet requested, with their ids
        self._waiting: deque[tuple[int, _Entry]] = deque()
        self._in_flight: dict[int, _IncomingFile] = {}
        #: what a hard link may name
        self._linkable: set[str] = set()
        #: (path, earlier path), made when the contents have come
        self._links: list[tuple[str, str]] = []
        #: with whether we made them; their final state comes last
        self._folders: list[tuple[_Entry, bool]] = []

    @property
    def complete(self) -> bool:
        """All entries were listed and all contents have come."""
        return self._listed and not self._waiting and not self._in_flight

    def take(self, packet: Packet) -> None:
        """Does what one packet says; raises ExportError."""
        if packet.type == Packet.PACKET_DATA:
            self._receive(packet.id, packet.data)
        elif packet.type == Packet.PACKET_STAT and not self._listed:
            if packet.HasField("stat"):
                self._announce(packet.stat)
            else:
                self._listed = True
        else:
            raise _out_of_place(packet)

    def requests(self) -> Iterator[bytes]:
        """A REQ for every file that may come now."""
        while self._waiting and len(self._in_flight) < MAX_IN_FLIGHT:
            entry_id, entry = self._waiting.popleft()
            self._in_flight[entry_id] = _IncomingFile(self._tree, entry)
            yield Packet(type=Packet.PACKET_REQ, id=entry_id).SerializeToString()

    def finish(self) -> None:
        """Makes the hard links and gives the folders their modes and times; raises ExportError."""
        for path, target in self._links:
            self._tree.make_link(path, target)
        # Children first: the mode of a folder may shut us out.
        for entry, made in reversed(self._folders):
            self._tree.set_folder_state(entry, made=made)

    def discard(self) -> None:
        """Removes what is not finished; nothing to do after success."""
        while self._in_flight:
            self._in_flight.popitem()[1].discard()

    def _announce(self, announced: Stat) -> None:
        entry_id = self._entry_count
        self._entry_count += 1
        if self._entry_count > self._max_entries:
            raise ExportError(f"the daemon sends more than {self._max_entries} files and folders")
        kind = announced.mode & _GO_TYPE
        path, link = announced.path, announced.linkname
        self._order.check(path, is_folder=kind == _GO_FOLDER)
        if announced.size < 0:
            raise _refused(path, f"its size is {announced.size}")
        permissions = announced.mode & 0o777 | (stat.S_ISVTX if announced.mode & _GO_STICKY else 0)
        entry = _Entry(path, permissions, announced.mod_time, announced.size)
        if kind == _GO_FOLDER:
            self._folders.append((entry, self._tree.make_folder(entry)))
        elif kind == _GO_SYMLINK:
            if not link or "\0" in link:
                raise _refused(path, "it is a link without a valid target")
            self._tree.make_symlink(entry, link)
        elif kind not in (0, _GO_FIFO):
            self._skipped.append(path)
        elif link:
            if link not in self._linkable:
                raise _refused(
                    path, f"it is to be the same file as {_quoted(link)}, which did not come before"
                )
            self._links.append((path, link))
            self._linkable.add(path)
        else:
            self._linkable.add(path)
            if kind == _GO_FIFO:
                self._tree.make_fifo(entry)
            else:
                self._waiting.append((entry_id, entry))

    def _receive(self, entry_id: int, data: bytes) -> None:
        file = self._in_flight.get(entry_id)
        if file is None:
            raise ExportError(f"the daemon sent content for entry {entry_id}, which was not asked for")
        if data:
            file.write(data)
        else:
            file.finish()
            del self._in_flight[entry_id]


# --- writing ------------------------------------------------------------------------------------------------


class _Tree:
    """The folder on this side."""

    def __init__(self, root: Path) -> None:
        """Raises ExportError."""
        self._root = root
        try:
            # A file there: opening it as a folder says so better.
            with suppress(FileExistsError):
                root.mkdir(parents=True, exist_ok=True)
            self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ExportError(f"cannot write into {_printable(str(root))}: {error.strerror}") from error
        #: path -> descriptor of the folders used last, the newest at the end
        self._fd_by_folder: OrderedDict[str, int] = OrderedDict()

    def close(self) -> None:
        while self._fd_by_folder:
            os.close(self._fd_by_folder.popitem()[1])
        os.close(self._root_fd)

    def folder(self, path: str) -> int:
        """A descriptor of the folder, good until the next call; raises OSError."""
        if not path:
            return self._root_fd
        fd = self._fd_by_folder.get(path)
        if fd is None:
            fd = self._open_below(path)
            self._fd_by_folder[path] = fd
            if len(self._fd_by_folder) > _OPEN_FOLDERS:
                os.close(self._fd_by_folder.popitem(last=False)[1])
        else:
            self._fd_by_folder.move_to_end(path)
        return fd

    def make_folder(self, entry: _Entry) -> bool:
        """Makes it with all we need to write into it; whether it was missing."""
        parent, _, name = entry.path.rpartition("/")
        with self.writing(entry.path):
            try:
                os.mkdir(name, entry.permissions | 0o700, dir_fd=self.folder(parent))
            except FileExistsError:
                # Raises when it is a link or a file.
                fd = self.folder(entry.path)
                permissions = stat.S_IMODE(os.fstat(fd).st_mode)
                if permissions & 0o700 != 0o700:
                    with suppress(PermissionError):
                        os.fchmod(fd, permissions | 0o700)
                return False
        return True

    def set_folder_state(self, entry: _Entry, *, made: bool) -> None:
        with self.writing(entry.path):
            fd = self.folder(entry.path)
            try:
                os.fchmod(fd, entry.permissions)
                os.utime(fd, ns=(entry.mod_time, entry.mod_time))
            except PermissionError:
                # It was there and belongs to somebody else who lets us write: it keeps its state.
                if made:
                    raise

    def make_symlink(self, entry: _Entry, target: str) -> None:
        def make(temporary: str, folder_fd: int) -> None:
            os.symlink(target, temporary, dir_fd=folder_fd)
            times = (entry.mod_time, entry.mod_time)
            os.utime(temporary, ns=times, dir_fd=folder_fd, follow_symlinks=False)

        self._place(entry.path, make)

    def make_fifo(self, entry: _Entry) -> None:
        def make(temporary: str, folder_fd: int) -> None:
            os.mkfifo(temporary, 0o600, dir_fd=folder_fd)
            fd = os.open(temporary, _OPEN_FIFO, dir_fd=folder_fd)
            try:
                os.fchmod(fd, entry.permissions)
                os.utime(fd, ns=(entry.mod_time, entry.mod_time))
            finally:
                os.close(fd)

        self._place(entry.path, make)

    def make_link(self, path: str, target: str) -> None:
        """`path` becomes another name of `target`, which came in this transfer."""
        target_folder, _, target_name = target.rpartition("/")

        def make(temporary: str, folder_fd: int) -> None:
            os.link(
                target_name,
                temporary,
                src_dir_fd=self.folder(target_folder),
                dst_dir_fd=folder_fd,
                follow_symlinks=False,
            )

        self._place(path, make)

    @contextmanager
    def writing(self, path: str) -> Iterator[None]:
        """OSErrors within become ExportErrors that name `path`."""
        try:
            yield
        except IsADirectoryError as error:
            raise ExportError(
                f"cannot write {self._shown(path)}: a folder of that name is there; remove it, or export into "
                "another folder"
            ) from error
        except OSError as error:
            # What opening a file or a link as a folder gives.
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise ExportError(
                    f"cannot write {self._shown(path)}: where the build has a folder, a link or file is there; "
                    "remove it, or export into another folder"
                ) from error
            raise ExportError(f"cannot write {self._shown(path)}: {error.strerror}") from error

    def _place(self, path: str, make: Callable[[str, int], None]) -> None:
        """Puts what `make` makes, given a name and a folder's descriptor, in the place of `path`."""
        parent, _, name = path.rpartition("/")
        temporary = _temporary_name()
        with self.writing(path):
            # A descriptor of our own: `make` may open other folders.
            folder_fd = os.dup(self.folder(parent))
            try:
                make(temporary, folder_fd)
                os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            finally:
                # After success too: a rename between two names of one file does nothing.
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder_fd)
                os.close(folder_fd)

    def _open_below(self, path: str) -> int:
        fd = self._root_fd
        try:
            for name in path.split("/"):
                below = os.open(name, _OPEN_FOLDER, dir_fd=fd)
                if fd != self._root_fd:
                    os.close(fd)
                fd = below
        except OSError:
            if fd != self._root_fd:
                os.close(fd)
            raise
        return fd

    def _shown(self, path: str) -> str:
        return f"{_printable(str(self._root))}/{_printable(path)}"


class _IncomingFile:
    """A requested file. It is written beside its place, and moved there when it is complete."""

    def __init__(self, tree: _Tree, entry: _Entry) -> None:
        self._tree = tree
        self._entry = entry
        self._left = entry.size
        self._temporary = ""
        # Nothing is open before the first data: the daemon sends a few of the requested files at a time.
        self._folder_fd = -1
        self._fd = -1

    def write(self, data: bytes) -> None:
        """Raises ExportError."""
        self._left -= len(data)
        if self._left < 0:
            raise _refused(self._entry.path, f"it is larger than the {self._entry.size} bytes announced")
        with self._tree.writing(self._entry.path):
            self._open()
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def finish(self) -> None:
        """Moves it to its place; raises ExportError."""
        entry = self._entry
        if self._left:
            raise _refused(entry.path, f"it ended {self._left} bytes before the {entry.size} announced")
        with self._tree.writing(entry.path):
            self._open()
            os.fchmod(self._fd, entry.permissions)
            os.utime(self._fd, ns=(entry.mod_time, entry.mod_time))
            os.rename(
                self._temporary,
                entry.path.rpartition("/")[2],
                src_dir_fd=self._folder_fd,
                dst_dir_fd=self._folder_fd,
            )
            self._temporary = ""
        self.discard()

    def discard(self) -> None:
        """Closes it, and removes it if it has not been moved."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._folder_fd >= 0:
            if self._temporary:
                with suppress(OSError):
                    os.unlink(self._temporary, dir_fd=self._folder_fd)
            os.close(self._folder_fd)
            self._folder_fd = -1

    def _open(self) -> None:
        if self._fd >= 0:
            return
        self._folder_fd = os.dup(self._tree.folder(self._entry.path.rpartition("/")[0]))
        temporary = _temporary_name()
        self._fd = os.open(temporary, _CREATE_FILE, 0o600, dir_fd=self._folder_fd)
        self._temporary = temporary


def _temporary_name() -> str:
    return f".buildkit-{secrets.token_hex(8)}"


# --- words --------------------------------------------------------------------------------------------------


def _refused(path: str, why: str) -> ExportError:
    return ExportError(f"the daemon sent {_quoted(path)}, which is not written: {why}")


def _quoted(path: str) -> str:
    return f"'{_printable(path)}'"


def _printable(text: str) -> str:
    """`text` in one line that can not play tricks with a terminal, and of a bearable length."""
    shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip() or "it did not say why"
