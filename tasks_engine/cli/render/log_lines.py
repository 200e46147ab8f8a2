"""Text of a step in pieces, as it came -> lines: all of them (`LineBuffer`), or the last few (`Tail`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tasks_engine.cli.render.text import last_overwrite, safe_line, split_before_escape
from tasks_engine.definition.model import StepKind
from tasks_engine.plan.model import PlannedStep

#: characters of an unfinished line that are held back
MAX_HELD = 64 * 1024
#: lines kept for the report of a failure
TAIL_LINES = 20
#: characters kept of each
_MAX_TAIL_LINE = 4096


def line_source(step: PlannedStep | None, stream: str) -> str:
    """Streams with the same answer continue each other's lines."""
    # the log of a build is one text: a line begun in one stream is ended by the next piece of any other
    return "" if step is not None and step.kind is StepKind.BUILD else stream


class LineBuffer:
    """Holds back what has no line break yet."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._held_size = 0

    def feed(self, text: str) -> list[str]:
        """The lines that are complete now, without line breaks."""
        if "\n" not in text:
            self._hold(text)
            return self._overflow() if self._held_size > MAX_HELD else []
        first, *others = text.split("\n")
        lines = [last_overwrite(self._take() + first), *others]
        self._hold(lines.pop())
        if "\r" in text:
            lines = [last_overwrite(line) for line in lines]
        return lines + self._overflow() if self._held_size > MAX_HELD else lines

    def flush(self) -> list[str]:
        """The unfinished line, if there is one."""
        held = last_overwrite(self._take())
        return [held] if held else []

    def _hold(self, text: str) -> None:
        if text:
            self._held.append(text)
            self._held_size += len(text)

    def _take(self) -> str:
        held = "".join(self._held)
        self._held.clear()
        self._held_size = 0
        return held

    def _overflow(self) -> list[str]:
        held = self._take()
        # a carriage return at the very end may be half of a line break
        end = "\r" if held.endswith("\r") else ""
        held = last_overwrite(held)
        pieces = []
        while len(held) > MAX_HELD:
            piece, held = split_before_escape(held, MAX_HELD)
            pieces.append(piece)
        self._hold(held + end)
        return pieces


class Tail:
    """The last lines of a step. Cheap: it never looks at more of a long text than at its end."""

    def __init__(self) -> None:
        self._lines: deque[tuple[str, str]] = deque(maxlen=TAIL_LINES)
        #: source -> stream in which the unfinished line began, and that line
        self._open: dict[str, tuple[str, str]] = {}

    def feed(self, source: str, stream: str, text: str) -> None:
        parts = text.rsplit("\n", TAIL_LINES + 1)
        began_in, begun = self._open.pop(source, (stream, ""))
        if len(parts) == 1:
            self._open[source] = (began_in, _clip(begun + text))
            return
        if len(parts) <= TAIL_LINES + 1:  # else the first part is older than all that is kept
            self._lines.append((began_in, _clip(begun + parts[0])))
        self._lines.extend((stream, _clip(line)) for line in parts[1:-1])
        if parts[-1]:
            self._open[source] = (stream, _clip(parts[-1]))

    def lines(self, *, without: str = "") -> list[str]:
        """Safe to show; lines of the stream `without` are left out."""
        kept: Iterable[tuple[str, str]] = (*self._lines, *self._open.values())
        shown = [safe_line(last_overwrite(line)) for stream, line in kept if stream != without]
        while shown and not shown[-1].strip():
            shown.pop()
        return shown[-TAIL_LINES:]


def _clip(line: str) -> str:
    if len(line) <= _MAX_TAIL_LINE:
        return line
    if "\r" not in line:
        return line[:_MAX_TAIL_LINE]
    # the next piece overwrites this one where it ends in a carriage return
    end = "\r" if line.endswith("\r") else ""
    return last_overwrite(line[-2 * _MAX_TAIL_LINE :])[:_MAX_TAIL_LINE] + end
