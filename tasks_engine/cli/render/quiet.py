"""A run of which nothing is shown unless it fails."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from tasks_engine.cli.render.quiet_out import QuietOut
from tasks_engine.cli.render.summary import summary_lines
from tasks_engine.cli.render.watched import Watched
from tasks_engine.events import RunEvent, Status
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import RunState


class QuietView:
    """`out` gets the summary of a run that did not succeed."""

    def __init__(self, plan: Plan, out: TextIO) -> None:
        self._plan = plan
        self._out = QuietOut(out)
        self._watched = Watched(plan)

    def __call__(self, event: RunEvent) -> None:
        self._watched.take(event)

    def close(self, state: RunState | None = None, log_path: Path | None = None) -> None:
        state = state or self._watched.state
        if state.status is not Status.SUCCEEDED:
            lines = summary_lines(self._plan, state, log_path, self._watched.tails())
            self._out.write("".join(f"{line}\n" for line in lines))
            self._out.flush()

    def abandon(self) -> None:
        """There is nothing to give back."""
