from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from tasks_engine.backends.buildkit import destinations
from tasks_engine.backends.buildkit.destinations import ToFile, ToPath
from tasks_engine.backends.buildkit.errors import ExportError
from tests.open_files import open_files


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    before = open_files()
    yield
    assert not open_files() - before
    assert not list(tmp_path.rglob(".buildkit-*"))


def test_file_appears_when_the_tar_is_complete(tmp_path: Path) -> None:
    writer = ToPath(tmp_path / "out.tar").open()
    writer.write(b"abc")
    writer.write(b"")
    writer.write(b"def")
    assert not (tmp_path / "out.tar").exists()
    writer.finish()
    writer.finish()
    writer.abort()
    assert (tmp_path / "out.tar").read_bytes() == b"abcdef"


def test_old_file_stays_when_the_tar_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "out.tar").write_bytes(b"old")
    writer = ToPath(tmp_path / "out.tar").open()
    writer.write(b"new")
    writer.abort()
    writer.abort()
    assert (tmp_path / "out.tar").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.tar"]
    for late in (writer.finish, lambda: writer.write(b"x")):
        with pytest.raises(ExportError, match=r"out\.tar: it was given up"):
            late()


def test_old_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.tar").write_bytes(b"old and longer")
    writer = ToPath(tmp_path / "out.tar").open()
    writer.write(b"new")
    writer.finish()
    assert (tmp_path / "out.tar").read_bytes() == b"new"


def test_each_tar_has_its_own_file_until_it_is_complete(tmp_path: Path) -> None:
    destination = ToPath(tmp_path / "out.tar")
    first, second = destination.open(), destination.open()
    first.write(b"first")
    second.write(b"second")
    first.finish()
    second.abort()
    assert (tmp_path / "out.tar").read_bytes() == b"first"


def test_mode_is_what_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        ToPath(tmp_path / "out.tar").open().finish()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.tar").stat().st_mode) == 0o640


def test_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "latest.tar").symlink_to("images/1.tar")
    writer = ToPath(tmp_path / "latest.tar").open()
    writer.write(b"1")
    writer.finish()
    assert (tmp_path / "latest.tar").is_symlink()
    assert (tmp_path / "images" / "1.tar").read_bytes() == b"1"


def test_places_for_no_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for path, why in (
        (tmp_path, "it is a folder; add the name of a file"),
        (tmp_path / "nowhere" / "out.tar", "there is no folder .*/nowhere; create it"),
        (tmp_path / "pipe", "no regular file; open it and use ToFile"),
        (Path("/dev/null"), "no regular file; open it and use ToFile"),
        (tmp_path / "file" / "out.tar", "out.tar: Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(ExportError, match=why):
            ToPath(path).open()
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_failing_write_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ToPath(tmp_path / "out.tar").open()

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(destinations.os, "write", full)
    with pytest.raises(ExportError, match=r"out\.tar: No space left on device"):
        writer.write(b"x")
    writer.abort()
    assert os.listdir(tmp_path) == []


def test_place_that_became_a_folder_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    writer = ToPath(tmp_path / "out.tar").open()
    (tmp_path / "out.tar").mkdir()
    with pytest.raises(ExportError, match=r"out\.tar: Is a directory"):
        writer.finish()
    assert os.listdir(tmp_path) == ["out.tar"]


class Sink(io.BytesIO):
    """Counts what is done to it."""

    flushed = 0

    def flush(self) -> None:
        self.flushed += 1
        super().flush()


def test_open_file_gets_all_and_stays_open() -> None:
    sink = Sink()
    writer = ToFile(sink).open()
    writer.write(b"abc")
    writer.write(b"def")
    writer.finish()
    writer.finish()
    writer.abort()
    assert (sink.getvalue(), sink.flushed, sink.closed) == (b"abcdef", 1, False)
    with pytest.raises(ExportError, match="complete already"):
        writer.write(b"x")


def test_given_up_file_takes_nothing_more() -> None:
    sink = Sink()
    writer = ToFile(sink).open()
    writer.write(b"abc")
    writer.abort()
    writer.abort()
    for late in (writer.finish, lambda: writer.write(b"x")):
        with pytest.raises(ExportError, match="given up"):
            late()
    assert (sink.getvalue(), sink.flushed, sink.closed) == (b"abc", 0, False)


class Unbuffered(io.RawIOBase):
    """Takes at most three bytes at a time, or says what `answer` holds."""

    def __init__(self, answer: int | None = 3) -> None:
        self.taken = b""
        self._answer = answer

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int | None:  # type: ignore[override]
        if not self._answer:
            return self._answer
        self.taken += data[: self._answer]
        return min(self._answer, len(data))


def test_unbuffered_file_gets_all_too() -> None:
    sink = Unbuffered()
    ToFile(cast(BinaryIO, sink)).open().write(b"abcdefgh")
    assert sink.taken == b"abcdefgh"


@pytest.mark.parametrize("answer", [0, None])
def test_unbuffered_file_that_would_block_is_refused(answer: int | None) -> None:
    with pytest.raises(ExportError, match="must block, or be buffered"):
        ToFile(cast(BinaryIO, Unbuffered(answer))).open().write(b"abc")


class Collector:
    """An object of a caller that only knows write and flush, and does not count."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def flush(self) -> None:
        raise RuntimeError("mine")


def test_object_that_does_not_count_gets_each_piece_once_and_its_errors_are_its_own() -> None:
    sink = Collector()
    writer = ToFile(cast(BinaryIO, sink)).open()
    writer.write(b"abc")
    assert sink.pieces == [b"abc"]
    with pytest.raises(RuntimeError, match="mine"):
        writer.finish()
