"""Folders as tar streams, there and back, and archives that mean harm."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from tasks_engine.backends.workspace.archive import pack_files, pack_folder, unpack_folder
from tasks_engine.errors import StoreError


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o644
    return info


def test_a_packed_folder_unpacks_to_the_same(tmp_path: Path):
    source = tmp_path / "workspace"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "big").write_bytes(os.urandom(3_000_000))
    (source / "run.sh").write_text("x")
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("/absolute")
    (source / "twin").hardlink_to(source / "run.sh")
    os.utime(source / "run.sh", (1_600_000_000, 1_600_000_000))

    unpack_folder(pack_folder(source), ".", tmp_path / "out")

    out = tmp_path / "out"
    assert (out / "sub" / "big").read_bytes() == (source / "sub" / "big").read_bytes()
    assert (out / "run.sh").stat().st_mode == (source / "run.sh").stat().st_mode
    assert (out / "run.sh").stat().st_mtime == 1_600_000_000
    assert os.readlink(out / "link") == "/absolute"
    assert (out / "twin").stat().st_nlink == 2


def test_a_file_that_shrinks_while_it_is_read_keeps_the_archive_whole(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "log").write_bytes(b"x" * 10_000)
    chunks = pack_folder(source)
    first = next(chunks)
    (source / "log").write_bytes(b"x")

    with tarfile.open(fileobj=io.BytesIO(first + b"".join(chunks))) as tar:
        assert tar.getmember("log").size == 10_000


def test_private_files_come_with_their_folders():
    with tarfile.open(fileobj=io.BytesIO(pack_files({".docker/config.json": b"{}"}))) as tar:
        modes = {info.name: info.mode for info in tar}

    assert modes == {".docker": 0o700, ".docker/config.json": 0o600}


@pytest.mark.parametrize(
    "members",
    [
        [(member("workspace/../../escaped"), b"x")],
        [(member("/etc/escaped"), b"x")],
        [(member("workspace/link", tarfile.SYMTYPE, "/tmp"), b""), (member("workspace/link/escaped"), b"x")],
        [(member("workspace/hard", tarfile.LNKTYPE, "../../etc/passwd"), b"")],
        [(member("workspace/absent/file"), b"x"), (member("workspace/absent"), b"x")],
    ],
    ids=["dots", "absolute", "through a link", "hard link outside", "no such folder"],
)
def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path, members):
    with pytest.raises(StoreError):
        unpack_folder(iter([archive(*members)]), "workspace", tmp_path / "out")

    assert not list(tmp_path.rglob("escaped"))


def test_a_torn_archive_is_an_error(tmp_path: Path):
    data = archive((member("workspace/file"), b"x" * 5000))

    with pytest.raises(StoreError, match="cannot be read"):
        unpack_folder(iter([data[:2000]]), "workspace", tmp_path / "out")


def test_devices_are_left_out(tmp_path: Path):
    unpack_folder(
        iter([archive((member("workspace/null", tarfile.CHRTYPE), b""))]), "workspace", tmp_path / "out"
    )

    assert list((tmp_path / "out").iterdir()) == []


def test_small_files_and_their_folders_have_the_modes_that_are_asked_for() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack_files({"a/b/c": b"x"}, 0o644, 0o777))) as tar:
        assert {each.name: each.mode for each in tar} == {"a": 0o777, "a/b": 0o777, "a/b/c": 0o644}
