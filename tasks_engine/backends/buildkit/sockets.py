"""Connected sockets to a daemon: addresses, Docker's HTTP upgrade, and copying bytes between two sockets.

grpcio takes no connected socket, only addresses. So on our side of every upgraded or custom connection stands
a private unix socket, and a `Bridge` copies between the two.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tasks_engine.backends.buildkit.errors import ConnectError
from tasks_engine.backends.buildkit.http_answers import read_answer

if TYPE_CHECKING:
    from tasks_engine.backends.buildkit.tls import TlsFiles


class Stream(Protocol):
    """The part of a connected socket that is used here; one thread may read while another one writes."""

    def recv(self, size: int, /) -> bytes: ...
    def recv_into(self, buffer: memoryview, /) -> int: ...
    def sendall(self, data: bytes | memoryview, /) -> None: ...
    def settimeout(self, timeout_s: float | None, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


#: Opens a connected stream; raises OSError.
Dial = Callable[[], Stream]

_READ_BYTES = 256 * 1024
_ACCEPT_PAUSE_S = 0.1


@dataclass(frozen=True)
class Address:
    """Where a daemon listens, parsed."""

    text: str
    #: a Docker Engine, which wants an HTTP upgrade; else a buildkitd
    docker: bool
    #: of a unix socket; else empty
    path: str = ""
    host: str = ""
    port: int = 0
    #: name of the container that a buildkitd runs in, behind the Docker Engine at path, or host and port
    container: str = ""

    @property
    def is_plain(self) -> bool:
        """grpcio can connect to it by itself."""
        return not self.docker and not self.container

    @property
    def grpc_target(self) -> str:
        """The same place in grpcio's words."""
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"

    def dial(self, timeout_s: float, tls: TlsFiles | None = None) -> Stream:
        """A connected stream whose operations time out; raises OSError or ConnectError."""
        if not self.container:
            return self._dial(timeout_s, tls)
        from tasks_engine.backends.buildkit.container_pipe import dial_container

        return dial_container(self.container, lambda: self._dial(timeout_s, tls), timeout_s)

    def _dial(self, timeout_s: float, tls: TlsFiles | None) -> Stream:
        connection = self._dial_plain(timeout_s)
        if tls is None or self.path:
            return connection
        from tasks_engine.backends.buildkit.tls import wrap

        # A gRPC server insists on the offer; Docker would take it, and answer our HTTP/1.1 with HTTP/2.
        protocols = ("h2",) if self.is_plain else ()
        try:
            return wrap(connection, tls, self.host.strip("[]"), timeout_s, alpn=protocols)
        except BaseException:
            connection.close()
            raise

    def _dial_plain(self, timeout_s: float) -> socket.socket:
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


_CONTAINER = re.compile(r"docker-container://(?P<name>[a-zA-Z0-9][a-zA-Z0-9_.-]+)/?")
_UNIX = re.compile(r"(?P<docker>docker\+)?unix://(?P<path>/.+)")
_TCP = re.compile(r"(?P<docker>docker\+)?tcp://(?P<host>[^/:\[\]]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})/?")
_DEFAULT_DOCKER = "unix:///var/run/docker.sock"


def parse_address(text: str, docker: str = "") -> Address:
    """The address in `text`; raises ConnectError when it is none.

    docker+unix:///path and docker+tcp://host:port are Docker Engines; unix:///path, tcp://host:port and
    docker-container://NAME are buildkitds. `docker` is the Docker Engine that runs the container NAME,
    unix:///path or tcp://host:port.
    """
    if container := _CONTAINER.fullmatch(text):
        engine = parse_address(docker or _DEFAULT_DOCKER)
        return replace(engine, text=text, docker=False, container=container["name"])
    if unix := _UNIX.fullmatch(text):
        return Address(text, docker=bool(unix["docker"]), path=unix["path"])
    tcp = _TCP.fullmatch(text)
    if tcp and int(tcp["port"]) < 1 << 16:
        return Address(text, docker=bool(tcp["docker"]), host=tcp["host"], port=int(tcp["port"]))
    raise ConnectError(
        f"'{text}' is no address of a builder: write docker+unix:///path, docker+tcp://host:port, "
        "unix:///path, tcp://host:port or docker-container://NAME"
    )


@dataclass(frozen=True)
class Connection:
    """A raw HTTP/2 connection, and its bytes that came in the same read as the answer to the upgrade."""

    socket: Stream
    first: bytes = b""


def upgrade(
    connection: Stream, path: str, headers: Iterable[tuple[str, str]] = (), *, timeout_s: float = 10.0
) -> Connection:
    """Turns an HTTP/1.1 connection to Docker into raw HTTP/2 through POST `path`.

    Raises ConnectError when Docker answers anything but 101, OSError when it goes away or has not answered
    after `timeout_s`. Source: Docker Engine API, /grpc and /session.
    """
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: docker",
        "Connection: Upgrade",
        "Upgrade: h2c",
        "Content-Length: 0",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    deadline_s = time.monotonic() + timeout_s

    def receive(count: int) -> bytes:
        # Of the whole answer: a timeout of the socket begins anew with every byte.
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "it does not answer")
        connection.settimeout(left_s)
        return connection.recv(count)

    connection.settimeout(timeout_s)
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    try:
        answer = read_answer(receive)
    except (ValueError, ConnectionResetError) as error:
        raise ConnectError(str(error)) from error
    if answer.status != 101:
        raise ConnectError(f"it answered {answer.status} to POST {path}{answer.reason()}")
    return Connection(connection, answer.rest)


class Bridge:
    """Copies bytes both ways between our socket and the daemon's until either ends; then closes both."""

    def __init__(self, ours: socket.socket, theirs: Connection) -> None:
        """Begins at once."""
        #: what the daemon's side broke with, such as a certificate of ours that it refused
        self.failure: OSError | None = None
        self._ours = ours
        self._theirs = theirs.socket
        self._first = theirs.first
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
            _copy(self._theirs, self._ours)
        except OSError as error:
            self.failure = error
        finally:
            self._finish()

    def _copy_out(self) -> None:
        try:
            _copy(self._ours, self._theirs)
        except OSError as error:
            # Who sends may be the first to hear that the daemon refused us.
            if isinstance(error, ConnectError):
                self.failure = error
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


def _copy(source: Stream, target: Stream) -> None:
    buffer = memoryview(bytearray(_READ_BYTES))
    while count := source.recv_into(buffer):
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
        self._refusal = ""
        self._closing = False
        self._explanation = ""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, name="buildkit-relay", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """What broke the last connection, or kept it from being made; "" when nothing did."""
        broken = self._bridges[-1].failure if self._bridges else None
        return self._refusal or (broken.strerror or str(broken) if broken else "")

    @property
    def explanation(self) -> str:
        """Why the daemon refused us, also on an earlier connection, as gRPC tries again at once; "" if it did not."""
        self._keep_explanation()
        return self._explanation

    def close(self) -> None:
        """Ends all connections and the socket."""
        self._closing = True
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
                if self._closing:
                    return
                # Too many open files, for one: that passes.
                time.sleep(_ACCEPT_PAUSE_S)
                continue
            theirs, self._ready = self._ready, None
            try:
                theirs = theirs or self._connect()
            except Exception as error:  # noqa: BLE001 - a caller's `dial` may raise what it likes
                # gRPC sees its connection end and says UNAVAILABLE.
                self._refusal = str(error) or type(error).__name__
                ours.close()
                continue
            self._refusal = ""
            self._keep_explanation()
            self._bridges = [bridge for bridge in self._bridges if bridge.running]
            self._bridges.append(Bridge(ours, theirs))

    def _keep_explanation(self) -> None:
        for bridge in self._bridges:
            if isinstance(bridge.failure, ConnectError):
                self._explanation = bridge.failure.message
