"""Files that steps may replace by anything."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from tasks_engine.backends.workspace.output_files import (
    make_output_file,
    read_output_archive,
    take_output_file,
)
from tasks_engine.errors import StepFailed, StoreError

LIMIT = 100
NOT_A_FILE = r"\$TASKS_OUTPUT is no file any more"


def test_every_user_may_write_the_new_file(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_output_file(tmp_path, "o")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "o").stat().st_mode) == 0o666
    assert (tmp_path / "o").read_bytes() == b""


def test_a_file_that_is_there_already_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "o").symlink_to(tmp_path / "target")
    with pytest.raises(StoreError, match="cannot be made"):
        make_output_file(tmp_path, "o")
    assert (tmp_path / "target").read_text() == "kept"


def test_what_was_written_is_read_once(tmp_path: Path) -> None:
    make_output_file(tmp_path, "o")
    (tmp_path / "o").write_bytes(b"a=1\n")
    assert take_output_file(tmp_path, "o", LIMIT) == b"a=1\n"
    assert take_output_file(tmp_path, "o", LIMIT) == b""
    assert list(tmp_path.iterdir()) == []


def test_of_a_huge_file_one_byte_too_many_is_read(tmp_path: Path) -> None:
    with (tmp_path / "o").open("wb") as writer:
        writer.truncate(1 << 40)
    assert len(take_output_file(tmp_path, "o", LIMIT)) == LIMIT + 1


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder", "socket"])
def test_what_is_no_file_is_refused_and_never_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "secret").write_text("a=secret")
    place = tmp_path / "o"
    match kind:
        case "link":
            place.symlink_to("secret")
        case "dangling link":
            place.symlink_to("nowhere")
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "socket":
            import socket

            monkeypatch.chdir(tmp_path)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("o")
    with pytest.raises(StepFailed, match=NOT_A_FILE):
        take_output_file(tmp_path, "o", LIMIT)
    assert (tmp_path / "secret").read_text() == "a=secret"


def test_a_home_folder_that_is_gone_gives_nothing(tmp_path: Path) -> None:
    assert take_output_file(tmp_path / "gone", "o", LIMIT) == b""


def archive(info: tarfile.TarInfo, content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    info.size = len(content)
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 100] for at in range(0, len(data), 100)]


def test_the_file_is_read_from_an_archive_of_the_engine() -> None:
    data = archive(tarfile.TarInfo("o"), b"a=1\n")
    assert read_output_archive(pieces(data), {"mode": 0o666, "size": 4}, LIMIT) == b"a=1\n"
    assert read_output_archive([], {"mode": 0o666, "size": 0}, LIMIT) == b""


def test_a_huge_file_is_not_fetched_from_the_engine() -> None:
    def never() -> bytes:
        raise AssertionError("nothing is read")

    assert len(read_output_archive(iter(never, b""), {"mode": 0o644, "size": 1 << 40}, LIMIT)) == LIMIT + 1


@pytest.mark.parametrize("bit", [31, 27, 26, 25, 24, 21])
def test_what_the_engine_calls_no_file_is_refused(bit: int) -> None:
    with pytest.raises(StepFailed, match=NOT_A_FILE):
        read_output_archive([], {"mode": 1 << bit | 0o777, "size": 4}, LIMIT)


def test_what_became_a_link_since_the_engine_looked_is_refused() -> None:
    info = tarfile.TarInfo("o")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(StepFailed, match=NOT_A_FILE):
        read_output_archive(pieces(archive(info)), {"mode": 0o666, "size": 4}, LIMIT)


def test_of_a_file_that_has_grown_since_only_so_much_is_fetched() -> None:
    data = archive(tarfile.TarInfo("o"), bytes(1_000_000))
    fetched: list[bytes] = []

    def chunks() -> object:
        for piece in pieces(data):
            fetched.append(piece)
            yield piece

    try:
        content = read_output_archive(chunks(), {"mode": 0o666, "size": 4}, LIMIT)  # type: ignore[arg-type]
    except StoreError:
        content = b""
    assert len(content) <= LIMIT + 1
    assert sum(map(len, fetched)) < 100_000


def test_a_damaged_archive_is_an_error_of_ours() -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        read_output_archive([b"x" * 600], {"mode": 0o666, "size": 4}, LIMIT)
