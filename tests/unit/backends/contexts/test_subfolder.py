"""A folder below a root that somebody else has filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_engine.backends.contexts.subfolder import folder_inside
from tasks_engine.errors import SourceError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (tmp_path / "a").mkdir()
    (root / "file").touch()
    for name, target in (
        *(("inner", "a/b"), ("absolute", "/a"), ("climbing", "../../a"), ("out", "/etc"), ("loop", "loop")),
        *(("a/up", ".."), ("chain", "a/up/inner")),
    ):
        (root / name).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("written", "found"),
    [
        *(("", "."), (".", "."), ("a", "a"), ("/a/", "a"), ("a/b", "a/b"), ("a//./b", "a/b"), ("a/..", ".")),
        *(("a/b/../b", "a/b"), ("inner", "a/b"), ("absolute", "a"), ("climbing", "a"), ("climbing/b", "a/b")),
        *(("a/up/a", "a"), ("chain", "a/b"), ("inner/..", "a"), ("out/..", ".")),
    ],
)
def test_a_folder_is_found_within_the_root(root: Path, written: str, found: str) -> None:
    assert folder_inside(root, written, "it") == root / found


@pytest.mark.parametrize(
    ("written", "what"),
    [
        *(("..", "leads outside"), ("../a", "leads outside"), ("a/../../a", "leads outside")),
        *(("a/up/..", "leads outside"), ("out", "does not exist"), ("none", "does not exist")),
        *(("file", "is a file"), ("file/x", "does not exist"), ("loop", "too many links")),
        *(("x" * 300, "is no path"), ("a\0", "does not exist")),
    ],
)
def test_what_is_no_folder_within_the_root_is_told(root: Path, written: str, what: str) -> None:
    with pytest.raises(SourceError) as caught:
        folder_inside(root, written, "it")
    assert caught.value.message.startswith(f"folder '{written}' of it ")
    assert what in caught.value.message
