"""The plain view of a run, for a reader who comes later: with times, or of one step alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TextIO

from tasks_engine.cli.render.plain import PlainView
from tasks_engine.cli.render.text import pad, safe_name
from tasks_engine.events import RunEvent, StepLog
from tasks_engine.plan.model import Plan


class LogView(PlainView):
    """`only` is a step whose output is shown without its name in front, and nothing else; empty: everything."""

    def __init__(self, plan: Plan, out: TextIO, *, only: str = "", timestamps: bool = False) -> None:
        super().__init__(plan, out, color=out.isatty() and not os.environ.get("NO_COLOR"))
        self._only = only
        self._timestamps = timestamps
        self._at = ""

    @property
    def is_gone(self) -> bool:
        """Whether nobody reads any more."""
        return self._out.is_gone

    def __call__(self, event: RunEvent) -> None:
        self._at = f"{event.at:%Y-%m-%dT%H:%M:%S}.{event.at.microsecond // 1000:03}Z "
        if not self._only:
            super().__call__(event)
        elif isinstance(event, StepLog):
            self._log(event)

    def end(self) -> None:
        """Shows unfinished lines; how the run went is for `tasks runs show`."""
        for step_id in dict.fromkeys(step_id for step_id, _ in self._buffers):
            self._flush(step_id)

    def _write(self, step_id: str, lines: Iterable[str]) -> None:
        if not self._timestamps and not self._only:
            super()._write(step_id, lines)
            return
        prefix = "" if self._only else f"{pad(safe_name(step_id, 64), self._id_width)} | "
        at = self._at if self._timestamps else ""
        text = "".join(f"{at}{prefix}{line}\n" if line else f"{at}{prefix}".rstrip() + "\n" for line in lines)
        if text:
            self._out.write(text)
            self._out.flush()
