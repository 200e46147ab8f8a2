"""What the engine needs from the world, as Protocols. Implementations live in `backends/`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks_engine.cancel import CancelToken
from tasks_engine.events import RunEvent
from tasks_engine.plan.model import PlannedStep

Emit = Callable[[RunEvent], object]


@dataclass(frozen=True)
class StepOutput:
    """Where a step's output goes. Both may be called from any thread; neither waits for a reader."""

    step_id: str
    #: stream ("stdout", "stderr" or "engine") and bytes, as they came
    write: Callable[[str, bytes], None]
    emit: Emit


class Executor(Protocol):
    """Runs the steps of one plan.

    Order of calls: `prepare` once, `execute` any number of times from any threads, `release` at most once, `cleanup`
    once, whatever happened before, also when `prepare` failed half-way.
    """

    @property
    def sends_content_first(self) -> bool:
        """Whether pushes at the plan's end (`PushWork.at_end`) only send content, and `release` moves their tags.

        Known after `prepare`.
        """

    def prepare(self) -> None:
        """Makes what all steps share. Raises BackendError."""

    def execute(self, step: PlannedStep, attempt: int, output: StepOutput, cancel: CancelToken) -> None:
        """One attempt at a step; returns when it succeeded. What it gives to later steps it emits as StepOutputs.

        Must return soon after `cancel` fires, with nothing of the step left running, by raising Canceled or
        TimedOut. Raises StepFailed for the author's failures and BackendError for ours.
        """

    @property
    def released(self) -> Sequence[str]:
        """Images whose tags `release` will move: content of theirs was sent."""

    def release(self, output: Callable[[str], StepOutput], cancel: CancelToken) -> None:
        """Moves the tags of all pushes at the plan's end, after all steps have succeeded.

        `output` gives the output of a step by its id. Raises RegistryError, which says what has moved and what
        has not, BackendError, or the reason of `cancel`.
        """

    def cleanup(self) -> None:
        """Removes everything the run made. Raises BackendError when something may be left."""


class SecretResolver(Protocol):
    """Reads secrets of one kind of address. Thread-safe."""

    def resolve(self, address: str, client_id: str) -> bytes:
        """The value at an address; `client_id` names the identity to ask with, empty for the usual one.

        Raises SecretError, whose message holds nothing of the value.
        """


class EventStore(Protocol):
    """Keeps one run. Called from one thread. Raises StoreError, after which nothing is stored any more."""

    def append_log(self, data: bytes) -> int:
        """Stores output and returns its offset in the run's log."""

    def append_event(self, event: RunEvent) -> None: ...

    def flush(self) -> None:
        """What was appended survives the process from here on."""
