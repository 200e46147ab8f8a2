"""The private copy of a context, however it is made."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tasks_engine.backends.workspace import private_copy
from tasks_engine.backends.workspace.private_copy import make_private_copy, remove_private_copy
from tasks_engine.errors import StoreError


@pytest.fixture(params=["as the machine can", "by copying"])
def way(request, monkeypatch):
    if request.param == "by copying":
        monkeypatch.setattr(private_copy, "_mount_overlay", lambda *_: None)
    return request.param


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "sub" / "data").write_bytes(bytes(range(256)))
    (folder / "link").symlink_to("sub/data")
    (folder / "dangling").symlink_to("/nowhere")
    (folder / "twin").hardlink_to(folder / "run.sh")
    os.mkfifo(folder / "pipe")
    os.utime(folder / "sub" / "data", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    os.utime(folder / "sub", ns=(1_500_000_000_000_000_000, 1_500_000_000_000_000_000))
    return folder


def describe(folder: Path) -> dict[str, tuple]:
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        target = os.readlink(path) if path.is_symlink() else ""
        time = 0 if path.is_symlink() or stat.S_ISFIFO(status.st_mode) else status.st_mtime_ns
        found[str(path.relative_to(folder))] = (status.st_mode, time, content, target)
    return found


def test_the_copy_equals_its_source_in_content_modes_links_and_times(source, tmp_path, way):
    before = describe(source)

    copy = make_private_copy(source, tmp_path / "copy")

    assert describe(copy.path) == before
    assert (copy.path / "twin").stat().st_ino == (copy.path / "run.sh").stat().st_ino
    remove_private_copy(tmp_path / "copy")


def test_writing_into_the_copy_leaves_the_source_alone(source, tmp_path, way):
    before = describe(source)
    copy = make_private_copy(source, tmp_path / "copy")

    (copy.path / "run.sh").write_text("changed")
    (copy.path / "sub" / "data").unlink()
    (copy.path / "new").write_text("new")

    assert describe(source) == before
    remove_private_copy(tmp_path / "copy")


def test_removing_leaves_nothing_and_may_be_done_twice(source, tmp_path, way):
    make_private_copy(source, tmp_path / "copy")

    remove_private_copy(tmp_path / "copy")
    remove_private_copy(tmp_path / "copy")

    assert not (tmp_path / "copy").exists()


def test_a_copy_inside_of_its_source_does_not_contain_itself(source, way):
    copy = make_private_copy(source, source / "copy")

    assert not (copy.path / "copy").exists()
    assert (copy.path / "run.sh").exists()
    remove_private_copy(source / "copy")


def test_a_source_that_cannot_be_read_is_an_error_of_the_store(tmp_path):
    with pytest.raises(StoreError, match="cannot be copied"):
        make_private_copy(tmp_path / "missing", tmp_path / "copy" / "deeper")
