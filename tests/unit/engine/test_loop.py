from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tasks_engine.backends.fakes import PATIENCE_S, Action, FakeExecutor, FakeStore, Gate, exits
from tasks_engine.cancel import CancelToken
from tasks_engine.engine.loop import run_plan
from tasks_engine.engine.sinks import EventSink
from tasks_engine.errors import BackendError, StoreError
from tasks_engine.events import RunEvent, Status, StepFinished, StepRetrying
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import FinishRun

PlanOf = Callable[..., Plan]
TWO_AT_ONCE = (
    "steps: [{id: a, cmd: x, when: ['-']}, {id: b, cmd: x, when: ['-']}, {id: c, cmd: x, when: [a, b]}]"
)
Script = Mapping[str, Sequence[Sequence[Action]]]


class Run:
    """A plan that runs in a thread of its own."""

    def __init__(self, plan: Plan, script: Script) -> None:
        self.executor = FakeExecutor(script)
        self.cancel = CancelToken()
        self.store = FakeStore()
        self.end: FinishRun | None = None
        self.bug: BaseException | None = None
        self.retrying = threading.Event()
        self.sink = EventSink("r1", self.store, [self._watch], self.cancel.cancel)
        self._plan = plan
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait(self) -> FinishRun:
        self._thread.join(PATIENCE_S)
        self.sink.close()
        assert self.end is not None
        return self.end

    def statuses(self) -> dict[str, Status]:
        return {event.step_id: event.status for event in self.store.events if isinstance(event, StepFinished)}

    def _watch(self, event: RunEvent) -> None:
        if isinstance(event, StepRetrying):
            self.retrying.set()

    def _run(self) -> None:
        try:
            self.end = run_plan(self._plan, self.executor, self.sink, self.cancel)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.bug = error


@contextmanager
def started(plan: Plan, script: Script | None = None) -> Iterator[Run]:
    run = Run(plan, script or {})
    try:
        yield run
    finally:
        run.cancel.cancel()
        run._thread.join(PATIENCE_S)
        run.sink.close()


def test_steps_run_one_after_the_other(plan_of: PlanOf) -> None:
    with started(plan_of("steps: [{id: a, cmd: x}, {id: b, cmd: x}]")) as run:
        assert run.wait() == FinishRun(Status.SUCCEEDED)
    assert run.executor.calls == ["start a 1", "end a 1", "start b 1", "end b 1"]


def test_a_step_is_executed_as_planned(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{id: a, cmd: x}]")
    with started(plan) as run:
        run.wait()
    assert [step.work for step in run.executor.steps] == [plan.steps[0].work]


def test_steps_that_may_start_together_do(plan_of: PlanOf) -> None:
    gate = Gate()
    with started(plan_of(TWO_AT_ONCE), {"a": [[gate]], "b": [[gate]]}) as run:
        run.executor.wait_for("start a 1")
        run.executor.wait_for("start b 1")
        assert "start c 1" not in run.executor.calls
        gate.open()
        assert run.wait() == FinishRun(Status.SUCCEEDED)
    assert run.executor.calls[-2:] == ["start c 1", "end c 1"]


def test_a_failure_cancels_the_steps_beside_it(plan_of: PlanOf) -> None:
    gate = Gate()
    with started(plan_of(TWO_AT_ONCE), {"a": [[gate, exits(3)]], "b": [[Gate()]]}) as run:
        run.executor.wait_for("start b 1")
        gate.open()
        end = run.wait()
    assert (end.status, end.error) == (Status.FAILED, exits(3).to_json())
    assert run.statuses() == {"a": Status.FAILED, "b": Status.CANCELED, "c": Status.SKIPPED}


def test_a_failure_is_not_hidden_by_what_fails_after_it(plan_of: PlanOf) -> None:
    first, second = Gate(), Gate()
    with started(
        plan_of(TWO_AT_ONCE), {"a": [[first, exits(1)]], "b": [[second, BackendError("late")]]}
    ) as run:
        run.executor.wait_for("start a 1")
        run.executor.wait_for("start b 1")
        first.open()
        assert run.wait().status is Status.FAILED


def test_a_run_that_is_cancelled_at_once_executes_nothing(plan_of: PlanOf) -> None:
    cancel = CancelToken()
    cancel.cancel()
    executor = FakeExecutor()
    sink = EventSink("r1", FakeStore(), [], lambda error: None)
    end = run_plan(plan_of(TWO_AT_ONCE), executor, sink, cancel)
    sink.close()
    assert end.status is Status.CANCELED
    assert executor.calls == []


def test_a_run_is_cancelled_while_steps_run(plan_of: PlanOf) -> None:
    with started(plan_of(TWO_AT_ONCE), {"a": [[Gate()]], "b": [[Gate()]]}) as run:
        run.executor.wait_for("start a 1")
        run.executor.wait_for("start b 1")
        run.cancel.cancel()
        assert run.wait().status is Status.CANCELED
    assert run.statuses() == {"a": Status.CANCELED, "b": Status.CANCELED, "c": Status.SKIPPED}


def test_a_run_is_cancelled_between_two_attempts(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{id: a, cmd: x, retries: 1, retryDelay: 3600}]")
    with started(plan, {"a": [[exits(1)]]}) as run:
        assert run.retrying.wait(PATIENCE_S)
        run.cancel.cancel()
        assert run.wait().status is Status.CANCELED
    assert run.executor.calls == ["start a 1", "end a 1"]


def test_a_run_that_is_cancelled_for_another_reason_ends_with_it(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{id: a, cmd: x, ignoreErrors: true}, {id: b, cmd: x, ignoreErrors: true}]")
    with started(plan, {"a": [[Gate()]]}) as run:
        run.executor.wait_for("start a 1")
        run.cancel.cancel(StoreError("disk full"))
        end = run.wait()
    assert (end.status, end.error) == (Status.ERROR, {"code": "store", "message": "disk full"})
    assert run.statuses()["b"] is Status.SKIPPED


def test_a_store_that_fails_ends_the_run(plan_of: PlanOf) -> None:
    with started(plan_of(TWO_AT_ONCE), {"a": [[Gate()]], "b": [[Gate()]]}) as run:
        run.executor.wait_for("start a 1")
        run.store.error = StoreError("disk full")
        run.sink.output("a").write("stdout", b"x")
        assert run.wait().status is Status.ERROR


def test_a_bug_in_a_step_is_raised_when_the_others_have_ended(plan_of: PlanOf) -> None:
    gate = Gate()
    with started(plan_of(TWO_AT_ONCE), {"a": [[gate, ZeroDivisionError("bug")]], "b": [[Gate()]]}) as run:
        run.executor.wait_for("start b 1")
        gate.open()
        run._thread.join(PATIENCE_S)
    assert isinstance(run.bug, ZeroDivisionError)
    assert "end b 1" in run.executor.calls
    assert "start c 1" not in run.executor.calls


def test_a_plan_without_steps_succeeds(plan_of: PlanOf) -> None:
    with started(plan_of("steps: []")) as run:
        assert run.wait() == FinishRun(Status.SUCCEEDED)


@pytest.mark.parametrize("steps", [300])
def test_any_number_of_steps_may_run_at_once(plan_of: PlanOf, steps: int) -> None:
    text = "steps:\n" + "".join("- {cmd: x, when: ['-']}\n" for _ in range(steps))
    with started(plan_of(text)) as run:
        assert run.wait() == FinishRun(Status.SUCCEEDED)
    assert len(run.executor.calls) == 2 * steps


def test_a_run_that_keeps_going_after_a_failure_and_is_cancelled_was_cancelled(plan_of) -> None:
    plan = replace(plan_of("steps: [{id: a, cmd: x}, {id: b, cmd: x, when: ['-']}]"), keep_going=True)
    cancel = CancelToken()
    script = {"a": [[exits(1)]], "b": [[Gate()]]}

    def watch(event: RunEvent) -> None:
        if isinstance(event, StepFinished) and event.step_id == "a":
            cancel.cancel()

    sink = EventSink("r", FakeStore(), [watch], lambda _: None)
    end = run_plan(plan, FakeExecutor(script), sink, cancel)
    sink.close()

    assert end.status is Status.CANCELED
