"""A run of the past, or of another process, put together from its stored events and log."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks_engine.backends.run_history import EventReader
from tasks_engine.cli.render.log_lines import Tail, line_source
from tasks_engine.errors import StoreError
from tasks_engine.events import ImageBuilt, RunEvent, RunPlanned, RunWarning, StepLog
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import RunState, apply

#: pieces of a step's log that are read to show its last lines; most are far smaller than they may be
_TAIL_PIECES = 64


@dataclass(frozen=True)
class RunRecord:
    """Everything but the log."""

    #: None for a run that ended before it was planned
    plan: Plan | None
    state: RunState
    built: tuple[ImageBuilt, ...]
    warnings: tuple[RunWarning, ...]
    #: step id -> its last pieces of log
    pieces_by_step: dict[str, deque[StepLog]]


def read_record(run: Path) -> RunRecord:
    """Raises StoreError for a plan of another version."""
    plan: Plan | None = None
    state = RunState()
    built: list[ImageBuilt] = []
    warnings: list[RunWarning] = []
    pieces: dict[str, deque[StepLog]] = {}
    for event in EventReader(run).read():
        match event:
            case StepLog():
                pieces.setdefault(event.step_id, deque(maxlen=_TAIL_PIECES)).append(event)
                continue
            case RunPlanned():
                plan = read_plan(event, run)
            case ImageBuilt():
                built.append(event)
            case RunWarning():
                warnings.append(event)
        state = apply(state, event)
    return RunRecord(plan, state, tuple(built), tuple(warnings), pieces)


def read_plan(event: RunPlanned, run: Path) -> Plan:
    """Raises StoreError for a plan of another version."""
    try:
        return Plan.from_json(event.plan)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"the plan of run {run.name} is of another version of tasks, or damaged ({error})",
            hint=f"its output is in {run / 'log'}; `tasks logs --raw` prints it",
        ) from error


def last_lines(run: Path, record: RunRecord, step_id: str) -> list[str]:
    """The last lines that a step printed, safe to show."""
    tail = Tail()
    step = record.plan.step_by_id.get(step_id) if record.plan else None
    texts = LogTexts(run)
    try:
        for event in record.pieces_by_step.get(step_id, ()):
            tail.feed(line_source(step, event.stream), event.stream, texts.of(event))
    finally:
        texts.close()
    return tail.lines()


class LogTexts:
    """Puts the texts back into stored `step_log` events; characters may lie across two of them."""

    def __init__(self, run: Path) -> None:
        self._path = run / "log"
        self._file: Any = None
        self._decoders: dict[tuple[str, str], codecs.IncrementalDecoder] = {}

    def bytes_of(self, event: StepLog) -> bytes:
        """Raises StoreError."""
        if event.offset < 0:
            return b""  # the disk was full
        try:
            if self._file is None:
                self._file = self._path.open("rb")
            self._file.seek(event.offset)
            return bytes(self._file.read(event.length))
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read: {error.strerror}") from error

    def of(self, event: StepLog) -> str:
        key = (event.step_id, event.stream)
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = self._decoders[key] = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(self.bytes_of(event))

    def filled(self, events: Iterator[RunEvent]) -> Iterator[RunEvent]:
        for event in events:
            yield replace(event, text=self.of(event)) if isinstance(event, StepLog) else event

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
