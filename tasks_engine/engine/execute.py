"""One run from start to end: prepare, run the plan, clean up, and say how it went."""

from __future__ import annotations

from tasks_engine._version import __version__
from tasks_engine.cancel import CancelToken
from tasks_engine.engine.loop import run_plan
from tasks_engine.engine.sinks import EventSink
from tasks_engine.engine.step import status_of
from tasks_engine.errors import TasksError
from tasks_engine.events import (
    ReleaseFinished,
    ReleaseStarted,
    RunFinished,
    RunPlanned,
    RunStarted,
    RunWarning,
    Status,
)
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import FinishRun
from tasks_engine.ports import Executor


def execute_run(
    plan: Plan, context: str, executor: Executor, sink: EventSink, cancel: CancelToken
) -> RunFinished:
    """Runs a plan and returns its last event, which is emitted after everything was removed."""
    sink.emit(RunStarted(task=plan.task, context=context, engine=__version__))
    sink.emit(RunPlanned(plan=plan.to_json()))
    for warning in plan.warnings:
        sink.emit(RunWarning(message=str(warning["message"]), hint=str(warning.get("hint", ""))))
    try:
        end = _prepare_and_run(plan, executor, sink, cancel)
    finally:
        _cleanup(executor, sink)
    finished = RunFinished(status=end.status, error=end.error)
    sink.emit(finished)
    return finished


def _prepare_and_run(plan: Plan, executor: Executor, sink: EventSink, cancel: CancelToken) -> FinishRun:
    try:
        cancel.raise_if_cancelled()
        executor.prepare()
        cancel.raise_if_cancelled()
    except TasksError as error:
        return FinishRun(status_of(error), error.to_json())
    end = run_plan(plan, executor, sink, cancel)
    if end.status is Status.SUCCEEDED and executor.released:
        return _release(executor, sink, cancel)
    return end


def _release(executor: Executor, sink: EventSink, cancel: CancelToken) -> FinishRun:
    images = tuple(executor.released)
    sink.emit(ReleaseStarted(images=images))
    try:
        cancel.raise_if_cancelled()
        executor.release(sink.output, cancel)
    except TasksError as error:
        return FinishRun(status_of(error), error.to_json())
    sink.emit(ReleaseFinished(images=images))
    return FinishRun(Status.SUCCEEDED)


def _cleanup(executor: Executor, sink: EventSink) -> None:
    try:
        executor.cleanup()
    except TasksError as error:
        hint = error.hint or "the next `tasks` command removes it once the engine answers"
        sink.emit(RunWarning(message=f"something of this run is left behind: {error.message}", hint=hint))
