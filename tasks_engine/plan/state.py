"""What has happened in a run, and what may happen next.

A step has no status field anywhere else: its status is a fold over events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tasks_engine.events import (
    ImagePushed,
    RunEvent,
    RunFinished,
    RunStarted,
    Status,
    StepFinished,
    StepStarted,
)
from tasks_engine.plan.model import Plan, PlannedStep, PushWork


@dataclass(frozen=True)
class StepState:
    status: Status = Status.QUEUED
    attempts: int = 0
    exit_code: int | None = None
    error: Mapping[str, Any] | None = None
    #: failed, but the steps that wait for it go on
    ignored: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def lets_others_start(self) -> bool:
        return self.status is Status.SUCCEEDED or self.ignored

    @property
    def elapsed_s(self) -> float | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class RunState:
    status: Status = Status.QUEUED
    #: step id -> state, of the steps that were started or skipped
    steps: Mapping[str, StepState] = field(default_factory=dict)
    #: in the order of their pushes
    pushed: tuple[ImagePushed, ...] = ()
    error: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def step(self, step_id: str) -> StepState:
        return self.steps.get(step_id, _UNHEARD)


_UNHEARD = StepState()
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class StartStep:
    step_id: str


@dataclass(frozen=True)
class SkipStep:
    step_id: str


@dataclass(frozen=True)
class CancelStep:
    """A running step whose result no longer matters."""

    step_id: str


@dataclass(frozen=True)
class FinishRun:
    status: Status
    error: Mapping[str, Any] | None = None


Action = StartStep | SkipStep | CancelStep | FinishRun


def apply(state: RunState, event: RunEvent) -> RunState:
    """The state after an event."""
    match event:
        case RunStarted():
            return replace(state, status=Status.RUNNING, started_at=event.at)
        case StepStarted():
            return _with_step(state, event.step_id, StepState(Status.RUNNING, started_at=event.at))
        case StepFinished():
            finished = replace(
                state.step(event.step_id),
                status=event.status,
                attempts=event.attempts,
                exit_code=event.exit_code,
                error=event.error,
                ignored=event.ignored,
                finished_at=event.at,
            )
            return _with_step(state, event.step_id, finished)
        case ImagePushed():
            return replace(state, pushed=(*state.pushed, event))
        case RunFinished():
            return replace(state, status=event.status, error=event.error, finished_at=event.at)
    return state


def next_actions(plan: Plan, state: RunState, *, pushes_last: bool = False) -> tuple[Action, ...]:
    """What is to be done now, in file order; empty while running steps must be waited for.

    A step starts when all steps it waits for have succeeded, or failed with their errors ignored. The first
    other failure ends the run: running steps are cancelled, the rest is skipped. When the plan says `keep_going`,
    only those are skipped that wait for the failed one, and the pushes at the end: a failed run moves no tag.
    `pushes_last` holds these pushes back until all other steps are done.
    """
    heard_of = state.steps
    waiting = [step for step in plan.steps if step.id not in heard_of]
    running = {step_id for step_id, each in heard_of.items() if each.status is Status.RUNNING}
    stopper = _first_failure(heard_of.values())
    if stopper is not None and plan.keep_going and stopper.status is not Status.CANCELED:
        return _going_on(state, waiting, running, stopper)
    if stopper is not None:
        skips = tuple(SkipStep(step.id) for step in waiting)
        if running:
            return (*skips, *(CancelStep(step.id) for step in plan.steps if step.id in running))
        return (*skips, FinishRun(stopper.status, stopper.error))
    if not running and not waiting:
        return (FinishRun(Status.SUCCEEDED),)
    done = {step_id for step_id, each in heard_of.items() if each.lets_others_start}
    ready = [step for step in waiting if done.issuperset(step.depends_on)]
    if pushes_last:
        unfinished = (*waiting, *(plan.step_by_id[each] for each in running))
        if not all(map(is_push_at_end, unfinished)):
            ready = [step for step in ready if not is_push_at_end(step)]
    return tuple(StartStep(step.id) for step in ready)


def is_push_at_end(step: PlannedStep) -> bool:
    return isinstance(step.work, PushWork) and step.work.at_end


def _going_on(
    state: RunState, waiting: list[PlannedStep], running: set[str], stopper: StepState
) -> tuple[Action, ...]:
    """After a failure: what can still run, and what cannot any more."""
    done = {step_id for step_id, each in state.steps.items() if each.lets_others_start}
    lost = set(state.steps) - done - running
    actions: list[Action] = []
    for step in waiting:
        if not lost.isdisjoint(step.depends_on) or is_push_at_end(step):
            lost.add(step.id)
            actions.append(SkipStep(step.id))
        elif done.issuperset(step.depends_on):
            actions.append(StartStep(step.id))
    if not running and len(lost & {step.id for step in waiting}) == len(waiting):
        actions.append(FinishRun(stopper.status, stopper.error))
    return tuple(actions)


def _first_failure(steps: Iterable[StepState]) -> StepState | None:
    """The failure that ended the run: the earliest to finish, not one it caused by cancelling others."""
    harmless = (Status.RUNNING, Status.SUCCEEDED, Status.SKIPPED)
    failures = [each for each in steps if each.status not in harmless and not each.ignored]
    causes = [each for each in failures if each.status is not Status.CANCELED] or failures
    return min(causes, key=lambda each: each.finished_at or _NEVER, default=None)


def _with_step(state: RunState, step_id: str, step: StepState) -> RunState:
    return replace(state, steps={**state.steps, step_id: step})
