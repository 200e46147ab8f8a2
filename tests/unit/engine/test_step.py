from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tasks_engine.backends.fakes import Action, FakeExecutor, Gate, Write, exits
from tasks_engine.cancel import CancelToken
from tasks_engine.engine.step import run_step, status_of
from tasks_engine.errors import BackendError, Canceled, StepFailed, StoreError, TasksError, TimedOut
from tasks_engine.events import RunEvent, Status, StepFinished, StepRetrying
from tasks_engine.plan.model import Plan, PlannedStep
from tasks_engine.ports import StepOutput

RunOne = Callable[..., StepFinished]


class Steps:
    """Runs a step with one script and keeps what came of it."""

    def __init__(self, step: PlannedStep) -> None:
        self.step = step
        self.cancel = CancelToken()
        self.events: list[RunEvent] = []
        self.executor = FakeExecutor()

    def run(self, *attempts: Sequence[Action], **changes: Any) -> StepFinished:
        step = replace(self.step, **changes)
        self.executor = FakeExecutor({"a": attempts or [()]})
        output = StepOutput("a", lambda stream, data: None, self.events.append)
        return run_step(step, self.executor, output, self.cancel)


@pytest.fixture
def steps(plan_of: Callable[..., Plan]) -> Steps:
    return Steps(replace(plan_of("steps: [{id: a, cmd: busybox}]").steps[0], retry_delay_s=0))


def test_a_step_that_works_succeeds(steps: Steps) -> None:
    assert steps.run([Write(b"x")]) == StepFinished(
        step_id="a", status=Status.SUCCEEDED, attempts=1, exit_code=0
    )


def test_a_failure_has_its_exit_code_and_its_reason(steps: Steps) -> None:
    error = exits(7)
    assert steps.run([error]) == StepFinished(
        step_id="a", status=Status.FAILED, attempts=1, exit_code=7, error=error.to_json()
    )


def test_an_error_of_ours_has_no_exit_code(steps: Steps) -> None:
    finished = steps.run([BackendError("gone")])
    assert (finished.status, finished.exit_code) == (Status.ERROR, None)


def test_a_step_is_tried_again_until_it_works(steps: Steps) -> None:
    finished = steps.run([exits(1)], [BackendError("gone")], [], retries=5)
    assert (finished.status, finished.attempts) == (Status.SUCCEEDED, 3)


def test_every_further_attempt_is_announced(steps: Steps) -> None:
    steps.run([exits(1)], retries=2)
    assert steps.events == [
        StepRetrying(
            step_id="a", attempt=number, attempts=3, delay_s=0, reason="the command exited with status 1"
        )
        for number in (1, 2)
    ]


def test_the_last_attempt_says_how_the_step_ended(steps: Steps) -> None:
    finished = steps.run([exits(1)], [exits(2)], retries=1)
    assert (finished.attempts, finished.exit_code) == (2, 2)


def test_attempts_are_numbered(steps: Steps) -> None:
    steps.run([exits(1)], retries=2)
    assert [call for call in steps.executor.calls if call.startswith("start")] == [
        "start a 1",
        "start a 2",
        "start a 3",
    ]


def test_a_step_stops_when_its_time_is_up(steps: Steps) -> None:
    finished = steps.run([Gate()], timeout_s=0.01)
    assert finished.status is Status.TIMED_OUT
    assert finished.error == {"code": "timed-out", "message": "step 'a' did not finish within 0.01 s"}


def test_after_its_time_a_step_is_not_tried_again(steps: Steps) -> None:
    assert steps.run([Gate()], timeout_s=0.01, retries=3).attempts == 1
    assert steps.events == []


def test_the_time_limit_spans_the_waits_between_attempts(steps: Steps) -> None:
    finished = steps.run([exits(1)], timeout_s=0.01, retries=3, retry_delay_s=3600)
    assert (finished.status, finished.attempts) == (Status.TIMED_OUT, 1)


def test_any_delay_between_attempts_can_be_waited_for(steps: Steps) -> None:
    finished = steps.run([exits(1)], timeout_s=0.01, retries=1, retry_delay_s=10**18)
    assert finished.status is Status.TIMED_OUT


@pytest.mark.parametrize("error", [exits(1), BackendError("gone"), TimedOut("late")])
def test_errors_may_be_ignored(steps: Steps, error: TasksError) -> None:
    finished = steps.run([error], ignore_errors=True)
    assert finished.ignored
    assert finished.status is not Status.SUCCEEDED


def test_errors_are_not_ignored_unasked(steps: Steps) -> None:
    assert not steps.run([exits(1)]).ignored


@pytest.mark.parametrize(
    "reason", [Canceled("stop"), TimedOut("the run took too long"), StoreError("disk full")]
)
def test_the_end_of_the_run_is_not_the_steps_to_ignore(steps: Steps, reason: TasksError) -> None:
    steps.cancel.cancel(reason)
    finished = steps.run(ignore_errors=True, retries=2)
    assert (finished.status, finished.ignored, finished.attempts) == (status_of(reason), False, 1)


def test_a_cancelled_step_does_not_start(steps: Steps) -> None:
    steps.cancel.cancel()
    assert steps.run().status is Status.CANCELED
    assert steps.executor.calls == []


def test_a_failure_while_the_run_is_cancelled_is_not_tried_again(steps: Steps) -> None:
    class Cancels(FakeExecutor):
        def execute(self, *arguments: Any) -> None:
            steps.cancel.cancel()
            raise exits(137)

    finished = run_step(
        replace(steps.step, retries=3),
        Cancels(),
        StepOutput("a", lambda stream, data: None, steps.events.append),
        steps.cancel,
    )
    assert (finished.status, finished.attempts) == (Status.FAILED, 1)


def test_other_errors_pass_through(steps: Steps) -> None:
    with pytest.raises(ZeroDivisionError):
        steps.run([ZeroDivisionError()], ignore_errors=True, retries=2)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StepFailed("m"), Status.FAILED),
        (TimedOut("m"), Status.TIMED_OUT),
        (Canceled("m"), Status.CANCELED),
        (BackendError("m"), Status.ERROR),
        (StoreError("m"), Status.ERROR),
    ],
)
def test_errors_have_a_status(error: TasksError, status: Status) -> None:
    assert status_of(error) is status
