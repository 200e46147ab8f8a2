"""Connected sockets to a daemon: addresses, Docker's HTTP upgrade, and copying bytes between two sockets.

grpcio takes no connected socket, only addresses. So on our side of every upgraded or custom connection stands
a private unix socket, and a `Bridge` copies between the two.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks_engine.backends.buildkit.errors import ConnectError

#: Opens a connected stream socket; raises OSError. A TLS socket will do.
Dial = Callable[[], socket.socket]

_READ_BYTES = 256 * 1024
_MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Address:
    """Where a daemon listens: docker+unix:///path, docker+tcp://host:port, unix:///path, tcp://host:port."""

    text: str
    #: a Docker Engine, which wants an HTTP upgrade; else a buildkitd
    docker: bool
    #: empty for tcp
    path: str = ""
    host: str = ""
    port: int = 0

    @property
    def grpc_target(self) -> str:
        """The same place in grpcio's words."""
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"

    def dial(self, timeout_s: float) -> socket.socket:
        """A connected socket whose operations time out; raises OSError."""
        if not self.path:
            connection = socket.create_connection((self.host.strip("[]"), self.port), timeout_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_s)
        try:
            connection.connect(self.path)
        except BaseException:
            connection.close()
            raise
        return connection


def parse_address(text: str) -> Address:
    """The address in `text`; raises ConnectError when it is none."""
    unix = re.fullmatch(r"(docker\+)?unix://(/.+)", text)
    if unix:
        return Address(text, docker=bool(unix[1]), path=unix[2])
    tcp = re.fullmatch(r"(docker\+)?tcp://([^/:\[\]]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})/?", text)
    if tcp and int(tcp[3]) < 1 << 16:
        return Address(text, docker=bool(tcp[1]), host=tcp[2], port=int(tcp[3]))
    raise ConnectError(
        f"'{text}' is no address of a builder: write docker+unix:///path, docker+tcp://host:port, "
        "unix:///path or tcp://host:port"
    )


@dataclass(frozen=True)
class Connection:
    """A raw HTTP/2 connection, and its bytes that came in the same read as the answer to the upgrade."""

    socket: socket.socket
    first: bytes = b""


def upgrade(connection: socket.socket, path: str, headers: Iterable[tuple[str, str]] = ()) -> Connection:
    """Turns an HTTP/1.1 connection to Docker into raw HTTP/2 through POST `path`.

    Raises ConnectError when Docker answers anything but 101, OSError when it goes away. Source: Docker Engine
    API, /grpc and /session.
    """
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: docker",
        "Connection: Upgrade",
        "Upgrade: h2c",
        "Content-Length: 0",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(_READ_BYTES)
        if not chunk or len(received) > _MAX_HEAD_BYTES:
            raise ConnectError(
                "what listens there does not speak HTTP" if received else "it closed the connection"
            )
        received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if not status:
        raise ConnectError("what listens there does not speak HTTP")
    if status[1] != b"101":
        raise ConnectError(
            f"it answered {status[1].decode()} to POST {path}{_reason(connection, head, rest)}"
        )
    return Connection(connection, rest)


def _reason(connection: socket.socket, head: bytes, body: bytes) -> str:
    """What the HTTP answer says, as ": text". By Content-Length: Docker keeps the connection open."""
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    wanted = min(int(length[1]), _MAX_HEAD_BYTES) if length else 0
    with contextlib.suppress(OSError):
        while len(body) < wanted and (chunk := connection.recv(wanted - len(body))):
            body += chunk
    try:
        text = json.loads(body)["message"]
    except (ValueError, TypeError, KeyError):
        text = body.decode("utf-8", "replace").strip()
    return f": {text}" if text else ""


class Bridge:
    """Copies bytes both ways between our socket and the daemon's until either ends; then closes both."""

    def __init__(
        self, ours: socket.socket, theirs: Connection, on_received: Callable[[], None] | None = None
    ) -> None:
        """`on_received` is called in the copying thread whenever the daemon sent something."""
        self._ours = ours
        self._theirs = theirs.socket
        self._first = theirs.first
        self._on_received = on_received
        self._unfinished = 2
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._copy_in, name="buildkit-in", daemon=True),
            threading.Thread(target=self._copy_out, name="buildkit-out", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> bool:
        """Both ends still stand."""
        return self._unfinished == 2

    def close(self) -> None:
        """Ends the copying; both sockets are closed when it returns."""
        with self._lock:
            self._shut_down()
        for thread in self._threads:
            thread.join()

    def _copy_in(self) -> None:
        try:
            if self._first:
                self._ours.sendall(self._first)
            _copy(self._theirs, self._ours, self._on_received)
        except OSError:
            pass
        finally:
            self._finish()

    def _copy_out(self) -> None:
        try:
            _copy(self._ours, self._theirs, None)
        except OSError:
            pass
        finally:
            self._finish()

    def _finish(self) -> None:
        with self._lock:
            self._shut_down()
            self._unfinished -= 1
            if self._unfinished == 0:
                self._ours.close()
                self._theirs.close()

    def _shut_down(self) -> None:
        for end in (self._ours, self._theirs):
            # Not connected any more, or closed already.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket, on_received: Callable[[], None] | None) -> None:
    buffer = memoryview(bytearray(_READ_BYTES))
    while count := source.recv_into(buffer):
        if on_received:
            on_received()
        target.sendall(buffer[:count])


class Connect(Protocol):
    """Makes a new connection to the daemon; raises ConnectError."""

    def __call__(self) -> Connection: ...


class Relay:
    """A private unix socket behind which the daemon seems to listen."""

    def __init__(self, path: Path, connect: Connect, first: Connection) -> None:
        """Listens at `path`; `first` serves the first caller, `connect` makes the others'."""
        self._connect = connect
        self._ready: Connection | None = first
        self._bridges: list[Bridge] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, name="buildkit-relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends all connections and the socket."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for bridge in self._bridges:
            bridge.close()
        if self._ready:
            self._ready.socket.close()

    def _serve(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs, self._ready = self._ready, None
            try:
                theirs = theirs or self._connect()
            except ConnectError:
                # gRPC sees its connection end and says UNAVAILABLE.
                ours.close()
                continue
            self._bridges = [bridge for bridge in self._bridges if bridge.running]
            self._bridges.append(Bridge(ours, theirs))
