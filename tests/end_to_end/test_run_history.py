"""Runs of other processes: listed, followed, cancelled, repeated; what killed ones left is found and removed."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Tasks, assert_nothing_left

pytestmark = pytest.mark.docker

both_engines = pytest.mark.parametrize("engine", ["engine", "old_engine"], indirect=True)
SLEEPER = "steps: [{id: c, cmd: 'busybox sh -c \"echo up; sleep 300\"'}]"


def started(tasks: Tasks, *arguments: str):
    """A run whose container has begun to print, and its id."""
    process = tasks.start("run", *arguments, "--json")
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["type"] == "step_log" and "up" in event["text"]:
            return process, event["run_id"]
    assert process.stderr is not None
    pytest.fail(f"it never began: {process.stderr.read().decode()}")


def listed(tasks: Tasks) -> dict[str, str]:
    return {each["id"]: each["status"] for each in json.loads(tasks("runs", "list", "--json").stdout)}


def on_engine(docker_api, run_id: str) -> list:
    filters = {"label": f"tasks.run={run_id}"}
    return [
        *docker_api.containers.list(all=True, filters=filters),
        *docker_api.networks.list(filters=filters),
    ]


@pytest.fixture
def neighbour(tasks: Tasks, tmp_path: Path):
    """Somebody with a state folder of their own on the same engine."""
    other = Tasks(tmp_path / "other", {**tasks.environ, "TASKS_STATE_DIR": str(tmp_path / "other")})
    yield other
    for process in other.started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    other("gc")


@both_engines
def test_what_a_killed_run_left_is_found_and_removed(tasks, project, engine, docker_api):
    process, run_id = started(tasks, str(project(SLEEPER)))
    assert listed(tasks) == {run_id: "running"}
    process.kill()
    process.wait()
    assert listed(tasks) == {run_id: "abandoned"}

    would = json.loads(tasks("gc", "--dry-run", "--json").stdout)["removed"]
    assert sorted(each["kind"] for each in would if each["run_id"]) == ["container", "network", "workspace"]
    assert len(on_engine(docker_api, run_id)) == 2
    outcome = tasks("gc")

    assert outcome.exit_code == 0, outcome.stderr
    assert f"container  tasks-{run_id}-c  of run {run_id}" in outcome.stdout
    assert_nothing_left(engine, [run_id])
    assert not (tasks.state_dir / "runs" / run_id / "workspace").exists()
    assert listed(tasks) == {run_id: "abandoned"}
    assert not [each for each in json.loads(tasks("gc", "--json").stdout)["removed"] if each["run_id"]]


def test_what_a_run_left_whose_folder_was_removed_is_found_by_its_owner(tasks, project, engine, docker_api):
    process, run_id = started(tasks, str(project(SLEEPER)))
    process.kill()
    process.wait()
    folder = tasks.state_dir / "runs" / run_id
    folder.rename(tasks.state_dir / "elsewhere")
    assert len(on_engine(docker_api, run_id)) == 2

    tasks("gc")
    assert_nothing_left(engine, [run_id])
    (tasks.state_dir / "elsewhere").rename(folder)
    tasks("gc")  # and its workspace


def test_runs_that_are_alive_are_not_touched(tasks, neighbour, project, docker_api):
    folder = str(project(SLEEPER))
    first, first_id = started(tasks, folder)
    second, second_id = started(tasks, folder)
    theirs, their_id = started(neighbour, folder)

    for command in (tasks, neighbour):
        outcome = command("gc", "--json")
        assert outcome.exit_code == 0, outcome.stderr
        assert not [each for each in json.loads(outcome.stdout)["removed"] if each["run_id"]]
    assert tasks("run", folder, "--dry-run").exit_code == 0
    assert [len(on_engine(docker_api, each)) for each in (first_id, second_id, their_id)] == [2, 2, 2]
    assert [each.poll() for each in (first, second, theirs)] == [None, None, None]
    for command, run_id in ((tasks, first_id), (tasks, second_id), (neighbour, their_id)):
        assert command("runs", "cancel", run_id).exit_code == 0


def test_a_run_of_the_same_id_of_somebody_else_survives_us(tasks, neighbour, project, docker_api):
    folder = str(project(SLEEPER))
    theirs, _ = started(neighbour, folder, "--id", "same")

    ours = tasks("run", folder, "--id", "same", "--json")
    assert ours.exit_code != 0
    tasks("gc")
    assert theirs.poll() is None
    assert len([each for each in on_engine(docker_api, "same") if each.name == "tasks-same-c"]) == 1
    assert neighbour("runs", "cancel", "same").exit_code == 0


def test_a_run_is_cancelled_from_another_process(tasks, project, engine):
    process, run_id = started(tasks, str(project(SLEEPER)))

    outcome = tasks("runs", "cancel", run_id[:9])
    assert (outcome.exit_code, outcome.stdout) == (0, f"run {run_id}: canceled\n"), outcome.stderr
    assert process.wait(timeout=10) == 130
    assert_nothing_left(engine, [run_id])
    assert listed(tasks) == {run_id: "canceled"}
    again = tasks("runs", "cancel", "last")
    assert again.exit_code == 2
    assert "is over: canceled" in again.stderr


def test_a_run_is_repeated_with_its_values_and_secrets(tasks, project):
    text = (
        "steps: [{id: c, cmd: \"busybox sh -c 'echo {{.Values.word}}-$TOKEN | tr a-z A-Z; cat data'\", "
        'env: ["TOKEN={{.Values.TOKEN}}"]}]'
    )
    folder = project("steps: []", data="of the context")
    first = tasks(
        "run", "-", ".", "--set", "word=hi", "--set-secret", "TOKEN=canary", cwd=folder, stdin=text.encode()
    )
    assert first.exit_code == 0, first.stderr
    kept = first.folder
    for path in kept.iterdir():
        assert b"canary" not in path.read_bytes(), path

    missing = tasks("runs", "rerun")
    assert missing.exit_code == 2
    assert "TOKEN" in missing.stderr
    for options in ({"env": {"TOKEN": "canary"}}, {}):
        again = tasks(
            "runs", "rerun", kept.name, *([] if options else ["--set-secret", "TOKEN=canary"]), **options
        )
        assert again.exit_code == 0, again.stderr
        assert "c | HI-CANARY" in again.stdout
        assert "c | of the context" in again.stdout
    assert len(listed(tasks)) == 3


def test_a_log_is_followed_from_its_first_byte_however_late_one_joins(tasks, project):
    folder = project("steps: [{id: c, cmd: busybox sh words.sh}]")
    (folder / "words.sh").write_text(
        "echo up; for number in $(seq 1 300); do printf 'größe %s' $number; sleep 0.01; echo; done; exit 4\n"
    )
    wanted = "up\n" + "".join(f"größe {number}\n" for number in range(1, 301))
    process, run_id = started(tasks, str(folder))
    # else it waits for a reader, and so do its followers
    reader = threading.Thread(target=process.communicate)
    reader.start()
    followers = [tasks.start("logs", "-f", "--raw"), tasks.start("logs", "-f", "--step", "c", run_id)]
    time.sleep(1)
    followers += [tasks.start("logs", "-f", "--raw", run_id), tasks.start("logs", "-f")]
    *whole, shown = [tasks.wait(each) for each in followers]
    reader.join()

    assert process.returncode == 1
    for outcome in (*whole, shown):
        assert outcome.exit_code == 1, outcome.stderr
    assert [outcome.stdout for outcome in whole] == [wanted] * 3
    assert "".join(f"c | {line}\n" for line in wanted.splitlines()) in shown.stdout
    assert shown.stdout.endswith(": exit code 4\n")
    assert tasks("logs", "--raw").stdout == wanted


def test_the_oldest_runs_go_when_there_are_more_than_wanted(tasks, project, tmp_path):
    folder = str(project("steps: [{id: c, cmd: busybox true}]"))
    (tmp_path / "settings.toml").write_text("[history]\nkeep_runs = 2\n")
    env = {"TASKS_CONFIG": str(tmp_path / "settings.toml")}
    for number in range(4):
        assert tasks("run", folder, "--id", f"r{number}", env=env).exit_code == 0

    assert list(listed(tasks)) == ["r3", "r2"]


@pytest.mark.buildkit
def test_temporary_folders_of_a_killed_build_are_removed(tasks, project):
    folder = project(
        "steps: [{id: b, build: .}]", Dockerfile="FROM busybox\nARG now\nRUN echo up; sleep 60\n"
    )
    before = set(Path("/tmp").glob("buildkit-client-*"))
    process, _ = started(tasks, str(folder))
    (made,) = [
        path for path in set(Path("/tmp").glob("buildkit-client-*")) - before if holds(process.pid, path)
    ]
    os.utime(made, (1, 1))
    tasks("gc")
    assert made.exists(), "it is in use"
    process.kill()
    process.wait()
    os.utime(made, (1, 1))

    outcome = tasks("gc")
    assert f"temporary folder  {made}" in outcome.stdout
    assert not made.exists()


def holds(pid: int, path: Path) -> bool:
    return any(os.readlink(each) == str(path) for each in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.buildkit
def test_build_cache_is_pruned_to_a_budget(tasks, project):
    folder = project(
        "steps: [{build: -t history-gc .}]",
        Dockerfile="FROM busybox\nRUN dd if=/dev/urandom of=/y bs=1M count=3\n",
    )
    assert tasks("run", str(folder)).exit_code == 0

    would = json.loads(tasks("gc", "--cache", "--dry-run", "--json").stdout)
    assert [each["kind"] for each in would["removed"] if not each["run_id"]][-1] == "build cache"
    kept = json.loads(tasks("gc", "--cache", "--keep", "1TB", "--json").stdout)
    assert not [each for each in kept["removed"] if each["kind"] == "build cache"]
