"""What steps see under /workspace, what builds read, and what happens to the user's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.docker

WRITE_THEN_BUILD = """
version: v1.1.0
steps:
  - id: write
    cmd: busybox sh -c 'echo made by a step > made.txt; rm removed.txt'
  - id: build
    build: -t workspace-test:$ID .
  - id: read
    cmd: workspace-test:$ID sh -c 'ls /files; cat /files/made.txt'
"""
DOCKERFILE = "FROM busybox\nCOPY . /files\n"


@pytest.mark.parametrize("engine", ["engine", "old_engine"], indirect=True)
def test_a_file_that_a_step_wrote_is_in_the_next_build(tasks, project):
    folder = project(WRITE_THEN_BUILD, Dockerfile=DOCKERFILE, kept__txt="kept", removed__txt="gone")

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, outcome.stdout
    shown = outcome.step_log("read").decode()
    assert "made by a step" in shown
    assert "kept.txt" in shown
    assert "removed.txt" not in shown


def test_the_users_folder_is_never_written(tasks, project):
    folder = project(WRITE_THEN_BUILD, Dockerfile=DOCKERFILE, removed__txt="gone")
    before = snapshot(folder)

    assert tasks("run", str(folder), "--json").exit_code == 0
    assert snapshot(folder) == before


def test_a_second_run_sends_no_file_again(tasks, project):
    folder = project(
        "steps:\n  - {id: touch, cmd: busybox true}\n  - {id: build, build: .}\n", Dockerfile=DOCKERFILE
    )
    (folder / "large").write_bytes(os.urandom(3_000_000))

    tasks("run", str(folder), "--json")
    second = tasks("run", str(folder), "--json")

    sent = [event for event in second.of_type("step_progress") if "transferring context" in event["name"]]
    assert sent, second.stdout
    assert max(event.get("current", 0) for event in sent) < 100_000


def test_an_engine_on_another_machine_gets_the_files_through_its_archive_calls(tasks, project, tmp_path):
    """A mount namespace of our own hides the run's folder from the engine, as another machine would."""
    if os.geteuid() != 0:
        pytest.skip("a mount namespace needs root")
    folder = project(
        "version: v1.1.0\n"
        "steps:\n"
        "  - {id: read, cmd: busybox cat given.txt}\n"
        "  - id: write\n"
        "    cmd: busybox sh -c 'mkdir sub; echo remote > sub/made.txt; ln -s made.txt sub/link'\n"
        "  - {id: build, build: '-t remote-test:$ID .'}\n"
        "  - {id: show, cmd: 'remote-test:$ID cat /files/sub/link'}\n"
        "  - {id: again, cmd: busybox cat sub/made.txt}\n",
        Dockerfile=DOCKERFILE,
        given__txt="given",
    )
    (tmp_path / "state").mkdir()
    kept = tmp_path / "kept"
    script = f'mount -t tmpfs none {tmp_path}/state && "$@"; code=$?; cp -r {tmp_path}/state/runs {kept}; exit $code'

    outcome = tasks("run", str(folder), "--json", prefix=("unshare", "-m", "sh", "-c", script, "sh"))

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    text = {event["step_id"]: event["text"] for event in outcome.of_type("step_log")}
    assert text["read"] == "given"
    assert text["show"] == "remote\n"
    assert text["again"] == "remote\n"


def test_steps_run_in_the_working_directory_of_task_and_step(tasks, project):
    folder = project(
        "workingDirectory: sub\nsteps:\n  - {id: a, cmd: busybox pwd}\n"
        "  - {id: b, cmd: busybox pwd, workingDirectory: /tmp}\n"
    )
    (folder / "sub").mkdir()

    outcome = tasks("run", str(folder), "--json")

    assert outcome.step_log("a") == b"/workspace/sub\n"
    assert outcome.step_log("b") == b"/tmp\n"


def snapshot(folder: Path) -> dict[str, tuple[float, bytes]]:
    return {
        str(path): (path.stat().st_mtime, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def test_a_build_takes_what_an_earlier_step_changed(tasks, project):
    folder = project(
        "version: v1.1.0\nsteps:\n  - {id: one, build: -t changing:1 .}\n"
        "  - {id: change, cmd: busybox sh -c 'echo second > file'}\n  - {id: two, build: -t changing:2 .}\n"
        "  - {id: show, cmd: changing:2 cat /file}\n",
        Dockerfile="FROM busybox\nCOPY file /\n",
        file="first\n",
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outcome.step_log("show") == b"second\n"
