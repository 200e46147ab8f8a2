"""A plan and events for tests of views: time goes on only when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tasks_engine.definition.model import StepKind
from tasks_engine.events import (
    RunEvent,
    RunFinished,
    RunStarted,
    Status,
    StepFinished,
    StepLog,
    StepProgress,
    StepStarted,
)
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork, Work

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DIGEST = "sha256:" + "ab" * 32

_WORK: dict[str, Work] = {
    "build": BuildWork(".", "", ("app:1",), {}, {}, "", (), False, False, False),
    "cmd": CmdWork("busybox", ()),
    "push": PushWork(("localhost:5000/app:1",)),
}


def step(step_id: str, kind: str = "cmd", after: tuple[str, ...] = (), ignore: bool = False) -> PlannedStep:
    return PlannedStep(
        step_id, StepKind(kind), after, 600, 0, 5, ignore, False, {}, "/workspace", _WORK[kind]
    )


def plan_of(*steps: PlannedStep) -> Plan:
    return Plan("6k2m1v8yza", "task.yaml", "", steps)


class Scene:
    """Sends events to a view, all at the moment `now_s` seconds after the beginning."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.view: Any = None

    def clock(self) -> datetime:
        return BEGIN + timedelta(seconds=self.now_s)

    def send(self, kind: type[RunEvent], **fields: Any) -> None:
        self.view(kind(at=self.clock(), run_id="6k2m1v8yza", **fields))

    def begin(self) -> None:
        self.send(RunStarted, task="task.yaml", context=".", engine="0")

    def start(self, *step_ids: str) -> None:
        for step_id in step_ids:
            self.send(StepStarted, step_id=step_id)

    def log(self, step_id: str, text: str, stream: str = "stdout") -> None:
        self.send(StepLog, step_id=step_id, stream=stream, offset=0, length=len(text), text=text)

    def progress(self, step_id: str, item: str, name: str, state: str = "running", **fields: Any) -> None:
        self.send(StepProgress, step_id=step_id, item=item, name=name, state=state, **fields)

    def succeed(self, *step_ids: str) -> None:
        for step_id in step_ids:
            self.send(StepFinished, step_id=step_id, status=Status.SUCCEEDED, attempts=1, exit_code=0)

    def fail(self, step_id: str, exit_code: int = 3, attempts: int = 1, ignored: bool = False) -> None:
        self.send(
            StepFinished,
            step_id=step_id,
            status=Status.FAILED,
            attempts=attempts,
            exit_code=exit_code,
            error=exit_error(exit_code),
            ignored=ignored,
        )

    def skip(self, *step_ids: str) -> None:
        for step_id in step_ids:
            self.send(StepFinished, step_id=step_id, status=Status.SKIPPED, attempts=0)

    def end(self, status: Status, error: dict[str, Any] | None = None) -> None:
        self.send(RunFinished, status=status, error=error)


def exit_error(exit_code: int) -> dict[str, Any]:
    return {"code": "step-failed", "message": f"exit code {exit_code}"}
