"""The connection to a daemon and the calls it serves.

grpcio can not be given a connected socket. So where a daemon is not simply at an address, a relay on a private
unix socket stands between grpcio and what was dialled: Docker's HTTP upgrade, TLS, a container.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from tasks_engine.backends.buildkit.errors import BuildKitError, ConnectError, ConnectionLost
from tasks_engine.backends.buildkit.proto import content_pb2, control_pb2
from tasks_engine.backends.buildkit.session_pipe import CallPipe, OpenPipe, SocketPipe
from tasks_engine.backends.buildkit.sockets import Address, Connection, Dial, Relay, parse_address, upgrade
from tasks_engine.backends.buildkit.temporary import TemporaryFolder

if TYPE_CHECKING:
    from tasks_engine.backends.buildkit.tls import TlsFiles

_CONTROL = "/moby.buildkit.v1.Control"
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.default_authority", "localhost"),
    # A daemon's stacks come with its errors, as metadata; from 8 KiB on gRPC would drop some, by chance.
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.absolute_max_metadata_size", 1 << 20),
    # A daemon that was restarted is there again at once, not after gRPC's growing pauses.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Control:
    """An open connection; methods may be called from any thread."""

    def __init__(
        self, address: str, channel: grpc.Channel, folder: TemporaryFolder, relay: Relay | None
    ) -> None:
        """Use `connect`."""
        self.address = address
        self._channel = channel
        self._folder = folder
        self._relay = relay
        unary, stream = self._unary, self._stream
        self.solve = unary("Solve", control_pb2.SolveRequest, control_pb2.SolveResponse)
        self.info = unary("Info", control_pb2.InfoRequest, control_pb2.InfoResponse)
        self.list_workers = unary(
            "ListWorkers", control_pb2.ListWorkersRequest, control_pb2.ListWorkersResponse
        )
        self.disk_usage = unary("DiskUsage", control_pb2.DiskUsageRequest, control_pb2.DiskUsageResponse)
        self.status = stream(f"{_CONTROL}/Status", control_pb2.StatusRequest, control_pb2.StatusResponse)
        self.prune = stream(f"{_CONTROL}/Prune", control_pb2.PruneRequest, control_pb2.UsageRecord)
        self.history = stream(
            f"{_CONTROL}/ListenBuildHistory", control_pb2.BuildHistoryRequest, control_pb2.BuildHistoryEvent
        )
        self.read_content = stream(
            "/containerd.services.content.v1.Content/Read",
            content_pb2.ReadContentRequest,
            content_pb2.ReadContentResponse,
        )
        self.open_pipe: OpenPipe = partial(
            CallPipe,
            channel.stream_stream(
                f"{_CONTROL}/Session",
                request_serializer=control_pb2.BytesMessage.SerializeToString,
                response_deserializer=control_pb2.BytesMessage.FromString,
            ),
        )

    def close(self) -> None:
        """No thread, socket or file of the connection is left."""
        self._channel.close()
        if self._relay:
            self._relay.close()
        self._folder.remove()

    def _unary(self, method: str, request: Any, response: Any) -> grpc.UnaryUnaryMultiCallable[Any, Any]:
        return self._channel.unary_unary(
            f"{_CONTROL}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def _stream(self, path: str, request: Any, response: Any) -> grpc.UnaryStreamMultiCallable[Any, Any]:
        return self._channel.unary_stream(
            path, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )


def connect(
    address: str, timeout_s: float, *, dial: Dial | None, tls: TlsFiles | None, docker: str
) -> Control:
    """See BuildKitClient.connect. Raises ConnectError after at most about `timeout_s`."""
    place = parse_address(address, docker)
    if tls is not None and place.path and not dial:
        raise ConnectError(f"{address}: a unix socket has no TLS; certificates are for tcp addresses")
    deadline = time.monotonic() + timeout_s
    open_connection = partial(_connect, place, dial, tls, timeout_s)
    first = open_connection("/grpc")
    folder = TemporaryFolder()
    if place.is_plain and not dial and not tls:
        # It only proved that somebody listens, with clearer errors than gRPC's.
        first.socket.close()
        relay, target = None, place.grpc_target
    else:
        relay = Relay(folder.path / "grpc", partial(open_connection, "/grpc"), first)
        target = f"unix:{folder.path / 'grpc'}"
    control = Control(address, grpc.insecure_channel(target, options=_OPTIONS), folder, relay)
    if place.docker:
        control.open_pipe = lambda identity: SocketPipe(open_connection("/session", identity))
    try:
        control.list_workers(control_pb2.ListWorkersRequest(), timeout=max(0.1, deadline - time.monotonic()))
    except grpc.RpcError as error:
        reason = relay.failure if relay else ""
        control.close()
        # Its threads have ended: now all that the daemon said is known.
        reason = (relay.explanation if relay else "") or reason or text_of(error)
        raise ConnectError(f"{address}: no BuildKit daemon answers there: {reason}") from error
    except BaseException:
        control.close()
        raise
    return control


def _connect(
    place: Address,
    dial: Dial | None,
    tls: TlsFiles | None,
    timeout_s: float,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
) -> Connection:
    """A new connection to the daemon, upgraded on `path` if it is a Docker's. Raises ConnectError."""
    connection = None
    try:
        connection = dial() if dial else place.dial(timeout_s, tls)
        connection.settimeout(timeout_s)
        upgraded = (
            upgrade(connection, path, headers, timeout_s=timeout_s)
            if place.docker
            else Connection(connection)
        )
        connection.settimeout(None)
    except BaseException as error:
        if connection:
            connection.close()
        if isinstance(error, OSError):
            raise ConnectError(f"{place.text}: {error.strerror or error}") from error
        if isinstance(error, ConnectError):
            raise ConnectError(f"{place.text}: {error.message}") from error
        raise
    return upgraded


@contextmanager
def answers(what: str) -> Iterator[None]:
    """Turns gRPC's errors of a call that is no build into ours; `what` was asked for."""
    try:
        yield
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise ConnectionLost(f"the BuildKit daemon does not answer: {text_of(error)}") from error
        raise BuildKitError(f"the BuildKit daemon refused {what}: {text_of(error)}") from error


def text_of(error: grpc.RpcError) -> str:
    """What gRPC says, for a user."""
    return error.details() or error.code().name
