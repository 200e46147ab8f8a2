"""The server of gRPC calls, against an HTTP/2 client of its own kind: h2, frame by frame."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.settings import SettingCodes, Settings

from tasks_engine.backends.buildkit.call_server import (
    NOT_FOUND,
    Call,
    CallFailed,
    CallOver,
    CallServer,
    Handler,
)
from tasks_engine.backends.buildkit.session_pipe import SocketPipe
from tasks_engine.backends.buildkit.sockets import Connection


def framed(message: bytes) -> bytes:
    return struct.pack("!BL", 0, len(message)) + message


@dataclass
class Answer:
    data: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    over: bool = False

    @property
    def messages(self) -> list[bytes]:
        found, data = [], self.data
        while data:
            length = struct.unpack_from("!BL", data)[1]
            found.append(data[5 : 5 + length])
            data = data[5 + length :]
        return found


class Client:
    """The daemon's end of a session."""

    def __init__(self, end: socket.socket, window: int | None = None) -> None:
        self.socket = end
        self.http2 = H2Connection(
            H2Configuration(
                header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        if window is not None:
            initial = {SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.http2.local_settings = Settings(client=True, initial_values=initial)
        self.http2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.acknowledges = True
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.http2.data_to_send())

    def begin(self, path: str, *headers: tuple[str, str]) -> int:
        stream_id = self.http2.get_next_available_stream_id()
        base = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", path)]
        self.http2.send_headers(stream_id, [*base, ("content-type", "application/grpc"), *headers])
        self.answers[stream_id] = Answer()
        self.flush()
        return stream_id

    def send(self, stream_id: int, data: bytes, *, end: bool = False, padding: int | None = None) -> None:
        """Sends bytes as the windows allow."""
        while data:
            size = min(
                len(data), self.http2.local_flow_control_window(stream_id), self.http2.max_outbound_frame_size
            )
            if size <= 0:
                self.receive()
                continue
            size = max(1, size - (padding or 0) - 1) if padding is not None else size
            self.http2.send_data(stream_id, data[:size], pad_length=padding)
            data = data[size:]
            self.flush()
        if end:
            self.http2.end_stream(stream_id)
            self.flush()

    def receive(self) -> None:
        """Takes in what comes next."""
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        for event in self.http2.receive_data(data):
            match event:
                case DataReceived():
                    self.answers[event.stream_id].data += event.data
                    if self.acknowledges:
                        self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case TrailersReceived() | ResponseReceived():
                    self.answers[event.stream_id].trailers |= dict(event.headers)
                case StreamEnded() | StreamReset() if event.stream_id in self.answers:
                    self.answers[event.stream_id].over = True
        self.flush()

    def answer(self, stream_id: int) -> Answer:
        """All of an answer."""
        while not self.answers[stream_id].over:
            self.receive()
        return self.answers[stream_id]

    def ask(self, path: str, *messages: bytes) -> Answer:
        stream_id = self.begin(path)
        self.send(stream_id, b"".join(map(framed, messages)), end=True)
        return self.answer(stream_id)


Serve = Callable[..., Client]


@pytest.fixture
def failures() -> list[BaseException]:
    return []


@pytest.fixture
def serve(failures: list[BaseException]) -> Iterator[Serve]:
    """(path -> handler) -> a client of a server with these."""
    opened: list[tuple[CallServer, Client]] = []

    def start(handlers: dict[str, Handler], window: int | None = None) -> Client:
        ours, theirs = socket.socketpair()
        theirs.settimeout(10)
        server = CallServer(
            SocketPipe(Connection(ours)),
            handlers,
            on_heard=lambda: None,
            describe=lambda error: failures.append(error) or "failed \udcff",
            on_breach=failures.append,
        )
        client = Client(theirs, window)
        opened.append((server, client))
        return client

    yield start
    for server, client in opened:
        server.close()
        client.socket.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("buildkit")]


def echo(call: Call) -> None:
    for message in call.messages():
        call.send([message])


def test_messages_go_both_ways(serve: Serve) -> None:
    answer = serve({"/s/echo": echo}).ask("/s/echo", b"one", b"", b"three")
    assert answer.messages == [b"one", b"", b"three"]
    assert answer.trailers["grpc-status"] == "0"


def test_many_messages_travel_in_few_frames(serve: Serve) -> None:
    client = serve({"/s/many": lambda call: call.send([b"x" * 50] * 1000)})
    assert client.ask("/s/many").messages == [b"x" * 50] * 1000


def test_calls_run_side_by_side(serve: Serve) -> None:
    client = serve({"/s/echo": echo})
    first, second = client.begin("/s/echo"), client.begin("/s/echo")
    client.send(second, framed(b"second"), end=True)
    assert client.answer(second).messages == [b"second"]
    client.send(first, framed(b"first"), end=True)
    assert client.answer(first).messages == [b"first"]


@pytest.mark.parametrize("size", [100_000, 5 << 20])
def test_message_longer_than_the_windows_arrives(serve: Serve, size: int) -> None:
    lengths: list[int] = []

    def measure(call: Call) -> None:
        lengths.extend(len(message) for message in call.messages())

    assert serve({"/s/measure": measure}).ask("/s/measure", bytes(size), b"x").trailers["grpc-status"] == "0"
    assert lengths == [size, 1]


def test_windows_of_the_peer_are_kept(serve: Serve) -> None:
    client = serve({"/s/big": lambda call: call.send([bytes(300_000)])}, window=1000)
    client.acknowledges = False
    stream_id = client.begin("/s/big")
    while len(client.answers[stream_id].data) < 1000:
        client.receive()
    assert len(client.answers[stream_id].data) == 1000
    client.http2.increment_flow_control_window(1 << 20)
    client.http2.increment_flow_control_window(1 << 20, stream_id)
    client.flush()
    assert client.answer(stream_id).messages == [bytes(300_000)]


def test_reader_that_waits_is_not_flooded(serve: Serve) -> None:
    go_on = threading.Event()

    def slow(call: Call) -> None:
        go_on.wait(10)
        call.send([str(sum(len(message) for message in call.messages())).encode()])

    client = serve({"/s/slow": slow})
    stream_id = client.begin("/s/slow")
    message = framed(bytes(1000))
    sent = 0
    while client.http2.local_flow_control_window(stream_id) >= len(message):
        client.send(stream_id, message)
        sent += 1
    assert sent < 1100
    go_on.set()
    client.send(stream_id, message * 2000, end=True)
    assert client.answer(stream_id).messages == [str((sent + 2000) * 1000).encode()]


@pytest.mark.parametrize("padding", [0, 5, 200])
def test_padding_is_dropped_and_counted(serve: Serve, padding: int) -> None:
    client = serve({"/s/echo": echo})
    for _ in range(3):
        stream_id = client.begin("/s/echo")
        client.send(stream_id, framed(b"y" * 100_000), padding=padding, end=True)
        assert client.answer(stream_id).messages == [b"y" * 100_000]


def test_unknown_method_is_unimplemented(serve: Serve, failures: list[BaseException]) -> None:
    assert serve({}).ask("/s/none").trailers["grpc-status"] == "12"
    assert not failures


def test_handler_may_fail_with_a_status(serve: Serve, failures: list[BaseException]) -> None:
    def refuse(_: Call) -> None:
        raise CallFailed(NOT_FOUND, "no thing '50 %'\n")

    trailers = serve({"/s/refuse": refuse}).ask("/s/refuse").trailers
    assert (trailers["grpc-status"], trailers["grpc-message"]) == ("5", "no thing '50 %25'%0A")
    assert not failures


@pytest.mark.parametrize("error", [KeyError("mine"), SystemExit(3)])
def test_what_a_handler_raises_is_described_and_the_text_sent(
    serve: Serve, failures: list[BaseException], error: BaseException
) -> None:
    def fail(_: Call) -> None:
        raise error

    trailers = serve({"/s/fail": fail}).ask("/s/fail").trailers
    assert (trailers["grpc-status"], trailers["grpc-message"]) == ("13", "failed ?")
    assert failures == [error]


def test_metadata_keeps_order_blanks_and_bytes(serve: Serve) -> None:
    seen: list[list[str]] = []
    client = serve({"/s/see": lambda call: seen.append(list(call.metadata["follow"]))})
    stream_id = client.begin("/s/see", ("follow", " a "), ("follow", "ü"), ("follow", ""))
    client.send(stream_id, b"", end=True)
    client.answer(stream_id)
    assert seen == [[" a ", "ü", ""]]


def test_message_cut_off_fails_the_call(serve: Serve) -> None:
    client = serve({"/s/echo": echo})
    stream_id = client.begin("/s/echo")
    client.send(stream_id, framed(b"whole") + framed(b"half")[:-1], end=True)
    answer = client.answer(stream_id)
    assert (answer.messages, answer.trailers["grpc-status"]) == ([b"whole"], "13")


def test_reset_wakes_the_handler(serve: Serve) -> None:
    woke = threading.Event()

    def wait(call: Call) -> None:
        try:
            call.next_message()
        except CallOver:
            woke.set()
            raise

    client = serve({"/s/wait": wait, "/s/echo": echo})
    stream_id = client.begin("/s/wait")
    client.http2.reset_stream(stream_id)
    client.flush()
    assert woke.wait(10)
    assert client.ask("/s/echo", b"still").messages == [b"still"]


def test_end_of_the_connection_wakes_all_handlers(serve: Serve, failures: list[BaseException]) -> None:
    woke = threading.Barrier(3)

    def wait(call: Call) -> None:
        try:
            call.next_message()
        except CallOver:
            woke.wait(10)
            raise

    def push(call: Call) -> None:
        try:
            call.send([bytes(1 << 20)])
        except CallOver:
            woke.wait(10)
            raise

    client = serve({"/s/wait": wait, "/s/push": push}, window=10)
    client.begin("/s/wait")
    client.begin("/s/push")
    client.socket.shutdown(socket.SHUT_WR)
    woke.wait(10)
    assert not failures


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x04\x00\x00\x00\x00\x00\x07oops",
    ],
)
def test_rubbish_ends_the_connection(failures: list[BaseException], rubbish: bytes) -> None:
    ours, theirs = socket.socketpair()
    server = CallServer(
        SocketPipe(Connection(ours)), {}, on_heard=lambda: None, describe=str, on_breach=failures.append
    )
    theirs.settimeout(10)
    theirs.sendall(rubbish)
    while theirs.recv(4096):
        pass
    server.close()
    theirs.close()
    assert len(failures) == 1


@pytest.mark.parametrize(
    "message",
    [struct.pack("!BL", 1, 1) + b"x", struct.pack("!BL", 0, 1 << 31)],
    ids=["compressed", "too long"],
)
def test_message_that_is_not_taken_ends_the_connection(
    serve: Serve, failures: list[BaseException], message: bytes
) -> None:
    client = serve({"/s/echo": echo})
    stream_id = client.begin("/s/echo")
    with pytest.raises((EOFError, OSError)):
        client.send(stream_id, message)
        client.answer(stream_id)
    assert "compressed or too long" in str(failures[0])
