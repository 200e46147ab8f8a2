from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tasks_engine._version import __version__
from tasks_engine.backends.fakes import FakeExecutor, FakeStore, Gate, exits
from tasks_engine.cancel import CancelToken
from tasks_engine.engine.execute import execute_run
from tasks_engine.engine.sinks import EventSink
from tasks_engine.errors import Canceled, DockerError, EngineError
from tasks_engine.events import RunEvent, RunFinished, RunPlanned, RunStarted, RunWarning, Status
from tasks_engine.plan.model import Plan

PlanOf = Callable[..., Plan]
ONE = "steps: [{id: a, cmd: x}]"


class Run:
    def __init__(self) -> None:
        self.cancel = CancelToken()
        self.store = FakeStore()
        self.sink = EventSink("run1", self.store, [], self.cancel.cancel)

    def execute(self, plan: Plan, executor: FakeExecutor) -> RunFinished:
        try:
            return execute_run(plan, "/src", executor, self.sink, self.cancel)
        finally:
            self.sink.close()

    def events(self, kind: type[RunEvent]) -> list[RunEvent]:
        return [event for event in self.store.events if isinstance(event, kind)]


@pytest.fixture
def run() -> Iterator[Run]:
    run = Run()
    yield run
    run.sink.close()


def test_a_run_is_prepared_run_and_cleaned_up(plan_of: PlanOf, run: Run) -> None:
    executor = FakeExecutor()
    assert run.execute(plan_of(ONE), executor) == RunFinished(status=Status.SUCCEEDED)
    assert executor.calls == ["prepare", "start a 1", "end a 1", "cleanup"]


def test_a_run_begins_with_what_it_is_and_what_it_will_do(plan_of: PlanOf, run: Run) -> None:
    plan = plan_of(ONE)
    run.execute(plan, FakeExecutor())
    first, second, *_ = run.store.events
    assert isinstance(first, RunStarted)
    assert (first.task, first.context, first.engine) == ("task.yaml", "/src", __version__)
    assert isinstance(second, RunPlanned)
    assert second.plan == plan.to_json()


def test_a_run_ends_with_its_status(plan_of: PlanOf, run: Run) -> None:
    finished = run.execute(plan_of(ONE), FakeExecutor({"a": [[exits(3)]]}))
    last = run.store.events[-1]
    assert isinstance(last, RunFinished)
    assert (
        (last.status, last.error) == (finished.status, finished.error) == (Status.FAILED, exits(3).to_json())
    )


def test_warnings_of_the_task_are_events(plan_of: PlanOf, run: Run) -> None:
    run.execute(plan_of(f"{ONE}\nstepz: 1"), FakeExecutor())
    [warning] = run.events(RunWarning)
    assert isinstance(warning, RunWarning)
    assert (warning.message, warning.hint) == ("unknown key 'stepz' is ignored", "did you mean 'steps'?")


def test_a_failed_preparation_ends_the_run_after_cleaning_up(plan_of: PlanOf, run: Run) -> None:
    executor = FakeExecutor(prepare=[EngineError("no engine", hint="start one")])
    assert run.execute(plan_of(ONE), executor) == RunFinished(
        status=Status.ERROR, error={"code": "engine", "message": "no engine", "hint": "start one"}
    )
    assert executor.calls == ["prepare", "cleanup"]


def test_a_run_that_is_cancelled_before_it_begins_is_only_cleaned_up(plan_of: PlanOf, run: Run) -> None:
    run.cancel.cancel(Canceled("stop"))
    executor = FakeExecutor()
    assert run.execute(plan_of(ONE), executor).status is Status.CANCELED
    assert executor.calls == ["cleanup"]


def test_a_run_that_is_cancelled_while_it_is_prepared_starts_no_step(plan_of: PlanOf, run: Run) -> None:
    class Cancels(FakeExecutor):
        def prepare(self) -> None:
            super().prepare()
            run.cancel.cancel()

    executor = Cancels()
    assert run.execute(plan_of(ONE), executor).status is Status.CANCELED
    assert executor.calls == ["prepare", "cleanup"]


def test_a_run_that_is_cancelled_is_cleaned_up(plan_of: PlanOf, run: Run) -> None:
    class Cancels(FakeExecutor):
        def _note(self, call: str) -> None:
            super()._note(call)
            if call == "start a 1":
                run.cancel.cancel()

    executor = Cancels({"a": [[Gate()]]})
    assert run.execute(plan_of(ONE), executor).status is Status.CANCELED
    assert executor.calls[-1] == "cleanup"


def test_a_failed_clean_up_is_a_warning_and_changes_no_status(plan_of: PlanOf, run: Run) -> None:
    executor = FakeExecutor(cleanup=[DockerError("container is stuck", hint="restart it")])
    assert run.execute(plan_of(ONE), executor).status is Status.SUCCEEDED
    [warning] = run.events(RunWarning)
    assert isinstance(warning, RunWarning)
    assert (warning.message, warning.hint) == (
        "something of this run is left behind: container is stuck",
        "restart it",
    )


def test_a_failed_clean_up_without_a_hint_gets_one(plan_of: PlanOf, run: Run) -> None:
    run.execute(plan_of(ONE), FakeExecutor(cleanup=[DockerError("stuck")]))
    [warning] = run.events(RunWarning)
    assert isinstance(warning, RunWarning)
    assert warning.hint == "the next `tasks` command removes it once the engine answers"


def test_the_last_event_comes_after_the_clean_up(plan_of: PlanOf, run: Run) -> None:
    run.execute(plan_of(ONE), FakeExecutor(cleanup=[DockerError("stuck")]))
    assert [type(event) for event in run.store.events[-2:]] == [RunWarning, RunFinished]


@pytest.mark.parametrize("where", ["prepare", "step"])
def test_a_bug_is_raised_after_cleaning_up(plan_of: PlanOf, run: Run, where: str) -> None:
    bug = ZeroDivisionError("bug")
    executor = FakeExecutor(prepare=[bug]) if where == "prepare" else FakeExecutor({"a": [[bug]]})
    with pytest.raises(ZeroDivisionError):
        run.execute(plan_of(ONE), executor)
    assert executor.calls[-1] == "cleanup"
    assert run.events(RunFinished) == []
