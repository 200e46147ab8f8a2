"""A run as a tree that lives on a terminal: events only change what is remembered, one thread draws it."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tasks_engine.cli.render.frame import (
    ALL_UNICODE,
    ASCII_ICONS,
    UNICODE_ICONS,
    Line,
    Scene,
    draw,
    draw_final,
)
from tasks_engine.cli.render.items import Items
from tasks_engine.cli.render.quiet_out import QuietOut
from tasks_engine.cli.render.summary import summary_lines
from tasks_engine.cli.render.text import safe_line, width_of
from tasks_engine.cli.render.watched import Watched
from tasks_engine.events import RunEvent, RunWarning, StepFinished, StepProgress, StepRetrying
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import RunState

if TYPE_CHECKING:
    from rich.live import Live

_INTERVAL_S = 0.1
_SHOW_CURSOR = "\x1b[?25h"

#: columns and lines
TerminalSize = tuple[int, int]


def wants_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal that can move its cursor, and not the log of a CI system."""
    try:
        is_terminal = stream.isatty()
    except ValueError:  # closed
        return False
    return is_terminal and environ.get("TERM", "") not in ("", "dumb") and not environ.get("CI")


class LiveView:
    """Call `close` in any case: it stops the thread and gives the cursor back.

    Without `auto_refresh` nothing is drawn but by `refresh`.
    """

    def __init__(
        self,
        plan: Plan,
        out: TextIO,
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        terminal_size: Callable[[], TerminalSize] | None = None,
        auto_refresh: bool = True,
    ) -> None:
        self._plan = plan
        self._out = QuietOut(out)
        self._environ = environ
        self._clock = clock
        self._terminal_size = terminal_size or self._ask_size
        self._auto_refresh = auto_refresh
        self._watched = Watched(plan)
        icons = UNICODE_ICONS if self._out.can_encode(ALL_UNICODE) else ASCII_ICONS
        self._scene = Scene(self._watched, icons)
        #: to be printed above the tree
        self._remarks: list[str] = []
        #: guards all of the above
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._live: Live | None = None
        #: widths of the lines that stand on the terminal, and its size then
        self._drawn: list[int] = []
        self._drawn_size: TerminalSize = (0, 0)

    def __call__(self, event: RunEvent) -> None:
        with self._lock:
            self._watched.take(event)
            match event:
                case StepProgress():
                    self._scene.items.setdefault(event.step_id, Items()).take(event)
                case StepRetrying():
                    self._scene.retrying[event.step_id] = event
                    self._scene.items.pop(event.step_id, None)
                case StepFinished():
                    self._scene.retrying.pop(event.step_id, None)
                case RunWarning():
                    hint = f"\nhint: {event.hint}" if event.hint else ""
                    self._remarks += f"warning: {event.message}{hint}".split("\n")
        if self._live is None and not self._closing.is_set():
            self._open()

    def refresh(self) -> None:
        """Draws the tree as it is now."""
        if self._live is None or self._out.is_gone:
            return
        width, height = self._terminal_size()
        with self._lock:
            # one column and one line stay free: what is typed must not scroll or wrap the tree
            lines = draw(self._scene, max(1, width - 1), max(1, height - 1), self._clock())
            remarks, self._remarks = self._remarks, []
        self._show(lines, remarks, (width, height))

    def close(self, state: RunState | None = None, log_path: Path | None = None) -> None:
        """Leaves the tree without logs, and the summary below it."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        if self._live is not None:
            width, height = self._terminal_size()
            lines = draw_final(self._scene, max(1, width - 1), self._clock())
            try:
                self._live.vertical_overflow = "visible"
                self._show(lines, self._remarks, (width, height))
                self._live.stop()
            finally:
                self._give_back()
        color = not self._environ.get("NO_COLOR")
        lines_below = summary_lines(
            self._plan,
            state or self._watched.state,
            log_path,
            self._watched.tails(),
            with_steps=self._live is None,
            color=color,
            dependencies=self._watched.dependencies,
        )
        self._out.write("".join(f"{line}\n" for line in ("", *lines_below)))
        self._out.flush()

    def abandon(self) -> None:
        """Gives the cursor back; for a process that ends at once. Any thread may call it: it takes no lock."""
        self._closing.set()
        if self._live is not None:
            self._give_back()

    def _open(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        # rich would believe these even after the terminal was resized
        environ = {name: value for name, value in self._environ.items() if name not in ("COLUMNS", "LINES")}
        console = Console(
            file=self._out,  # type: ignore[arg-type]  # writes, flushes and knows its encoding: all rich needs
            force_terminal=True,
            force_interactive=True,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
            _environ=environ,
        )
        self._live = Live(
            Text(""),
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            # what others write to the same terminal has to go above the tree
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
            vertical_overflow="crop",
        )
        self._live.start()
        atexit.register(self._give_back)
        if self._auto_refresh:
            self._thread = threading.Thread(target=self._keep_drawing, name="live-view", daemon=True)
            self._thread.start()

    def _keep_drawing(self) -> None:
        self.refresh()
        while not self._closing.wait(_INTERVAL_S):
            self.refresh()

    def _show(self, lines: list[Line], remarks: list[str], terminal_size: TerminalSize) -> None:
        from rich.console import ConsoleDimensions
        from rich.text import Text

        assert self._live is not None
        self._clear_wrapped(terminal_size[0])
        console = self._live.console
        console.size = ConsoleDimensions(*terminal_size)
        tree = Text(no_wrap=True, overflow="crop")
        for at, line in enumerate(lines):
            tree.append("\n" if at else "")
            for text, style in line:
                tree.append(text, style or None)
        self._live.update(tree)
        if remarks:
            console.print(Text("\n".join(safe_line(remark) for remark in remarks), "yellow"))
        self._live.refresh()
        self._drawn = [sum(width_of(text) for text, _ in line) for line in lines]
        self._drawn_size = terminal_size

    def _clear_wrapped(self, width: int) -> None:
        """A terminal that got narrower has wrapped what stood there: more lines to go up than were drawn."""
        if width >= self._drawn_size[0] or width < 1:
            return
        wrapped = sum(-(-max(drawn, 1) // width) - 1 for drawn in self._drawn)
        if wrapped:
            self._out.write(f"\x1b[{wrapped}A\r\x1b[J")

    def _give_back(self) -> None:
        atexit.unregister(self._give_back)
        self._out.write(_SHOW_CURSOR)
        self._out.flush()

    def _ask_size(self) -> TerminalSize:
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            return 80, 24
        return size.columns or 80, size.lines or 24
