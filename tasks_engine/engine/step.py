"""One step from start to end: its time limit, its attempts, and what its failure means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import NoneType

from tasks_engine.cancel import CancelToken
from tasks_engine.errors import BackendError, Canceled, StepFailed, TasksError, TimedOut
from tasks_engine.events import Status, StepFinished, StepRetrying
from tasks_engine.plan.model import PlannedStep
from tasks_engine.ports import Executor, StepOutput


def run_step(step: PlannedStep, executor: Executor, output: StepOutput, cancel: CancelToken) -> StepFinished:
    """Runs a step and returns its last event. Errors outside the tree of TasksError pass through.

    The time limit spans all repetitions, their attempts and the waits between them; after it there is no further
    attempt. The start delay comes before it. All repetitions run, also behind one that failed.
    """
    tries = _Tries(step, executor, output)
    failures: list[TasksError] = []
    try:
        cancel.wait(step.start_delay_s)
        with cancel.child(step.timeout_s, f"step '{step.id}'") as token:
            for _ in range(step.repeat + 1):
                failure = tries.repetition(token)
                if failure is not None:
                    failures.append(failure)
                if token.is_cancelled or not isinstance(failure, (StepFailed, BackendError, NoneType)):
                    break
    except TasksError as error:
        failures.append(error)
    if not failures:
        return StepFinished(step_id=step.id, status=Status.SUCCEEDED, attempts=tries.count, exit_code=0)
    return _finished(step, tries.count, failures[-1], cancel)


class _Tries:
    """Attempts at one step."""

    def __init__(self, step: PlannedStep, executor: Executor, output: StepOutput) -> None:
        self._step = step
        self._executor = executor
        self._output = output
        #: over all repetitions
        self.count = 0

    def repetition(self, token: CancelToken) -> TasksError | None:
        """Tries the step until an attempt succeeds; the last failure when none does."""
        step = self._step
        attempts = step.retries + 1
        for attempt in range(1, attempts + 1):
            self.count += 1
            heard = _Listener(self._output, step.retry_on_errors)
            try:
                token.raise_if_cancelled()
                self._executor.execute(step, self.count, heard.output, token)
                return None
            except (StepFailed, BackendError) as error:
                if attempt == attempts or token.is_cancelled or not heard.allows_retry:
                    return error
                failure = error
            except TasksError as error:
                return error
            self._output.emit(
                StepRetrying(
                    step_id=step.id,
                    attempt=attempt,
                    attempts=attempts,
                    delay_s=step.retry_delay_s,
                    reason=failure.message,
                )
            )
            try:
                token.wait(step.retry_delay_s)
            except TasksError as error:
                return error
        raise AssertionError("the last attempt returns")


class _Listener:
    """Looks for texts in the output of one attempt, wherever the output is cut into pieces."""

    def __init__(self, output: StepOutput, texts: Sequence[str]) -> None:
        self._write = output.write
        self._wanted = [text.encode() for text in texts]
        self._tails: dict[str, bytes] = {}
        self.allows_retry = not self._wanted
        self.output = output if self.allows_retry else replace(output, write=self._listen)

    def _listen(self, stream: str, data: bytes) -> None:
        self._write(stream, data)
        if not self.allows_retry:
            seen = self._tails.get(stream, b"") + data
            self.allows_retry = any(text in seen for text in self._wanted)
            keep = max(map(len, self._wanted)) - 1
            self._tails[stream] = seen[-keep:] if keep else b""


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
