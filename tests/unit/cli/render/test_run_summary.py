"""What is said when a run is over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks_engine.cli.render import summary_lines
from tasks_engine.events import ImagePushed, Status
from tasks_engine.plan.state import RunState, StepState
from tests.unit.cli.render.render_scene import BEGIN, DIGEST, exit_error, plan_of, step

LOG = Path("/state/runs/6k2m1v8yza/log")


def ended(status: Status, took_s: float = 1.0, attempts: int = 1, **fields: Any) -> StepState:
    return StepState(
        status, attempts, started_at=BEGIN, finished_at=BEGIN + timedelta(seconds=took_s), **fields
    )


def run_state(status: Status, error: dict[str, Any] | None = None, **steps: StepState) -> RunState:
    return RunState(status, steps, error=error, started_at=BEGIN, finished_at=BEGIN + timedelta(seconds=12.3))


def test_success_with_pushed_images() -> None:
    pushed = ImagePushed(step_id="push", image="localhost:5000/app:1", digest=DIGEST, size_bytes=5)
    state = RunState(
        Status.SUCCEEDED,
        {"build": ended(Status.SUCCEEDED, 123), "push": ended(Status.SUCCEEDED, 0.4, 2)},
        (pushed,),
        started_at=BEGIN,
        finished_at=BEGIN + timedelta(seconds=123.4),
    )
    assert summary_lines(plan_of(step("build", "build"), step("push", "push")), state, LOG, {}) == [
        "build  succeeded  2 min 03 s",
        "push   succeeded       0.4 s  2 attempts",
        "",
        f"pushed localhost:5000/app:1@{DIGEST}",
        "",
        f"log: {LOG}",
        "run 6k2m1v8yza succeeded in 2 min 03 s",
    ]


def test_failure_ends_with_its_reason_and_shows_the_end_of_the_log() -> None:
    error = exit_error(3) | {"hint": "look there"}
    state = run_state(
        Status.FAILED,
        error,
        lint=ended(Status.FAILED, exit_code=1, error=exit_error(1), ignored=True),
        test=ended(Status.FAILED, attempts=3, exit_code=3, error=error),
        other=ended(Status.CANCELED, error={"code": "canceled", "message": "another step failed"}),
        push=StepState(Status.SKIPPED),
    )
    plan = plan_of(step("lint", ignore=True), step("test"), step("other"), step("push", "push"))
    assert summary_lines(plan, state, LOG, {"test": ["one", "", "two"], "lint": ["no"]}) == [
        "lint   failed, ignored  1.0 s  exit code 1",
        "test   failed           1.0 s  3 attempts, exit code 3",
        "other  canceled         1.0 s  another step failed",
        "push   skipped",
        "",
        "step 'test' failed: exit code 3",
        "hint: look there",
        "",
        "last 3 lines of step 'test':",
        "  | one",
        "  |",
        "  | two",
        "",
        f"log: {LOG}",
        "run 6k2m1v8yza failed: step 'test' failed: exit code 3",
    ]


def test_place_in_the_authors_file_comes_first() -> None:
    place = {"source": "Dockerfile", "line": 3, "column": 1, "text": "RUN make", "width": 8}
    error = {"code": "step-failed", "message": "RUN make: no\nmore", "location": place, "hint": "fix it"}
    state = run_state(Status.FAILED, error, build=ended(Status.FAILED, exit_code=2, error=error))
    lines = summary_lines(plan_of(step("build", "build")), state, None, {}, with_steps=False)
    assert lines == [
        "step 'build' failed:",
        "Dockerfile:3:1: RUN make: no",
        "more",
        "  3 | RUN make",
        "    | ^^^^^^^^",
        "hint: fix it",
        "",
        "run 6k2m1v8yza failed: step 'build' failed: RUN make: no: exit code 2",
    ]


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        (run_state(Status.CANCELED, {"message": "the run was cancelled"}), "canceled after 12.3 s"),
        (run_state(Status.ERROR, {"message": "no engine"}), "ended with an error: no engine"),
        (
            run_state(Status.ERROR, {"message": "x"}, a=ended(Status.ERROR, error={"message": "x"})),
            "ended with an error: step 'a': x",
        ),
        (
            run_state(
                Status.TIMED_OUT,
                {"message": "step 'a' did not finish within 1 s"},
                a=ended(Status.TIMED_OUT, error={"message": "step 'a' did not finish within 1 s"}),
            ),
            "timed out: step 'a' did not finish within 1 s",
        ),
        (RunState(Status.RUNNING), "did not end"),
    ],
)
def test_last_line_says_how_the_run_ended(state: RunState, ending: str) -> None:
    assert summary_lines(plan_of(step("a")), state, None, {})[-1] == f"run 6k2m1v8yza {ending}"


def test_first_of_several_failures_is_the_one_told_of() -> None:
    error = exit_error(3)
    state = run_state(
        Status.FAILED,
        error,
        a=ended(Status.FAILED, 2.0, exit_code=3, error=error),
        b=ended(Status.FAILED, 1.0, exit_code=3, error=error),
    )
    assert summary_lines(plan_of(step("a"), step("b")), state, None, {})[-1].endswith(
        "step 'b' failed: exit code 3"
    )


def test_names_and_messages_are_made_safe() -> None:
    bad = "\x1b[2J\x07"
    error = {"message": f"m{bad}", "hint": f"h{bad}"}
    state = run_state(Status.FAILED, error, **{f"a{bad}": ended(Status.FAILED, error=error)})
    pushed = ImagePushed(step_id="a", image=f"i{bad}", digest=f"d{bad}", size_bytes=0)
    state = RunState(state.status, state.steps, (pushed,), error)
    lines = summary_lines(plan_of(step(f"a{bad}")), state, Path(f"/l{bad}"), {})
    assert not any("\x1b" in line or "\x07" in line for line in lines)
    assert "pushed i@d" in lines


def test_colour_is_only_added_when_asked_for() -> None:
    state = run_state(Status.SUCCEEDED, a=ended(Status.SUCCEEDED))
    lines = summary_lines(plan_of(step("a")), state, None, {}, color=True)
    assert lines == [
        "a  \x1b[32msucceeded\x1b[0m  1.0 s",
        "",
        "\x1b[32mrun 6k2m1v8yza succeeded in 12.3 s\x1b[0m",
    ]
