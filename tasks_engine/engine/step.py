"""One step from start to end: its time limit, its attempts, and what its failure means."""

from __future__ import annotations

from tasks_engine.cancel import CancelToken
from tasks_engine.errors import BackendError, Canceled, StepFailed, TasksError, TimedOut
from tasks_engine.events import Status, StepFinished, StepRetrying
from tasks_engine.plan.model import PlannedStep
from tasks_engine.ports import Executor, StepOutput


def run_step(step: PlannedStep, executor: Executor, output: StepOutput, cancel: CancelToken) -> StepFinished:
    """Runs a step and returns its last event. Errors outside the tree of TasksError pass through.

    The time limit spans all attempts and the waits between them; after it there is no further attempt.
    """
    attempts = step.retries + 1
    attempt = 0
    with cancel.child(step.timeout_s, f"step '{step.id}'") as token:
        while True:
            attempt += 1
            try:
                token.raise_if_cancelled()
                executor.execute(step, attempt, output, token)
                return StepFinished(step_id=step.id, status=Status.SUCCEEDED, attempts=attempt, exit_code=0)
            except (StepFailed, BackendError) as error:
                if attempt == attempts or token.is_cancelled:
                    return _finished(step, attempt, error, cancel)
                reason = error.message
            except TasksError as error:
                return _finished(step, attempt, error, cancel)
            output.emit(
                StepRetrying(
                    step_id=step.id,
                    attempt=attempt,
                    attempts=attempts,
                    delay_s=step.retry_delay_s,
                    reason=reason,
                )
            )
            try:
                token.wait(step.retry_delay_s)
            except TasksError as error:
                return _finished(step, attempt, error, cancel)


def _finished(step: PlannedStep, attempt: int, error: TasksError, cancel: CancelToken) -> StepFinished:
    status = status_of(error)
    return StepFinished(
        step_id=step.id,
        status=status,
        attempts=attempt,
        exit_code=error.exit_status if isinstance(error, StepFailed) else None,
        error=error.to_json(),
        # the reason of a cancelled run may be of any class; it is not the step's to ignore
        ignored=step.ignore_errors and status is not Status.CANCELED and not cancel.is_cancelled,
    )


def status_of(error: TasksError) -> Status:
    """The status of a run or step that ended with this error."""
    if isinstance(error, StepFailed):
        return Status.FAILED
    if isinstance(error, TimedOut):
        return Status.TIMED_OUT
    return Status.CANCELED if isinstance(error, Canceled) else Status.ERROR
