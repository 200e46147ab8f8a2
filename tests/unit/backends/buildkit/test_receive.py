from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks_engine.backends.buildkit.errors import ExportError
from tasks_engine.backends.buildkit.filesync import END_OF_LISTING, FIN, data_packet, error_packet
from tasks_engine.backends.buildkit.proto.fsutil_pb2 import Packet, Stat
from tasks_engine.backends.buildkit.receive import MAX_DEPTH, MAX_IN_FLIGHT, FolderReceiver
from tests.open_files import open_files

FOLDER, SYMLINK, FIFO = 1 << 31, 1 << 27, 1 << 25
TIME_NS = 1_234_567_890_123_456_789


def entry(path: str, mode: int = 0o644, *, size: int = 0, link: str = "", time_ns: int = TIME_NS) -> bytes:
    """A serialised STAT."""
    message = Stat(path=path, mode=mode, size=size, linkname=link, mod_time=time_ns)
    return Packet(stat=message).SerializeToString()


def folder(path: str, permissions: int = 0o755) -> bytes:
    return entry(path, FOLDER | permissions)


def receive(root: Path, *packets: bytes) -> list[Packet]:
    """What the receiver answers to these packets."""
    return [Packet.FromString(answer) for answer in FolderReceiver(root).packets(packets)]


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    before = open_files()
    yield
    assert not open_files() - before
    assert not list(tmp_path.rglob(".buildkit-*"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder to write into; what stands beside it must never change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"untouched")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def check_outside(root: Path) -> None:
    assert tree(root.parent / "outside") == {"f"}
    assert (root.parent / "outside" / "f").read_bytes() == b"untouched"


# --- what is right ------------------------------------------------------------------------------------------


def test_empty_listing_makes_the_folder_only(tmp_path: Path) -> None:
    assert [packet.type for packet in receive(tmp_path / "a" / "b", END_OF_LISTING, FIN)] == [
        Packet.PACKET_FIN
    ]
    assert tree(tmp_path) == {"a", "a/b"}


def test_all_kinds_arrive_with_modes_and_times(root: Path) -> None:
    answers = receive(
        root,
        folder("d", 1 << 20 | 0o750),
        entry("d/f", 0o640, size=6),
        entry("link", SYMLINK | 0o777, link="../outside/f"),
        entry("pipe", FIFO | 0o622),
        entry("same", 0o640, link="d/f"),
        END_OF_LISTING,
        data_packet(1, b"abc"),
        data_packet(1, b"def"),
        data_packet(1, b""),
        FIN,
    )
    assert [(answer.type, answer.id) for answer in answers] == [
        (Packet.PACKET_REQ, 1),
        (Packet.PACKET_FIN, 0),
    ]
    assert (root / "d" / "f").read_bytes() == b"abcdef"
    assert os.readlink(root / "link") == "../outside/f"
    assert (root / "same").samefile(root / "d" / "f")
    states = {name: (root / name).lstat() for name in ("d", "d/f", "link", "pipe")}
    assert {status.st_mtime_ns for status in states.values()} == {TIME_NS}
    assert states["d"].st_mode == stat.S_IFDIR | stat.S_ISVTX | 0o750
    assert states["d/f"].st_mode == stat.S_IFREG | 0o640
    assert states["pipe"].st_mode == stat.S_IFIFO | 0o622


def test_bits_that_would_mean_somebody_else_are_left_out(root: Path) -> None:
    receive(
        root,
        entry("tool", 1 << 23 | 1 << 22 | 1 << 20 | 0o755),
        END_OF_LISTING,
        data_packet(0, b""),
        FIN,
    )
    assert (root / "tool").stat().st_mode == stat.S_IFREG | stat.S_ISVTX | 0o755


def test_permissions_do_not_depend_on_the_umask(root: Path) -> None:
    before = os.umask(0o077)
    try:
        receive(root, folder("d", 0o777), entry("f", 0o666), END_OF_LISTING, data_packet(1, b""), FIN)
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o777
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o666


@pytest.mark.parametrize("bit", [1 << 26, 1 << 26 | 1 << 21, 1 << 24, 1 << 19])
def test_devices_and_the_like_are_skipped_but_count(root: Path, bit: int) -> None:
    receiver = FolderReceiver(root)
    packets = [entry("a", bit | 0o600), entry("b"), END_OF_LISTING, data_packet(1, b""), FIN]
    assert [Packet.FromString(answer).id for answer in receiver.packets(packets)] == [1, 0]
    assert receiver.skipped == ["a"]
    assert tree(root) == {"b"}


def test_existing_files_are_replaced_and_others_stay(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "old").write_bytes(b"stays")
    (root / "d" / "f").write_bytes(b"old")
    os.link(root / "d" / "f", root / "kept")
    (root / "link").symlink_to(root.parent / "outside" / "f")
    receive(
        root,
        folder("d"),
        entry("d/f", size=3),
        entry("link", size=3),
        END_OF_LISTING,
        data_packet(1, b"new"),
        data_packet(1, b""),
        data_packet(2, b"own"),
        data_packet(2, b""),
        FIN,
    )
    assert (root / "d" / "old").read_bytes() == b"stays"
    assert (root / "d" / "f").read_bytes() == b"new"
    assert (root / "kept").read_bytes() == b"old"
    assert not (root / "link").is_symlink()
    assert (root / "link").read_bytes() == b"own"
    check_outside(root)


def test_an_old_file_is_whole_until_the_new_one_is(root: Path) -> None:
    (root / "f").write_bytes(b"old")

    def packets() -> Iterator[bytes]:
        yield entry("f", size=3)
        yield END_OF_LISTING
        yield data_packet(0, b"new")
        assert (root / "f").read_bytes() == b"old"
        yield data_packet(0, b"")
        assert (root / "f").read_bytes() == b"new"
        yield FIN

    assert len(list(FolderReceiver(root).packets(packets()))) == 2


def test_folder_without_rights_can_be_filled_twice(root: Path) -> None:
    for content in (b"1", b"2"):
        receive(
            root,
            folder("d", 0o555),
            entry("d/f", 0o444, size=1),
            END_OF_LISTING,
            data_packet(1, content),
            data_packet(1, b""),
            FIN,
        )
        assert stat.S_IMODE((root / "d").stat().st_mode) == 0o555
        assert (root / "d" / "f").read_bytes() == content


def test_folders_get_their_modes_from_below(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[str] = []
    change = os.fchmod

    def note(fd: int, mode: int) -> None:
        changed.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        change(fd, mode)

    # A mode without rights would shut out who is not root from what is below.
    monkeypatch.setattr(os, "fchmod", note)
    receive(root, folder("a", 0o000), folder("a/b", 0o000), folder("a/c", 0o000), END_OF_LISTING, FIN)
    assert changed == ["c", "b", "a"]
    assert {stat.S_IMODE((root / name).stat().st_mode) for name in ("a", "a/b", "a/c")} == {0}


def test_root_may_be_a_link(root: Path) -> None:
    (root.parent / "alias").symlink_to("root")
    receive(root.parent / "alias", folder("d"), END_OF_LISTING, FIN)
    assert tree(root) == {"d"}


def test_hard_link_to_a_hard_link_is_the_same_file(root: Path) -> None:
    (root / "c").write_bytes(b"old")
    receive(
        root,
        entry("a", size=1),
        entry("b", link="a"),
        entry("c", link="b"),
        END_OF_LISTING,
        data_packet(0, b"1"),
        data_packet(0, b""),
        FIN,
    )
    assert (root / "a").stat().st_nlink == 3
    assert (root / "c").read_bytes() == b"1"


def test_few_files_are_in_flight_at_a_time(root: Path) -> None:
    count = 3 * MAX_IN_FLIGHT
    requested: list[int] = []
    most = 0

    def packets() -> Iterator[bytes]:
        nonlocal most
        for number in range(count):
            yield entry(f"f{number:05}", size=1)
        yield END_OF_LISTING
        for number in range(count):
            most = max(most, len(requested) - number)
            assert number in requested
            yield data_packet(number, b"x")
            yield data_packet(number, b"")
        yield FIN

    for answer in FolderReceiver(root).packets(packets()):
        if answer != FIN:
            requested += [Packet.FromString(answer).id]
    assert requested == list(range(count))
    assert most == MAX_IN_FLIGHT


def test_interleaved_files_keep_their_contents(root: Path) -> None:
    receive(
        root,
        entry("a", size=4),
        entry("b", size=4),
        END_OF_LISTING,
        data_packet(1, b"b1"),
        data_packet(0, b"a1"),
        data_packet(1, b"b2"),
        data_packet(1, b""),
        data_packet(0, b"a2"),
        data_packet(0, b""),
        FIN,
    )
    assert (root / "a").read_bytes() == b"a1a2"
    assert (root / "b").read_bytes() == b"b1b2"


def test_deep_folders_need_few_descriptors(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    paths = ["/".join(["d"] * depth) for depth in range(1, 100)]

    def packets() -> Iterator[bytes]:
        yield from map(folder, paths)
        yield END_OF_LISTING
        assert len(os.listdir("/proc/self/fd")) < before + 30
        yield FIN

    assert list(FolderReceiver(root).packets(packets())) == [FIN]
    assert (root / paths[-1]).is_dir()


# --- what is hostile or broken ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "name is missing"),
        ("/etc/passwd", "must be relative"),
        ("..", "component"),
        ("../outside/f", "component"),
        ("a/../../outside/f", "component"),
        ("./a", "component"),
        ("a//b", "component"),
        ("a/", "component"),
        ("a\0b", "component"),
        ("missing/f", "its folder did not come"),
    ],
)
@pytest.mark.parametrize("mode", [0o644, FOLDER | 0o755, SYMLINK | 0o777, FIFO | 0o600, 1 << 26])
def test_paths_that_are_not_clean_are_refused(root: Path, path: str, why: str, mode: int) -> None:
    with pytest.raises(ExportError, match=why):
        receive(root, entry(path, mode, link="x" if mode & SYMLINK else ""))
    assert tree(root) == set()
    check_outside(root)


def test_backslash_is_a_character_like_others(root: Path) -> None:
    receive(root, folder("..\\x"), END_OF_LISTING, FIN)
    assert tree(root) == {"..\\x"}


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["b", "a"], "'a'.*out of order"),
        (["a", "a"], "'a'.*twice"),
        (["a", "a/b", "a"], "'a'.*twice"),
        (["a", "a-b", "a/b"], "'a/b'.*out of order"),
        (["a", "b", "a/c"], "'a/c'.*out of order"),
        (["a", "b/c"], "'b/c'.*did not come"),
        (["a", "a/b", "a/c/d"], "'a/c/d'.*did not come"),
        (["\U0001f600", "\uffee"], "out of order"),
    ],
)
def test_entries_must_come_as_a_walk_gives_them(root: Path, paths: list[str], why: str) -> None:
    with pytest.raises(ExportError, match=why):
        receive(root, *map(folder, paths), END_OF_LISTING, FIN)


@pytest.mark.parametrize("mode", [0o644, SYMLINK | 0o777, FIFO | 0o600, 1 << 26, FOLDER | SYMLINK])
def test_nothing_is_written_below_what_came_as_no_folder(root: Path, mode: int) -> None:
    above = entry("a", mode, link="../outside" if mode & SYMLINK else "")
    for below in (entry("a/f"), folder("a/d"), entry("a/l", SYMLINK, link="x")):
        with pytest.raises(ExportError, match=r"'a/.*came as something else"):
            receive(root, above, below)
    check_outside(root)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("../outside"), lambda path: path.touch()])
def test_a_link_or_file_of_before_is_no_folder(root: Path, make: Callable[[Path], None]) -> None:
    make(root / "a")
    with pytest.raises(ExportError, match="root/a: where the build has a folder, a link or file is there"):
        receive(root, folder("a"), entry("a/f"), END_OF_LISTING)
    check_outside(root)


def test_a_folder_that_becomes_a_link_meanwhile_is_not_entered(root: Path) -> None:
    def packets() -> Iterator[bytes]:
        # So many that no descriptor of "a" is kept.
        for number in range(30):
            yield folder(f"a{number:02}")
        (root / "a00").rename(root / "moved")
        (root / "a00").symlink_to("../outside")
        yield END_OF_LISTING
        yield FIN

    with pytest.raises(ExportError, match="root/a00"):
        list(FolderReceiver(root).packets(packets()))
    check_outside(root)


def test_a_folder_in_the_place_of_a_file_is_not_removed(root: Path) -> None:
    (root / "f").mkdir()
    (root / "f" / "precious").touch()
    for packets in (
        [entry("f"), END_OF_LISTING, data_packet(0, b"")],
        [entry("f", SYMLINK, link="x")],
        [entry("f", FIFO | 0o600)],
        [entry("a"), entry("f", link="a"), END_OF_LISTING, data_packet(0, b"")],
    ):
        with pytest.raises(ExportError, match="root/f: a folder of that name is there; remove it"):
            receive(root, *packets)
    assert (root / "f" / "precious").exists()


@pytest.mark.parametrize("target", ["g", "/etc/passwd", "../outside/f", "old", "d", "device", "s", "a/", ""])
def test_hard_links_lead_only_to_what_came(root: Path, target: str) -> None:
    (root / "old").write_bytes(b"of before")
    packets = [
        folder("d"),
        entry("device", 1 << 26),
        entry("s", SYMLINK, link="../outside/f"),
        entry("t", FIFO | 0o600, link=target or "t"),
    ]
    with pytest.raises(ExportError, match=r"'t'.*is to be the same file as .*, which did not come before"):
        receive(root, *packets)


@pytest.mark.parametrize("target", ["", "a\0b"])
def test_links_need_a_target(root: Path, target: str) -> None:
    with pytest.raises(ExportError, match="without a valid target"):
        receive(root, entry("l", SYMLINK, link=target))


@pytest.mark.parametrize(
    ("packets", "why"),
    [
        ([data_packet(0, b"x")], "entry 0, which was not asked for"),
        ([folder("a"), data_packet(0, b"x")], "entry 0, which was not asked for"),
        ([entry("a"), data_packet(1, b"x")], "entry 1, which was not asked for"),
        ([entry("a"), data_packet(0, b""), data_packet(0, b"")], "entry 0, which was not asked for"),
        ([entry("a", size=3), data_packet(0, b"1234")], "'a'.*larger than the 3 bytes"),
        ([entry("a", size=3), data_packet(0, b"12"), data_packet(0, b"34")], "'a'.*larger than the 3 bytes"),
        ([entry("a", size=3), data_packet(0, b"12"), data_packet(0, b"")], "'a'.*ended 1 bytes before the 3"),
        ([entry("a", size=-1)], "its size is -1"),
        ([entry("a")], "stopped sending"),
        ([], "stopped sending"),
        ([entry("a", size=3), END_OF_LISTING, data_packet(0, b"123")], "stopped sending"),
        ([END_OF_LISTING], "stopped sending"),
        ([FIN], "PACKET_FIN where the protocol has none"),
        ([entry("a"), END_OF_LISTING, FIN], "PACKET_FIN where"),
        ([entry("a"), END_OF_LISTING, END_OF_LISTING], "PACKET_STAT where"),
        ([entry("a"), END_OF_LISTING, entry("b")], "PACKET_STAT where"),
        ([END_OF_LISTING, data_packet(0, b"x")], "PACKET_DATA where"),
        ([Packet(type=Packet.PACKET_REQ, id=0).SerializeToString()], "PACKET_REQ where"),
        ([b"\x08\x09"], "packet of type 9 where"),
        ([b"\x08\xff\xff\xff\xff\x0f"], "packet of type -1 where"),
        ([b"garbage"], "no packet"),
        ([b"\x12\x03\x0a\x01\xff"], "no packet"),
        ([error_packet("disk is\x1b[2J gone")], r"could not send the folder: disk is\\x1b\[2J gone"),
        ([END_OF_LISTING, error_packet("late")], "could not send the folder: late"),
        ([error_packet("")], "it did not say why"),
    ],
)
def test_broken_protocol_is_an_error(root: Path, packets: list[bytes], why: str) -> None:
    with pytest.raises(ExportError, match=why):
        receive(root, *packets)
    assert not (root / "a").is_file() or (root / "a").stat().st_size == 0


def test_too_many_entries_are_refused(root: Path) -> None:
    receiver = FolderReceiver(root, max_entries=3)
    packets = (folder(f"d{number}") for number in range(10))
    with pytest.raises(ExportError, match="more than 3 files and folders"):
        list(receiver.packets(packets))
    assert tree(root) == {"d0", "d1", "d2"}


def test_folders_too_deep_to_remove_are_refused(root: Path) -> None:
    paths = ["/".join(["d"] * depth) for depth in range(1, MAX_DEPTH + 2)]
    with pytest.raises(ExportError, match="deeper than 256 folders"):
        receive(root, *map(folder, paths))
    shutil.rmtree(root)


def test_paths_in_errors_can_not_play_tricks(root: Path) -> None:
    with pytest.raises(ExportError) as caught:
        receive(root, folder("a\x1b[31m\u202e\n" + "x" * 1000 + "/.."))
    assert "\\x1b[31m\\u202e\\n" in caught.value.message
    assert len(caught.value.message) < 400
    with pytest.raises(ExportError) as caught:
        receive(root, folder("b\x1b" + "x" * 300))
    assert "b\\x1b" in caught.value.message
    assert "File name too long" in caught.value.message


def test_a_file_as_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(ExportError, match="/f: Not a directory"):
        receive(tmp_path / "f", END_OF_LISTING, FIN)


def test_half_received_files_vanish_when_the_caller_stops(root: Path) -> None:
    packets = FolderReceiver(root).packets(
        [entry("a", size=9), data_packet(0, b"123"), entry("b"), END_OF_LISTING]
    )
    assert Packet.FromString(next(packets)).id == 0
    assert Packet.FromString(next(packets)).id == 1
    assert len(tree(root)) == 1
    packets.close()  # type: ignore[attr-defined]
    assert tree(root) == set()


def test_what_the_callers_stream_raises_comes_out_as_it_is(root: Path) -> None:
    def packets() -> Iterator[bytes]:
        yield entry("a", size=9)
        yield data_packet(0, b"123")
        raise KeyError("mine")

    with pytest.raises(KeyError):
        list(FolderReceiver(root).packets(packets()))
    assert tree(root) == set()


def test_failing_writes_name_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: _raise(OSError(28, "No space left on device")))
    with pytest.raises(ExportError, match="root/a: No space left on device"):
        receive(root, entry("a", size=3), END_OF_LISTING, data_packet(0, b"123"))


def _raise(error: Exception) -> int:
    raise error
