"""Generated graphs, with steps that work, fail, are tried again or ignored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_engine.backends.fakes import Action, FakeExecutor, FakeStore, exits
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.model import StepKind
from tasks_engine.engine.loop import run_plan
from tasks_engine.engine.sinks import EventSink
from tasks_engine.events import RunEvent, Status, StepFinished, StepStarted
from tasks_engine.plan.model import CmdWork, Plan, PlannedStep, PushWork
from tasks_engine.plan.state import (
    FinishRun,
    RunState,
    SkipStep,
    StartStep,
    apply,
    is_push_at_end,
    next_actions,
)


def step(number: int, parents: list[int], *, ignored: bool = False, retries: int = 0) -> PlannedStep:
    return PlannedStep(
        id=f"s{number}",
        kind=StepKind.CMD,
        depends_on=tuple(f"s{parent}" for parent in parents),
        timeout_s=600,
        retries=retries,
        retry_delay_s=0,
        ignore_errors=ignored,
        detach=False,
        env={},
        working_directory="/workspace",
        work=CmdWork("busybox", ()),
    )


@st.composite
def plans(draw: st.DrawFn, *, max_size: int = 8, keep_going: bool = False, pushes: bool = False) -> Plan:
    """Some of the last steps of `pushes` are pushes at the end."""
    size = draw(st.integers(1, max_size))
    steps = [
        step(
            number,
            draw(st.lists(st.integers(0, number - 1), unique=True, max_size=4)) if number else [],
            ignored=draw(st.booleans()),
            retries=draw(st.integers(0, 2)),
        )
        for number in range(size)
    ]
    waited_for: set[str] = set()
    for number, each in reversed(list(enumerate(steps))):
        if pushes and each.id not in waited_for and draw(st.booleans()):
            push = PushWork(("r.io/app:1",), at_end=True)
            steps[number] = replace(each, kind=StepKind.PUSH, work=push, ignore_errors=False)
        else:
            waited_for.update(each.depends_on)
    return Plan(run_id="r", task="t", registry="", steps=tuple(steps), keep_going=keep_going)


def ancestors(plan: Plan, step_id: str) -> Iterator[str]:
    for parent in plan.step_by_id[step_id].depends_on:
        yield parent
        yield from ancestors(plan, parent)


def run(plan: Plan, failing: set[str], *, pushes_last: bool = False) -> tuple[FinishRun, list[RunEvent]]:
    script: dict[str, list[list[Action]]] = {step_id: [[exits(1)]] for step_id in failing}
    store = FakeStore()
    cancel = CancelToken()
    sink = EventSink("r", store, [], cancel.cancel)
    end = run_plan(plan, FakeExecutor(script, sends_content_first=not pushes_last), sink, cancel)
    sink.close()
    return end, store.events


@given(plans())
@settings(max_examples=50)
def test_every_step_runs_once_and_after_its_ancestors(plan: Plan) -> None:
    end, events = run(plan, set())
    started = [event.step_id for event in events if isinstance(event, StepStarted)]
    assert end.status is Status.SUCCEEDED
    assert sorted(started) == sorted(step.id for step in plan.steps)
    finished: set[str] = set()
    for event in events:
        if isinstance(event, StepStarted):
            assert finished.issuperset(ancestors(plan, event.step_id))
        elif isinstance(event, StepFinished):
            finished.add(event.step_id)


@given(plans(), st.sets(st.sampled_from([f"s{number}" for number in range(8)])))
@settings(max_examples=50)
def test_a_failure_never_starts_a_descendant(plan: Plan, failing: set[str]) -> None:
    end, events = run(plan, failing)
    fatal = {step.id for step in plan.steps if step.id in failing and not step.ignore_errors}
    started = [event.step_id for event in events if isinstance(event, StepStarted)]
    finished = {event.step_id: event.status for event in events if isinstance(event, StepFinished)}
    for step_id in started:
        assert fatal.isdisjoint(ancestors(plan, step_id))
    assert len(started) == len(set(started))
    assert set(finished) == {step.id for step in plan.steps}
    assert end.status is (Status.FAILED if fatal else Status.SUCCEEDED)


@given(plans(keep_going=True), st.sets(st.sampled_from([f"s{number}" for number in range(8)])))
@settings(max_examples=50)
def test_all_that_does_not_wait_for_a_failure_runs_when_the_run_keeps_going(
    plan: Plan, failing: set[str]
) -> None:
    end, events = run(plan, failing)
    fatal = {step.id for step in plan.steps if step.id in failing and not step.ignore_errors}
    started = {event.step_id for event in events if isinstance(event, StepStarted)}
    reachable = {step.id for step in plan.steps if fatal.isdisjoint(ancestors(plan, step.id))}
    # A step behind a failing one never ran, so its own failure does not count.
    assert started == reachable
    assert end.status is (Status.FAILED if fatal & reachable else Status.SUCCEEDED)


@given(plans(pushes=True), st.sets(st.sampled_from([f"s{number}" for number in range(8)])), st.booleans())
@settings(max_examples=50)
def test_no_push_at_the_end_starts_in_a_run_that_failed_where_tags_come_with_the_content(
    plan: Plan, failing: set[str], keep_going: bool
) -> None:
    plan = replace(plan, keep_going=keep_going)
    failing = {step.id for step in plan.steps if step.id in failing and not is_push_at_end(step)}
    end, events = run(plan, failing, pushes_last=True)
    pushes = {step.id for step in plan.steps if is_push_at_end(step)}
    started = [event.step_id for event in events if isinstance(event, StepStarted)]
    if end.status is Status.FAILED:
        assert pushes.isdisjoint(started)
    else:
        assert len(started) == len(plan.steps)
        assert set(started[len(started) - len(pushes) :]) == pushes


@given(plans(max_size=30, pushes=True), st.booleans(), st.booleans(), st.data())
@settings(max_examples=100)
def test_decisions_alone_bring_every_run_to_its_end(
    plan: Plan, keep_going: bool, pushes_last: bool, data: st.DataObject
) -> None:
    """Events in any order that steps may end in; no threads."""
    plan = replace(plan, keep_going=keep_going)
    state, running, ended = RunState(), [], set()
    while True:
        actions = next_actions(plan, state, pushes_last=pushes_last)
        if isinstance(actions[-1] if actions else None, FinishRun):
            break
        for action in actions:
            match action:
                case StartStep(step_id):
                    state = apply(state, StepStarted(step_id=step_id))
                    running.append(step_id)
                case SkipStep(step_id):
                    state = apply(state, StepFinished(step_id=step_id, status=Status.SKIPPED, attempts=0))
                    ended.add(step_id)
        step_id = running.pop(data.draw(st.integers(0, len(running) - 1)))
        status = data.draw(st.sampled_from([*[Status.SUCCEEDED] * 5, Status.FAILED, Status.TIMED_OUT]))
        state = apply(
            state, StepFinished(step_id=step_id, status=status, attempts=1, ignored=data.draw(st.booleans()))
        )
        ended.add(step_id)
    skipped_last = {action.step_id for action in actions if isinstance(action, SkipStep)}
    assert not running
    assert ended | skipped_last == {step.id for step in plan.steps}
