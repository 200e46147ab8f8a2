from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from tasks_engine.backends.buildkit.container_pipe import (
    DIAL_COMMAND,
    CommandFailed,
    PipeSocket,
    dial_container,
)
from tasks_engine.backends.buildkit.errors import ConnectError
from tests.open_files import open_files

ID = "0123456789abcdef" * 4
UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
NOT_STARTED = b"OCI runtime exec failed: exec failed: no buildctl: unknown\r\n"


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def answer(status: str, body: object = None) -> bytes:
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


CREATED = answer("201 Created", {"Id": ID})


class Engine:
    """A scripted Docker Engine: each connection reads one request and answers with the next bytes.

    The last connection stays open for the test: `daemon` is the engine's end of it.
    """

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.requests: list[tuple[str, object]] = []
        self.heads: list[list[str]] = []
        self.sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def dial(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.settimeout(5)
        self.sockets += [ours, theirs]
        thread = threading.Thread(target=self._serve, args=(theirs, self._answers.pop(0)))
        self._threads.append(thread)
        thread.start()
        return ours

    @property
    def daemon(self) -> socket.socket:
        self._threads[-1].join()
        return self.sockets[-1]

    def close(self) -> None:
        for thread in self._threads:
            thread.join()
        for end in self.sockets:
            end.close()

    def _serve(self, connection: socket.socket, reply: bytes) -> None:
        with contextlib.suppress(OSError):
            self._read_request(connection)
            connection.sendall(reply)

    def _read_request(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("Content-Length"))
        while len(body) < length:
            body += connection.recv(4096)
        self.heads.append(lines)
        self.requests.append((lines[0], json.loads(body)))


StartEngine = Callable[..., Engine]


@pytest.fixture
def start() -> Iterator[StartEngine]:
    before = open_files()
    engines: list[Engine] = []

    def start(*answers: bytes) -> Engine:
        engines.append(Engine(*answers))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()
    assert not open_files() - before


def open_pipe(
    start: StartEngine, first: bytes = b"", status: bytes = UPGRADED
) -> tuple[PipeSocket, socket.socket]:
    """A started pipe, and the engine's end of it."""
    engine = start(CREATED, status + first)
    pipe = dial_container("builder", engine.dial, 5)
    return pipe, engine.daemon


def test_command_is_prepared_and_then_started(start: StartEngine) -> None:
    engine = start(CREATED, UPGRADED)
    dial_container("my_builder-1.x", engine.dial, 5).close()
    assert engine.requests == [
        (
            "POST /containers/my_builder-1.x/exec HTTP/1.1",
            {
                "AttachStdin": True,
                "AttachStdout": True,
                "AttachStderr": True,
                "Tty": False,
                "Cmd": ["buildctl", "dial-stdio"],
            },
        ),
        (f"POST /exec/{ID}/start HTTP/1.1", {"Detach": False, "Tty": False}),
    ]
    assert {"Connection: Upgrade", "Upgrade: tcp"} <= set(engine.heads[1])
    assert DIAL_COMMAND == ("buildctl", "dial-stdio")


@pytest.mark.parametrize(
    "status", [UPGRADED, b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"]
)
def test_bytes_go_both_ways_and_the_first_ones_are_kept(start: StartEngine, status: bytes) -> None:
    pipe, daemon = open_pipe(start, frame(1, b"first"), status)
    assert pipe.recv(100) == b"first"
    pipe.sendall(memoryview(b"question"))
    assert daemon.recv(100) == b"question"
    daemon.sendall(frame(1, b"answer"))
    buffer = bytearray(10)
    assert pipe.recv_into(buffer) == 6
    assert buffer == b"answer\0\0\0\0"
    pipe.close()
    assert daemon.recv(1) == b""


@pytest.mark.parametrize("count", [1, 3, 1000])
@pytest.mark.parametrize("drip", [False, True])
def test_frames_may_come_in_any_pieces(start: StartEngine, count: int, drip: bool) -> None:
    content = bytes(range(256))
    sent = (
        frame(1, content[:100]) + frame(1, b"") + frame(2, b"noise") + frame(1, content[100:]) + frame(2, b"")
    )
    pipe, daemon = open_pipe(start)

    def send() -> None:
        for begin in range(0, len(sent), 1 if drip else len(sent)):
            daemon.sendall(sent[begin : begin + (1 if drip else len(sent))])

    thread = threading.Thread(target=send)
    thread.start()
    received = b""
    while len(received) < len(content):
        piece = pipe.recv(count)
        assert 1 <= len(piece) <= count
        received += piece
    thread.join()
    assert received == content


def test_huge_frame_is_not_collected(start: StartEngine) -> None:
    pipe, daemon = open_pipe(start)
    daemon.sendall(b"\x01\0\0\0\xff\xff\xff\xff" + b"x" * 1000)
    assert pipe.recv(1 << 30) == b"x" * 1000


def test_nothing_is_lost_by_a_timeout(start: StartEngine) -> None:
    pipe, daemon = open_pipe(start)
    pipe.settimeout(0.005)
    for part in (b"\x01\0\0", b"\0\0\0\0", b"\x03a"):
        with pytest.raises(TimeoutError):
            pipe.recv(10)
        daemon.sendall(part)
    pipe.settimeout(5)
    assert pipe.recv(10) == b"a"
    daemon.sendall(b"bc")
    assert pipe.recv(10) == b"bc"


def test_end_of_output_is_the_end(start: StartEngine) -> None:
    pipe, daemon = open_pipe(start, frame(1, b"all"))
    daemon.shutdown(socket.SHUT_WR)
    assert [pipe.recv(10), pipe.recv(10), pipe.recv_into(bytearray(10))] == [b"all", b"", 0]


def test_own_end_closes_the_input_only(start: StartEngine) -> None:
    pipe, daemon = open_pipe(start)
    pipe.shutdown(socket.SHUT_WR)
    assert daemon.recv(1) == b""
    daemon.sendall(frame(1, b"rest"))
    assert pipe.recv(10) == b"rest"


def test_what_the_command_complains_about_is_shown(start: StartEngine) -> None:
    pipe, daemon = open_pipe(
        start, frame(2, b"error: dial unix /run/buildkit: ") + frame(2, b"connection refused\n")
    )
    daemon.shutdown(socket.SHUT_WR)
    for _ in range(2):
        with pytest.raises(
            CommandFailed, match=r"container builder says: error: dial .*: connection refused$"
        ):
            pipe.recv(10)


def test_complaint_after_good_bytes_is_a_lost_connection(start: StartEngine) -> None:
    pipe, daemon = open_pipe(start, frame(1, b"good") + frame(2, b"killed"))
    daemon.shutdown(socket.SHUT_WR)
    assert pipe.recv(10) == b"good"
    with pytest.raises(ConnectionResetError, match="says: killed") as caught:
        pipe.recv(10)
    assert caught.value.strerror == "the command in the container builder says: killed"


def test_only_the_end_of_complaints_is_kept(start: StartEngine) -> None:
    pipe, daemon = open_pipe(start)
    daemon.sendall(frame(2, b"old " + b"x" * 5000) + frame(2, b" new"))
    daemon.shutdown(socket.SHUT_WR)
    with pytest.raises(CommandFailed) as caught:
        pipe.recv(10)
    assert "old" not in caught.value.message
    assert caught.value.message.endswith("x new")
    assert len(caught.value.message) < 4200


def test_command_that_is_not_there_is_told(start: StartEngine) -> None:
    pipe, _ = open_pipe(start, frame(1, NOT_STARTED))
    with pytest.raises(CommandFailed, match="no buildctl: unknown") as caught:
        pipe.recv(1000)
    assert isinstance(caught.value, ConnectError)


def test_that_text_in_the_middle_is_data(start: StartEngine) -> None:
    pipe, _ = open_pipe(start, frame(1, b"x") + frame(1, NOT_STARTED))
    assert [pipe.recv(1000), pipe.recv(1000)] == [b"x", NOT_STARTED]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"\x01\0\0", "ended in the middle of a frame"),
        (b"\x01\0\0\0\0\0\0\x05abc", "ended in the middle of what the command said"),
        (b"\x04\0\0\0\0\0\0\x05abcde", "not in Docker's frames"),
        (b"\x01\0\1\0\0\0\0\x05abcde", "not in Docker's frames"),
        (b"HTTP/1.1 500 x\r\n", "not in Docker's frames"),
        (frame(3, b"daemon is ill"), "says: daemon is ill"),
    ],
)
def test_broken_stream_is_an_error(start: StartEngine, sent: bytes, why: str) -> None:
    pipe, daemon = open_pipe(start, sent)
    daemon.shutdown(socket.SHUT_WR)
    with pytest.raises(OSError, match=why):
        while pipe.recv(1000):
            pass


def test_own_close_is_no_error_for_who_reads(start: StartEngine) -> None:
    pipe, _ = open_pipe(start, frame(2, b"warning") + frame(1, b"x"))
    assert pipe.recv(1) == b"x"
    results: list[bytes] = []
    reader = threading.Thread(target=lambda: results.append(pipe.recv(1)))
    reader.start()
    reader.join(0.02)
    pipe.shutdown(socket.SHUT_RDWR)
    reader.join()
    assert results == [b""]
    pipe.close()
    pipe.close()


def test_one_thread_may_read_while_another_one_writes(start: StartEngine) -> None:
    pipe, daemon = open_pipe(start)
    content = os.urandom(1 << 20) * 4

    def echo() -> None:
        while data := daemon.recv(100_000):
            daemon.sendall(frame(1, data))
        daemon.shutdown(socket.SHUT_WR)

    def write() -> None:
        pipe.sendall(content)
        pipe.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=echo), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    received = bytearray()
    while data := pipe.recv(65536):
        received += data
    for thread in threads:
        thread.join()
    assert received == content


@pytest.mark.parametrize(
    "name", ["", "a", "-ab", "a/b", "../x", "a b", "a\r\nX: y", "a?b", "ä1", "a%2f", "ab\n"]
)
def test_other_names_never_reach_docker(name: str) -> None:
    def dial() -> socket.socket:
        raise AssertionError("dialled")

    with pytest.raises(ConnectError, match="can not be the name of a container"):
        dial_container(name, dial, 5)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (
            [answer("404 Not Found", {"message": "No such container: builder"})],
            "there is no container builder: No such container: builder$",
        ),
        (
            [answer("409 Conflict", {"message": "container builder is paused"})],
            "the container builder does not run: container builder is paused$",
        ),
        (
            [answer("403 Forbidden", {"message": "not for you"})],
            "does not start buildctl in the container builder: it answered 403: not for you$",
        ),
        ([answer("201 Created", {"Id": "../../etc"})], "its answer is not understood"),
        ([answer("201 Created", {"Id": 5})], "its answer is not understood"),
        ([answer("201 Created", b"x" * 100_000)], "its answer is not understood"),
        ([answer("201 Created", b"[" * 60_000)], "its answer is not understood"),
        ([answer("201 Created", b"[]")], "its answer is not understood"),
        ([b"HTTP/1.1 201 Created\r\nContent-Length: x\r\n\r\n"], "'x' is no length"),
        ([b"SSH-2.0\r\n\r\n"], "does not speak HTTP"),
        (
            [CREATED, answer("409 Conflict", {"message": "container is not running"})],
            "does not start the command in the container builder: it answered 409: container is not",
        ),
        ([CREATED, b"HTTP/1.1 500 x\r\nContent-Length: 4\r\n\r\nugly"], "it answered 500: ugly$"),
        ([CREATED, b"nonsense\r\n\r\n"], "does not speak HTTP"),
    ],
)
def test_refusals_carry_what_docker_says(start: StartEngine, answers: Sequence[bytes], why: str) -> None:
    engine = start(*answers)
    with pytest.raises(ConnectError, match=why):
        dial_container("builder", engine.dial, 5)
    assert all(ours.fileno() == -1 for ours in engine.sockets[::2])


def test_closed_connection_is_told(start: StartEngine) -> None:
    def dial() -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.shutdown(socket.SHUT_WR)
        ends.append(theirs)
        return ours

    ends: list[socket.socket] = []
    with pytest.raises(ConnectError, match="cannot reach the container builder through Docker: it closed"):
        dial_container("builder", dial, 5)
    ends[0].close()


@pytest.mark.parametrize("answers", [[b""], [CREATED, b""], [CREATED, UPGRADED[:-2]]])
def test_silent_engine_is_given_up(start: StartEngine, answers: Sequence[bytes]) -> None:
    engine = start(*answers)
    with pytest.raises(ConnectError, match=r"did not start cat in the container builder within 0\.05 s"):
        dial_container("builder", engine.dial, 0.05, ["cat"])
    assert all(ours.fileno() == -1 for ours in engine.sockets[::2])


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "through Docker: Connection refused"),
        (ConnectError("its certificate has expired"), "its certificate has expired"),
    ],
)
def test_unreachable_engine_is_told(failure: Exception, why: str) -> None:
    def dial() -> socket.socket:
        raise failure

    with pytest.raises(ConnectError, match=why):
        dial_container("builder", dial, 5)
