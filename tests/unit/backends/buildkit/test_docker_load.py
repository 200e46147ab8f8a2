from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tasks_engine.backends.buildkit import docker_load
from tasks_engine.backends.buildkit.docker_load import DockerLoad
from tasks_engine.backends.buildkit.errors import ConnectError, ExportError
from tasks_engine.backends.buildkit.http_answers import read_answer
from tests.open_files import open_files

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
LOADED = b'{"stream":"Loaded image: app:1\\n"}\r\n'


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def message(status: bytes, body: bytes, *headers: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\n%s\r\n" % (status, b"".join(b"%s\r\n" % h for h in headers)) + body


class Engine:
    """A scripted Docker Engine for one request: runs `script` with its end of the connection."""

    def __init__(self, script: Callable[[Engine], None]) -> None:
        self.client, self._server = socket.socketpair()
        self._server.settimeout(5)
        self._file = self._server.makefile("rb")
        self._script = script
        self.head = b""
        self.body = b""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def dial(self) -> socket.socket:
        return self.client

    def read_head(self) -> None:
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self._file.readline()

    def read_chunk(self) -> bytes:
        """One chunk of the body; raises ValueError when the connection ends instead."""
        size = int(self._file.readline(), 16)
        data = self._file.read(size)
        assert self._file.readline() == b"\r\n"
        self.body += data
        return data

    def read_body(self) -> None:
        while self.read_chunk():
            pass

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._server.sendall(piece)

    def hang_up(self) -> None:
        self._file.close()
        self._server.close()

    def wait_for_end(self) -> bool:
        """Whether the client hung up."""
        return not self._server.recv(1)

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            self._script(self)
        finally:
            self.hang_up()


def answers(*pieces: bytes) -> Callable[[Engine], None]:
    """An engine that takes everything and then answers with `pieces`."""

    def script(engine: Engine) -> None:
        engine.read_head()
        engine.read_body()
        engine.say(*pieces)

    return script


@pytest.fixture
def start() -> Iterator[Callable[[Callable[[Engine], None]], Engine]]:
    before = open_files()
    engines: list[Engine] = []

    def start(script: Callable[[Engine], None]) -> Engine:
        engines.append(Engine(script))
        return engines[-1]

    yield start
    for engine in engines:
        engine.join()
    assert not open_files() - before
    assert not [thread for thread in threading.enumerate() if thread.name == "buildkit-docker-load"]


Start = Callable[[Callable[[Engine], None]], Engine]


def test_tar_goes_out_in_chunks_and_the_answer_ends_it(start: Start) -> None:
    engine = start(answers(OK, chunked(LOADED)))
    writer = DockerLoad(engine.dial).open()
    for piece in (b"abc", b"", b"d" * 1_000_000):
        writer.write(piece)
    writer.finish()
    writer.finish()
    writer.abort()
    engine.join()
    assert engine.head.startswith(b"POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\n")
    assert b"\r\nContent-Type: application/x-tar\r\n" in engine.head
    assert engine.body == b"abc" + b"d" * 1_000_000


@pytest.mark.parametrize(
    "answer",
    [
        OK + chunked(),
        OK + chunked(LOADED, LOADED),
        OK + chunked(*(bytes([byte]) for byte in LOADED)),
        OK + chunked(LOADED[:20], LOADED[20:] + LOADED),
        OK + b"5;name=value\r\n{}   \r\n0\r\nTrailer: x\r\n\r\n",
        message(b"200 OK", b"{}{}", b"content-length: 4"),
        message(b"200 OK", LOADED),
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + chunked(LOADED),
        OK + chunked('{"stream":"ä"}'.encode()[:-3], '{"stream":"ä"}'.encode()[-3:]),
    ],
)
@pytest.mark.parametrize("drip", [False, True])
def test_good_answers_in_every_form(start: Start, answer: bytes, drip: bool) -> None:
    engine = start(answers(*([bytes([byte]) for byte in answer] if drip else [answer])))
    writer = DockerLoad(engine.dial).open()
    writer.write(b"tar")
    writer.finish()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            OK + chunked(LOADED, b'{"errorDetail":{"message":"x"},"error":"bad layer"}'),
            "not load.*: bad layer$",
        ),
        (OK + chunked(b'{"errorDetail":{"message":"bad layer"}}'), "not load.*: bad layer$"),
        (
            message(b"500 Internal Server Error", b'{"message":"no space"}', b"Content-Length: 22"),
            "answered 500: no space$",
        ),
        (
            message(b"404 Not Found", chunked(b"page ", b"not found"), b"Transfer-Encoding: chunked"),
            "404: page not f",
        ),
        (message(b"503 x", b""), "answered 503$"),
        (message(b"500 x", b'{"message":' + b"[" * 60_000), r"answered 500: {"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "does not speak HTTP"),
        (b"x" * 70_000, "does not speak HTTP"),
        (b"", "closed the connection$"),
        (b"HTTP/1.1 200", "closed the connection$"),
        (OK, "closed the connection in the middle"),
        (OK + chunked(LOADED)[:-5], "closed the connection in the middle"),
        (message(b"200 OK", LOADED, b"Content-Length: 1000"), "closed the connection in the middle"),
        (OK + b"zz\r\n", "'zz' is no length"),
        (OK + b"-5\r\n", "'-5' is no length"),
        (OK + b"fffffffffffffffffffff\r\n", "is no length"),
        (OK + b"2\r\n{}x\r\n", "another length"),
        (OK + b"1" * 5000, "a line is too long"),
        (message(b"200 OK", b"", b"Content-Length: ten"), "'ten' is no length"),
        (OK + chunked(b"<html>"), "not JSON: <html>"),
        (OK + chunked(b'{"stream":"cut'), "not JSON"),
        (OK + chunked(b'{"stream":"' + b"x" * 2_000_000), "too long"),
        (OK + chunked(b"[" * 100_000 + b"}"), "cannot read the answer of Docker: RecursionError"),
    ],
)
def test_bad_answers_are_told(start: Start, answer: bytes, why: str) -> None:
    def script(engine: Engine) -> None:
        engine.read_head()
        engine.read_body()
        # The client may have hung up by then.
        with contextlib.suppress(OSError):
            engine.say(answer)

    engine = start(script)
    writer = DockerLoad(engine.dial).open()
    writer.write(b"tar")
    for _ in range(2):
        with pytest.raises(ExportError, match=why):
            writer.finish()
    writer.abort()


@pytest.mark.parametrize("hang_up", [True, False])
def test_early_answer_is_the_error_instead_of_a_broken_pipe(start: Start, hang_up: bool) -> None:
    def script(engine: Engine) -> None:
        engine.read_head()
        engine.say(OK + chunked(b'{"error":"no space left"}'))
        if hang_up:
            engine.hang_up()
        else:
            while engine._server.recv(1 << 20):
                pass

    writer = DockerLoad(start(script).dial).open()
    with pytest.raises(ExportError, match="no space left"):
        # The buffers of the connection may take some of it.
        for _ in range(1000):
            writer.write(b"x" * 100_000)
    with pytest.raises(ExportError, match="no space left"):
        writer.finish()


def test_early_answer_wakes_up_a_write_that_nobody_reads(start: Start) -> None:
    failed = threading.Event()
    in_time: list[bool] = []

    def script(engine: Engine) -> None:
        engine.read_head()
        # The write has begun.
        engine._file.read(1)
        engine.say(message(b"500 x", b'{"message":"full"}', b"Content-Length: 18"))
        in_time.append(failed.wait(2))

    engine = start(script)
    writer = DockerLoad(engine.dial).open()
    with pytest.raises(ExportError, match="answered 500: full"):
        writer.write(b"x" * 10_000_000)
    failed.set()
    writer.abort()
    engine.join()
    assert in_time == [True]


def test_good_answer_before_the_padding_of_the_tar_is_good(start: Start) -> None:
    answered = threading.Event()

    def script(engine: Engine) -> None:
        engine.read_head()
        engine.read_chunk()
        engine.say(OK + chunked(LOADED))
        engine.hang_up()
        answered.set()

    writer = DockerLoad(start(script).dial).open()
    writer.write(b"tar")
    assert answered.wait(5)
    for _ in range(20):
        writer.write(b"\0" * 100_000)
    writer.finish()


def test_lost_connection_is_told(start: Start) -> None:
    def script(engine: Engine) -> None:
        engine.read_head()

    writer = DockerLoad(start(script).dial).open()
    with pytest.raises(
        ExportError, match=r"Docker did not answer: it closed the connection|Connection reset"
    ):
        for _ in range(1000):
            writer.write(b"x" * 100_000)
    writer.abort()


def test_given_up_tar_is_never_ended(start: Start) -> None:
    ended: list[bool] = []

    def script(engine: Engine) -> None:
        engine.read_head()
        engine.read_chunk()
        ended.append(engine._file.read() != b"")

    engine = start(script)
    writer = DockerLoad(engine.dial).open()
    writer.write(b"tar")
    writer.abort()
    writer.abort()
    engine.join()
    assert ended == [False]
    for late in (writer.finish, lambda: writer.write(b"x")):
        with pytest.raises(ExportError, match="given up"):
            late()


@pytest.mark.parametrize("blocked", ["write", "finish"])
def test_abort_ends_what_waits_in_another_thread(start: Start, blocked: str) -> None:
    release = threading.Event()
    failures: list[ExportError] = []

    def script(engine: Engine) -> None:
        engine.read_head()
        assert release.wait(5)

    def run() -> None:
        try:
            if blocked == "write":
                writer.write(b"x" * 10_000_000)
            else:
                writer.finish()
        except ExportError as error:
            failures.append(error)

    writer = DockerLoad(start(script).dial).open()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(0.02)
    assert thread.is_alive()
    writer.abort()
    thread.join()
    release.set()
    assert len(failures) == 1


def test_engine_that_never_answers_is_given_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_load, "ANSWER_TIMEOUT_S", 0.03)

    def script(engine: Engine) -> None:
        engine.read_head()
        engine.read_body()
        assert engine.wait_for_end()

    writer = DockerLoad(start(script).dial).open()
    with pytest.raises(ExportError, match=r"did not answer within 0\.03 s"):
        writer.finish()


def test_slow_tar_does_not_time_out_the_answer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_load, "ANSWER_TIMEOUT_S", 0.01)
    engine = start(answers(OK, chunked(LOADED)))
    writer = DockerLoad(engine.dial).open()
    writer.write(b"a")
    threading.Event().wait(0.04)
    monkeypatch.setattr(docker_load, "ANSWER_TIMEOUT_S", 5)
    writer.write(b"b")
    writer.finish()
    assert engine.body == b"ab"


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectError("its certificate has expired"), "certificate has expired"),
    ],
)
def test_unreachable_engine_is_told(failure: Exception, why: str) -> None:
    def dial() -> socket.socket:
        raise failure

    with pytest.raises(ExportError, match=f"cannot reach Docker to load the image: .*{why}"):
        DockerLoad(dial).open()


def test_connection_that_takes_nothing_is_closed(start: Start) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(ExportError, match="cannot send the image to Docker: Broken pipe"):
        DockerLoad(lambda: ours).open()
    assert ours.fileno() == -1


def test_answer_keeps_what_came_after_its_head() -> None:
    pieces = iter([b"HTTP/1.1 101 X\r\nUpgrade: tcp\r\n", b"\r\nfirst"])
    answer = read_answer(lambda _: next(pieces))
    assert (answer.status, answer.headers, answer.rest) == (101, {"upgrade": "tcp"}, b"first")
