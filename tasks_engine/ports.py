"""What the engine needs from the world, as Protocols. Implementations live in `backends/`."""

from __future__ import annotations

from collections.abc import Callable
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

    Order of calls: `prepare` once, `execute` any number of times from any threads, `cleanup` once, whatever
    happened before, also when `prepare` failed half-way.
    """

    def prepare(self) -> None:
        """Makes what all steps share. Raises BackendError."""

    def execute(self, step: PlannedStep, attempt: int, output: StepOutput, cancel: CancelToken) -> None:
        """One attempt at a step; returns when it succeeded.

        Must return soon after `cancel` fires, with nothing of the step left running, by raising Canceled or
        TimedOut. Raises StepFailed for the author's failures and BackendError for ours.
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
