"""The output of a build's steps as lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks_engine.backends.buildkit.progress import Event, LogOutput, VertexChanged

#: a line longer than this is handed on in parts
_MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class LogLine:
    """A line of output."""

    #: digest of the vertex, and its name as far as it was told: "[2/4] RUN make"
    vertex: str
    step: str
    #: 1 stdout, 2 stderr
    stream: int
    #: without its end; whatever is no UTF-8 is replaced
    text: str


@dataclass
class LogLines:
    """Puts together what comes in pieces: one per build, fed with all of its events in order."""

    _step_by_vertex: dict[str, str] = field(default_factory=dict, init=False)
    #: (vertex, stream) -> the line that has not ended
    _open: dict[tuple[str, int], bytearray] = field(default_factory=dict, init=False)

    def take(self, event: Event) -> Iterator[LogLine]:
        """The lines that `event` completes; the last one of a step comes when the step is over."""
        if isinstance(event, LogOutput):
            yield from self._add(event)
        elif isinstance(event, VertexChanged):
            self._step_by_vertex[event.digest] = event.name
            if event.completed_at is not None:
                yield from self._end([key for key in self._open if key[0] == event.digest])

    def rest(self) -> Iterator[LogLine]:
        """Lines that never ended, after the last event of a build that was cut off."""
        yield from self._end(list(self._open))

    def _add(self, log: LogOutput) -> Iterator[LogLine]:
        key = (log.vertex, log.stream)
        unfinished = self._open.setdefault(key, bytearray())
        unfinished += log.data
        *lines, rest = bytes(unfinished).split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        unfinished[:] = rest
        for line in lines:
            yield self._line(key, line)

    def _end(self, keys: list[tuple[str, int]]) -> Iterator[LogLine]:
        for key in keys:
            line = self._open.pop(key)
            if line:
                yield self._line(key, bytes(line))

    def _line(self, key: tuple[str, int], line: bytes) -> LogLine:
        vertex, stream = key
        text = line.removesuffix(b"\r").decode("utf-8", "replace")
        return LogLine(vertex, self._step_by_vertex.get(vertex, ""), stream, text)
