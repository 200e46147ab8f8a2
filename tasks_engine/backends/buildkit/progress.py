"""What a build reports while it runs: StatusResponse -> our own events. Pure.

Moments are aware UTC datetimes. Messages are repetitions with changes: the latest event of a vertex or
transfer is its truth, and it is over only when the latest has `completed_at`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tasks_engine.backends.buildkit.proto import control_pb2

# Written by the daemon at the end of the last piece of a log that it cuts.
_CLIPPED = re.compile(rb"\[output clipped, log limit ([^\]\r\n]+) reached\]\s*\Z")
# What tells our own failures apart when the daemon repeats them.
_MARK = re.compile(r" \[client error [a-z0-9]{25}\]")
# Our name of a Dockerfile's folder or a named context, in "transferring dockerfile-0123456789abcdef:".
_FOLDER = re.compile(r"\b(dockerfile|context)-[0-9a-f]{16}(?=:)")


@dataclass(frozen=True)
class VertexChanged:
    """A step of the build: announced, started, completed, failed."""

    #: its identity within the build
    digest: str
    #: "[2/4] RUN make", "[internal] load build context", "exporting to image"
    name: str
    #: None while only announced
    started_at: datetime | None
    completed_at: datetime | None
    #: known for certain only once completed
    cached: bool
    #: empty, or why it failed
    error: str
    #: digests of the vertexes it waits for
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class TransferChanged:
    """Progress inside a vertex: a layer pulled, the context sent, layers exported."""

    #: digest of the vertex
    vertex: str
    id: str
    name: str
    #: bytes for transfers
    current: int
    #: 0 when not known
    total: int
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True)
class LogOutput:
    """Output of a RUN, as it came: not cut at lines, nor at characters."""

    vertex: str
    #: 1 stdout, 2 stderr
    stream: int
    data: bytes
    #: None when the daemon does not say
    at: datetime | None


@dataclass(frozen=True)
class LogClipped:
    """The daemon throws the rest of this vertex's output away."""

    vertex: str
    #: "2MiB" or "200KiB/s"
    limit_text: str


@dataclass(frozen=True)
class BuildWarning:
    """A hint of the daemon about the Dockerfile."""

    vertex: str
    message: str
    details: tuple[str, ...]
    url: str
    #: in the Dockerfile, from 1; None when it has no place
    line: int | None


@dataclass(frozen=True)
class Step:
    """What is left of a vertex when a build is over."""

    name: str
    #: the last it printed, a few KiB
    output: bytes


Event = VertexChanged | TransferChanged | LogOutput | LogClipped | BuildWarning


def events_of(response: control_pb2.StatusResponse) -> Iterator[Event]:
    """The events in one message, vertexes before what happened in them."""
    for vertex in response.vertexes:
        yield VertexChanged(
            digest=vertex.digest,
            name=vertex.name,
            started_at=moment(vertex.started) if vertex.HasField("started") else None,
            completed_at=moment(vertex.completed) if vertex.HasField("completed") else None,
            cached=vertex.cached,
            error=_MARK.sub("", vertex.error),
            inputs=tuple(vertex.inputs),
        )
    for transfer in response.statuses:
        yield TransferChanged(
            vertex=transfer.vertex,
            id=_FOLDER.sub(r"\1", transfer.id),
            name=_FOLDER.sub(r"\1", transfer.name or transfer.id),
            current=transfer.current,
            total=transfer.total,
            started_at=moment(transfer.started) if transfer.HasField("started") else None,
            completed_at=moment(transfer.completed) if transfer.HasField("completed") else None,
        )
    for log in response.logs:
        yield LogOutput(vertex=log.vertex, stream=log.stream, data=log.msg, at=moment(log.timestamp))
        clipped = _CLIPPED.search(log.msg[-100:])
        if clipped:
            yield LogClipped(vertex=log.vertex, limit_text=clipped[1].decode("utf-8", "replace"))
    for warning in response.warnings:
        yield BuildWarning(
            vertex=warning.vertex,
            message=warning.short.decode("utf-8", "replace"),
            details=tuple(detail.decode("utf-8", "replace") for detail in warning.detail),
            url=warning.url,
            line=min((span.start.line for span in warning.ranges), default=None),
        )


def moment(timestamp: Timestamp) -> datetime | None:
    """As a time in UTC; None for what is none, which a broken daemon may send."""
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
