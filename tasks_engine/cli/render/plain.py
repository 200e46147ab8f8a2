"""A run as lines of text, for files, pipes and CI: `step | text`, in the order things happened."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from tasks_engine.cli.render.log_lines import LineBuffer, line_source
from tasks_engine.cli.render.quiet_out import QuietOut
from tasks_engine.cli.render.summary import MAX_ID_WIDTH, summary_lines
from tasks_engine.cli.render.text import duration, pad, safe_line, safe_name, width_of
from tasks_engine.cli.render.watched import Watched
from tasks_engine.cli.render.words import reason_of, status_word
from tasks_engine.events import (
    ImagePushed,
    RunEvent,
    RunWarning,
    Status,
    StepFinished,
    StepLog,
    StepRetrying,
    StepStarted,
)
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import RunState


class PlainView:
    """Lines of different steps take turns but never mix. `color` lets colours of logs through."""

    def __init__(self, plan: Plan, out: TextIO, *, color: bool = False) -> None:
        self._plan = plan
        self._out = QuietOut(out)
        self._color = color
        self._watched = Watched(plan)
        self._id_width = min(max((width_of(_name(step.id)) for step in plan.steps), default=0), MAX_ID_WIDTH)
        self._prefix_by_step: dict[str, str] = {}
        #: (step id, source) -> what waits for its line break
        self._buffers: dict[tuple[str, str], LineBuffer] = {}

    def __call__(self, event: RunEvent) -> None:
        self._watched.take(event)
        match event:
            case StepLog():
                self._log(event)
            case StepStarted():
                self._say(event.step_id, "started")
            case StepRetrying():
                self._flush(event.step_id)
                reason = reason_of({"message": event.reason})
                self._say(
                    event.step_id,
                    f"attempt {event.attempt} of {event.attempts} failed: {reason}; "
                    f"again in {event.delay_s:g} s",
                )
            case StepFinished():
                self._flush(event.step_id)
                self._say(event.step_id, self._finish_text(event))
            case ImagePushed():
                self._say(event.step_id, f"pushed {safe_name(event.image)}@{safe_name(event.digest)}")
            case RunWarning():
                hint = f"\nhint: {event.hint}" if event.hint else ""
                text = f"warning: {event.message}{hint}"
                self._out.write("".join(f"{safe_line(line)}\n" for line in text.split("\n")))
                self._out.flush()

    def close(self, state: RunState | None = None, log_path: Path | None = None) -> None:
        """Writes what was held back, and the summary."""
        for step_id in dict.fromkeys(step_id for step_id, _ in self._buffers):
            self._flush(step_id)
        lines = summary_lines(
            self._plan,
            state or self._watched.state,
            log_path,
            self._watched.tails(),
            color=self._color,
            dependencies=self._watched.dependencies,
        )
        self._out.write("".join(f"{line}\n" for line in ("", *lines)))
        self._out.flush()

    def abandon(self) -> None:
        """There is nothing to give back."""

    def _log(self, event: StepLog) -> None:
        key = (event.step_id, line_source(self._plan.step_by_id.get(event.step_id), event.stream))
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = LineBuffer()
        self._write(event.step_id, [safe_line(line, color=self._color) for line in buffer.feed(event.text)])

    def _flush(self, step_id: str) -> None:
        for key in [each for each in self._buffers if each[0] == step_id]:
            lines = self._buffers.pop(key).flush()
            self._write(step_id, [safe_line(line, color=self._color) for line in lines])

    def _finish_text(self, event: StepFinished) -> str:
        word = status_word(event.status, ignored=event.ignored)
        elapsed_s = self._watched.state.step(event.step_id).elapsed_s
        after = "" if elapsed_s is None else f" after {duration(elapsed_s)}"
        ran = event.status not in (Status.SUCCEEDED, Status.SKIPPED)
        reason = reason_of(event.error, event.exit_code) if ran else ""
        return f"{word}{after}: {reason}" if reason else f"{word}{after}"

    def _say(self, step_id: str, text: str) -> None:
        self._write(step_id, [safe_line(text)])

    def _write(self, step_id: str, lines: Iterable[str]) -> None:
        prefix = self._prefix_by_step.get(step_id)
        if prefix is None:
            prefix = self._prefix_by_step[step_id] = f"{pad(_name(step_id), self._id_width)} |"
        text = "".join([f"{prefix} {line}\n" if line else f"{prefix}\n" for line in lines])
        if text:
            self._out.write(text)
            self._out.flush()


def _name(step_id: str) -> str:
    return safe_name(step_id, 64)
