"""`tasks runs` and `tasks gc` without an engine."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks_engine.backends.run_folder import RunFolder
from tasks_engine.events import (
    ImageBuilt,
    ImagePushed,
    RunEvent,
    RunFinished,
    RunPlanned,
    RunStarted,
    RunWarning,
    Status,
    StepFinished,
    StepLog,
    StepStarted,
)
from tests.unit.cli.conftest import Tasks

START = datetime(2026, 1, 2, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASKS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    return tmp_path / "state" / "runs"


@pytest.fixture
def make(runs: Path, plan_of):
    """Makes a run that built, pushed and failed; `is_open`: its process goes on and it did not end."""
    made: list[RunFolder] = []

    def make(run_id: str = "r1", *, is_open: bool = False) -> RunFolder:
        folder = RunFolder.create(runs, run_id)
        made.append(folder)
        os.utime(folder.path / "lock", (len(made), len(made)))
        plan = plan_of("steps: [{id: b, build: -t x .}, {id: c, cmd: x test}]", run_id=run_id)
        folder.write_plan(plan)
        log = "größe\nlast words\n".encode()
        events: list[RunEvent] = [
            RunStarted(task="task.yaml", context="/src", engine="1"),
            RunPlanned(plan=plan.to_json()),
            RunWarning(message="mind the gap"),
            StepStarted(step_id="b"),
            ImageBuilt(step_id="b", tags=("r.io/x:1",), digest=DIGEST, image_id="i"),
            StepFinished(step_id="b", status=Status.SUCCEEDED, attempts=1),
            ImagePushed(step_id="b", image="r.io/x:1", digest=DIGEST, size_bytes=7),
            StepStarted(step_id="c"),
            # a character lies across the two
            StepLog(step_id="c", stream="stdout", offset=0, length=3),
            StepLog(step_id="c", stream="stdout", offset=3, length=len(log) - 3),
        ]
        if not is_open:
            error = {"code": "step-failed", "message": "exit code 3"}
            events += [
                StepFinished(step_id="c", status=Status.FAILED, attempts=1, exit_code=3, error=error),
                RunFinished(status=Status.FAILED, error=error),
            ]
        folder.append_log(log)
        for number, event in enumerate(events, 1):
            object.__setattr__(event, "at", START + timedelta(seconds=number))
            object.__setattr__(event, "seq", number)
            folder.append_event(event)
        folder.flush()
        if not is_open:
            folder.close()
        return folder

    yield make
    for folder in made:
        folder.close()


def test_runs_are_listed_as_a_table_and_as_json(tasks: Tasks, make, runs) -> None:
    make("r1")
    make("r2", is_open=True)

    outcome = tasks("runs", "list")
    head, second, first = outcome.out.splitlines()
    assert head.split() == ["RUN", "STATUS", "STARTED", "TIME", "TASK"]
    assert second.startswith("r2   running")
    assert first.startswith("r1   failed")
    assert first.endswith("task.yaml  exit code 3")
    listed = json.loads(tasks("runs", "list", "--json").out)
    assert [(each["id"], each["status"]) for each in listed] == [("r2", "running"), ("r1", "failed")]


def test_a_list_is_narrowed(tasks: Tasks, make) -> None:
    make("r1")
    make("r2", is_open=True)

    assert "r1" in tasks("runs", "list", "--status", "failed").out
    assert tasks("runs", "list", "--status", "succeeded").out == ""
    assert "r1" not in tasks("runs", "list", "--top", "1").out
    assert tasks("runs", "list", "--status", "nonsense").code == 2
    assert tasks("runs", "list", "--top", "-1").code == 2


def test_no_runs_are_no_error(tasks: Tasks, runs) -> None:
    outcome = tasks("runs", "list")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "no runs yet\n")
    assert json.loads(tasks("runs", "list", "--json").out) == []


def test_a_run_is_shown_with_its_steps_images_and_failure(tasks: Tasks, make) -> None:
    folder = make()

    out = tasks("runs", "show").out
    assert out.startswith("run      r1: failed\ntask     task.yaml\ncontext  /src\n")
    for told in (
        "mind the gap",
        f"built r.io/x:1@{DIGEST}",
        f"pushed r.io/x:1@{DIGEST}",
        "exit code 3",
        "  | größe\n  | last words",
        f"log: {folder.log_path}",
    ):
        assert told in out
    assert out.splitlines()[-1] == "run r1 failed: step 'c' failed: exit code 3"


def test_a_run_is_shown_as_json(tasks: Tasks, make) -> None:
    make()

    shown = json.loads(tasks("runs", "show", "r", "--json").out)
    assert [(each["id"], each["kind"], each["status"]) for each in shown["steps"]] == [
        ("b", "build", "succeeded"),
        ("c", "cmd", "failed"),
    ]
    assert shown["built"][0]["digest"] == shown["pushed"][0]["digest"] == DIGEST
    assert shown["steps"][1]["error"]["message"] == "exit code 3"
    assert "pid" not in shown


def test_a_run_that_goes_on_is_shown_as_such_and_an_abandoned_one_too(tasks: Tasks, make) -> None:
    folder = make(is_open=True)
    assert tasks("runs", "show").out.splitlines()[-1] == "run r1 is running: `tasks logs -f r1` follows it"
    assert json.loads(tasks("runs", "show", "--json").out)["pid"] == os.getpid()

    folder.close()
    assert "was abandoned" in tasks("runs", "show").out.splitlines()[-1]


def test_an_unknown_run_is_told_with_the_nearest(tasks: Tasks, make) -> None:
    make("abc1")

    for command in (("runs", "show"), ("runs", "cancel"), ("runs", "rerun"), ("logs",)):
        outcome = tasks(*command, "abd1")
        assert outcome.code == 2
        assert "did you mean abc1" in outcome.err


def test_a_plan_of_another_version_is_told_with_where_the_log_is(tasks: Tasks, make) -> None:
    folder = make()
    path = folder.path / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"plan":{"version":1', b'"plan":{"version":99'))

    outcome = tasks("runs", "show")
    assert outcome.code == 3
    assert "version" in outcome.err
    assert str(folder.log_path) in outcome.err


def test_a_run_that_is_over_cannot_be_cancelled(tasks: Tasks, make) -> None:
    make()

    outcome = tasks("runs", "cancel", "r1")
    assert outcome.code == 2
    assert "is over: failed" in outcome.err


def test_a_run_whose_request_is_not_kept_cannot_be_repeated(tasks: Tasks, make) -> None:
    make()

    outcome = tasks("runs", "rerun")
    assert outcome.code == 2
    assert "not kept" in outcome.err


def test_a_log_is_printed_as_the_plain_view_shows_it(tasks: Tasks, make) -> None:
    make()

    assert tasks("logs").out == (
        "warning: mind the gap\n"
        "b | started\n"
        "b | succeeded after 2.0 s\n"
        f"b | pushed r.io/x:1@{DIGEST}\n"
        "c | started\n"
        "c | größe\n"
        "c | last words\n"
        "c | failed after 3.0 s: exit code 3\n"
    )


def test_a_log_of_one_step_has_no_names_in_front(tasks: Tasks, make) -> None:
    make()

    assert tasks("logs", "--step", "c").out == "größe\nlast words\n"
    assert tasks("logs", "--step", "b").out == ""
    unknown = tasks("logs", "--step", "x")
    assert unknown.code == 2
    assert "its steps: b, c" in unknown.err


def test_lines_may_have_their_times(tasks: Tasks, make) -> None:
    make()

    assert "2026-01-02T00:00:10.000Z c | last words\n" in tasks("logs", "--timestamps").out
    assert tasks("logs", "--raw", "--timestamps").code == 2


def test_a_raw_log_is_the_bytes_themselves(tasks: Tasks, make) -> None:
    folder = make()

    assert tasks("logs", "--raw").out.encode() == folder.log_path.read_bytes()
    assert tasks("logs", "--raw", "--step", "c").out.encode() == folder.log_path.read_bytes()
    assert tasks("logs", "--raw", "--step", "b").out == ""


def test_following_a_run_that_is_over_gives_its_exit_code(tasks: Tasks, make) -> None:
    make()

    assert tasks("logs").code == 0
    assert tasks("logs", "-f").code == 1


def test_following_a_run_whose_process_is_gone_ends_with_an_error(tasks: Tasks, make) -> None:
    make(is_open=True).close()

    outcome = tasks("logs", "-f")
    assert outcome.code == 3
    assert "last words" in outcome.out
    assert "its process is gone" in outcome.err


def test_unfinished_lines_of_a_run_that_goes_on_are_printed(tasks: Tasks, make) -> None:
    folder = make(is_open=True)
    offset = folder.log_path.stat().st_size
    folder.append_log(b"half a l")
    folder.append_event(StepLog(seq=99, at=START, step_id="c", stream="stdout", offset=offset, length=8))
    folder.flush()

    assert tasks("logs").out.endswith("c | half a l\n")


def test_garbage_of_dead_runs_is_told_and_removed(tasks: Tasks, make, runs) -> None:
    dead = make("dead", is_open=True)
    dead.workspace.mkdir()
    dead.close()
    alive = make("alive", is_open=True)
    alive.workspace.mkdir()

    would = json.loads(tasks("gc", "--dry-run", "--json").out)
    assert [each["name"] for each in would["removed"] if each["run_id"]] == [str(dead.workspace)]
    assert dead.workspace.exists()
    done = json.loads(tasks("gc", "--json").out)
    assert [each["name"] for each in done["removed"] if each["run_id"]] == [str(dead.workspace)]
    assert not dead.workspace.exists()
    assert alive.workspace.exists()


def test_an_engine_that_does_not_answer_is_told_and_what_it_holds_is_kept_in_mind(
    tasks: Tasks, make, runs
) -> None:
    dead = make("dead", is_open=True)
    dead.hold(os.environ["DOCKER_HOST"])
    dead.close()

    outcome = tasks("gc")
    assert outcome.code == 3
    assert "what run dead left could not be removed" in outcome.err
    assert dead.is_holding


def test_old_runs_go(tasks: Tasks, make, runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.toml").write_text("[history]\nkeep_runs = 1\n")
    monkeypatch.setenv("TASKS_CONFIG", str(tmp_path / "settings.toml"))
    for name in ("r1", "r2", "r3"):
        make(name)

    would = json.loads(tasks("gc", "--dry-run", "--json").out)["removed"]
    assert [each["name"] for each in would if each["kind"] == "run"] == ["r1", "r2"]
    tasks("gc")
    assert [path.name for path in runs.iterdir()] == ["r3"]


def test_a_budget_without_a_cache_is_refused(tasks: Tasks, runs) -> None:
    assert tasks("gc", "--keep", "1GB").code == 2
