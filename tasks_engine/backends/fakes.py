"""In-memory versions of the ports, for tests of whoever drives them: an executor with a script, and a store.

Nothing here sleeps: what takes time waits for a Gate that the test opens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tasks_engine.cancel import CancelToken
from tasks_engine.errors import BackendError, StepFailed, StoreError
from tasks_engine.events import RunEvent
from tasks_engine.plan.model import PlannedStep, PushWork
from tasks_engine.ports import StepOutput

#: how long a test waits for what must happen, before it fails
PATIENCE_S = 10.0


class Gate:
    """Holds a step until the test opens it, or until the step is cancelled. One that stays shut hangs."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = False

    def open(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def wait(self, cancel: CancelToken) -> None:
        """Raises the reason when `cancel` fires first."""
        with cancel.calling(self._wake), self._changed:
            self._changed.wait_for(lambda: self._open or cancel.is_cancelled)
        cancel.raise_if_cancelled()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


@dataclass(frozen=True)
class Write:
    data: bytes
    stream: str = "stdout"


#: output, a wait, an event of the step, or the error that ends the attempt; at the end of its actions it succeeds
Action = Write | Gate | RunEvent | BaseException


def exits(status: int) -> StepFailed:
    """The end of an attempt whose process exits with a status other than 0."""
    return StepFailed(f"the command exited with status {status}", exit_status=status)


class FakeExecutor:
    """Implements the Executor port by a script: step id -> the actions of each attempt.

    The last attempt's actions also serve all later ones; a step that is not in the script succeeds at once.
    """

    def __init__(
        self,
        script: Mapping[str, Sequence[Sequence[Action]]] | None = None,
        *,
        prepare: Sequence[BaseException] = (),
        cleanup: Sequence[BackendError] = (),
        release: Sequence[BackendError] = (),
        sends_content_first: bool = True,
    ) -> None:
        self._script = script or {}
        self._prepare = prepare
        self._cleanup = cleanup
        self._release = release
        self.sends_content_first = sends_content_first
        self._changed = threading.Condition()
        #: in the order they happened: "prepare", "start ID ATTEMPT", "end ID ATTEMPT", "release", "cleanup"
        self.calls: list[str] = []
        #: steps as they were given to `execute`
        self.steps: list[PlannedStep] = []

    def prepare(self) -> None:
        self._note("prepare")
        for error in self._prepare:
            raise error

    def execute(self, step: PlannedStep, attempt: int, output: StepOutput, cancel: CancelToken) -> None:
        with self._changed:
            self.steps.append(step)
        self._note(f"start {step.id} {attempt}")
        try:
            attempts = self._script.get(step.id, [()])
            for action in attempts[min(attempt, len(attempts)) - 1]:
                match action:
                    case Write():
                        output.write(action.stream, action.data)
                    case Gate():
                        action.wait(cancel)
                    case BaseException():
                        raise action
                    case _:
                        output.emit(action)
        finally:
            self._note(f"end {step.id} {attempt}")

    @property
    def released(self) -> list[str]:
        if not self.sends_content_first:
            return []
        works = [step.work for step in self.steps]
        return [
            image for work in works if isinstance(work, PushWork) and work.at_end for image in work.images
        ]

    def release(self, output: Callable[[str], StepOutput], cancel: CancelToken) -> None:  # noqa: ARG002
        self._note("release")
        for error in self._release:
            raise error

    def cleanup(self) -> None:
        self._note("cleanup")
        for error in self._cleanup:
            raise error

    def wait_for(self, call: str) -> None:
        """Returns when a call was made. Raises TimeoutError when it never is."""
        with self._changed:
            if not self._changed.wait_for(lambda: call in self.calls, PATIENCE_S):
                raise TimeoutError(f"'{call}' never happened, only {self.calls}")

    def _note(self, call: str) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()


class FakeStore:
    """Implements the EventStore port in memory."""

    def __init__(self) -> None:
        self.log = bytearray()
        #: what was flushed
        self.events: list[RunEvent] = []
        #: raised by every call while it is set
        self.error: StoreError | None = None
        self._unflushed: list[RunEvent] = []
        self._in_use = threading.Lock()

    def append_log(self, data: bytes) -> int:
        with self._used():
            offset = len(self.log)
            self.log += data
            return offset

    def append_event(self, event: RunEvent) -> None:
        with self._used():
            self._unflushed.append(event)

    def flush(self) -> None:
        with self._used():
            self.events += self._unflushed
            self._unflushed.clear()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """While the block runs, every call of others waits: a slow disk."""
        with self._in_use:
            yield

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._in_use:
            if self.error is not None:
                raise self.error
            yield
