"""HTTP connections to registries: kept open between requests, every wait bounded, errors translated here.

One request gives one answer: redirects, logins and further attempts are the client's. TLS to other machines goes
through the proxy of HTTPS_PROXY, unless NO_PROXY rules it out.
"""

from __future__ import annotations

import base64
import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from tasks_engine.backends.registry.addresses import Url
from tasks_engine.errors import RegistryError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CONNECT_TIMEOUT_S = 15.0
_CHUNK_BYTES = 64 * 1024
_MAX_IDLE = 4
#: what servers usually keep an idle connection for, or less
_MAX_IDLE_S = 30.0

#: whole, or pieces that can be had again; the headers then say how long they are
Body = bytes | Callable[[], Iterable[bytes]] | None
_Key = tuple[tuple[str, str, int], ssl.SSLContext | None]


class Answer:
    """Status and headers, and the body as far as it was read. To be closed by whoever reads it."""

    def __init__(
        self, url: Url, response: http.client.HTTPResponse, connection: _Connection, pool: Connections
    ) -> None:
        self.url = url
        self.status = response.status
        self._response = response
        self._connection: _Connection | None = connection
        self._pool = pool

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def headers(self) -> Mapping[str, str]:
        """Name in lower case -> its first value."""
        found: dict[str, str] = {}
        for name, value in self._response.headers.items():
            found.setdefault(name.lower(), value)
        return found

    def values(self, name: str) -> list[str]:
        return self._response.headers.get_all(name) or []

    def set_deadline(self, deadline_s: float) -> None:
        """Another one for the rest of the body, of time.monotonic()."""
        if self._connection is not None:
            self._connection.limits.deadline_s = deadline_s

    def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises RegistryError when it is longer than the limit or breaks off."""
        pieces: list[bytes] = []
        size = 0
        while chunk := self.read_some(min(_CHUNK_BYTES, limit_bytes + 1 - size)):
            pieces.append(chunk)
            size += len(chunk)
            if size > limit_bytes:
                raise RegistryError(
                    f"{self.url.host} answered with more than {_shown_size(limit_bytes)}",
                    hint="check that this is a registry",
                )
        return b"".join(pieces)

    def read_some(self, at_most: int) -> bytes:
        """What comes next, empty at the end. Raises RegistryError."""
        if self._connection is None:
            return b""
        with translated(self.url):
            chunk = self._response.read(at_most)
            if not chunk and at_most and self._response.length:
                raise http.client.IncompleteRead(b"")
        return chunk

    def close(self) -> None:
        """The connection is used again if the body was read to its end."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._response.length == 0:
            self._response.read(0)  # for it to notice that there is no body
        reusable = self._response.isclosed() and not self._response.will_close
        self._response.close()
        if reusable:
            self._pool.give_back(connection)
        else:
            connection.close()


class Connections:
    """Idle connections by place. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle_by_key: dict[_Key, list[_Connection]] = {}
        self._is_closed = False

    def send(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        *,
        context: ssl.SSLContext | None,
        deadline_s: float,
        idle_s: float,
        body: Body = None,
    ) -> Answer:
        """The beginning of an answer. Raises RegistryError, and what a `body` raises.

        All of it must have come at `deadline_s`, of time.monotonic(); no single wait is longer than `idle_s`.
        """
        key = (url.origin, context if url.scheme == "https" else None)
        with translated(url):
            while True:
                connection, is_used = self._take(key, url, context)
                connection.limits.deadline_s, connection.limits.idle_s = deadline_s, idle_s
                try:
                    connection.timeout = min(_CONNECT_TIMEOUT_S, connection.limits.next_wait_s())
                    sent = body() if callable(body) else body
                    connection.request(method, url.target, body=sent, headers=dict(headers))
                    return Answer(url, connection.getresponse(), connection, self)
                except BaseException as error:
                    connection.close()
                    # the server may have closed an idle connection just now
                    if not (is_used and isinstance(error, ConnectionError)):
                        raise

    def close(self) -> None:
        """Closes those that are idle; those in use close after their answer."""
        with self._lock:
            self._is_closed = True
            idle = [each for connections in self._idle_by_key.values() for each in connections]
            self._idle_by_key.clear()
        for connection in idle:
            connection.close()

    def give_back(self, connection: _Connection) -> None:
        connection.idle_since_s = time.monotonic()
        with self._lock:
            idle = self._idle_by_key.setdefault(connection.key, [])
            keep = not self._is_closed and len(idle) < _MAX_IDLE and connection.sock is not None
            if keep:
                idle.append(connection)
        if not keep:
            connection.close()

    def _take(self, key: _Key, url: Url, context: ssl.SSLContext | None) -> tuple[_Connection, bool]:
        """A connection, and whether it was used before."""
        while True:
            with self._lock:
                idle = self._idle_by_key.get(key)
                connection = idle.pop() if idle else None
            if connection is None:
                return _new_connection(key, url, context), False
            if not connection.is_stale():
                return connection, True
            connection.close()


@contextmanager
def translated(url: Url) -> Iterator[None]:
    """What the network raises, as RegistryError. Nothing that was sent is in it."""
    place = f"registry server {url.host}"
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise RegistryError(
            f"{place} shows a certificate that is not trusted: {error.verify_message}",
            hint=f'name the file of its authority in the settings: registries.ca_files = {{ "{url.host}" = "…" }}',
        ) from error
    except TimeoutError as error:
        raise RegistryError(f"{place} did not answer in time", retryable=True) from error
    except ssl.SSLError as error:
        raise RegistryError(
            f"{place} does not speak TLS as it should: {error.reason or 'it closed the connection'}",
            hint=f'if it speaks plain HTTP, add "{url.host}" to registries.insecure in the settings',
        ) from error
    except socket.gaierror as error:
        raise RegistryError(
            f"{place} cannot be found: {error.strerror}",
            hint="check the name of the registry",
            retryable=error.errno == socket.EAI_AGAIN,
        ) from error
    except http.client.RemoteDisconnected as error:
        raise RegistryError(f"{place} closed the connection without an answer", retryable=True) from error
    except OSError as error:
        raise RegistryError(
            f"{place} cannot be reached: {error.strerror or error}",
            hint="check its name and that it runs",
            retryable=True,
        ) from error
    except http.client.IncompleteRead as error:
        raise RegistryError(f"{place}: the connection broke off", retryable=True) from error
    except (http.client.HTTPException, ValueError):
        # not its cause: that may show what was sent
        raise RegistryError(
            f"{place} does not speak HTTP as it should", hint="check that this is a registry"
        ) from None


@dataclass
class _Limits:
    """How long the next wait of a connection may be."""

    deadline_s: float = 0.0
    idle_s: float = 0.0

    def next_wait_s(self) -> float:
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return min(left_s, self.idle_s)


class _TimedSocket:
    """As much of a socket as http.client uses; every wait keeps the limits."""

    def __init__(self, connection: socket.socket, limits: _Limits) -> None:
        self._connection = connection
        self._limits = limits

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(self._limits.next_wait_s())
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> BufferedReader:
        raw = self._connection.makefile("rb", buffering=0)
        return BufferedReader(_TimedReader(self._connection, raw, self._limits), _CHUNK_BYTES)

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()


class _TimedReader(RawIOBase):
    def __init__(self, connection: socket.socket, raw: socket.SocketIO, limits: _Limits) -> None:
        self._connection = connection
        self._raw = raw
        self._limits = limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        self._connection.settimeout(self._limits.next_wait_s())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, key: _Key, host: str, port: int) -> None:
        super().__init__(host, port)
        self.key = key
        self.limits = _Limits()
        self.idle_since_s = 0.0
        #: typed as a socket by http.client, which may be handed anything that has these methods
        self.sock: Any = None

    def connect(self) -> None:
        super().connect()
        try:
            self.sock = _TimedSocket(self._secured(self.sock), self.limits)
        except BaseException:
            self.close()
            raise

    def is_stale(self) -> bool:
        """Idle for long, or closed by the server, or sent something nobody asked for."""
        if self.sock is None or time.monotonic() - self.idle_since_s > _MAX_IDLE_S:
            return True
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _secured(self, connection: socket.socket) -> socket.socket:
        return connection


class _TlsConnection(_Connection):
    def __init__(self, key: _Key, address: tuple[str, int], name: str, context: ssl.SSLContext) -> None:
        super().__init__(key, *address)
        self._name = name
        self._context = context

    def _secured(self, connection: socket.socket) -> socket.socket:
        return self._context.wrap_socket(connection, server_hostname=self._name)


def _new_connection(key: _Key, url: Url, context: ssl.SSLContext | None) -> _Connection:
    if url.scheme == "http":
        return _Connection(key, url.host.name, url.port)
    assert context is not None
    proxy = _proxy(url)
    if proxy is None:
        return _TlsConnection(key, (url.host.name, url.port), url.host.name, context)
    connection = _TlsConnection(key, (proxy.name, proxy.port), url.host.name, context)
    headers = {"Proxy-Authorization": proxy.login} if proxy.login else {}
    connection.set_tunnel(url.host.name, url.port, headers)
    return connection


@dataclass(frozen=True)
class _Proxy:
    name: str
    port: int
    #: value of Proxy-Authorization, empty for none
    login: str = field(repr=False)


def _proxy(url: Url) -> _Proxy | None:
    """Never for this machine itself."""
    text = getproxies_environment().get("https", "")
    if not text or url.host.is_loopback or proxy_bypass(str(url.host)):
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        name, port = parts.hostname, parts.port or 80
    except ValueError:
        name, port = None, 0
    if parts.scheme != "http" or not name:
        raise RegistryError(
            "the proxy of HTTPS_PROXY cannot be used to reach registries", hint="write http://HOST:PORT"
        )
    login = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = "Basic " + base64.b64encode(pair.encode()).decode()
    return _Proxy(name, port, login)


def _shown_size(size_bytes: int) -> str:
    return f"{size_bytes >> 20} MiB" if size_bytes >= 1 << 20 else f"{size_bytes} bytes"
