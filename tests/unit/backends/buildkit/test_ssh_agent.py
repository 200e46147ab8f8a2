from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks_engine.backends.buildkit import ssh_agent
from tasks_engine.backends.buildkit.errors import SshError
from tasks_engine.backends.buildkit.ssh_agent import (
    MAX_MESSAGE_BYTES,
    AgentSocket,
    agent_from_environment,
    parse_ssh,
    serve,
)

LIST = b"\x0b"
NO_KEYS = b"\x0c\x00\x00\x00\x00"
SIGN = b"\x0d" + b"\x00" * 12
FAILURE = b"\x05"


def framed(*messages: bytes) -> bytes:
    return b"".join(len(each).to_bytes(4, "big") + each for each in messages)


class RecordingAgent:
    """Answers every request with type 99 and what was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.opened = 0
        self.closed = 0

    def open(self) -> RecordingAgent:
        self.opened += 1
        return self

    def check(self) -> None:
        pass

    def answer(self, request: bytes) -> bytes:
        self.asked.append(request)
        return b"\x63" + request

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def agent() -> RecordingAgent:
    return RecordingAgent()


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a path short enough for sockets."""
    path = tempfile.mkdtemp(dir="/tmp")
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def listening(folder: Path) -> Iterator[Callable[[Callable[[socket.socket], None]], AgentSocket]]:
    """Makes a socket whose callers are each served by the given function."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def make(answer_caller: Callable[[socket.socket], None]) -> AgentSocket:
        listener = socket.socket(socket.AF_UNIX)
        path = folder / f"agent{len(listeners)}"
        listener.bind(str(path))
        listener.listen()
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    answer_caller(caller)

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        return AgentSocket(path)

    yield make
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for listener in listeners:
        listener.close()


def test_listing_and_signing_are_let_through(agent: RecordingAgent) -> None:
    answers = b"".join(serve(agent, [framed(LIST, SIGN)]))
    assert agent.asked == [LIST, SIGN]
    assert answers == framed(b"\x63" + LIST, b"\x63" + SIGN)


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {11, 13}))
def test_agent_refuses_everything_else_unasked(agent: RecordingAgent, kind: int) -> None:
    assert b"".join(serve(agent, [framed(bytes([kind]) + b"body")])) == framed(FAILURE)
    assert agent.asked == []


def test_refused_request_does_not_end_the_stream(agent: RecordingAgent) -> None:
    assert b"".join(serve(agent, [framed(b"\x13", LIST)])) == framed(FAILURE, b"\x63" + LIST)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_pieces_may_have_any_size(agent: RecordingAgent, size: int) -> None:
    stream = framed(LIST, SIGN, b"\x11add", LIST)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    answers = b"".join(serve(agent, [b"", *pieces, b""]))
    assert answers == framed(b"\x63" + LIST, b"\x63" + SIGN, FAILURE, b"\x63" + LIST)


def test_answer_comes_as_soon_as_its_request_is_whole(agent: RecordingAgent) -> None:
    given: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number, piece in enumerate((framed(LIST)[:3], framed(LIST)[3:], b"never needed")):
            given.append(number)
            yield piece

    answers = serve(agent, pieces())
    assert next(answers) == framed(b"\x63" + LIST)
    assert given == [0, 1]
    answers.close()


def test_largest_message_is_let_through(agent: RecordingAgent) -> None:
    request = b"\x0d" + bytes(MAX_MESSAGE_BYTES - 1)
    list(serve(agent, [framed(request)]))
    assert agent.asked == [request]


@pytest.mark.parametrize(
    "damaged",
    [
        (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
        framed(b""),
    ],
)
def test_damaged_length_ends_the_stream_at_once(agent: RecordingAgent, damaged: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        yield framed(LIST) + damaged
        raise AssertionError("nothing more is read")

    assert b"".join(serve(agent, pieces())) == framed(b"\x63" + LIST)
    assert (agent.opened, agent.closed) == (1, 1)


@pytest.mark.parametrize("cut", [1, 3, 4, 8])
def test_truncated_request_is_not_answered(agent: RecordingAgent, cut: int) -> None:
    assert list(serve(agent, [framed(SIGN)[:cut]])) == []
    assert (agent.asked, agent.closed) == ([], 1)


def test_connection_is_closed_when_the_caller_stops(agent: RecordingAgent) -> None:
    answers = serve(agent, [framed(LIST, LIST)])
    next(answers)
    answers.close()
    assert agent.closed == 1


def test_connection_is_closed_when_the_pieces_fail(agent: RecordingAgent) -> None:
    def pieces() -> Iterator[bytes]:
        yield framed(LIST)
        raise RuntimeError("stream broke")

    with pytest.raises(RuntimeError, match="stream broke"):
        list(serve(agent, pieces()))
    assert agent.closed == 1


def test_requests_reach_a_listening_agent_one_by_one(listening) -> None:
    def echo(caller: socket.socket) -> None:
        with caller.makefile("rb") as requests:
            while head := requests.read(4):
                request = requests.read(int.from_bytes(head, "big"))
                for byte in framed(b"\x63" + request):
                    caller.sendall(bytes([byte]))

    agent = listening(echo)
    assert b"".join(serve(agent, [framed(LIST, SIGN)])) == framed(b"\x63" + LIST, b"\x63" + SIGN)


def test_check_accepts_an_agent_without_keys(listening) -> None:
    def empty(caller: socket.socket) -> None:
        assert caller.recv(100) == framed(LIST)
        caller.sendall(framed(NO_KEYS))

    listening(empty).check()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed the connection"),
        (framed(NO_KEYS)[:6], "closed the connection"),
        (framed(FAILURE), "does not list its keys"),
        (framed(b""), "does not speak as an SSH agent"),
        (b"HTTP/1.1 400 Bad Request", "does not speak as an SSH agent"),
        ((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), "does not speak as an SSH agent"),
    ],
)
def test_check_tells_what_is_wrong_with_an_agent(listening, answer: bytes, reason: str) -> None:
    def damaged(caller: socket.socket) -> None:
        caller.recv(100)
        caller.sendall(answer)

    agent = listening(damaged)
    with pytest.raises(SshError, match=reason) as caught:
        agent.check()
    assert str(agent.path) in str(caught.value)


def test_check_does_not_wait_forever(listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_agent, "_CHECK_TIMEOUT_S", 0.05)
    done = threading.Event()
    agent = listening(lambda _caller: done.wait(5))
    try:
        with pytest.raises(SshError, match="did not answer: timed out"):
            agent.check()
    finally:
        done.set()


def test_agent_that_goes_away_is_told(listening) -> None:
    agent = listening(lambda caller: caller.recv(100))
    with pytest.raises(SshError, match=r"closed the connection|did not answer"):
        list(serve(agent, [framed(LIST, LIST)]))


@pytest.mark.parametrize("method", ["open", "check"])
@pytest.mark.parametrize("name", ["gone", "a\0b", "x" * 200])
def test_agent_that_is_not_there_is_told_with_its_path(folder: Path, name: str, method: str) -> None:
    with pytest.raises(SshError, match=f"no SSH agent can be reached at {folder}/"):
        getattr(AgentSocket(folder / name), method)()


def test_environment_names_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    assert agent_from_environment() == AgentSocket(Path("/run/agent"))
    assert parse_ssh("default") == ("default", AgentSocket(Path("/run/agent")))
    assert parse_ssh("github") == ("github", AgentSocket(Path("/run/agent")))


@pytest.mark.parametrize("value", [None, ""])
def test_environment_without_an_agent_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    if value is not None:
        monkeypatch.setenv("SSH_AUTH_SOCK", value)
    with pytest.raises(SshError, match="SSH_AUTH_SOCK is not set; start one"):
        parse_ssh("default")


def test_socket_stands_behind_an_id(listening) -> None:
    agent = listening(lambda _caller: None)
    assert parse_ssh(f"a={agent.path}") == ("a", agent)


def test_path_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(SshError, match=rf"{folder}/gone cannot be read: No such file"):
        parse_ssh(f"a={folder}/gone")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "needs an id"),
        ("=/run/agent", "needs an id"),
        ("a=", "empty path"),
        ("a=/k,", "empty path"),
        ("a=,/k", "empty path"),
        ("a=/k,,/l", "empty path"),
    ],
)
def test_other_forms_are_refused_with_the_right_ones(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_ssh(text)
    assert "ID=KEY[,KEY...]" in str(caught.value)


def test_socket_beside_other_paths_is_refused(listening) -> None:
    agent = listening(lambda _caller: None)
    with pytest.raises(ValueError, match="give the socket alone"):
        parse_ssh(f"a={agent.path},/some/key")
