"""Repositories of the tests' own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Runs git in a folder, with nobody's settings."""
    environ = os.environ | {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        environ |= {f"GIT_{role}_NAME": "t", f"GIT_{role}_EMAIL": "t@example.com"}

    def run(folder: Path, *arguments: str) -> str:
        command = ["git", "-c", "protocol.file.allow=always", *arguments]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    return run


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Path:
    """`main` with two commits, the first one tagged; branch `feature/x`; a pull request at the first commit."""
    folder = tmp_path / "repo"
    (folder / "sub").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "word").write_text("first")
    (folder / "sub" / "inner").write_text("inner")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "light")
    git(folder, "tag", "-a", "-m", "annotated", "v1")
    git(folder, "update-ref", "refs/pull/7/head", "HEAD")
    git(folder, "checkout", "-q", "-b", "feature/x")
    (folder / "word").write_text("feature")
    git(folder, "commit", "-qam", "three")
    git(folder, "checkout", "-q", "main")
    (folder / "word").write_text("second")
    git(folder, "commit", "-qam", "two")
    return folder
