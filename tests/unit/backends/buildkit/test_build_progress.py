from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tasks_engine.backends.buildkit.progress import (
    BuildWarning,
    LogClipped,
    LogOutput,
    TransferChanged,
    VertexChanged,
    events_of,
)
from tasks_engine.backends.buildkit.proto.control_pb2 import (
    StatusResponse,
    Vertex,
    VertexLog,
    VertexStatus,
    VertexWarning,
)
from tasks_engine.backends.buildkit.proto.ops_pb2 import Position, Range

AT = Timestamp(seconds=1_700_000_000, nanos=5_000)
MOMENT = datetime(2023, 11, 14, 22, 13, 20, 5, tzinfo=UTC)


def test_announced_vertex_has_no_moments() -> None:
    vertex = Vertex(digest="sha256:1", name="[1/2] FROM x", inputs=["sha256:0"])
    assert list(events_of(StatusResponse(vertexes=[vertex]))) == [
        VertexChanged("sha256:1", "[1/2] FROM x", None, None, False, "", ("sha256:0",))
    ]


def test_completed_vertex_has_both_moments() -> None:
    error = f"no [client error {'a' * 25}]"
    vertex = Vertex(digest="d", name="n", started=AT, completed=AT, cached=True, error=error)
    assert list(events_of(StatusResponse(vertexes=[vertex]))) == [
        VertexChanged("d", "n", MOMENT, MOMENT, True, "no", ())
    ]


def test_transfer_without_name_is_called_by_its_id() -> None:
    transfer = VertexStatus(id="transferring context:", vertex="d", current=5, started=AT)
    assert list(events_of(StatusResponse(statuses=[transfer]))) == [
        TransferChanged("d", "transferring context:", "transferring context:", 5, 0, MOMENT, None)
    ]


def test_log_keeps_its_bytes() -> None:
    log = VertexLog(vertex="d", timestamp=AT, stream=2, msg=b"\xff half")
    assert list(events_of(StatusResponse(logs=[log]))) == [LogOutput("d", 2, b"\xff half", MOMENT)]


def test_clipped_log_is_noticed() -> None:
    log = VertexLog(
        vertex="d", timestamp=AT, stream=1, msg=b"xyz\n[output clipped, log limit 200KiB/s reached]\n"
    )
    assert list(events_of(StatusResponse(logs=[log])))[1:] == [LogClipped("d", "200KiB/s")]


def test_warning_has_its_line() -> None:
    warning = VertexWarning(
        vertex="d",
        short=b"bad casing",
        detail=[b"why"],
        url="https://example.com",
        ranges=[Range(start=Position(line=4), end=Position(line=5)), Range(start=Position(line=3))],
    )
    bare = VertexWarning(vertex="d", short=b"somewhere")
    assert list(events_of(StatusResponse(warnings=[warning, bare]))) == [
        BuildWarning("d", "bad casing", ("why",), "https://example.com", 3),
        BuildWarning("d", "somewhere", (), "", None),
    ]


def test_vertexes_come_before_what_happened_in_them() -> None:
    response = StatusResponse(
        logs=[VertexLog(vertex="d", msg=b"x")], vertexes=[Vertex(digest="d")], statuses=[VertexStatus(id="i")]
    )
    assert [type(event) for event in events_of(response)] == [VertexChanged, TransferChanged, LogOutput]
