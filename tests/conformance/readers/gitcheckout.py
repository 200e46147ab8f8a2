"""What fetching a git context leaves in a folder, from the repositories that the vectors speak of."""

from __future__ import annotations

import atexit
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from tasks_engine.backends.contexts import FetchOptions, fetch_context
from tasks_engine.errors import SourceError
from tests.conformance.vectors import Vector
from tests.integration.git_servers import git, git_daemon


def actual(vector: Vector) -> dict[str, Any]:
    addresses, commit = _repositories()
    fragment = (
        vector.input["fragment"].replace("<first-commit-7>", commit[:7]).replace("<first-commit>", commit)
    )
    wanted = vector.wanted
    with tempfile.TemporaryDirectory() as into:
        try:
            found = fetch_context(
                f"{addresses[vector.input['repo']]}#{fragment}", Path(into), FetchOptions(trusted=True)
            )
        except SourceError:
            return {"fails": True}
        outcome: dict[str, Any] = {"dockerfile": (found.folder / "Dockerfile").read_text().removesuffix("\n")}
        if "submodule_file" in wanted and (found.folder / wanted["submodule_file"]).is_file():
            outcome["submodule_file"] = wanted["submodule_file"]
        if "head_branch" in wanted:
            outcome["head_branch"] = git(found.folder, "branch", "--show-current") or None
    return outcome


@cache
def _repositories() -> tuple[dict[str, str], str]:
    """The addresses of repositories A and B, and the first commit of B. They are there until the process ends."""
    stack = ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    daemon = stack.enter_context(git_daemon(folder))
    _make_a(folder / "a", daemon)
    commit = _make_b(folder / "b")
    return {"A": str(folder / "a"), "B": f"{daemon}/b"}, commit


def _make_a(folder: Path, daemon: str) -> None:
    """Only the repository itself is reached by its path: a submodule never is."""
    module = folder.parent / "sub"
    _init(module, "main")
    _commit(module, {"subfile": "subcontents"})
    _init(folder, "default")
    for name, target in (("parentlink", "../subdir"), ("absolutelink", "/subdir")):
        (folder / name).symlink_to(target)
    _commit(folder, {"Dockerfile": "FROM scratch", "subdir/Dockerfile": "FROM scratch\nEXPOSE 5000"})
    git(folder, "checkout", "-q", "-b", "test")
    _commit(
        folder, {"Dockerfile": "FROM scratch\nEXPOSE 3000", "subdir/Dockerfile": "FROM busybox\nEXPOSE 5000"}
    )
    git(folder, "checkout", "-q", "default")
    git(folder, "submodule", "--quiet", "add", f"{daemon}/sub", "sub")
    _commit(folder, {})


def _make_b(folder: Path) -> str:
    _init(folder, "main")
    _commit(folder, {"Dockerfile": "FROM a:1\n", "sub/Dockerfile": "FROM s:1\n"})
    commit = git(folder, "rev-parse", "HEAD")
    git(folder, "tag", "v1.0")
    git(folder, "tag", "-a", "-m", "annotated", "v1.1")
    git(folder, "update-ref", "refs/pull/7/head", commit)
    _commit(folder, {"Dockerfile": "FROM a:2\n"})
    git(folder, "checkout", "-q", "-b", "feature/x")
    _commit(folder, {"Dockerfile": "FROM f:1\n"})
    git(folder, "checkout", "-q", "main")
    return commit


def _init(folder: Path, branch: str) -> None:
    folder.mkdir()
    git(folder, "init", "-q", "-b", branch)


def _commit(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
