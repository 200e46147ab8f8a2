from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
        self.write: Callable[[str, bytes], None] = lambda stream, data: None
        self.executor = FakeExecutor()

    def run(self, *attempts: Sequence[Action], **changes: Any) -> StepFinished:
        step = replace(self.step, **changes)
        self.executor = FakeExecutor({"a": attempts or [()]})
        output = StepOutput("a", self.write, self.events.append)
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


def test_a_step_is_repeated_as_often_as_it_says(steps: Steps) -> None:
    finished = steps.run(repeat=3)
    assert (finished.status, finished.attempts, finished.exit_code) == (Status.SUCCEEDED, 4, 0)
    assert [call for call in steps.executor.calls if call.startswith("start")] == [
        *("start a 1", "start a 2", "start a 3", "start a 4"),
    ]


def test_all_repetitions_run_although_one_fails(steps: Steps) -> None:
    finished = steps.run([exits(1)], [exits(2)], [], repeat=3)
    assert (finished.status, finished.attempts, finished.exit_code) == (Status.FAILED, 4, 2)


def test_each_repetition_has_its_own_retries(steps: Steps) -> None:
    finished = steps.run([exits(1)], [], [exits(2)], [exits(3)], [], repeat=2, retries=1)
    assert (finished.status, finished.attempts, finished.exit_code) == (Status.FAILED, 5, 3)
    assert [event.attempt for event in steps.events if isinstance(event, StepRetrying)] == [1, 1]


def test_the_time_limit_spans_all_repetitions(steps: Steps) -> None:
    finished = steps.run([], [Gate()], timeout_s=0.05, repeat=5)
    assert (finished.status, finished.attempts) == (Status.TIMED_OUT, 2)


def test_a_failure_of_several_repetitions_may_be_ignored(steps: Steps) -> None:
    assert steps.run([exits(1)], repeat=1, ignore_errors=True).ignored


@pytest.mark.parametrize(
    "output",
    [
        [Write(b"connection timed out\n")],
        [Write(b"connection timed out\n", "stderr")],
        [Write(b"connection ti"), Write(b"med out\n")],
        [Write(bytes([letter])) for letter in b"x timed out"],
        [Write(b"timed"), Write(b"", "stderr"), Write(b" out")],
        [Write(b"noise" * 1000), Write(b"no"), Write(b"timed out"), Write(b"more" * 1000)],
        [Write("ü".encode()[:1]), Write("überlastet".encode()[1:])],
    ],
)
def test_a_failure_that_printed_a_text_is_tried_again(steps: Steps, output: list[Write]) -> None:
    texts = ("timed out", "überlastet")
    assert steps.run([*output, exits(1)], [], retries=1, retry_on_errors=texts).attempts == 2


@pytest.mark.parametrize(
    "output",
    [
        [],
        [Write(b"Timed out")],
        [Write(b"timed"), Write(b" out", "stderr")],
        [Write(b"timed"), Write(b"x"), Write(b" out")],
    ],
)
def test_another_failure_is_final(steps: Steps, output: list[Write]) -> None:
    finished = steps.run([*output, exits(1)], [], retries=3, retry_on_errors=("timed out",))
    assert (finished.status, finished.attempts) == (Status.FAILED, 1)
    assert steps.events == []


def test_a_text_of_an_earlier_attempt_does_not_count(steps: Steps) -> None:
    finished = steps.run([Write(b"late"), exits(1)], [exits(2)], [], retries=3, retry_on_errors=("late",))
    assert (finished.attempts, finished.exit_code) == (2, 2)


def test_what_is_searched_is_also_shown(steps: Steps) -> None:
    shown: list[tuple[str, bytes]] = []
    steps.write = lambda stream, data: shown.append((stream, data))
    steps.run([Write(b"a"), Write(b"b", "stderr"), exits(1)], retry_on_errors=("x",), retries=1)
    assert shown == [("stdout", b"a"), ("stderr", b"b")]


def test_the_start_delay_comes_before_the_time_limit(steps: Steps) -> None:
    calls: list[tuple[str, float | None]] = []

    class Recorded(CancelToken):
        def wait(self, seconds: float) -> None:
            calls.append(("wait", seconds))

        @contextmanager
        def child(self, timeout_s: float | None = None, what: str = "") -> Iterator[CancelToken]:
            calls.append(("limit", timeout_s))
            with super().child(None, what) as token:
                yield token

    steps.cancel = Recorded()
    assert steps.run(start_delay_s=3600, timeout_s=5).status is Status.SUCCEEDED
    assert calls == [("wait", 3600), ("limit", 5)]


def test_a_run_that_ends_ends_the_start_delay(steps: Steps) -> None:
    steps.cancel.cancel()
    finished = steps.run(start_delay_s=10**9)
    assert (finished.status, finished.attempts, steps.executor.calls) == (Status.CANCELED, 0, [])


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
    assert (finished.status, finished.ignored, finished.attempts) == (status_of(reason), False, 0)


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
