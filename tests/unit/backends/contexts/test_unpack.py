"""Tar archives of strangers, honest and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard

from tasks_engine.backends.contexts.unpack import UnpackLimits, unpack_tar
from tasks_engine.errors import SourceError

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "gzip twice": lambda data: gzip.compress(gzip.compress(data)),
    "two gzip members": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
    "two xz streams": lambda data: lzma.compress(data[:700]) + bytes(8) + lzma.compress(data[700:]),
    "two zstd frames": lambda data: zstandard.compress(data[:700]) + zstandard.compress(data[700:]),
}


def entry(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


def archive(*entries: bytes) -> bytes:
    return b"".join(entries) + bytes(1024)


def unpack(data: bytes, into: Path, **limits: int) -> None:
    into.mkdir(exist_ok=True)
    unpack_tar(io.BytesIO(data), into, UnpackLimits(**limits))


def refusal(data: bytes, tmp_path: Path, **limits: int) -> str:
    """Why an archive is refused; nothing may appear beside the folder it goes to."""
    before = set(tmp_path.iterdir())
    with pytest.raises(SourceError) as caught:
        unpack(data, tmp_path / "into", **limits)
    assert set(tmp_path.iterdir()) <= before | {tmp_path / "into"}
    return caught.value.message


def folder(name: str) -> bytes:
    return entry(name, tarfile.DIRTYPE)


def link(name: str, target: str) -> bytes:
    return entry(name, tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> bytes:
    return entry(name, tarfile.LNKTYPE, linkname=target)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_compression_is_understood(compression: str, tmp_path: Path) -> None:
    content = os.urandom(700_000)
    data = archive(folder("./"), folder("./d"), entry("./d/f", content=content), link("./d/l", "f"))
    unpack(COMPRESSIONS[compression](data), tmp_path / "into")
    assert (tmp_path / "into" / "d" / "f").read_bytes() == content
    assert os.readlink(tmp_path / "into" / "d" / "l") == "f"


def test_permissions_and_times_stay_and_special_bits_go(tmp_path: Path) -> None:
    data = archive(
        entry("d", tarfile.DIRTYPE, mode=0o7750, mtime=1000),
        entry("d/s", content=b"x", mode=0o6755, mtime=2000),
        entry("d/r", content=b"x", mode=0o040),
    )
    unpack(data, tmp_path / "into")
    found = {path.name: path.stat() for path in (tmp_path / "into").rglob("*")}
    assert stat.S_IMODE(found["d"].st_mode) == 0o750
    assert found["d"].st_mtime == 1000
    assert (stat.S_IMODE(found["s"].st_mode), found["s"].st_mtime) == (0o755, 2000)
    assert stat.S_IMODE(found["r"].st_mode) == 0o640
    assert found["s"].st_uid == os.geteuid()


def test_folders_that_are_not_listed_are_made(tmp_path: Path) -> None:
    unpack(archive(entry("a/b/c", content=b"x")), tmp_path / "into")
    assert (tmp_path / "into" / "a" / "b" / "c").read_bytes() == b"x"


def test_later_entries_replace_earlier_files_and_links(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("safe")
    into = tmp_path / "into"
    into.mkdir()
    (into / "planted").symlink_to(tmp_path / "outside")
    data = archive(
        entry("f", content=b"one"),
        entry("f", content=b"two"),
        link("l", "f"),
        entry("l", content=b"three"),
        entry("planted", content=b"four"),
        hard_link("h", "f"),
        hard_link("f", "f"),
        link("d", "e"),
        folder("d"),
        entry("d/x", content=b"five"),
    )
    unpack(data, into)
    assert {p.name: p.read_text() for p in into.rglob("*") if p.is_file()} == {
        **dict.fromkeys("fh", "two"),
        "l": "three",
        "planted": "four",
        "x": "five",
    }
    assert not (into / "d").is_symlink()
    assert (tmp_path / "outside").read_text() == "safe"


def test_links_inside_of_the_archive_stay(tmp_path: Path) -> None:
    data = archive(entry("a/b/f", content=b"x"), link("a/b/up", "../../a/b/f"), link("a/dangling", "none/x"))
    unpack(data, tmp_path / "into")
    assert (tmp_path / "into" / "a" / "b" / "up").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive(entry("../x", content=b"x")), "a path that leads outside: '../x'"),
        (archive(entry("/x", content=b"x")), "a path that leads outside: '/x'"),
        (archive(entry("a/../../x", content=b"x")), "leads outside"),
        (archive(folder("..")), "leads outside"),
        (archive(link("l", "/etc/passwd")), "a link that leads outside: 'l' to '/etc/passwd'"),
        (archive(link("l", "../x")), "a link that leads outside"),
        (archive(link("a/l", "../../x")), "a link that leads outside"),
        # x -> p/q/../y stays inside by its words, but not through the link p/q
        (archive(link("p/q", ".."), link("x", "p/q/../y")), "a link that leads outside"),
        (archive(link("d", "."), entry("d/x", content=b"x")), "behind 'd', which is a link or file in it"),
        (archive(entry("f", content=b"x"), entry("f/x", content=b"x")), "behind 'f'"),
        (archive(folder("d"), entry("d", content=b"x")), "'d' as a folder and as something else"),
        (archive(hard_link("h", "../x")), "leads outside"),
        (archive(hard_link("h", "/etc/passwd")), "leads outside"),
        (archive(hard_link("h", "none")), "links 'h' to 'none', which is no file before it"),
        (archive(link("l", "f"), hard_link("h", "l")), "which is no file before it"),
        (archive(entry("", content=b"x")), "an entry without a name"),
        (archive(entry("dev", tarfile.CHRTYPE)), "a device or pipe: 'dev'"),
        (archive(entry("dev", tarfile.BLKTYPE)), "a device or pipe: 'dev'"),
        (archive(entry("pipe", tarfile.FIFOTYPE)), "a device or pipe: 'pipe'"),
        (archive(entry("s", tarfile.GNUTYPE_SPARSE)), "a sparse file"),
        (archive(entry("f", content=b"x", pax_headers={"size": "-512"})), "is damaged"),
        (archive(entry("x" * 300, content=b"x")), "cannot be unpacked: File name too long"),
    ],
)
def test_hostile_entries_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("safe")
    assert message in refusal(data, tmp_path)
    assert (tmp_path / "x").read_text() == "safe"


def test_sparse_files_of_every_format_are_refused(tmp_path: Path) -> None:
    for headers in (
        {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "f",
            "GNU.sparse.realsize": "1",
        },
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"},
        {"GNU.sparse.size": "9"},
    ):
        data = archive(entry("f", content=b"1000000\n", pax_headers=headers))
        assert "a sparse file" in refusal(data, tmp_path)


def test_long_runs_of_extended_headers_are_refused(tmp_path: Path) -> None:
    header = entry("x", tarfile.XHDTYPE, b"11 path=aa\n")
    assert "no tar as it should be" in refusal(header * 5000 + archive(entry("f")), tmp_path)


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    assert "a header of more than 1 MiB" in refusal(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096), tmp_path)


def _cut(data: bytes) -> Iterable[bytes]:
    return (data[: len(data) * part // 10] for part in range(1, 10))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_archive_that_is_cut_off_is_told(compression: str, tmp_path: Path) -> None:
    contents = [os.urandom(512) for _ in range(20)]
    whole = COMPRESSIONS[compression](
        archive(*(entry(f"f{number}", content=content) for number, content in enumerate(contents)))
    )
    for data in _cut(whole):
        message = refusal(data, tmp_path)
        assert "damaged" in message or "no tar as it should be" in message, message


def test_a_plain_tar_that_ends_between_two_entries_is_cut_off(tmp_path: Path) -> None:
    data = entry("a", content=b"x") + entry("b", content=b"x")
    assert refusal(data, tmp_path) == "the archive is damaged: it is cut off"


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
def test_a_changed_byte_is_told(compression: str, tmp_path: Path) -> None:
    data = bytearray(COMPRESSIONS[compression](archive(entry("f", content=os.urandom(5000)))))
    data[len(data) // 2] ^= 0xFF
    assert "damaged" in refusal(bytes(data), tmp_path) or "no tar" in refusal(bytes(data), tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"FROM scratch\n", os.urandom(2000), gzip.compress(b"FROM scratch")],
    ids=["nothing", "text", "noise", "compressed text"],
)
def test_what_is_no_tar_is_told(data: bytes, tmp_path: Path) -> None:
    assert refusal(data, tmp_path) == "this is no tar archive"


def test_an_empty_archive_is_one(tmp_path: Path) -> None:
    unpack(archive(), tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_nothing_grows_without_bounds(tmp_path: Path) -> None:
    data = archive(*(entry(f"f{number}", content=bytes(100_000)) for number in range(20)))
    assert "larger than 1 KiB" in refusal(data, tmp_path, compressed_bytes=1024)
    assert "holds more than 1 MiB" in refusal(gzip.compress(data), tmp_path, unpacked_bytes=1 << 20)
    assert "more than 19 entries" in refusal(data, tmp_path, entries=19)
    for compression in ("gzip", "bzip2", "xz", "zstd"):
        bomb = COMPRESSIONS[compression](data)
        assert "more than 10 times its size" in refusal(bomb, tmp_path, ratio=10, ratio_from_bytes=1 << 20)
    unpack(data, tmp_path / "into", entries=20)


def test_the_stream_is_read_to_its_end(tmp_path: Path) -> None:
    stream = io.BytesIO(archive(entry("f")) + bytes(1 << 20))
    (tmp_path / "into").mkdir()
    unpack_tar(stream, tmp_path / "into")
    assert stream.read() == b""


def test_names_that_are_no_utf_8_survive(tmp_path: Path) -> None:
    info = tarfile.TarInfo(os.fsdecode(b"\xff\xfe"))
    unpack(archive(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")), tmp_path / "into")
    assert os.listdir(os.fsencode(tmp_path / "into")) == [b"\xff\xfe"]
