"""Any folder that our sender sends arrives as it was."""

from __future__ import annotations

import os
import queue
import socket
import stat
import tempfile
import threading
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_engine.backends.buildkit.errors import ContextError
from tasks_engine.backends.buildkit.filesync import FolderSender, Selection, error_packet
from tasks_engine.backends.buildkit.receive import FolderReceiver

NAMES = st.sampled_from(["a", "b", "a-b", "a.b", "B", "ä", "\uffee", "\U0001f600", "a b", "[x]", "\\", "\n"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PERMISSIONS = st.integers(0, 0o777) | st.sampled_from([0o1777, 0o1644])
#: nanoseconds; file systems keep no less than 1901 to 2262
TIMES = st.integers(-(2**31) * 10**9, 2**63 - 1)
CONTENTS = st.binary(max_size=50) | st.sampled_from([b"x" * (3 << 20), b"y" * ((1 << 20) + 1)])
FILES = st.tuples(st.just("file"), CONTENTS, PERMISSIONS, TIMES)
FOLDERS = st.tuples(st.just("folder"), st.just(b""), PERMISSIONS, TIMES)
FIFOS = st.tuples(st.just("fifo"), st.just(b""), PERMISSIONS, TIMES)
SOCKETS = st.tuples(st.just("socket"), st.just(b""), PERMISSIONS, TIMES)
SYMLINKS = st.tuples(
    st.just("symlink"), st.sampled_from([b"a", b"../..", b"/etc/passwd", b"."]), st.just(0), TIMES
)
HARD_LINKS = st.tuples(st.just("hard link"), st.just(b""), st.just(0), st.just(0))
KINDS = FILES | FOLDERS | FIFOS | SOCKETS | SYMLINKS | HARD_LINKS
TREES = st.dictionaries(PATHS, KINDS, max_size=12)

#: kind, permissions, modification time, content or target, and which earlier path is the same file
State = tuple[int, int, int, bytes, str]


def make(root: Path, tree: dict[str, tuple[str, bytes, int, int]]) -> None:
    """Makes what of `tree` is possible: no path below a file."""
    made: list[Path] = []
    for path, (kind, content, permissions, _) in tree.items():
        place = root / path
        if not place.parent.resolve().is_relative_to(root.resolve()):
            # Through a link that was made before.
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                place.mkdir(exist_ok=True)
                continue
            if os.path.lexists(place):
                continue
            if kind == "file":
                place.write_bytes(content)
            elif kind == "fifo":
                os.mkfifo(place)
            elif kind == "socket":
                bind(place)
            elif kind == "symlink":
                place.symlink_to(content.decode())
            elif made:
                os.link(made[-1], place, follow_symlinks=False)
                continue
            else:
                continue
        except (FileExistsError, NotADirectoryError, FileNotFoundError):
            continue
        if kind != "symlink":
            os.chmod(place, permissions)
            made.append(place)
    for path in sorted(tree, reverse=True):
        kind, _, permissions, time_ns = tree[path]
        place = root / path
        if os.path.lexists(place) and not place.is_symlink() and kind != "hard link":
            if place.is_dir():
                # Not root, but still able to read it.
                os.chmod(place, permissions | 0o500)
            elif stat.S_ISREG(place.lstat().st_mode):
                os.chmod(place, permissions | 0o400)
            os.utime(place, ns=(time_ns, time_ns))


def bind(place: Path) -> None:
    """A unix socket, through a short path."""
    folder_fd = os.open(place.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{folder_fd}/{place.name}")
    finally:
        os.close(folder_fd)


def states(root: Path) -> dict[str, State]:
    found: dict[str, State] = {}
    first_names: dict[tuple[int, int], str] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            place = Path(folder, name)
            status = place.lstat()
            kind = stat.S_IFMT(status.st_mode)
            content = b""
            if kind == stat.S_IFLNK:
                content = os.fsencode(os.readlink(place))
            elif kind == stat.S_IFREG:
                content = place.read_bytes()
            elif kind == stat.S_IFSOCK:
                kind = stat.S_IFREG
            path = str(place.relative_to(root))
            found[path] = (kind, stat.S_IMODE(status.st_mode), status.st_mtime_ns, content, "")
    for path in sorted(found, key=lambda path: path.split("/")):
        status = (root / path).lstat()
        kind, *rest, _ = found[path]
        if kind not in (stat.S_IFDIR, stat.S_IFLNK):
            first = first_names.setdefault((status.st_dev, status.st_ino), path)
            found[path] = (kind, *rest, first)  # type: ignore[assignment]
    return found


class Requests(queue.SimpleQueue[bytes | None]):
    """What the receiver sends; None is the end."""

    def next_message(self, *, wait: bool = True) -> bytes | None:
        try:
            return self.get(block=wait)
        except queue.Empty:
            return None


def send(source: Path, target: Path) -> FolderReceiver:
    """Connects our sender and our receiver, each in its own thread."""
    requests = Requests()
    packets: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def run_sender() -> None:
        try:
            for batch in FolderSender(source, Selection()).batches(requests):
                for packet in batch:
                    packets.put(packet)
        except ContextError as error:
            packets.put(error_packet(error.message))
        finally:
            packets.put(None)

    sender = threading.Thread(target=run_sender)
    sender.start()
    receiver = FolderReceiver(target)
    try:
        for request in receiver.packets(iter(packets.get, None)):
            requests.put(request)
    finally:
        requests.put(None)
        sender.join()
    return receiver


def make_removable(root: Path) -> None:
    """For a user who is not root."""
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o700)


@settings(deadline=None, max_examples=60)
@given(TREES)
def test_a_sent_folder_arrives_as_it_was(tree: dict[str, tuple[str, bytes, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.mkdir()
        make(source, tree)
        expected = states(source)
        receiver = send(source, target)
        assert states(target) == expected
        # Over itself: everything is replaced by the same.
        send(source, target)
        assert states(target) == expected
        assert receiver.skipped == []
        for root in (source, target):
            make_removable(root)
