"""Which commit a local folder is at, read from git's own files: no process, no hooks, no configuration."""

from __future__ import annotations

import re
from pathlib import Path

from tasks_engine.backends.contexts.model import Revision

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_MAX_BYTES = 64 * 1024 * 1024  # of packed references


def local_revision(folder: Path) -> Revision | None:
    """HEAD of the work tree that `folder` belongs to; None when there is none, or none that can be told.

    Uncommitted changes make no difference. Repositories that keep their references in another form than files
    (reftable) are not understood.
    """
    try:
        git_dir = _git_dir(folder)
        return None if git_dir is None else _head(git_dir)
    except (OSError, ValueError):
        return None


def is_bare_repository(folder: Path) -> bool:
    """Whether a folder is the inside of a repository, without a work tree around it."""
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _git_dir(folder: Path) -> Path | None:
    for parent in (folder, *folder.parents):
        place = parent / ".git"
        if place.is_dir():
            return place
        if place.is_file():  # a submodule, or one of several work trees
            text = _read(place)
            if text.startswith("gitdir:"):
                return parent / text.removeprefix("gitdir:").strip()
    return None


def _head(git_dir: Path) -> Revision | None:
    head = _read(git_dir / "HEAD")
    if _COMMIT.match(head):
        return Revision(head)
    reference = head.removeprefix("ref:").strip()
    if not head.startswith("ref:") or ".." in reference or not reference.startswith("refs/"):
        return None
    commit = _commit(git_dir, reference)
    return None if commit is None else Revision(commit, reference.removeprefix("refs/heads/"))


def _commit(git_dir: Path, reference: str) -> str | None:
    common = git_dir
    if (git_dir / "commondir").is_file():
        common = git_dir / _read(git_dir / "commondir")
    for place in (git_dir, common):
        if (place / reference).is_file():
            commit = _read(place / reference)
            return commit if _COMMIT.match(commit) else None
    if (common / "packed-refs").is_file():
        for line in _read(common / "packed-refs").splitlines():
            commit, _, name = line.partition(" ")
            if name == reference and _COMMIT.match(commit):
                return commit
    return None


def _read(path: Path) -> str:
    with path.open("rb") as reader:
        return reader.read(_MAX_BYTES).decode("utf-8", "surrogateescape").strip()
