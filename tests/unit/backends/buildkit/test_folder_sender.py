from __future__ import annotations

import os
import queue
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tasks_engine.backends.buildkit import filesync
from tasks_engine.backends.buildkit.errors import ContextError
from tasks_engine.backends.buildkit.filesync import FIN, FolderSender, Selection, data_packet, go_mode
from tasks_engine.backends.buildkit.proto.fsutil_pb2 import Packet, Stat
from tests.open_files import open_files


class Requests:
    """What the daemon sent, until None."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.put = self._queue.put

    def next_message(self, *, wait: bool = True) -> bytes | None:
        return self._queue.get() if wait or not self._queue.empty() else None


class Receiver:
    """The daemon's half: takes the listing, requests, then says FIN."""

    opened: ClassVar[list[Receiver]] = []

    def __init__(self, root: Path, selection: Selection | None = None) -> None:
        self.stats: list[Stat] = []
        self.content: dict[int, bytes] = {}
        self.finished = False
        self._requests = Requests()
        sender = FolderSender(root, selection or Selection())
        self._packets = (packet for batch in sender.batches(self._requests) for packet in batch)
        self.opened.append(self)

    def list(self) -> list[str]:
        """Paths of the listing."""
        for raw in self._packets:
            packet = Packet.FromString(raw)
            if not packet.HasField("stat"):
                break
            self.stats.append(packet.stat)
        return [entry.path for entry in self.stats]

    def stat(self, path: str) -> Stat:
        return next(entry for entry in self.stats if entry.path == path)

    def get(self, path: str) -> bytes:
        """Content of a listed file."""
        entry_id = [entry.path for entry in self.stats].index(path)
        self._requests.put(Packet(type=Packet.PACKET_REQ, id=entry_id).SerializeToString())
        received = b""
        for raw in self._packets:
            packet = Packet.FromString(raw)
            assert (packet.type, packet.id) == (Packet.PACKET_DATA, entry_id)
            if not packet.data:
                return received
            received += packet.data
        raise AssertionError("no end of the file")

    def finish(self) -> None:
        self._requests.put(FIN)
        assert list(self._packets) == [FIN]

    def hang_up(self) -> None:
        """The stream ends without FIN."""
        self._requests.put(None)
        assert list(self._packets) == []


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    before = open_files()
    yield
    while Receiver.opened:
        Receiver.opened.pop().hang_up()
    for thread in threading.enumerate():
        if thread.name == "buildkit-requests":
            thread.join()
    assert not open_files() - before


@pytest.mark.parametrize(
    ("st_mode", "expected"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFDIR | 0o755, 1 << 31 | 0o755),
        (stat.S_IFLNK | 0o777, 1 << 27 | 0o777),
        (stat.S_IFIFO | 0o600, 1 << 25 | 0o600),
        (stat.S_IFSOCK | 0o755, 0o755),
        (stat.S_IFBLK | 0o660, 1 << 26 | 0o660),
        (stat.S_IFCHR | 0o660, 1 << 26 | 1 << 21 | 0o660),
        (stat.S_IFREG | 0o4755, 1 << 23 | 0o755),
        (stat.S_IFREG | 0o2755, 1 << 22 | 0o755),
        (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        (0o030000 | 0o644, 1 << 19 | 0o644),
    ],
)
def test_modes_are_those_of_go(st_mode: int, expected: int) -> None:
    assert go_mode(st_mode) == expected


@pytest.mark.parametrize("entry_id", [0, 1, 127, 128, 300, 1 << 20])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 1 << 20])
def test_data_packet_by_hand_is_the_packet(entry_id: int, size: int) -> None:
    data = b"x" * size
    packet = Packet.FromString(data_packet(entry_id, data))
    assert (packet.type, packet.id, packet.data) == (Packet.PACKET_DATA, entry_id, data)


def test_entries_come_by_component_with_names_in_byte_order(tmp_path: Path) -> None:
    for folder in ("a/b", "a.d", "ä"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a/b/f", "a/z", "a-b", "a.d/q", "B", "ä/ü", "z", "\U0001f600", "\uffee"):
        (tmp_path / name).touch()
    receiver = Receiver(tmp_path)
    assert receiver.list() == [
        *("B", "a", "a/b", "a/b/f", "a/z", "a-b", "a.d", "a.d/q", "z", "ä", "ä/ü", "\uffee", "\U0001f600")
    ]
    receiver.finish()


def test_empty_folder_is_only_the_end_of_the_listing(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    assert receiver.list() == []
    receiver.finish()


def test_stats_tell_what_an_image_keeps(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    os.utime(tmp_path / "file", ns=(0, 1_234_567_890_123_456_789))
    if os.getuid() == 0:
        os.chown(tmp_path / "file", 1000, 1000)
    os.chmod(tmp_path / "file", 0o4750)
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("../outside")
    os.mkfifo(tmp_path / "pipe")
    receiver = Receiver(tmp_path)
    receiver.list()
    file = receiver.stat("file")
    assert (file.size, file.mod_time, file.mode) == (5, 1_234_567_890_123_456_789, 1 << 23 | 0o750)
    assert (file.uid, file.gid) == (0, 0)
    assert receiver.stat("folder").size == 0
    assert (receiver.stat("link").linkname, receiver.stat("link").size) == ("../outside", 10)
    assert receiver.stat("pipe").mode & 1 << 25
    receiver.finish()


def test_second_name_of_a_file_points_to_the_first_sent_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"shared")
    os.link(tmp_path / "a", tmp_path / "b")
    os.link(tmp_path / "a", tmp_path / "c")
    receiver = Receiver(tmp_path, Selection(exclude=["a"]))
    assert receiver.list() == ["b", "c"]
    assert (receiver.stat("b").linkname, receiver.stat("b").size) == ("", 6)
    # With the size, as the daemon sees it in its own copy: without it every build would make the link anew.
    assert (receiver.stat("c").linkname, receiver.stat("c").size) == ("b", 6)
    assert receiver.get("b") == b"shared"
    receiver.finish()


def test_extended_attributes_travel(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    try:
        os.setxattr(tmp_path / "file", "user.note", b"\x00\xff")
    except OSError:
        pytest.skip("no extended attributes on this file system")
    receiver = Receiver(tmp_path)
    receiver.list()
    assert receiver.stat("file").xattrs["user.note"] == b"\x00\xff"
    receiver.finish()


def test_socket_goes_as_an_empty_file(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        receiver = Receiver(tmp_path)
        receiver.list()
        assert receiver.get("s") == b""
        receiver.finish()


def test_excluded_folder_with_an_exception_below_is_sent_for_it(tmp_path: Path) -> None:
    for name in ("docs/keep/x", "docs/drop/y", "docs/z", "src/m"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    receiver = Receiver(tmp_path, Selection(exclude=["docs", "!docs/keep"]))
    assert receiver.list() == ["docs", "docs/keep", "docs/keep/x", "src", "src/m"]
    receiver.finish()


def test_included_file_brings_its_parents(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/b/d", "a/e", "f/g"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    receiver = Receiver(tmp_path, Selection(include=["a/b/c"]))
    assert receiver.list() == ["a", "a/b", "a/b/c"]
    receiver.hang_up()


def test_followed_link_brings_its_target(tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2" / "run").touch()
    (tmp_path / "current").symlink_to("v2")
    (tmp_path / "other").touch()
    receiver = Receiver(tmp_path, Selection(follow=["current/run"]))
    assert receiver.list() == ["current", "v2", "v2/run"]
    receiver.finish()


def test_big_file_comes_in_chunks(tmp_path: Path) -> None:
    content = os.urandom(2 * filesync.CHUNK_BYTES + 17)
    (tmp_path / "big").write_bytes(content)
    receiver = Receiver(tmp_path)
    receiver.list()
    assert receiver.get("big") == content
    receiver.finish()


def test_growing_file_ends_at_its_announced_size(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"12345")
    receiver = Receiver(tmp_path)
    receiver.list()
    (tmp_path / "log").write_bytes(b"1234567890")
    assert receiver.get("log") == b"12345"
    receiver.finish()


def test_shrunk_file_ends_early(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"12345")
    receiver = Receiver(tmp_path)
    receiver.list()
    (tmp_path / "log").write_bytes(b"12")
    assert receiver.get("log") == b"12"
    receiver.finish()


def test_vanished_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "gone").write_bytes(b"1")
    receiver = Receiver(tmp_path)
    receiver.list()
    (tmp_path / "gone").unlink()
    with pytest.raises(ContextError, match="gone: No such file"):
        receiver.get("gone")


def test_file_that_became_a_link_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"outside")
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_bytes(b"inside")
    (root / "g").write_bytes(b"inside")
    receiver = Receiver(root)
    receiver.list()
    (root / "g").unlink()
    (root / "g").symlink_to(secret)
    with pytest.raises(ContextError):
        receiver.get("g")


def test_folder_that_became_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"outside")
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_bytes(b"inside")
    receiver = Receiver(root)
    receiver.list()
    (root / "d").rename(root / "e")
    (root / "d").symlink_to(tmp_path / "outside")
    with pytest.raises(ContextError):
        receiver.get("d/f")


def test_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")).touch()
    with pytest.raises(ContextError, match=r"bad\\xff.*not UTF-8"):
        Receiver(tmp_path).list()
    excluded = Receiver(tmp_path, Selection(exclude=["bad*"]))
    assert excluded.list() == []
    excluded.hang_up()


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="nowhere"):
        Receiver(tmp_path / "nowhere").list()


def test_request_for_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    receiver = Receiver(tmp_path)
    receiver.list()
    with pytest.raises(ContextError, match="no file"):
        receiver.get("d")
