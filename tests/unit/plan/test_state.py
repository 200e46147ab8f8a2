from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest

from tasks_engine.events import (
    ImagePushed,
    RunEvent,
    RunFinished,
    RunPlanned,
    RunStarted,
    Status,
    StepFinished,
    StepLog,
    StepRetrying,
    StepStarted,
)
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import (
    CancelStep,
    FinishRun,
    RunState,
    SkipStep,
    StartStep,
    StepState,
    apply,
    is_push_at_end,
    next_actions,
)

PlanOf = Callable[..., Plan]
NOW = datetime(2024, 1, 2, tzinfo=UTC)
DIAMOND = """
steps:
- {id: a, cmd: x, when: ['-']}
- {id: b, cmd: x, when: [a]}
- {id: c, cmd: x, when: [a]}
- {id: d, cmd: x, when: [b, c]}
"""


def state(*events: RunEvent) -> RunState:
    return reduce(apply, events, RunState())


def started(step_id: str, second: int = 0) -> StepStarted:
    return StepStarted(step_id=step_id, at=NOW + timedelta(seconds=second))


def finished(
    step_id: str, status: Status = Status.SUCCEEDED, second: int = 0, *, ignored: bool = False
) -> StepFinished:
    error = None if status is Status.SUCCEEDED else {"message": f"{step_id} {status}"}
    return StepFinished(
        step_id=step_id,
        status=status,
        attempts=1,
        error=error,
        ignored=ignored,
        at=NOW + timedelta(seconds=second),
    )


def done(*step_ids: str) -> list[RunEvent]:
    return [event for step_id in step_ids for event in (started(step_id), finished(step_id))]


def test_a_run_begins_queued() -> None:
    assert (state().status, state().step("x").status) == (Status.QUEUED, Status.QUEUED)


def test_a_run_runs_and_ends() -> None:
    running = state(RunStarted(task="t", context=".", engine="1", at=NOW))
    ended = apply(
        running, RunFinished(status=Status.FAILED, error={"message": "m"}, at=NOW + timedelta(seconds=5))
    )
    assert (running.status, running.started_at) == (Status.RUNNING, NOW)
    assert (ended.status, ended.error, ended.finished_at) == (
        Status.FAILED,
        {"message": "m"},
        NOW + timedelta(seconds=5),
    )


def test_a_step_runs_and_ends() -> None:
    step = state(
        started("a"),
        StepFinished(
            step_id="a",
            status=Status.FAILED,
            attempts=2,
            exit_code=7,
            error={"m": 1},
            at=NOW + timedelta(seconds=3),
        ),
    ).step("a")
    assert step == StepState(
        Status.FAILED,
        attempts=2,
        exit_code=7,
        error={"m": 1},
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=3),
    )
    assert step.elapsed_s == 3


def test_a_step_that_never_started_took_no_time() -> None:
    assert state(finished("a", Status.SKIPPED)).step("a").elapsed_s is None


def test_pushes_are_kept_in_order() -> None:
    pushes = [ImagePushed(step_id="p", image=name, digest="", size_bytes=0) for name in "ba"]
    assert state(*pushes).pushed == tuple(pushes)


@pytest.mark.parametrize(
    "event",
    [
        RunPlanned(plan={}),
        StepLog(step_id="a", stream="stdout", offset=0, length=0),
        StepRetrying(step_id="a", attempt=1, attempts=2, delay_s=1, reason=""),
    ],
)
def test_other_events_change_nothing(event: RunEvent) -> None:
    assert apply(state(started("a")), event) == state(started("a"))


def test_steps_without_parents_start_first(plan_of: PlanOf) -> None:
    assert next_actions(plan_of(DIAMOND), state()) == (StartStep("a"),)


def test_steps_start_together_when_their_parents_are_done(plan_of: PlanOf) -> None:
    assert next_actions(plan_of(DIAMOND), state(*done("a"))) == (StartStep("b"), StartStep("c"))


def test_a_step_waits_for_all_its_parents(plan_of: PlanOf) -> None:
    plan = plan_of(DIAMOND)
    assert next_actions(plan, state(*done("a"), started("c"), *done("b"))) == ()
    assert next_actions(plan, state(*done("a", "b", "c"))) == (StartStep("d"),)


def test_nothing_is_to_be_done_while_a_step_runs(plan_of: PlanOf) -> None:
    assert next_actions(plan_of(DIAMOND), state(started("a"))) == ()


def test_a_run_succeeds_when_all_steps_are_done(plan_of: PlanOf) -> None:
    assert next_actions(plan_of(DIAMOND), state(*done("a", "b", "c", "d"))) == (FinishRun(Status.SUCCEEDED),)


def test_a_run_without_steps_succeeds_at_once(plan_of: PlanOf) -> None:
    assert next_actions(plan_of("steps: []"), state()) == (FinishRun(Status.SUCCEEDED),)


def test_a_failure_skips_what_waits_and_cancels_what_runs(plan_of: PlanOf) -> None:
    actions = next_actions(
        plan_of(DIAMOND), state(*done("a"), started("c"), started("b"), finished("c", Status.FAILED))
    )
    assert actions == (SkipStep("d"), CancelStep("b"))


def test_a_failure_ends_the_run_when_nothing_runs(plan_of: PlanOf) -> None:
    actions = next_actions(plan_of(DIAMOND), state(started("a"), finished("a", Status.FAILED)))
    assert actions == (
        SkipStep("b"),
        SkipStep("c"),
        SkipStep("d"),
        FinishRun(Status.FAILED, {"message": "a failed"}),
    )


@pytest.mark.parametrize("status", [Status.FAILED, Status.ERROR, Status.TIMED_OUT, Status.CANCELED])
def test_a_run_ends_as_its_step_did(plan_of: PlanOf, status: Status) -> None:
    actions = next_actions(plan_of("steps: [{id: a, cmd: x}]"), state(started("a"), finished("a", status)))
    assert actions == (FinishRun(status, {"message": f"a {status}"}),)


def test_an_ignored_failure_lets_the_next_step_start(plan_of: PlanOf) -> None:
    actions = next_actions(plan_of(DIAMOND), state(started("a"), finished("a", Status.FAILED, ignored=True)))
    assert actions == (StartStep("b"), StartStep("c"))


def test_the_first_failure_is_the_reason(plan_of: PlanOf) -> None:
    failures = [
        finished("b", Status.FAILED, 9),
        finished("c", Status.TIMED_OUT, 5),
        finished("d", Status.SKIPPED, 1),
    ]
    [end] = next_actions(plan_of(DIAMOND), state(*done("a"), *failures))
    assert end == FinishRun(Status.TIMED_OUT, {"message": "c timed_out"})


def test_a_step_that_was_cancelled_for_it_is_not_the_reason(plan_of: PlanOf) -> None:
    failures = [
        finished("b", Status.CANCELED, 1),
        finished("c", Status.FAILED, 5),
        finished("d", Status.SKIPPED, 1),
    ]
    [end] = next_actions(plan_of(DIAMOND), state(*done("a"), *failures))
    assert end == FinishRun(Status.FAILED, {"message": "c failed"})


PUSHES = """
steps:
- {id: build, build: -t r.io/app ., when: ['-']}
- {id: push, push: [r.io/app], when: [build]}
- {id: test, cmd: x, when: [build]}
- {id: then, push: [r.io/app], when: [push]}
"""


def test_pushes_start_with_their_own_ancestors_where_content_goes_first(plan_of: PlanOf) -> None:
    plan = plan_of(PUSHES)
    assert next_actions(plan, state(*done("build"))) == (StartStep("push"), StartStep("test"))


def test_pushes_at_the_end_wait_for_all_other_steps_where_their_tags_come_with_them(plan_of: PlanOf) -> None:
    plan = plan_of(PUSHES)
    assert next_actions(plan, state(*done("build")), pushes_last=True) == (StartStep("test"),)
    testing = state(*done("build"), started("test"))
    assert next_actions(plan, testing, pushes_last=True) == ()
    assert next_actions(plan, apply(testing, finished("test")), pushes_last=True) == (StartStep("push"),)
    assert next_actions(plan, state(*done("build", "test", "push")), pushes_last=True) == (StartStep("then"),)


def test_a_push_that_another_step_waits_for_is_not_at_the_end(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{id: p, push: [a]}, {id: c, cmd: a}, {id: q, push: [b]}]")
    assert [step.id for step in plan.steps if is_push_at_end(step)] == ["q"]


def test_a_push_whose_failure_is_ignored_holds_up_no_tags(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{id: p, push: [a]}, {id: q, push: [b], ignoreErrors: true}]")
    assert not plan.has_pushes_at_end


def test_a_run_that_keeps_going_skips_only_what_waits_for_the_failure(plan_of: PlanOf) -> None:
    plan = replace(plan_of(DIAMOND), keep_going=True)
    half = state(*done("a"), started("b"), started("c"), finished("b", Status.FAILED))
    assert next_actions(plan, half) == (SkipStep("d"),)
    skipped = apply(half, finished("d", Status.SKIPPED))
    assert next_actions(plan, skipped) == ()
    ended = apply(skipped, finished("c"))
    assert next_actions(plan, ended) == (FinishRun(Status.FAILED, {"message": "b failed"}),)


def test_a_run_that_keeps_going_stops_when_it_is_cancelled(plan_of: PlanOf) -> None:
    plan = replace(plan_of(DIAMOND), keep_going=True)
    actions = next_actions(plan, state(started("a"), finished("a", Status.CANCELED)))
    assert actions[:3] == (SkipStep("b"), SkipStep("c"), SkipStep("d"))
