"""Temporary folders that show whether their process lives."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tasks_engine.backends.temporary_folders import CONTEXT_PREFIX, abandoned_folders, context_folder
from tests.open_files import open_files


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Stands for the machine's temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def ours(place):
    return [path for path in abandoned_folders(0) if path.is_relative_to(place)]


def test_a_folder_in_use_is_not_abandoned_and_goes_at_the_end(place):
    before = open_files()
    with context_folder() as folder:
        (folder / "file").write_text("")
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
        assert ours(place) == []
    assert list(place.iterdir()) == []
    assert open_files() - before == set()


def test_a_folder_of_a_killed_process_is_abandoned(place):
    script = (
        "import os, signal, tempfile\n"
        f"tempfile.tempdir = {str(place)!r}\n"
        "from tasks_engine.backends.temporary_folders import context_folder\n"
        "folder = context_folder()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)

    assert ours(place) == list(place.iterdir()) != []
    assert [path for path in abandoned_folders() if path.is_relative_to(place)] == [], "too young"


def test_what_only_looks_like_one_is_left_alone(place):
    (place / f"{CONTEXT_PREFIX}file").write_text("")
    (place / f"{CONTEXT_PREFIX}link").symlink_to(place)
    (place / f"{CONTEXT_PREFIX}open").mkdir(mode=0o755)
    (place / "tasks-context-of-somebody").mkdir(mode=0o700)

    assert ours(place) == []


def test_looking_leaks_nothing(place):
    os.mkdir(place / f"{CONTEXT_PREFIX}x", 0o700)
    before = open_files()

    assert len(ours(place)) == 1
    assert open_files() - before == set()
