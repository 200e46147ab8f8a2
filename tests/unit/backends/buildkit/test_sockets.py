from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks_engine.backends.buildkit import tls
from tasks_engine.backends.buildkit.errors import ConnectError
from tasks_engine.backends.buildkit.sockets import Bridge, Connection, Relay, parse_address, upgrade

SWITCHED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    theirs.settimeout(5)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    ("text", "docker", "target"),
    [
        ("docker+unix:///var/run/docker.sock", True, "unix:/var/run/docker.sock"),
        ("unix:///run/buildkit/buildkitd.sock", False, "unix:/run/buildkit/buildkitd.sock"),
        ("docker+tcp://127.0.0.1:2375", True, "127.0.0.1:2375"),
        ("tcp://builder.local:1234/", False, "builder.local:1234"),
        ("tcp://[::1]:1234", False, "[::1]:1234"),
    ],
)
def test_address_says_kind_and_place(text: str, docker: bool, target: str) -> None:
    address = parse_address(text)
    assert (address.docker, address.grpc_target) == (docker, target)


@pytest.mark.parametrize(
    ("scheme", "protocols"), [("tcp", ("h2",)), ("docker+tcp", ()), ("docker-container", ())]
)
def test_tls_offers_http2_only_where_it_is_spoken_at_once(
    monkeypatch: pytest.MonkeyPatch, scheme: str, protocols: tuple[str, ...]
) -> None:
    """A gRPC server in Go refuses who does not offer it; Docker would answer the upgrade with HTTP/2."""
    offered: list[tuple[str, ...]] = []

    def wrap(connection: socket.socket, *_: object, alpn: tuple[str, ...]) -> socket.socket:
        offered.append(alpn)
        connection.close()
        raise ConnectionResetError

    monkeypatch.setattr(tls, "wrap", wrap)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        address = "docker-container://bk" if scheme == "docker-container" else f"{scheme}://{place}"
        with pytest.raises((OSError, ConnectError)):
            parse_address(address, f"tcp://{place}").dial(5, tls.TlsFiles())
    assert set(offered) == {protocols}


def test_container_is_reached_through_its_engine() -> None:
    place = parse_address("docker-container://builder-1", "tcp://engine:2375")
    assert (place.container, place.host, place.port) == ("builder-1", "engine", 2375)
    assert (place.docker, place.is_plain, place.text) == (False, False, "docker-container://builder-1")
    assert parse_address("docker-container://bk").path == "/var/run/docker.sock"


@pytest.mark.parametrize(
    "text",
    [
        *("", "docker.sock", "http://x:1", "tcp://x", "tcp://x:99999", "unix://relative"),
        *("docker-container://", "docker-container://../x", "docker-container://a/b"),
    ],
)
def test_other_addresses_are_refused_with_the_right_forms(text: str) -> None:
    with pytest.raises(ConnectError, match=r"docker\+unix:///path"):
        parse_address(text)


def test_upgrade_sends_one_request_with_all_headers(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(SWITCHED)
    upgrade(ours, "/session", [("x-m", "/a/B"), ("x-m", "/c/D")])
    assert theirs.recv(4096).decode().split("\r\n") == [
        "POST /session HTTP/1.1",
        "Host: docker",
        "Connection: Upgrade",
        "Upgrade: h2c",
        "Content-Length: 0",
        "x-m: /a/B",
        "x-m: /c/D",
        "",
        "",
    ]


def test_first_bytes_in_the_same_read_are_kept(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(SWITCHED + b"PRI * HTTP/2.0\r\n\r\n")
    assert upgrade(ours, "/session").first == b"PRI * HTTP/2.0\r\n\r\n"


def test_answer_may_come_byte_by_byte(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    def drip() -> None:
        for byte in SWITCHED:
            theirs.sendall(bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    assert upgrade(ours, "/grpc").first == b""
    thread.join()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b'HTTP/1.1 404 Not Found\r\nContent-Length: 28\r\n\r\n{"message":"page not found"}',
            "answered 404 to POST /grpc: page not found",
        ),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "answered 403 to POST /grpc: no"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "answered 200 to POST /grpc$"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
    ],
)
def test_any_other_answer_is_told(
    pair: tuple[socket.socket, socket.socket], answer: bytes, text: str
) -> None:
    ours, theirs = pair
    theirs.sendall(answer)
    with pytest.raises(ConnectError, match=text):
        upgrade(ours, "/grpc")


def test_closed_connection_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectError, match="closed the connection"):
        upgrade(ours, "/grpc")


def test_bridge_copies_both_ways_first_bytes_first() -> None:
    user, ours = socket.socketpair()
    theirs, daemon = socket.socketpair()
    bridge = Bridge(ours, Connection(theirs, b"first "))
    daemon.sendall(b"then")
    user.sendall(b"question")
    assert _read(user, 10) == b"first then"
    assert _read(daemon, 8) == b"question"
    user.close()
    assert daemon.recv(1) == b""
    bridge.close()
    assert not bridge.running
    daemon.close()


def test_closing_a_bridge_ends_both_sides() -> None:
    user, ours = socket.socketpair()
    theirs, daemon = socket.socketpair()
    with user, daemon:
        Bridge(ours, Connection(theirs)).close()
        assert user.recv(1) == daemon.recv(1) == b""


def test_relay_uses_the_first_connection_and_then_makes_new_ones(tmp_path: Path) -> None:
    daemons: list[socket.socket] = []

    def connect() -> Connection:
        if len(daemons) == 2:
            raise ConnectError("gone")
        theirs, daemon = socket.socketpair()
        daemons.append(daemon)
        return Connection(theirs)

    relay = Relay(tmp_path / "r", connect, connect())
    for number in (0, 1):
        with _dial(tmp_path / "r") as user:
            user.sendall(b"x")
            _wait(lambda expected=number + 1: len(daemons) == expected)
            assert daemons[number].recv(1) == b"x"
            daemons[number].sendall(b"y")
            assert user.recv(1) == b"y"
    with _dial(tmp_path / "r") as user:
        assert user.recv(1) == b""
    relay.close()
    for daemon in daemons:
        daemon.close()


def _dial(path: Path) -> socket.socket:
    user = socket.socket(socket.AF_UNIX)
    user.settimeout(5)
    user.connect(str(path))
    return user


def _read(source: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        received += source.recv(count - len(received))
    return received


def _wait(condition: Callable[[], bool]) -> None:
    event = threading.Event()
    for _ in range(500):
        if condition():
            return
        event.wait(0.01)
    raise AssertionError("it did not happen")
