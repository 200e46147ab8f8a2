"""What is left to say when a run is over. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks_engine.cli.render.dependencies import dependency_lines
from tasks_engine.cli.render.text import cut, duration, pad, paint, safe_name, width_of
from tasks_engine.cli.render.words import (
    problem_lines,
    reason_of,
    status_color,
    status_word,
    step_reason,
)
from tasks_engine.events import ImageDependencies, Status
from tasks_engine.plan.model import Plan, PlannedStep
from tasks_engine.plan.state import RunState, StepState

MAX_ID_WIDTH = 24
_MAX_LINE_WIDTH = 1000


def summary_lines(
    plan: Plan,
    state: RunState,
    log_path: Path | None,
    tails: Mapping[str, Sequence[str]],
    *,
    with_steps: bool = True,
    color: bool = False,
    dependencies: Sequence[ImageDependencies] = (),
) -> list[str]:
    """Steps, images, the failure and where the log is; the last line says how the run ended.

    `dependencies` are shown of a run that succeeded. `tails` is step id -> last lines of its log, safe to show. Without
    steps for a reader who sees them above.
    """
    culprit = find_culprit(plan, state)
    built = dependency_lines(dependencies) if state.status is Status.SUCCEEDED else []
    blocks = [built, _pushed(state), _failure(culprit, state, tails, color)]
    if with_steps:
        blocks.insert(0, _steps(plan, state, color))
    lines = [line for block in blocks if block for line in (*block, "")]
    if log_path is not None:
        lines.append(f"log: {safe_name(str(log_path), _MAX_LINE_WIDTH)}")
    ending = _ending(plan, culprit, state)
    lines.append(paint(ending, status_color(state.status)) if color and state.status.is_final else ending)
    return lines


def find_culprit(plan: Plan, state: RunState) -> tuple[PlannedStep, StepState] | None:
    """The step whose failure ended the run, if one did."""
    if state.status is Status.SUCCEEDED:
        return None
    failed = [
        (step, state.step(step.id))
        for step in plan.steps
        if state.step(step.id).status in (Status.FAILED, Status.ERROR, Status.TIMED_OUT)
        and not state.step(step.id).ignored
    ]
    told = [each for each in failed if each[1].error == state.error]
    return min(told or failed, key=lambda each: str(each[1].finished_at), default=None)


def _steps(plan: Plan, state: RunState, color: bool) -> list[str]:
    names = {step.id: safe_name(step.id, 64) for step in plan.steps}
    id_width = min(max(map(width_of, names.values()), default=0), MAX_ID_WIDTH)
    words = {
        step.id: status_word(state.step(step.id).status, ignored=state.step(step.id).ignored)
        for step in plan.steps
    }
    word_width = max(map(len, words.values()), default=0)
    times = {step.id: _time(state.step(step.id)) for step in plan.steps}
    time_width = max(map(len, times.values()), default=0)
    lines = []
    for step in plan.steps:
        own = state.step(step.id)
        word = words[step.id].ljust(word_width)
        shown = paint(word, status_color(own.status, ignored=own.ignored)) if color else word
        notes = [f"{own.attempts} attempts"] if own.attempts > 1 else []
        if own.status not in (Status.SUCCEEDED, Status.SKIPPED):
            notes += [step_reason(own)] if step_reason(own) else []
        line = f"{pad(names[step.id], id_width)}  {shown}  {times[step.id].rjust(time_width)}"
        lines.append(cut(f"{line}  {', '.join(notes)}".rstrip(), _MAX_LINE_WIDTH))
    return lines


def _time(step: StepState) -> str:
    return "" if step.elapsed_s is None else duration(step.elapsed_s)


def _pushed(state: RunState) -> list[str]:
    return [f"pushed {safe_name(each.image)}@{safe_name(each.digest)}" for each in state.pushed]


def _failure(
    culprit: tuple[PlannedStep, StepState] | None,
    state: RunState,
    tails: Mapping[str, Sequence[str]],
    color: bool,
) -> list[str]:
    if culprit is None:
        told = state.status in (Status.FAILED, Status.ERROR, Status.TIMED_OUT) and state.error is not None
        return problem_lines(state.error) if told and state.error is not None else []
    step, own = culprit
    name = safe_name(step.id, 64)
    lines = []
    if own.error is not None:
        head = f"step '{name}' {status_word(own.status)}:"
        if own.status is Status.ERROR:
            head = f"step '{name}' ended with an error:"
        if color:
            head = paint(head, "bold")
        first, *others = problem_lines(own.error)
        # a place has to begin its line, or editors do not find it
        lines = [head, first, *others] if own.error.get("location") else [f"{head} {first}", *others]
    tail = tails.get(step.id, ())
    if tail:
        what = "last line" if len(tail) == 1 else f"last {len(tail)} lines"
        lines += ["", f"{what} of step '{name}':"] if lines else [f"{what} of step '{name}':"]
        lines += [f"  | {cut(line, _MAX_LINE_WIDTH)}".rstrip() for line in tail]
    return lines


def _ending(plan: Plan, culprit: tuple[PlannedStep, StepState] | None, state: RunState) -> str:
    run = f"run {safe_name(plan.run_id)}"
    elapsed = ""
    if state.started_at is not None and state.finished_at is not None:
        elapsed = duration((state.finished_at - state.started_at).total_seconds())
    match state.status:
        case Status.SUCCEEDED:
            return f"{run} succeeded in {elapsed}" if elapsed else f"{run} succeeded"
        case Status.CANCELED:
            return f"{run} canceled after {elapsed}" if elapsed else f"{run} canceled"
        case Status.QUEUED | Status.RUNNING:
            return f"{run} did not end"
    words = [
        run + (" ended with an error" if state.status is Status.ERROR else f" {status_word(state.status)}")
    ]
    if culprit is None:
        words.append(reason_of(state.error))
    elif state.status is Status.TIMED_OUT and step_reason(culprit[1]):
        words.append(step_reason(culprit[1]))  # names the step itself
    else:
        step, own = culprit
        failed = "" if own.status is Status.ERROR else f" {status_word(own.status)}"
        words += [f"step '{safe_name(step.id, 64)}'{failed}", step_reason(own)]
    return cut(": ".join(word for word in words if word), _MAX_LINE_WIDTH)
