"""Contexts that are no folder, fetched from servers of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.git_servers import files_server, git, git_daemon

pytestmark = pytest.mark.docker


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
    with git_daemon(repository.parent) as address:
        yield f"{address}/repo.git"


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


def test_run_variables_tell_where_the_context_comes_from(tasks, server, repository, tmp_path):
    (tmp_path / "show.yaml").write_text(
        "steps: [{id: s, cmd: 'busybox echo {{.Run.Commit}} {{.Run.Branch}} {{.Run.Repository}}'}]"
    )

    outcome = tasks("run", "show.yaml", f"{server}#main", "--json", cwd=tmp_path)

    commit = git(repository, "rev-parse", "main")
    assert outcome.step_log("s").decode().split() == [commit, "main", server]


def test_an_archive_may_be_the_context(tasks, repository, tmp_path):
    served = tmp_path / "archives"
    served.mkdir()
    git(repository, "rm", "-q", "out")
    git(repository, "archive", "--format=tar.gz", "-o", str(served / "x"), git(repository, "write-tree"))
    with files_server(served) as address:
        outcome = tasks("run", f"{address}/x", "--json")
        assert outcome.exit_code == 0, outcome.stderr
        assert outcome.step_log("s") == b"second"
        assert tasks("run", f"{address}/x#:sub", "--json").step_log("s") == b"task.yaml\n"
        missing = tasks("run", f"{address}/none")
    assert missing.exit_code == 3
    assert "the server answered 404" in missing.stderr


def test_an_archive_on_standard_input_may_be_the_context(tasks, repository, tmp_path):
    git(repository, "rm", "-q", "out")
    git(repository, "archive", "-o", str(tmp_path / "x.tar"), git(repository, "write-tree"))

    outcome = tasks("run", "task.yaml", "-", "--json", stdin=(tmp_path / "x.tar").read_bytes())

    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.step_log("s") == b"second"


def test_nothing_may_be_the_context(tasks):
    text = b"steps: [{id: s, cmd: busybox ls -a /workspace}]"

    outcome = tasks("run", "-", "/dev/null", "--json", stdin=text)

    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.step_log("s").split() == [b".", b".."]


def test_steps_of_any_user_can_read_a_fetched_context(tasks, server, tmp_path):
    (tmp_path / "show.yaml").write_text("steps: [{id: s, user: '1234', cmd: busybox cat word.txt}]")

    outcome = tasks("run", "show.yaml", server, "--json", cwd=tmp_path)

    assert outcome.step_log("s") == b"second", outcome.stderr
