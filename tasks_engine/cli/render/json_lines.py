"""A run as JSON lines, for programs: one event a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from tasks_engine.cli.render.quiet_out import QuietOut
from tasks_engine.events import RunEvent, to_json
from tasks_engine.plan.state import RunState


class JsonView:
    """Each line leaves at once. ASCII only, so any encoding can carry it and no log can drive a terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = QuietOut(out)

    def __call__(self, event: RunEvent) -> None:
        if not self._out.is_gone:
            self._out.write(json.dumps(to_json(event), separators=(",", ":")) + "\n")
            self._out.flush()

    def close(self, state: RunState | None = None, log_path: Path | None = None) -> None:
        """The events have said it all."""
        del state, log_path
        self._out.flush()

    def abandon(self) -> None:
        """There is nothing to give back."""
