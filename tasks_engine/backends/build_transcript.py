"""What a build prints: progress of the BuildKit client as lines for people, and as events."""

from __future__ import annotations

import time

from tasks_engine.backends import buildkit
from tasks_engine.events import StepProgress
from tasks_engine.ports import StepOutput

#: progress of one transfer is told at most this often
_PROGRESS_INTERVAL_S = 0.1
_CACHE_IMPORT = "importing cache manifest from "


class Transcript:
    """Writes a build's progress as lines, `#3 [2/4] RUN make` and its output behind `#3`, and as events."""

    def __init__(self, output: StepOutput) -> None:
        self._output = output
        self._number_by_vertex: dict[str, int] = {}
        self._finished: set[str] = set()
        #: the vertex whose output stands on an unfinished line
        self._open_line: str | None = None
        self._told_at: dict[tuple[str, str], float] = {}

    def take(self, event: buildkit.Event) -> None:
        match event:
            case buildkit.VertexChanged():
                self._vertex(event)
            case buildkit.TransferChanged():
                self._transfer(event)
            case buildkit.LogOutput():
                self._log(event)
            case buildkit.LogClipped():
                self._line(
                    f"#{self._number(event.vertex)} the engine dropped output beyond its log limit of "
                    f"{event.limit_text}; `tasks doctor` tells how to raise it"
                )
            case buildkit.BuildWarning():
                place = f" (line {event.line})" if event.line else ""
                self._line(f"warning: {event.message}{place}")

    def _vertex(self, vertex: buildkit.VertexChanged) -> None:
        if vertex.started_at is None:
            return
        if vertex.digest not in self._number_by_vertex:
            self._line(f"#{self._number(vertex.digest)} {vertex.name}")
        number = self._number(vertex.digest)
        over = vertex.completed_at is not None
        # A cache that is not there yet stops nothing.
        is_missing = bool(vertex.error) and vertex.name.startswith(_CACHE_IMPORT)
        state = (
            "done"
            if is_missing
            else "failed"
            if vertex.error
            else "cached"
            if vertex.cached
            else "done"
            if over
            else "running"
        )
        self._output.emit(
            StepProgress(step_id=self._output.step_id, item=vertex.digest, name=vertex.name, state=state)
        )
        if not over or vertex.digest in self._finished:
            return
        self._finished.add(vertex.digest)
        if is_missing:
            self._line(f"#{number} no cache there: {vertex.error}")
        elif vertex.error:
            self._line(f"#{number} ERROR: {vertex.error}")
        elif vertex.cached:
            self._line(f"#{number} CACHED")
        elif vertex.completed_at is not None:
            self._line(f"#{number} DONE {(vertex.completed_at - vertex.started_at).total_seconds():.1f}s")

    def _transfer(self, transfer: buildkit.TransferChanged) -> None:
        over = transfer.completed_at is not None
        key = (transfer.vertex, transfer.id)
        now = time.monotonic()
        if not over and now - self._told_at.get(key, 0.0) < _PROGRESS_INTERVAL_S:
            return
        self._told_at[key] = now
        self._output.emit(
            StepProgress(
                step_id=self._output.step_id,
                item=f"{transfer.vertex} {transfer.id}",
                parent=transfer.vertex,
                name=transfer.id
                if transfer.id.startswith(transfer.name)
                else f"{transfer.name} {transfer.id}",
                state="done" if over else "running",
                current=transfer.current,
                total=transfer.total,
            )
        )

    def _log(self, log: buildkit.LogOutput) -> None:
        prefix = f"#{self._number(log.vertex)} ".encode()
        stream = "stderr" if log.stream == 2 else "stdout"
        begins_line = self._open_line != log.vertex
        head = (b"\n" if self._open_line not in (None, log.vertex) else b"") + (
            prefix if begins_line else b""
        )
        ends_line = log.data.endswith(b"\n")
        body = log.data[:-1] if ends_line else log.data
        self._open_line = None if ends_line else log.vertex
        data = head + body.replace(b"\n", b"\n" + prefix) + (b"\n" if ends_line else b"")
        self._output.write(stream, data)

    def _line(self, text: str) -> None:
        head = "\n" if self._open_line is not None else ""
        self._open_line = None
        self._output.write("engine", f"{head}{text}\n".encode())

    def _number(self, vertex: str) -> int:
        return self._number_by_vertex.setdefault(vertex, len(self._number_by_vertex) + 1)
