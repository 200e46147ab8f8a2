"""The commit a local folder is at, without running git."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_engine.backends.contexts.local_revision import is_bare_repository, local_revision
from tasks_engine.backends.contexts.model import Revision


def test_a_work_tree_tells_its_commit_and_branch(repository: Path, git) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert local_revision(repository) == Revision(commit, "main")
    assert local_revision(repository / "sub") == Revision(commit, "main")


def test_packed_references_are_read(repository: Path, git) -> None:
    git(repository, "checkout", "-q", "feature/x")
    git(repository, "pack-refs", "--all")
    assert local_revision(repository) == Revision(git(repository, "rev-parse", "HEAD"), "feature/x")


def test_a_detached_head_has_no_branch(repository: Path, git) -> None:
    git(repository, "checkout", "-q", "--detach", "v1")
    assert local_revision(repository) == Revision(git(repository, "rev-parse", "HEAD"))


def test_a_second_work_tree_has_its_own_head(repository: Path, git, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", str(tmp_path / "second"), "feature/x")
    expected = Revision(git(repository, "rev-parse", "feature/x"), "feature/x")
    assert local_revision(tmp_path / "second") == expected


def test_a_submodule_has_its_own_head(repository: Path, git, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q", "-b", "main")
    git(outer, "submodule", "--quiet", "add", str(repository), "inner")
    assert local_revision(outer / "inner") == Revision(git(repository, "rev-parse", "HEAD"), "main")


@pytest.mark.parametrize(
    "head",
    [b"", b"ref: refs/heads/none\n", b"ref: ../../secret\n", b"nonsense", b"\xff" * 40, b"ref: refs/../x"],
)
def test_what_cannot_be_told_is_nothing(head: bytes, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(head)
    assert local_revision(tmp_path) is None


def test_a_folder_outside_of_a_repository_has_no_revision(tmp_path: Path, repository: Path, git) -> None:
    assert local_revision(tmp_path) is None
    git(repository, "checkout", "-q", "--orphan", "unborn")
    assert local_revision(repository) is None


def test_bare_repositories_are_told_from_work_trees(repository: Path) -> None:
    assert is_bare_repository(repository / ".git")
    assert not is_bare_repository(repository)
