"""Which view a run gets, and what all views have in common."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TextIO

from tasks_engine.cli.render.json_lines import JsonView
from tasks_engine.cli.render.live import LiveView, wants_live
from tasks_engine.cli.render.plain import PlainView
from tasks_engine.cli.render.quiet import QuietView
from tasks_engine.events import RunEvent
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import RunState

_LOGGER = logging.getLogger(__name__)


class Mode(StrEnum):
    """`auto` is live on a terminal and plain elsewhere."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    #: only what went wrong, on standard error
    QUIET = "quiet"


class View(Protocol):
    """Shows a run while it goes on. Events come from one thread; close it in any case."""

    def __call__(self, event: RunEvent) -> None: ...

    def close(self, state: RunState | None = None, log_path: Path | None = None) -> None:
        """Prints the summary; without a state, of what was seen. Call it when no more events come."""

    def abandon(self) -> None:
        """Leaves the terminal usable, and no more; for a process that ends at once, from any thread."""


def open_view(plan: Plan, mode: Mode, out: TextIO, environ: Mapping[str, str]) -> View:
    """The view of a run on a stream, which for `tasks run` is stdout: what people see is its data."""
    return _Guarded(_choose(plan, mode, out, environ))


def _choose(plan: Plan, mode: Mode, out: TextIO, environ: Mapping[str, str]) -> View:
    if mode is Mode.JSON:
        return JsonView(out)
    if mode is Mode.QUIET:
        return QuietView(plan, sys.stderr)
    if mode is Mode.LIVE or (mode is Mode.AUTO and wants_live(out, environ)):
        return LiveView(plan, out, environ)
    has_color = out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "") not in ("", "dumb")
    return PlainView(plan, out, color=has_color)


class _Guarded:
    """A run must not end because of those who watch it: a view that fails is told of once, and left out."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._has_failed = False

    def __call__(self, event: RunEvent) -> None:
        if self._has_failed:
            return
        try:
            self._view(event)
        except Exception:
            self._has_failed = True
            _LOGGER.exception("the run goes on unseen: its view failed at event %d", event.seq)

    def close(self, state: RunState | None = None, log_path: Path | None = None) -> None:
        try:
            self._view.close(state, log_path)
        except Exception:
            _LOGGER.exception("the summary of the run cannot be shown")

    def abandon(self) -> None:
        self._view.abandon()
