"""A git address as the context, fetched from a git server of the test's own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.docker

IDENTITY = {
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.com",
    "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.com",
}  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    environ = {**os.environ, **IDENTITY}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "served" / "repo.git"
    (folder / "sub").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "task.yaml").write_text("steps: [{id: s, cmd: busybox cat word.txt}]\n")
    (folder / "word.txt").write_text("first")
    (folder / "sub" / "task.yaml").write_text("steps: [{id: s, cmd: busybox ls}]\n")
    (folder / "out").symlink_to("/etc")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "v1")
    (folder / "word.txt").write_text("second")
    git(folder, "commit", "-qam", "two")
    return folder


@pytest.fixture
def server(repository: Path) -> Iterator[str]:
    """Address of the repository at a git daemon on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = subprocess.Popen(
        [
            "git",
            "daemon",
            "--export-all",
            "--listen=127.0.0.1",
            f"--port={port}",
            f"--base-path={repository.parent}",
        ],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "the git daemon did not start"
    yield f"git://127.0.0.1:{port}/repo.git"
    os.killpg(daemon.pid, 15)
    daemon.wait()


@pytest.mark.parametrize(("reference", "word"), [("", b"second"), ("#main", b"second"), ("#v1", b"first")])
def test_the_context_is_what_the_reference_names(tasks, server, reference, word):
    outcome = tasks("run", server + reference, "--json")

    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.step_log("s") == word


def test_a_commit_may_be_abbreviated(tasks, server, repository):
    commit = git(repository, "rev-parse", "--short", "v1")

    assert tasks("run", f"{server}#{commit}", "--json").step_log("s") == b"first"


def test_a_folder_of_the_repository_may_be_the_context(tasks, server):
    assert tasks("run", f"{server}#main:sub", "--json").step_log("s") == b"task.yaml\n"


@pytest.mark.parametrize("folder", ["../..", "out", "no-such"])
def test_a_folder_cannot_lead_outside(tasks, server, folder):
    outcome = tasks("run", f"{server}#main:{folder}")

    assert outcome.exit_code == 3
    assert f"'{folder}'" in outcome.stderr


def test_a_reference_that_is_not_there_is_told(tasks, server):
    outcome = tasks("run", f"{server}#nope")

    assert outcome.exit_code == 3
    assert "nope" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_login_in_the_address_never_shows(tasks):
    outcome = tasks("run", "https://user:hunter2@127.0.0.1:1/repo.git")

    assert outcome.exit_code == 3
    assert "127.0.0.1:1/repo.git" in outcome.stderr
    assert "hunter2" not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("address", ["https://example.invalid/archive.tar.gz", "oci://example.invalid/x:1"])
def test_other_remote_contexts_are_refused_by_name(tasks, address):
    outcome = tasks("run", address)

    assert outcome.exit_code == 2
    assert "no git address" in outcome.stderr
