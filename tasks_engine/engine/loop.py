"""`run_plan`: while there are actions, start them, wait for one result, apply it."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace

from tasks_engine.cancel import CancelToken
from tasks_engine.engine.sinks import EventSink
from tasks_engine.engine.step import run_step, status_of
from tasks_engine.errors import Canceled
from tasks_engine.events import RunEvent, Status, StepFinished, StepStarted
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import (
    CancelStep,
    FinishRun,
    RunState,
    SkipStep,
    StartStep,
    apply,
    next_actions,
)
from tasks_engine.ports import Executor


def run_plan(plan: Plan, executor: Executor, sink: EventSink, cancel: CancelToken) -> FinishRun:
    """Runs all steps, each in a thread of its own, and returns how the run ends.

    `prepare`, `release` and `cleanup` are the caller's. An error outside the tree of TasksError is a bug in a step's
    thread; it cancels the other steps and is raised here when they have ended.
    """
    state = RunState()
    results: queue.Queue[StepFinished | BaseException] = queue.Queue()
    token_by_step: dict[str, CancelToken] = {}
    running = 0

    def happened(event: RunEvent) -> None:
        nonlocal state
        state = apply(state, replace(event, at=sink.emit(event)))

    def run(step_id: str, token: CancelToken) -> None:
        try:
            with cancel.calling(lambda: token.cancel(cancel.reason)):
                result = run_step(plan.step_by_id[step_id], executor, sink.output(step_id), token)
            results.put(result)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            results.put(error)

    while True:
        for action in next_actions(plan, state, pushes_last=not executor.sends_content_first):
            match action:
                case StartStep(step_id):
                    token_by_step[step_id] = CancelToken()
                    happened(StepStarted(step_id=step_id))
                    threading.Thread(
                        target=run,
                        args=(step_id, token_by_step[step_id]),
                        name=f"step-{step_id}",
                        daemon=True,
                    ).start()
                    running += 1
                case SkipStep(step_id):
                    happened(StepFinished(step_id=step_id, status=Status.SKIPPED, attempts=0))
                case CancelStep(step_id):
                    token_by_step[step_id].cancel(Canceled("another step failed"))
                case FinishRun():
                    if cancel.reason is not None and action.status is not Status.SUCCEEDED:
                        # Whatever failed before: it is why the run did not go on.
                        return FinishRun(status_of(cancel.reason), cancel.reason.to_json())
                    return action
        result = results.get()
        running -= 1
        if isinstance(result, BaseException):
            for token in token_by_step.values():
                token.cancel()
            for _ in range(running):
                results.get()
            raise result
        happened(result)
