"""`tasks logs`: the log of a run from its first byte on, and to its end if it still runs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tasks_engine.cli.runs import RUN_HELP
from tasks_engine.errors import BackendError, ExitCode, UsageError
from tasks_engine.settings import Settings

if TYPE_CHECKING:
    from tasks_engine.events import RunEvent

_DESCRIPTION = """\
Prints what a run printed, as `tasks run` shows it in a pipe: `step | text`, from the beginning. --raw and --step
print the output alone."""
_EXAMPLE = """\
example:
  tasks logs                      the newest run
  tasks logs -f 02v1              from the beginning to its end; exit code is that of the run
  tasks logs --step test --raw    bytes of one step as they came"""
_POLL_S = 0.1
_READ_BYTES = 1 << 20


def add_parser(commands: Any) -> None:
    logs = commands.add_parser(
        "logs",
        help="print the log of a run, and follow it",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    logs.add_argument("run", nargs="?", default="", metavar="RUN", help=RUN_HELP)
    logs.add_argument(
        "-f", "--follow", action="store_true", help="until the run ends; the exit code is that of the run"
    )
    logs.add_argument("--step", default="", metavar="ID", help="only what this step printed")
    logs.add_argument("--timestamps", action="store_true", help="begin each line with its time (UTC)")
    logs.add_argument("--raw", action="store_true", help="bytes as they came, colours and all")
    logs.set_defaults(execute=logs_command)


def logs_command(arguments: argparse.Namespace, settings: Settings) -> int:
    from tasks_engine.backends.run_history import find_run

    if arguments.raw and arguments.timestamps:
        raise UsageError("--raw prints bytes as they came: there is no place for --timestamps")
    run = find_run(settings.runs_dir, arguments.run)
    if arguments.raw and not arguments.step:
        _print_file(run / "log", _Growth(run, follow=arguments.follow))
    else:
        _print_events(run, arguments)
    return _exit_code(run) if arguments.follow else ExitCode.SUCCEEDED


class _Growth:
    """Says when to look again at a run that goes on."""

    def __init__(self, run: Path, *, follow: bool) -> None:
        self._run = run
        self._follow = follow
        self._is_last = not follow

    def more(self) -> bool:
        """Waits a little; False when the look before this call came after the end."""
        if self._is_last:
            return False
        if _is_over(self._run):
            self._is_last = True  # what was written before the end is there now, and nothing comes after it
        else:
            time.sleep(_POLL_S)
        return True


def _is_over(run: Path) -> bool:
    from tasks_engine.backends.run_history import summarize
    from tasks_engine.events import Status

    summary = summarize(run)
    return summary is None or summary.status not in (Status.RUNNING, Status.QUEUED)


def _exit_code(run: Path) -> int:
    from tasks_engine.backends.run_history import ABANDONED, summarize
    from tasks_engine.cli.running import exit_code_of
    from tasks_engine.events import Status

    summary = summarize(run)
    if summary is None or summary.status == ABANDONED:
        raise BackendError(
            f"run {run.name} did not end: its process is gone", hint="`tasks gc` removes what it left"
        )
    return exit_code_of(Status(summary.status))


def _print_file(path: Path, growth: _Growth) -> None:
    write = _bytes_out(sys.stdout)
    offset = 0
    while True:
        for chunk in _chunks(path, offset):
            write(chunk)
            offset += len(chunk)
        if not growth.more():
            return


def _chunks(path: Path, offset: int) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as reader:
            reader.seek(offset)
            while chunk := reader.read(_READ_BYTES):
                yield chunk
    except FileNotFoundError:
        return


def _bytes_out(out: TextIO) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        out.buffer.write(data)
        out.buffer.flush()

    return write


def _print_events(run: Path, arguments: argparse.Namespace) -> None:
    from tasks_engine.backends.run_history import EventReader
    from tasks_engine.cli.run_record import LogTexts

    reader, texts = EventReader(run), LogTexts(run)
    growth = _Growth(run, follow=arguments.follow)
    printer = _Printer(run, arguments, texts)
    try:
        while True:
            printer.take(reader.read())
            if not growth.more():
                break
        printer.close()
    finally:
        texts.close()


class _Printer:
    """Shows stored events. The plan comes with one of the first; without it there is nothing to show."""

    def __init__(self, run: Path, arguments: argparse.Namespace, texts: Any) -> None:
        self._run = run
        self._step: str = arguments.step
        self._raw: bool = arguments.raw
        self._timestamps: bool = arguments.timestamps
        self._texts = texts
        self._view: Any = None
        self._write_bytes = _bytes_out(sys.stdout) if arguments.raw else None

    def take(self, events: Iterable[RunEvent]) -> None:
        from tasks_engine.cli.log_view import LogView
        from tasks_engine.cli.run_record import read_plan
        from tasks_engine.events import RunPlanned, StepLog

        for event in events:
            if isinstance(event, RunPlanned):
                plan = read_plan(event, self._run)
                if self._step and self._step not in plan.step_by_id:
                    raise UsageError(
                        f"run {self._run.name} has no step '{self._step}'",
                        hint=f"its steps: {', '.join(plan.step_by_id)}",
                    )
                self._view = LogView(plan, sys.stdout, only=self._step, timestamps=self._timestamps)
            if self._step and getattr(event, "step_id", self._step) != self._step:
                continue
            if self._write_bytes is not None:
                if isinstance(event, StepLog):
                    self._write_bytes(self._texts.bytes_of(event))
            elif self._view is not None:
                for shown in self._texts.filled(iter([event])):
                    self._view(shown)
                if self._view.is_gone:
                    raise BrokenPipeError

    def close(self) -> None:
        if self._view is not None and self._write_bytes is None:
            self._view.end()
