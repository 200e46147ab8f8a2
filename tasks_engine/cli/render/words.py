"""Statuses in words, and the parts of an error that people are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks_engine.cli.render.text import safe_line
from tasks_engine.errors import SourceLocation, render_problem
from tasks_engine.events import Status
from tasks_engine.plan.state import StepState

_WORD_BY_STATUS = {
    Status.QUEUED: "waiting",
    Status.TIMED_OUT: "timed out",
}
_COLOR_BY_STATUS = {
    Status.QUEUED: "dim",
    Status.RUNNING: "cyan",
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.ERROR: "red",
    Status.CANCELED: "yellow",
    Status.TIMED_OUT: "red",
    Status.SKIPPED: "dim",
}


def status_word(status: Status, *, ignored: bool = False) -> str:
    word = _WORD_BY_STATUS.get(status, status.value)
    return f"{word}, ignored" if ignored else word


def status_color(status: Status, *, ignored: bool = False) -> str:
    return "yellow" if ignored else _COLOR_BY_STATUS[status]


def reason_of(error: Mapping[str, Any] | None, exit_code: int | None = None) -> str:
    """Why, in one line that ends with the exit code where there is one; empty when nothing is known."""
    message = str((error or {}).get("message", "")).strip()
    first = safe_line(message.partition("\n")[0]).strip()
    if not exit_code or first.endswith(f"exit code {exit_code}"):
        return first
    return f"{first}: exit code {exit_code}" if first else f"exit code {exit_code}"


def step_reason(step: StepState) -> str:
    return reason_of(step.error, step.exit_code)


def problem_lines(error: Mapping[str, Any]) -> list[str]:
    """The error with its place in the author's file, that line of it, and the hint, as far as they are known."""
    place = error.get("location")
    location = None
    if place:
        location = SourceLocation(
            str(place["source"]),
            int(place["line"]),
            int(place["column"]),
            text=str(place.get("text", "")),
            width=int(place.get("width", 1)),
        )
    text = render_problem(str(error.get("message", "")).strip(), location, str(error.get("hint", "")))
    return [safe_line(line) for line in text.split("\n")]
