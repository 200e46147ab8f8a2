"""What the daemon may ask of us while it builds: folders, credentials, a place for its tar.

A session is a byte pipe to the daemon that carries a second HTTP/2 connection, in which the daemon is the
client and we are the server. grpcio can serve only on an address, so a server listens on a private unix
socket and the bytes are copied between it and the pipe: Docker's /session, or the Control.Session stream of a
buildkitd.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import string
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol
from urllib.parse import unquote_plus

import grpc

from tasks_engine.backends.buildkit.errors import ContextError
from tasks_engine.backends.buildkit.filesync import FolderSender, Selection, error_packet
from tasks_engine.backends.buildkit.proto.control_pb2 import BytesMessage
from tasks_engine.backends.buildkit.proto.filesync_pb2 import CredentialsRequest, CredentialsResponse
from tasks_engine.backends.buildkit.sockets import Bridge, Connection

UNLIMITED_MESSAGES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
#: HealthCheckResponse with status SERVING. As bytes: the name grpc.health.v1 belongs to
#: grpcio-health-checking
_SERVING = b"\x08\x01"
# A running call holds a thread for its whole life, and a health check that finds none free ends the session.
_WORKERS = 32
_READ_BYTES = 256 * 1024
_ID_CHARS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Credential:
    """Login at a registry; for an identity token `username` is empty and `secret` the token."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Credential(username={self.username!r}, secret='***')"


#: host[:port] of a registry ("registry-1.docker.io" for Docker Hub) -> login, None for anonymous. Called from
#: other threads, and again for every retry of the daemon
Credentials = Callable[[str], Credential | None]


def random_id() -> str:
    """A name for a session or a build, unique in practice."""
    return "".join(secrets.choice(_ID_CHARS) for _ in range(25))


@dataclass(frozen=True)
class Offer:
    """What a session gives to the daemon."""

    #: "context", "dockerfile" -> the folder
    folder_by_name: Mapping[str, Path]
    credentials: Credentials | None = None
    #: receives the tar of a docker, oci or tar exporter
    sink: BinaryIO | None = None


class Pipe(Protocol):
    """Carries a session's bytes; `close` ends it and waits for its threads."""

    def close(self) -> None: ...


#: (our end, id and announcement, called on every sign of life) -> the running pipe; raises ConnectError
OpenPipe = Callable[[socket.socket, Sequence[tuple[str, str]], Callable[[], None]], Pipe]


class Session:
    """One open session."""

    def __init__(self, offer: Offer, *, shared_key: str, socket_path: Path, open_pipe: OpenPipe) -> None:
        """Serves `offer` at once; `socket_path` must be in a private folder. Raises ConnectError."""
        self.id = random_id()
        #: the first exception of ours that made a call fail; the daemon knows only its text
        self.failure: BaseException | None = None
        #: time.monotonic() of the last bytes from the daemon
        self.last_heard_s = time.monotonic()
        self._offer = offer
        self._socket_path = socket_path
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="buildkit-session")
        self._server = grpc.server(self._workers, options=UNLIMITED_MESSAGES)
        methods = self._methods()
        for service, handlers in methods.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self._server.add_insecure_port(f"unix:{socket_path}")
        self._server.start()
        announced = [f"/{service}/{method}" for service, handlers in methods.items() for method in handlers]
        identity = [
            ("x-docker-expose-session-uuid", self.id),
            ("x-docker-expose-session-name", ""),
            ("x-docker-expose-session-sharedkey", shared_key),
            *(("x-docker-expose-session-grpc-method", method) for method in announced),
        ]
        ours = socket.socket(socket.AF_UNIX)
        try:
            ours.connect(str(socket_path))
            self._pipe = open_pipe(ours, identity, self._heard)
        except BaseException:
            ours.close()
            self._stop_server()
            raise

    def close(self) -> None:
        """Ends the session; nothing of it is left when this returns."""
        self._pipe.close()
        self._stop_server()

    def _stop_server(self) -> None:
        self._server.stop(None).wait()
        self._workers.shutdown()
        self._socket_path.unlink(missing_ok=True)

    def _heard(self) -> None:
        self.last_heard_s = time.monotonic()

    def _methods(self) -> dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]]:
        """service -> method -> handler. The daemon takes what is not announced as not offered."""
        methods: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {
            "grpc.health.v1.Health": {
                "Check": grpc.unary_unary_rpc_method_handler(lambda _request, _call: _SERVING)
            },
            "moby.filesync.v1.FileSync": {
                "DiffCopy": grpc.stream_stream_rpc_method_handler(self._send_folder)
            },
        }
        if self._offer.credentials:
            methods["moby.filesync.v1.Auth"] = {
                "Credentials": grpc.unary_unary_rpc_method_handler(
                    self._log_in,
                    request_deserializer=CredentialsRequest.FromString,
                    response_serializer=CredentialsResponse.SerializeToString,
                )
            }
        if self._offer.sink:
            methods["moby.filesync.v1.FileSend"] = {
                "DiffCopy": grpc.stream_stream_rpc_method_handler(
                    self._receive_tar, request_deserializer=BytesMessage.FromString
                )
            }
        return methods

    def _send_folder(self, requests: Iterator[bytes], call: grpc.ServicerContext) -> Iterator[bytes]:
        asked = _metadata(call)
        folder = self._offer.folder_by_name.get("".join(asked.get("dir-name", [])))
        if folder is None:
            call.abort(grpc.StatusCode.NOT_FOUND, "no such folder")
        selection = Selection(
            include=_values(asked, "include-patterns"),
            exclude=_values(asked, "exclude-patterns"),
            follow=_values(asked, "followpaths"),
        )
        try:
            yield from FolderSender(folder, selection).packets(requests)
        except ContextError as error:
            self._note(error)
            # Readable in the daemon's log; an exception would reach it as "Exception iterating responses".
            yield error_packet(error.message)
        except OSError as error:
            self._note(error)
            yield error_packet(str(error))

    def _log_in(self, request: CredentialsRequest, call: grpc.ServicerContext) -> CredentialsResponse:
        try:
            credential = self._offer.credentials(request.host) if self._offer.credentials else None
        except Exception as error:  # noqa: BLE001 - the caller's own, raised again by Build.wait
            self._fail(call, error)
        if credential is None:
            return CredentialsResponse()
        return CredentialsResponse(username=credential.username, secret=credential.secret)

    def _receive_tar(self, pieces: Iterator[BytesMessage], call: grpc.ServicerContext) -> Iterator[bytes]:
        assert self._offer.sink, "announced only with a sink"
        for piece in pieces:
            try:
                self._offer.sink.write(piece.data)
            except Exception as error:  # noqa: BLE001 - the caller's own, raised again by Build.wait
                self._fail(call, error)
        return iter(())

    def _note(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error

    def _fail(self, call: grpc.ServicerContext, error: Exception) -> NoReturn:
        self._note(error)
        call.abort(grpc.StatusCode.INTERNAL, str(error))


def _metadata(call: grpc.ServicerContext) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for key, value in call.invocation_metadata():
        values.setdefault(key, []).append(os.fsdecode(value) if isinstance(value, bytes) else value)
    return values


def _values(asked: Mapping[str, list[str]], key: str) -> list[str]:
    """The values of `key`; newer daemons escape all of them when one is not ASCII, and say so."""
    values = asked.get(key, [])
    return [unquote_plus(value) for value in values] if asked.get(f"{key}-encoded") == ["1"] else values


def docker_pipe(upgrade_session: Callable[[Sequence[tuple[str, str]]], Connection]) -> OpenPipe:
    """Sessions through Docker's /session; `upgrade_session` makes the connection with these headers."""

    def open_pipe(
        ours: socket.socket, identity: Sequence[tuple[str, str]], heard: Callable[[], None]
    ) -> Pipe:
        return Bridge(ours, upgrade_session(identity), heard)

    return open_pipe


def stream_pipe(session_method: grpc.StreamStreamMultiCallable[BytesMessage, BytesMessage]) -> OpenPipe:
    """Sessions through Control.Session."""

    def open_pipe(
        ours: socket.socket, identity: Sequence[tuple[str, str]], heard: Callable[[], None]
    ) -> Pipe:
        return _StreamPipe(session_method, ours, identity, heard)

    return open_pipe


class _StreamPipe:
    def __init__(
        self,
        session_method: grpc.StreamStreamMultiCallable[BytesMessage, BytesMessage],
        ours: socket.socket,
        identity: Sequence[tuple[str, str]],
        heard: Callable[[], None],
    ) -> None:
        self._ours = ours
        self._heard = heard
        # gRPC's own thread reads this iterator until it ends; _outgoing_ended tells when it let go of the
        # socket.
        self._outgoing_ended = threading.Event()
        self._call = session_method(self._outgoing(), metadata=tuple(identity))
        self._thread = threading.Thread(target=self._copy_in, name="buildkit-session-in", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        self._call.cancel()  # type: ignore[no-untyped-call]
        self._thread.join()
        self._outgoing_ended.wait()
        self._ours.close()

    def _outgoing(self) -> Iterator[BytesMessage]:
        try:
            while data := self._ours.recv(_READ_BYTES):
                yield BytesMessage(data=data)
        except OSError:
            # Shut down by close(): the stream ends here.
            return
        finally:
            self._outgoing_ended.set()

    def _copy_in(self) -> None:
        # The call raises when the daemon or close() ends it, the socket when our server stopped: the end
        # either way.
        with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError, OSError):
            for message in self._call:
                self._heard()
                self._ours.sendall(message.data)
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
