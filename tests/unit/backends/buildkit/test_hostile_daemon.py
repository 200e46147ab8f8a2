"""Daemons that break the protocol, lie, or want what is not theirs: every build ends, soon and with a clear error."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tasks_engine.backends.buildkit.client import BuildKitClient
from tasks_engine.backends.buildkit.destinations import ToPath
from tasks_engine.backends.buildkit.errors import (
    BuildCanceled,
    BuildFailed,
    BuildKitError,
    ConnectError,
    ConnectionLost,
    ContextError,
    DaemonLost,
    ExportError,
)
from tasks_engine.backends.buildkit.exporters import docker_tar, image, local
from tasks_engine.backends.buildkit.progress import Event, LogOutput
from tasks_engine.backends.buildkit.proto.control_pb2 import (
    SolveRequest,
    SolveResponse,
    StatusResponse,
    Vertex,
    VertexLog,
    VertexStatus,
    VertexWarning,
)
from tasks_engine.backends.buildkit.proto.fsutil_pb2 import Packet, Stat
from tasks_engine.backends.buildkit.solve import BuildOptions, BuildResult
from tests.unit.backends.buildkit.fake_daemon import (
    CHECK_AGENT,
    CREDENTIALS,
    END_HEADERS,
    END_STREAM,
    FETCH_TOKEN,
    FOLDER_MODE,
    FORWARD_AGENT,
    GET_SECRET,
    GET_TOKEN_AUTHORITY,
    HEALTH_CHECK,
    LINK_MODE,
    PREFACE,
    SEND_DIFF_COPY,
    SYNC_DIFF_COPY,
    FakeDaemon,
    FakeSession,
    Folder,
    Frames,
    Kind,
    Script,
    SolveFailed,
    StreamCall,
    asking_for,
    context_of,
    details_of,
    for_exporter,
    frame,
    grpc_message,
    nothing_is_left,
    settings,
)

#: silence after which a daemon is given up, where that is the way out
WATCHDOG_S = 0.4
#: all the time a build with a hostile daemon may take
SOON_S = 4.0


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with nothing_is_left(monkeypatch):
        yield


@pytest.fixture
def options(tmp_path: Path) -> BuildOptions:
    """A context with a bit of everything, and a secret beside it. ENTRIES are its listing."""
    (tmp_path / "secret.txt").write_text("SECRET")
    context = tmp_path / "context"
    (context / "d").mkdir(parents=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (context / "a").write_bytes(b"a" * 10)
    (context / "big").write_bytes(bytes(2 << 20))
    (context / "d" / "b").write_bytes(b"b")
    (context / "hard").hardlink_to(context / "a")
    (context / "link").symlink_to("../secret.txt")
    (context / "up").symlink_to("..")
    return BuildOptions(context, context / "Dockerfile")


ENTRIES = ["Dockerfile", "a", "big", "d", "d/b", "hard", "link", "up"]


def ignore(_: Event) -> None:
    pass


def build(script: Script, options: BuildOptions, *, silence_s: float = 3.0, **access: Any) -> BuildResult:
    """One build, which must be over soon, however it ends."""
    with FakeDaemon(script) as daemon, BuildKitClient.connect(daemon.address, silence_s=silence_s) as client:
        started_s = time.monotonic()
        try:
            return client.build(options, on_event=ignore, **access)
        finally:
            assert time.monotonic() - started_s < SOON_S, "the build took too long to end"


def failure(script: Script, options: BuildOptions, **named: Any) -> BuildKitError:
    """The error of a build that must fail: one of ours, with a text that a person can read."""
    with pytest.raises(BuildKitError) as caught:
        build(script, options, **named)
    assert caught.value.message.strip()
    assert "Traceback" not in caught.value.message
    return caught.value


def succeeds_or_fails_well(script: Script, options: BuildOptions, **named: Any) -> BuildKitError | None:
    """For what may be taken or refused: any error that is not one of ours comes out."""
    try:
        build(script, options, **named)
    except BuildKitError as error:
        assert error.message.strip()
        return error
    return None


def cases(argument: str, **value_by_name: Any) -> pytest.MarkDecorator:
    """Parametrizes by name."""
    return pytest.mark.parametrize(
        argument,
        list(value_by_name.values()),
        ids=[name.replace("_", " ") for name in value_by_name],
    )


# --- connecting -------------------------------------------------------------------------------------------------------


def test_daemon_that_never_answers_is_given_up_in_time() -> None:
    with FakeDaemon() as daemon:
        daemon.answers.clear()
        started_s = time.monotonic()
        with pytest.raises(ConnectError):
            BuildKitClient.connect(daemon.address, timeout_s=0.3)
        assert time.monotonic() - started_s < 2


@cases("workers", garbage=b"\xff\xff\xff", text=b"hello", a_name_that_is_not_utf8=b"\x0a\x03\x0a\x01\xff")
def test_garbage_for_an_answer_is_no_daemon(workers: bytes) -> None:
    with FakeDaemon() as daemon:
        daemon.workers = workers
        with pytest.raises(ConnectError):
            BuildKitClient.connect(daemon.address, timeout_s=1)


@cases(
    "answer",
    nothing=b"",
    http=b"HTTP/1.1 400 Bad Request\r\n\r\n",
    garbage=bytes(range(256)),
    a_frame_that_is_too_long=b"\xff\xff\xff\x04\x00\x00\x00\x00\x00",
)
def test_what_is_no_daemon_is_told(tmp_path: Path, answer: bytes) -> None:
    path = f"/tmp/hostile-{os.getpid()}-{threading.get_ident()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        taken: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                    taken[-1].sendall(answer)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with pytest.raises(ConnectError):
                BuildKitClient.connect(f"unix://{path}", timeout_s=0.5)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()
            os.unlink(path)


# --- session: HTTP/2 --------------------------------------------------------------------------------------------------


def header_bomb(frames: Frames) -> None:
    """One entry of the compression's table, named again and again: 4 KiB for each byte."""
    entry = b"\x40" + b"\x01a" + b"\x7f\xb1\x1e" + bytes(4017)
    frames.send(frame(Kind.HEADERS, entry + b"\xbe" * 12_000, flags=END_HEADERS, stream=1))


def endless_continuation(frames: Frames) -> None:
    frames.send(frame(Kind.HEADERS, frames.headers(HEALTH_CHECK), stream=1))
    # A header with a value of 8 KiB, not to be remembered.
    more = frame(Kind.CONTINUATION, b"\x00\x01a\x7f\x81\x3f" + bytes(8192), stream=1)
    for _ in range(64):
        frames.send(more * 64)
        if frames.closed:
            return
    raise AssertionError("32 MiB of headers were taken, and the end is not in sight")


def two_MiB_of_headers(frames: Frames) -> None:
    frames.call(SYNC_DIFF_COPY, [("followpaths", "x" * 8000)])
    # Each a literal that is not to be remembered: a name of one letter, a value of 8 KiB.
    block = frames.headers(SYNC_DIFF_COPY) + (b"\x00\x01a\x7f\x81\x3f" + bytes(8192)) * 256
    pieces = [block[begin : begin + 16384] for begin in range(0, len(block), 16384)]
    frames.send(frame(Kind.HEADERS, pieces[0], stream=3))
    for piece in pieces[1:]:
        frames.send(frame(Kind.CONTINUATION, piece, flags=END_HEADERS * (piece is pieces[-1]), stream=3))


def sends(*pieces: bytes) -> Callable[[Frames], None]:
    return lambda frames: frames.send(b"".join((PREFACE, settings(), *pieces)))


def greets_and(attack: Callable[[Frames], None]) -> Callable[[Frames], None]:
    return lambda frames: attack(frames.greet())


@cases(
    "attack",
    garbage=lambda frames: frames.send(bytes(range(256)) * 4),
    http_1=lambda frames: frames.send(b"POST /grpc HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n"),
    frames_without_preface=lambda frames: frames.send(settings() * 5),
    a_frame_of_16_MiB=sends(frame(Kind.DATA, stream=1, length=0xFFFFFF)),
    data_for_no_stream=sends(frame(Kind.DATA, grpc_message(b""))),
    message_before_headers=sends(frame(Kind.DATA, grpc_message(b""), stream=1)),
    headers_that_do_not_decompress=sends(frame(Kind.HEADERS, b"\xff" * 50, flags=END_HEADERS, stream=1)),
    a_stream_with_an_even_number=sends(frame(Kind.HEADERS, b"\x83", flags=END_HEADERS, stream=2)),
    continuation_of_nothing=sends(frame(Kind.CONTINUATION, flags=END_HEADERS, stream=1)),
    push_from_a_client=sends(frame(Kind.PUSH_PROMISE, bytes(4), flags=END_HEADERS, stream=1)),
    settings_cut_short=sends(frame(Kind.SETTINGS, b"\x00\x04\x00")),
    settings_out_of_range=sends(settings(initial_window_size=0xFFFFFFFF)),
    a_window_opened_by_nothing=sends(frame(Kind.WINDOW_UPDATE, bytes(4))),
    a_window_opened_too_far=sends(frame(Kind.WINDOW_UPDATE, b"\x7f\xff\xff\xff") * 2),
    a_ping_cut_short=sends(frame(Kind.PING, b"1234")),
    header_bomb=greets_and(header_bomb),
    endless_continuation=greets_and(endless_continuation),
    two_MiB_of_headers=greets_and(two_MiB_of_headers),
)
def test_broken_http2_ends_the_session(attack: Callable[[Frames], None], options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw)
        attack(frames)
        frames.wait_for_the_end()
        raise SolveFailed("error reading from server: EOF")

    failure(solve, options)


@cases(
    "then",
    half_a_frame=PREFACE + settings() + frame(Kind.PING, b"12345678")[:12],
    half_a_preface=PREFACE[:10],
    nothing=b"",
    garbage=b"\x00" * 100,
)
@pytest.mark.parametrize("hangs_up", [True, False], ids=["and hangs up", "and waits"])
def test_daemon_that_then_says_nothing_is_given_up(
    then: bytes, hangs_up: bool, options: BuildOptions
) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        session.raw.sendall(then)
        if hangs_up:
            session.hang_up()
        daemon.job(request.ref).hang()

    assert isinstance(failure(solve, options, silence_s=WATCHDOG_S), ConnectionLost)


def test_goaway_in_the_middle_ends_the_session(options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw).greet()
        frames.call(SYNC_DIFF_COPY, asking_for(context_of(request)))
        frames.send(frame(Kind.GOAWAY, bytes(8)))
        frames.call(HEALTH_CHECK)
        session.hang_up()
        raise SolveFailed("transport is closing")

    failure(solve, options)


def test_reset_in_the_middle_of_a_transfer_spares_the_session(options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw).greet()
        for _ in range(3):
            stream = frames.call(SYNC_DIFF_COPY, asking_for(context_of(request)))
            frames.send(frame(Kind.DATA, grpc_message(request_for("big")), stream=stream))
            received = 0
            while received < 30_000:
                came = frames.receive()
                assert came is not None, "the client ended the session"
                received += len(came.payload) if (came.kind, came.stream) == (Kind.DATA, stream) else 0
            frames.send(frame(Kind.RST_STREAM, b"\x00\x00\x00\x08", stream=stream))
            frames.send(frame(Kind.WINDOW_UPDATE, (1 << 20).to_bytes(4, "big")))
            frames.check_health()

    build(solve, options)


@cases("window", closed_from_the_start=0, never_opened_again=65535)
def test_closed_window_is_waited_for_without_effort(window: int, options: BuildOptions) -> None:
    used_s: list[float] = []

    def solve(daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw).greet(initial_window_size=window)
        stream = frames.call(SYNC_DIFF_COPY, asking_for(context_of(request)))
        frames.send(frame(Kind.DATA, grpc_message(request_for("big")), stream=stream))
        before_s = time.process_time()
        time.sleep(WATCHDOG_S / 2)
        used_s.append(time.process_time() - before_s)
        daemon.job(request.ref).hang()

    assert isinstance(failure(solve, options, silence_s=WATCHDOG_S), DaemonLost)
    assert used_s[0] < WATCHDOG_S / 4


def test_ping_flood_is_answered(options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw).greet()
        frames.send(frame(Kind.PING, b"12345678") * 20_000)
        frames.check_health()

    # It may also be too much for the client.
    succeeds_or_fails_well(solve, options)


def test_flood_from_a_daemon_that_never_reads_is_given_up(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        session.raw.settimeout(0.1)
        with contextlib.suppress(OSError):
            session.raw.sendall(PREFACE + settings() + frame(Kind.PING, b"12345678") * 60_000)
        daemon.job(request.ref).hang()

    assert isinstance(failure(solve, options, silence_s=WATCHDOG_S), ConnectionLost)


@pytest.mark.parametrize("reset", [False, True], ids=["left open", "reset at once"])
@pytest.mark.parametrize("path", [HEALTH_CHECK, SYNC_DIFF_COPY])
def test_flood_of_calls_makes_no_flood_of_threads(path: str, reset: bool, options: BuildOptions) -> None:
    most: list[int] = []

    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw).greet()
        metadata = asking_for(context_of(request)) if path == SYNC_DIFF_COPY else []
        for _ in range(100):
            flood = b""
            for _ in range(100):
                stream = frames.new_stream()
                flood += frame(Kind.HEADERS, frames.headers(path, metadata), flags=END_HEADERS, stream=stream)
                flood += frame(Kind.RST_STREAM, b"\x00\x00\x00\x08", stream=stream) * reset
            frames.send(flood)
            most.append(threading.active_count())
        raise SolveFailed("enough")

    failure(solve, options)
    assert max(most) < 200


# --- session: gRPC ----------------------------------------------------------------------------------------------------


def request_for(path: str) -> bytes:
    """A serialised REQ packet."""
    return Packet(type=Packet.PACKET_REQ, id=ENTRIES.index(path)).SerializeToString()


def calls(data: bytes = grpc_message(b""), *, path: str = HEALTH_CHECK) -> Callable[[Frames], int]:
    """One call with these bytes; its stream."""

    def call(frames: Frames) -> int:
        stream = frames.call(path)
        frames.send(frame(Kind.DATA, data, flags=END_STREAM, stream=stream))
        return stream

    return call


@cases(
    "call",
    unknown_service=calls(path="/no.such.Service/Check"),
    unknown_method=calls(path="/grpc.health.v1.Health/Watch"),
    unknown_path=calls(path="*"),
    empty_path=calls(path=""),
    long_path=calls(path="/" + "x" * 10_000),
    a_service_never_announced=calls(path=GET_SECRET),
    message_of_4_GiB=calls(grpc_message(b"", length=0xFFFFFFFF)),
    message_of_2_GiB=calls(grpc_message(b"x" * 1000, length=0x7FFFFFFF)),
    compressed_message=calls(grpc_message(b"\x1f\x8b", compressed=1)),
    flags_that_mean_nothing=calls(grpc_message(b"", compressed=0xFF)),
    message_cut_short=calls(grpc_message(b"abc", length=100)),
    head_of_a_message_cut_short=calls(b"\x00\x00"),
    packet_cut_short=calls(grpc_message(b"\x18", length=7), path=SYNC_DIFF_COPY),
    no_message=calls(b"", path=GET_SECRET),
)
def test_broken_call_is_refused(call: Callable[[Frames], int], options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw).greet()
        answer = frames.answer(call(frames))
        assert answer.get("grpc-status", "none") != "0"
        if not answer.keys() & {"goaway", "closed"}:
            # Only that call was wrong.
            frames.check_health()
        raise SolveFailed("the client refused")

    failure(solve, options)


@pytest.mark.parametrize("value", [b"\xff\xfe", b"con\xc3", b"\xed\xa0\x80", b"a\x7fb", b" context "])
@pytest.mark.parametrize(
    "key", ["dir-name", "include-patterns", "exclude-patterns", "followpaths", "x-other"]
)
def test_metadata_that_is_not_text_is_survived(key: str, value: bytes, options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw).greet()
        metadata: list[tuple[str, str | bytes]] = [(key, value)]
        if key != "dir-name":
            metadata.append(("dir-name", context_of(request)))
        stream = frames.call(SYNC_DIFF_COPY, metadata)
        fin = Packet(type=Packet.PACKET_FIN).SerializeToString()
        frames.send(frame(Kind.DATA, grpc_message(fin), flags=END_STREAM, stream=stream))
        answer = frames.answer(stream)
        assert key != "dir-name" or answer.get("grpc-status", "none") != "0"
        if not answer.keys() & {"goaway", "closed"}:
            frames.check_health()

    succeeds_or_fails_well(solve, options)


@cases(
    "name",
    outside="../etc",
    absolute="/etc",
    empty="",
    here=".",
    the_parent_of_the_context="context/..",
    another_case="CONTEXT",
    escaped="%2e%2e",
    unknown="src",
    very_long="x" * (1 << 20),
)
def test_unknown_folder_is_refused(name: str, options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        messages, code = session.stream(SYNC_DIFF_COPY, asking_for(name)).to_the_end()
        assert messages == []
        assert code != grpc.StatusCode.OK
        raise SolveFailed("the client refused")

    failure(solve, options)


@pytest.mark.parametrize(
    "method",
    [CREDENTIALS, GET_TOKEN_AUTHORITY, FETCH_TOKEN, GET_SECRET, CHECK_AGENT, FORWARD_AGENT, SEND_DIFF_COPY],
)
def test_what_was_not_offered_is_not_given(method: str, options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        assert method not in session.methods
        call = session.stream(method, [("buildkit.ssh.id", "default")])
        call.send(b"")
        call.half_close()
        assert call.to_the_end() == ([], grpc.StatusCode.UNIMPLEMENTED)
        session.check_health()

    build(solve, options)


# --- DiffCopy: the daemon takes our folders ---------------------------------------------------------------------------


def listing(call: StreamCall) -> list[Stat]:
    stats = []
    while (packet := call.packet()).HasField("stat"):
        stats.append(packet.stat)
    return stats


def requests(*ids: int) -> Callable[[StreamCall], None]:
    """Requests after the listing."""

    def ask(call: StreamCall) -> None:
        assert [stat.path for stat in listing(call)] == ENTRIES
        for entry_id in ids:
            call.send(Packet(type=Packet.PACKET_REQ, id=entry_id))

    return ask


def says(*messages: Packet | bytes, half_closes: bool = False) -> Callable[[StreamCall], None]:
    """Sends these, without a look at the listing."""

    def speak(call: StreamCall) -> None:
        for message in messages:
            call.send(message)
        if half_closes:
            call.half_close()

    return speak


def copying(misbehave: Callable[[StreamCall], None]) -> Script:
    """Pulls the context, does this, and waits for the client to end the call."""

    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        call = session.stream(SYNC_DIFF_COPY, asking_for(context_of(request)))
        misbehave(call)
        messages, _ = call.to_the_end()
        assert b"SECRET" not in b"".join(messages)
        session.check_health()
        raise SolveFailed("the daemon gave up")

    return solve


@cases(
    "misbehave",
    a_folder=requests(ENTRIES.index("d")),
    a_link=requests(ENTRIES.index("link")),
    a_second_name=requests(ENTRIES.index("hard")),
    what_was_not_listed=requests(len(ENTRIES)),
    the_highest_number=requests(4294967295),
    the_same_twice=requests(1, 1),
    the_same_over_and_over=requests(*[2] * 1000),
    a_good_one_and_a_folder=requests(1, 3),
    garbage=says(b"\xff\xff\xff"),
    a_number_that_is_too_long=says(b"\x08\x01\x18" + b"\xff" * 12),
)
def test_request_for_what_is_no_file_is_our_error(
    misbehave: Callable[[StreamCall], None], options: BuildOptions
) -> None:
    error = failure(copying(misbehave), options)
    assert isinstance(error, ContextError)
    assert "the daemon requested" in error.message


@cases(
    "misbehave",
    an_error=says(Packet(type=Packet.PACKET_ERR, data=b"no space left")),
    an_error_that_is_not_text=says(Packet(type=Packet.PACKET_ERR, data=b"\xff" * 1000)),
    the_end_too_early=says(Packet(type=Packet.PACKET_FIN)),
    the_end_twice=says(Packet(type=Packet.PACKET_FIN), Packet(type=Packet.PACKET_FIN)),
    nothing_and_hangs_up=says(half_closes=True),
    packets_of_the_other_side=says(
        Packet(stat=Stat(path="x")), Packet(type=Packet.PACKET_DATA, id=1, data=b"x"), half_closes=True
    ),
    a_packet_of_no_type=says(b"\x08\x09", half_closes=True),
    nothing_and_breaks_off=lambda call: call.cancel(),
)
def test_transfer_without_its_end_is_survived(
    misbehave: Callable[[StreamCall], None], options: BuildOptions
) -> None:
    assert isinstance(failure(copying(misbehave), options), BuildFailed)


def test_request_before_the_listing_has_ended_is_served(options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        call = session.stream(SYNC_DIFF_COPY, asking_for(context_of(request)))
        call.send(Packet(type=Packet.PACKET_REQ, id=ENTRIES.index("d/b")))
        packets = [call.packet() for _ in range(len(ENTRIES) + 3)]
        call.send(Packet(type=Packet.PACKET_FIN))
        contents = [packet.data for packet in packets if packet.type == Packet.PACKET_DATA]
        assert contents == [b"b", b""]
        assert call.to_the_end()[1] == grpc.StatusCode.OK

    build(solve, options)


@pytest.mark.parametrize("how", ["follow", "include", "exclude"])
@cases(
    "pattern",
    up="../../etc/passwd",
    absolute="/etc/shadow",
    up_and_down="../context/../secret.txt",
    through_a_folder="d/../../secret.txt",
    a_link_out="link",
    through_a_link_out="up/secret.txt",
    everything_through_a_link_out="up/*",
    parent="..",
    root="/",
    all_roots="/**",
    doubles="//etc//passwd",
    open_class="[",
    backward_class="a/**/[z-a]",
    open_escape="\\",
    open_exception="!",
    regular_expression="(a+)+$|{1,2}",
    with_nul="\0ü",
    with_lines="a\nü\r\n",
    very_long="x" * 100_000,
    very_deep="a/" * 2_000,
    many_stars="**/" * 500 + "x",
    slow_to_match="*a" * 5 + "b",
)
def test_pattern_gives_nothing_from_outside(how: str, pattern: str, options: BuildOptions) -> None:
    (Path(options.context) / ("a" * 160)).touch()
    pulled: list[Folder] = []

    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        # Asked for by the pattern, in a listing that has the others too.
        if how == "follow":
            pulled.append(session.diff_copy(context_of(request), follow=[pattern]))
        elif how == "include":
            pulled.append(session.diff_copy(context_of(request), include=[pattern]))
        else:
            pulled.append(session.diff_copy(context_of(request), exclude=[pattern, "!**/*"]))
        session.check_health()

    succeeds_or_fails_well(solve, options)
    for folder in pulled:
        assert set(folder.paths) <= {*ENTRIES, "a" * 160}
        assert b"SECRET" not in b"".join(folder.content_by_path.values())


def test_ten_thousand_patterns_work(options: BuildOptions) -> None:
    pulled: list[Folder] = []

    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        exclude = [f"generated/folder{number}" for number in range(10_000)]
        pulled.append(session.diff_copy(context_of(request), exclude=[*exclude, "d"]))

    build(solve, options)
    assert pulled[0].paths == [path for path in ENTRIES if path not in ("d", "d/b")]


def test_daemon_that_reads_no_content_is_given_up(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        call = session.stream(SYNC_DIFF_COPY, asking_for(context_of(request)))
        call.send(request_for("big"))
        daemon.job(request.ref).hang()

    assert isinstance(failure(solve, options, silence_s=WATCHDOG_S), DaemonLost)


# --- FileSend: the daemon sends results -------------------------------------------------------------------------------


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An own folder for the result: it shows what else is left there."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def snapshot(folder: Path) -> dict[str, bytes]:
    """All below, links unfollowed: path -> content."""
    return {
        str(path.relative_to(folder)): os.fsencode(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else b""
        for path in sorted(folder.rglob("*"))
    }


def tar_to(path: Path, options: BuildOptions) -> BuildOptions:
    return replace(options, exporters=[docker_tar(["a:1"], to=ToPath(path))])


def send_and_break_off(session: FakeSession) -> None:
    call = session.stream(SEND_DIFF_COPY, for_exporter(0))
    call.send(b"\x0a\x03abc")
    # The client has the first piece when it has answered this.
    session.check_health()
    call.cancel()
    session.check_health()


def send_and_hang_up(session: FakeSession) -> None:
    session.stream(SEND_DIFF_COPY, for_exporter(0)).send(b"\x0a\x03abc")
    session.check_health()
    session.hang_up()


def send_garbage(session: FakeSession) -> None:
    call = session.stream(SEND_DIFF_COPY, for_exporter(0))
    call.send(b"\x0a\x03abc")
    call.send(b"\xff\xff\xff")
    call.half_close()
    assert call.to_the_end()[1] != grpc.StatusCode.OK


def send_half_a_message(session: FakeSession) -> None:
    frames = Frames(session.raw).greet()
    stream = frames.call(SEND_DIFF_COPY)
    frames.send(frame(Kind.DATA, grpc_message(b"\x0a\x03abc"), stream=stream))
    frames.send(frame(Kind.DATA, grpc_message(b"\x0a\x03", length=5), flags=END_STREAM, stream=stream))
    assert frames.answer(stream).get("grpc-status", "none") != "0"


@cases(
    "send",
    nothing=lambda session: None,
    half_and_breaks_off=send_and_break_off,
    half_and_hangs_up=send_and_hang_up,
    garbage=send_garbage,
    half_a_message=send_half_a_message,
)
def test_tar_that_did_not_arrive_is_no_success(
    send: Callable[[FakeSession], None], options: BuildOptions, out: Path
) -> None:
    """Even when the daemon says so."""
    failure(lambda _daemon, _request, session: send(session), tar_to(out / "a.tar", options))
    assert snapshot(out) == {}


@pytest.mark.parametrize("exporter", ["1", "-1", "x", "", "0x0", "99999999999999999999999", "0/../1"])
def test_tar_for_an_exporter_that_was_not_asked_for_is_refused(
    exporter: str, options: BuildOptions, out: Path
) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        call = session.stream(SEND_DIFF_COPY, [("buildkit-attachable-exporter-id", exporter)])
        call.send(b"\x0a\x03abc")
        call.half_close()
        assert call.to_the_end()[1] != grpc.StatusCode.OK
        session.check_health()
        raise SolveFailed("the client refused")

    failure(solve, tar_to(out / "a.tar", options))
    assert snapshot(out) == {}


@pytest.mark.parametrize("at_once", [True, False], ids=["at one time", "one after another"])
def test_two_tars_for_one_exporter_are_not_mixed(at_once: bool, options: BuildOptions, out: Path) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        first = session.stream(SEND_DIFF_COPY, for_exporter(0))
        first.send(b"\x0a\x03one")
        session.check_health()
        if not at_once:
            first.half_close()
            assert first.receive() is None
        second = session.stream(SEND_DIFF_COPY, for_exporter(0))
        second.send(b"\x0a\x03two")
        second.half_close()
        assert second.to_the_end()[1] != grpc.StatusCode.OK
        if at_once:
            first.half_close()
            assert first.receive() is None

    succeeds_or_fails_well(solve, tar_to(out / "a.tar", options))
    assert snapshot(out) in ({}, {"a.tar": b"one"})


def entry(path: str, content: bytes = b"", **changed: Any) -> tuple[Stat, bytes]:
    """A regular file, with `changed` something else."""
    values: dict[str, Any] = {"path": path, "mode": 0o644, "size": len(content)}
    return Stat(**values | changed), content


def folder(path: str) -> tuple[Stat, bytes]:
    return entry(path, mode=FOLDER_MODE)


def link(path: str, target: str) -> tuple[Stat, bytes]:
    return entry(path, mode=LINK_MODE, linkname=target)


@cases(
    "entries",
    up=[entry("../x", b"x")],
    absolute=[entry("/x", b"x")],
    up_from_below=[folder("a"), entry("a/../../x", b"x")],
    folder_up=[folder("..")],
    empty=[entry("", b"x")],
    here=[entry(".", b"x")],
    double_slash=[folder("a"), entry("a//x", b"x")],
    slash_at_the_end=[folder("a/")],
    nul=[entry("a\0b", b"x")],
    through_a_link=[link("a", ".."), entry("a/x", b"x")],
    through_an_absolute_link=[link("a", "/tmp"), entry("a/x", b"x")],
    through_a_link_in_a_folder=[folder("a"), link("a/b", "../.."), entry("a/b/x", b"x")],
    over_a_link=[link("a", "../secret.txt"), entry("a", b"x")],
    through_a_file=[entry("a", b"x"), entry("a/x", b"x")],
    without_its_folder=[entry("a/x", b"x")],
    twice=[entry("a", b"x"), entry("a", b"y")],
    out_of_order=[entry("b", b"x"), entry("a", b"y")],
    another_name_of_what_is_outside=[entry("a", linkname="../secret.txt")],
    another_name_of_an_absolute_path=[entry("a", linkname="/etc/passwd")],
    another_name_of_nothing=[entry("a", linkname="b")],
    another_name_of_a_link=[link("a", "../secret.txt"), entry("b", linkname="a")],
    name_that_is_too_long=[entry("x" * 5000, b"x")],
    negative_size=[entry("a", b"x", size=-1)],
)
def test_hostile_folder_writes_nothing_outside(
    entries: Sequence[tuple[Stat, bytes]], options: BuildOptions, tmp_path: Path
) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        session.send_folder(entries)

    (tmp_path / "result").mkdir()
    inside = {path: content for path, content in snapshot(tmp_path).items() if path.startswith("result/")}
    before = snapshot(tmp_path)
    error = failure(solve, replace(options, exporters=[local(tmp_path / "result")]))
    assert isinstance(error, ExportError)
    after = {path: content for path, content in snapshot(tmp_path).items() if not path.startswith("result/")}
    assert after == before
    assert inside == {}


@cases(
    "packets",
    more_than_announced=[Packet(type=Packet.PACKET_DATA, id=0, data=b"12345678901")],
    less_than_announced=[
        Packet(type=Packet.PACKET_DATA, id=0, data=b"1"),
        Packet(type=Packet.PACKET_DATA, id=0),
    ],
    data_of_another=[Packet(type=Packet.PACKET_DATA, id=7, data=b"x")],
    data_after_its_end=[
        Packet(type=Packet.PACKET_DATA, id=0, data=b"1234567890"),
        Packet(type=Packet.PACKET_DATA, id=0),
        Packet(type=Packet.PACKET_DATA, id=0, data=b"1"),
    ],
    a_stat_after_the_listing=[Packet(stat=Stat(path="z", mode=0o644))],
    a_second_end_of_the_listing=[Packet()],
    a_request=[Packet(type=Packet.PACKET_REQ, id=0)],
    the_end=[Packet(type=Packet.PACKET_FIN)],
    an_error=[Packet(type=Packet.PACKET_ERR, data=b"\x1b[31mno\xff")],
    garbage=[b"\xff\xff\xff"],
    no_type=[b"\x08\x09"],
    nothing=[],
)
@pytest.mark.parametrize("breaks_off", [False, True], ids=["then ends", "then breaks off"])
def test_folder_that_did_not_arrive_is_no_success(
    packets: Sequence[Packet | bytes], breaks_off: bool, options: BuildOptions, out: Path
) -> None:
    """Even when the daemon says so; half a file is not there."""

    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        call = session.stream(SEND_DIFF_COPY, for_exporter(0))
        call.send(Packet(stat=Stat(path="a", mode=0o644, size=10)))
        call.send(Packet(stat=Stat(path="b", mode=0o644, size=10)))
        call.send(Packet())
        assert call.packet().type == Packet.PACKET_REQ
        for packet in packets:
            call.send(packet)
        if breaks_off:
            session.check_health()
            call.cancel()
        else:
            call.half_close()
            assert call.to_the_end()[1] != grpc.StatusCode.OK
        session.check_health()

    failure(solve, replace(options, exporters=[local(out)]))
    assert set(snapshot(out)) <= {"a"}
    assert snapshot(out).get("a", b"1234567890") == b"1234567890"


def test_endless_listing_can_be_canceled(options: BuildOptions, out: Path) -> None:
    listed = threading.Event()

    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw).greet()
        stream = frames.call(SEND_DIFF_COPY, for_exporter(0))
        number = 0
        deadline_s = time.monotonic() + SOON_S
        while not frames.closed:
            assert time.monotonic() < deadline_s, "the client takes all of it"
            stats = (
                Packet(stat=Stat(path=f"{n:09}", mode=1 << 26 | 0o644)).SerializeToString()
                for n in range(number, number + 200)
            )
            frames.send(frame(Kind.DATA, b"".join(map(grpc_message, stats)), stream=stream))
            number += 200
            if number == 1000:
                listed.set()

    with FakeDaemon(solve) as daemon, BuildKitClient.connect(daemon.address) as client:
        running = client.start(replace(options, exporters=[local(out)]), on_event=ignore)
        assert listed.wait(SOON_S)
        running.cancel()
        with pytest.raises(BuildCanceled):
            running.wait()
    assert snapshot(out) == {}


# --- Status -----------------------------------------------------------------------------------------------------------


FAR = Timestamp(seconds=2**62, nanos=-1)


@cases(
    "message",
    a_log_of_nothing_known=StatusResponse(logs=[VertexLog(vertex="sha256:no", msg=b"x")]),
    a_log_of_no_vertex=StatusResponse(logs=[VertexLog(msg=b"x")]),
    a_log_of_another_stream=StatusResponse(logs=[VertexLog(vertex="sha256:1", stream=-7, msg=b"x")]),
    a_long_log=StatusResponse(logs=[VertexLog(vertex="sha256:1", msg=bytes(4 << 20))]),
    a_log_that_is_no_text=StatusResponse(logs=[VertexLog(vertex="sha256:1", msg=bytes(range(256)))]),
    a_clipping_that_is_no_text=StatusResponse(
        logs=[VertexLog(vertex="sha256:1", msg=b"[output clipped, log limit \xff reached]")]
    ),
    a_transfer_of_nothing_known=StatusResponse(
        statuses=[VertexStatus(id="x", vertex="sha256:no", current=-1)]
    ),
    a_transfer_without_a_name=StatusResponse(statuses=[VertexStatus(total=-(2**63))]),
    a_warning_of_nothing=StatusResponse(warnings=[VertexWarning(short=b"\xff", detail=[b"\xff"], level=-1)]),
    a_vertex_without_a_name=StatusResponse(vertexes=[Vertex()]),
    a_vertex_that_waits_for_itself=StatusResponse(vertexes=[Vertex(digest="x", inputs=["x", "y"])]),
    a_name_with_control_characters=StatusResponse(vertexes=[Vertex(digest="x", name="\x1b[2J\0\n")]),
    a_time_that_is_none=StatusResponse(vertexes=[Vertex(digest="x", started=FAR, completed=FAR)]),
    a_log_at_a_time_that_is_none=StatusResponse(logs=[VertexLog(vertex="x", msg=b"x", timestamp=FAR)]),
    a_transfer_at_a_time_that_is_none=StatusResponse(statuses=[VertexStatus(id="x", completed=FAR)]),
    a_name_that_is_not_utf8=b"\x0a\x06\x0a\x01x\x1a\x01\xff",
    garbage=b"\xff\xff\xff",
    nothing=b"",
)
@pytest.mark.parametrize("fails", [False, True], ids=["then succeeds", "then fails"])
def test_strange_status_does_not_disturb(
    message: StatusResponse | bytes, fails: bool, options: BuildOptions
) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, _session: FakeSession) -> None:
        daemon.job(request.ref).status(message, message)
        if fails:
            raise SolveFailed("boom")

    error = succeeds_or_fails_well(solve, options)
    assert not fails or isinstance(error, BuildKitError)


def test_status_may_go_on_after_the_end(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, _session: FakeSession) -> None:
        job = daemon.job(request.ref)
        late = StatusResponse(logs=[VertexLog(vertex="sha256:1", msg=b"late")])

        def go_on() -> None:
            job.status(late, late)
            job.end_status()
            job.status(late)

        job.when_over = go_on

    events: list[Event] = []
    with FakeDaemon(solve) as daemon, BuildKitClient.connect(daemon.address) as client:
        client.build(options, on_event=events.append)
    assert [event.data for event in events if isinstance(event, LogOutput)] == [b"late", b"late"]


def test_status_may_end_too_early(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        daemon.job(request.ref).end_status()
        time.sleep(0.05)
        session.check_health()

    build(solve, options)


@pytest.mark.parametrize("fails", [False, True], ids=["success", "failure"])
def test_status_may_never_end(fails: bool, options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, _session: FakeSession) -> None:
        daemon.job(request.ref).when_over = lambda: None
        if fails:
            raise SolveFailed("boom")

    with FakeDaemon(solve) as daemon, BuildKitClient.connect(daemon.address, silence_s=0.5) as client:
        started_s = time.monotonic()
        if fails:
            with pytest.raises(BuildFailed, match="boom"):
                client.build(options, on_event=ignore)
        else:
            client.build(options, on_event=ignore)
        # The client waits 5 s for the rest of a build that succeeded.
        assert time.monotonic() - started_s < 7


# --- the answer to Solve ----------------------------------------------------------------------------------------------


def source(**value: object) -> bytes:
    return details_of("boom", {"errdefs.Source": value})


@cases(
    "details",
    garbage=b"\xff\xff\xff",
    empty=b"",
    not_json=details_of("boom", {"errdefs.Source": b"not json", "errdefs.Vertex": b"\xff"}),
    other_json=details_of("boom", {"errdefs.Source": [1], "errdefs.Vertex": "x", "stack.Stack": None}),
    deep_json=details_of("boom", {"errdefs.Source": b"[" * 5_000, "errdefs.Vertex": b'{"a":' * 1_000}),
    not_base64=source(info={"data": "!!!"}),
    half_base64=source(info={"data": "QUJ"}),
    data_that_is_no_text=source(info={"data": 7}),
    info_that_is_no_object=source(info="x"),
    ranges_that_are_none=source(ranges="abc"),
    ranges_of_numbers=source(ranges=[1, 2]),
    ranges_of_nothing=source(ranges=[None, {}]),
    ranges_that_are_one_number=source(ranges=7),
    positions_that_are_none=source(ranges=[{"start": 1, "end": None}]),
    lines_that_are_words=source(ranges=[{"start": {"line": "x"}, "end": {"line": []}}]),
    negative_lines=source(ranges=[{"start": {"line": -7}, "end": {"line": -1}}]),
    lines_beyond_the_end=source(ranges=[{"start": {"line": 10**9}, "end": {"line": 10**30}}]),
    lines_that_are_not_finite=details_of(
        "boom", {"errdefs.Source": b'{"ranges":[{"start":{"line":1e999},"end":{"line":NaN}}]}'}
    ),
    backward_lines=source(ranges=[{"start": {"line": 9}, "end": {"line": 1}}]),
    digest_that_is_a_list=details_of("boom", {"errdefs.Vertex": {"digest": ["x"]}}),
    digest_that_is_an_object=details_of("boom", {"errdefs.Vertex": {"digest": {}}}),
    code_that_is_a_word=details_of("boom", {"gatewayapi.ExitMessage": {"Code": "seven"}}),
    code_that_is_none=details_of("boom", {"gatewayapi.ExitMessage": {"Code": None}}),
    code_that_is_a_list=details_of("boom", {"gatewayapi.ExitMessage": {"Code": []}}),
)
def test_strange_details_leave_the_message(details: bytes, options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, _session: FakeSession) -> None:
        vertex = Vertex(digest="sha256:1", name="[2/2] COPY . /", error="boom")
        daemon.job(request.ref).status(StatusResponse(vertexes=[vertex]))
        raise SolveFailed("boom", details=details)

    error = failure(solve, options)
    assert isinstance(error, BuildFailed)
    assert error.exit_code is None or isinstance(error.exit_code, int)
    assert error.line_range is None or all(isinstance(line, int) and line > 0 for line in error.line_range)


@cases(
    "failed",
    message=lambda: SolveFailed("x" * 30_000),
    details=lambda: SolveFailed("boom", details=source(info={"data": "QUJD" * 50_000})),
)
def test_long_error_arrives(failed: Callable[[], SolveFailed], options: BuildOptions) -> None:
    """Daemons send the whole Dockerfile along, and the whole script of a RUN in the message."""
    sent = failed()

    def solve(_daemon: FakeDaemon, _request: SolveRequest, _session: FakeSession) -> None:
        raise sent

    error = failure(solve, options)
    assert isinstance(error, BuildFailed)
    assert sent.message[:50] in error.message


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code != grpc.StatusCode.OK])
def test_error_without_a_message_says_something(code: grpc.StatusCode, options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, _session: FakeSession) -> None:
        raise SolveFailed("", code=code)

    assert len(failure(solve, options).message) > 4


@pytest.mark.parametrize(
    "digest", ["nonsense", "sha256:", "sha256:xyz", "../../etc/passwd", "sha256:" + "a" * 100_000, "\x1b[2J"]
)
@pytest.mark.parametrize("key", ["containerimage.digest", "containerimage.config.digest"])
def test_digest_that_is_none_is_no_result(key: str, digest: str, options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, _session: FakeSession) -> SolveResponse:
        return SolveResponse(exporter_response={key: digest, "containerimage.descriptor": "e30="})

    failure(solve, replace(options, exporters=[image(["a:1"])]))


def test_success_without_a_word_has_no_digest(options: BuildOptions) -> None:
    result = build(lambda _daemon, _request, _session: None, options)
    assert (result.image_digest, result.image_id) == (None, None)


@pytest.mark.parametrize("moment", ["at once", "in a transfer", "in a build step", "after the answer"])
def test_daemon_that_dies_is_lost(moment: str, options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        job = daemon.job(request.ref)
        if moment == "in a transfer":
            call = session.stream(SYNC_DIFF_COPY, asking_for(context_of(request)))
            call.send(request_for("big"))
            listing(call)
        elif moment == "in a build step":
            job.status(StatusResponse(vertexes=[Vertex(digest="sha256:1", name="[2/2] RUN x")]))
            session.check_health()
        elif moment == "after the answer":
            job.when_over = lambda: threading.Thread(target=daemon.die).start()
            return
        daemon.die()
        job.hang()

    error = succeeds_or_fails_well(solve, options)
    assert moment == "after the answer" or isinstance(error, ConnectionLost)


def test_daemon_that_says_nothing_is_given_up(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, _session: FakeSession) -> None:
        daemon.job(request.ref).hang()

    error = failure(solve, options, silence_s=WATCHDOG_S)
    assert isinstance(error, DaemonLost)
    assert "silent for 0.4 seconds" in error.message
