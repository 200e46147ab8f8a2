"""A connection to one BuildKit daemon.

Importing this module imports grpcio. Never use a client in a forked child: open it after the fork.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import grpc

from tasks_engine.backends.buildkit.build import Build
from tasks_engine.backends.buildkit.errors import BuildKitError, ConnectError
from tasks_engine.backends.buildkit.progress import Event
from tasks_engine.backends.buildkit.proto import control_pb2
from tasks_engine.backends.buildkit.proto.worker_pb2 import WorkerRecord
from tasks_engine.backends.buildkit.session import (
    UNLIMITED_MESSAGES,
    Credentials,
    Offer,
    OpenPipe,
    Session,
    docker_pipe,
    random_id,
    stream_pipe,
)
from tasks_engine.backends.buildkit.sockets import Address, Connection, Dial, Relay, parse_address, upgrade
from tasks_engine.backends.buildkit.solve import TAR_EXPORTERS, BuildOptions, BuildResult, solve_request

_CONTROL = "/moby.buildkit.v1.Control/"
#: what `DaemonInfo.exporters` may hold
_EXPORTERS = ("moby", "image", "docker", "oci", "tar", "local")


@dataclass(frozen=True)
class Worker:
    """One worker of the daemon."""

    id: str
    labels: dict[str, str]
    #: os/arch[/variant], the native one first
    platforms: tuple[str, ...]


@dataclass(frozen=True)
class DaemonInfo:
    """What a daemon is and can do, found out by asking it."""

    #: "docker-moby": Docker with its own image store; "docker-containerd": Docker with containerd's;
    #: "buildkitd"
    kind: str
    #: as the daemon says it; distributions build without one ("v0.0.0+unknown"), 0.8 has no way to ask: ""
    version: str
    workers: tuple[Worker, ...]
    #: types that `Exporter.type` may have
    exporters: frozenset[str]
    #: failures come with the place in the Dockerfile and the exit code; else we read them from texts
    error_details: bool

    @property
    def can_push(self) -> bool:
        """The daemon itself pushes to registries."""
        return "image" in self.exporters


class BuildKitClient:
    """Many builds over one connection; all methods may be called from any thread."""

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        private_folder: Path,
        relay: Relay | None,
        upgrade_session: Callable[[Sequence[tuple[str, str]]], Connection] | None,
        timeout_s: float,
        silence_s: float,
    ) -> None:
        """Use `connect`."""
        self._channel = channel
        self._private_folder = private_folder
        self._relay = relay
        self._timeout_s = timeout_s
        self._silence_s = silence_s
        self._solve = self._unary("Solve", control_pb2.SolveRequest, control_pb2.SolveResponse)
        self._info = self._unary("Info", control_pb2.InfoRequest, control_pb2.InfoResponse)
        self._list_workers = self._unary(
            "ListWorkers", control_pb2.ListWorkersRequest, control_pb2.ListWorkersResponse
        )
        self._status = channel.unary_stream(
            f"{_CONTROL}Status",
            request_serializer=control_pb2.StatusRequest.SerializeToString,
            response_deserializer=control_pb2.StatusResponse.FromString,
        )
        self._open_pipe: OpenPipe = (
            docker_pipe(upgrade_session)
            if upgrade_session
            else stream_pipe(
                channel.stream_stream(
                    f"{_CONTROL}Session",
                    request_serializer=control_pb2.BytesMessage.SerializeToString,
                    response_deserializer=control_pb2.BytesMessage.FromString,
                )
            )
        )
        self._session_numbers = itertools.count()
        self._lock = threading.Lock()
        self._builds: set[Build] = set()
        self._closed = False

    @classmethod
    def connect(
        cls, address: str, timeout_s: float = 10.0, *, dial: Dial | None = None, silence_s: float = 30.0
    ) -> BuildKitClient:
        """A client of the daemon at `address`; raises ConnectError after at most about `timeout_s`.

        Addresses: docker+unix:///path and docker+tcp://host:port for a Docker Engine, unix:///path and
        tcp://host:port for a buildkitd. `dial` makes the sockets instead (TLS); `address` then only says
        which of the two it leads to, and shows in errors. A daemon silent for `silence_s` in a build is given
        up (DaemonLost).
        """
        place = parse_address(address)
        deadline = time.monotonic() + timeout_s
        first = _connect(place, dial, timeout_s, "/grpc")
        # Under /tmp, not under a long TMPDIR: the path of a unix socket has at most 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="buildkit-", dir="/tmp"))
        relay = None
        if place.docker or dial:
            relay = Relay(folder / "grpc", lambda: _connect(place, dial, timeout_s, "/grpc"), first)
            target = f"unix:{folder / 'grpc'}"
        else:
            # It only proved that somebody listens, with clearer errors than gRPC's.
            first.socket.close()
            target = place.grpc_target
        client = cls(
            grpc.insecure_channel(
                target, options=[*UNLIMITED_MESSAGES, ("grpc.default_authority", "localhost")]
            ),
            private_folder=folder,
            relay=relay,
            upgrade_session=(lambda headers: _connect(place, dial, timeout_s, "/session", headers))
            if place.docker
            else None,
            timeout_s=timeout_s,
            silence_s=silence_s,
        )
        try:
            client._workers(max(0.1, deadline - time.monotonic()))
        except grpc.RpcError as error:
            client.close()
            raise ConnectError(f"{address}: no BuildKit daemon answers there: {_text(error)}") from error
        except BaseException:
            client.close()
            raise
        return client

    def __enter__(self) -> BuildKitClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancels what still builds and ends the connection; no thread, socket or file of ours is left."""
        with self._lock:
            self._closed = True
            running = list(self._builds)
        for build in running:
            build.cancel()
        for build in running:
            build.join()
        self._channel.close()
        if self._relay:
            self._relay.close()
        shutil.rmtree(self._private_folder, ignore_errors=True)

    # --- the daemon -----------------------------------------------------------------------------------------

    def info(self) -> DaemonInfo:
        """Asks the daemon what it is and can do; raises ConnectError."""
        try:
            workers = self._workers(self._timeout_s)
            version = self._version()
            exporters = self._probe_exporters()
        except grpc.RpcError as error:
            raise ConnectError(f"the BuildKit daemon does not answer: {_text(error)}") from error
        return DaemonInfo(
            kind=_kind(workers, exporters),
            version=version or "",
            workers=workers,
            exporters=exporters,
            error_details=version is not None,
        )

    def _workers(self, timeout_s: float) -> tuple[Worker, ...]:
        response = self._list_workers(control_pb2.ListWorkersRequest(), timeout=timeout_s)
        return tuple(_worker(record) for record in response.record)

    def _version(self) -> str | None:
        """None from daemons before 0.11, which can not be asked; they send no details of errors either."""
        try:
            response = self._info(control_pb2.InfoRequest(), timeout=self._timeout_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return None
            raise
        return str(response.buildkit_version.version)

    def _probe_exporters(self) -> frozenset[str]:
        """Asks for each exporter with a frontend that does not exist; the exporter is looked up first."""
        calls = {
            name: self._solve.future(
                control_pb2.SolveRequest(
                    ref=random_id(),
                    session=random_id(),
                    frontend="none",
                    internal=True,
                    exporter_deprecated=name,
                    exporters=[control_pb2.Exporter(type=name)],
                ),
                timeout=self._timeout_s,
            )
            for name in _EXPORTERS
        }
        return frozenset(name for name, call in calls.items() if not _says_unknown_exporter(call.exception()))

    # --- builds ---------------------------------------------------------------------------------------------

    def start(
        self,
        options: BuildOptions,
        *,
        on_event: Callable[[Event], None],
        credentials: Credentials | None = None,
        sink: BinaryIO | None = None,
    ) -> Build:
        """Starts a build; `Build.wait` gives its result, `Build.cancel` ends it.

        `on_event` is called from one other thread, in order; what it raises cancels the build and comes out
        of `wait`. `sink` takes the tar of a docker, oci or tar exporter. Raises ConnectError.
        """
        if (sink is not None) != (options.exporter is not None and options.exporter.type in TAR_EXPORTERS):
            raise ValueError(f"the exporters {', '.join(sorted(TAR_EXPORTERS))} need a sink, and only they")
        with self._lock:
            if self._closed:
                raise BuildKitError("the BuildKit client is closed")
            socket_path = self._private_folder / f"s{next(self._session_numbers)}"
        session = Session(
            Offer({"context": options.context, "dockerfile": options.dockerfile.parent}, credentials, sink),
            shared_key=options.shared_key or _shared_key(options.context),
            socket_path=socket_path,
            open_pipe=self._open_pipe,
        )
        ref = random_id()
        build = Build(
            session=session,
            status_call=self._status(control_pb2.StatusRequest(ref=ref)),
            solve_call=self._solve.future(solve_request(options, ref=ref, session_id=session.id)),
            dockerfile=options.dockerfile,
            on_event=on_event,
            silence_s=self._silence_s,
            on_end=self._forget,
        )
        with self._lock:
            self._builds.add(build)
            closed = self._closed
        build.begin()
        if closed:
            # close() came between the check above and now, and does not know this build.
            build.cancel()
            build.join()
        return build

    def build(
        self,
        options: BuildOptions,
        *,
        on_event: Callable[[Event], None],
        credentials: Credentials | None = None,
        sink: BinaryIO | None = None,
    ) -> BuildResult:
        """Starts a build and waits for it; see `start` and `Build.wait`. An interrupt cancels it."""
        build = self.start(options, on_event=on_event, credentials=credentials, sink=sink)
        try:
            return build.wait()
        except BaseException:
            build.cancel()
            build.join()
            raise

    def _forget(self, build: Build) -> None:
        with self._lock:
            self._builds.discard(build)

    def _unary(self, method: str, request: Any, response: Any) -> grpc.UnaryUnaryMultiCallable[Any, Any]:
        return self._channel.unary_unary(
            f"{_CONTROL}{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )


def _connect(
    place: Address, dial: Dial | None, timeout_s: float, path: str, headers: Sequence[tuple[str, str]] = ()
) -> Connection:
    """A new connection to the daemon, upgraded on `path` if it is a Docker's."""
    connection: socket.socket | None = None
    try:
        connection = dial() if dial else place.dial(timeout_s)
        connection.settimeout(timeout_s)
        upgraded = upgrade(connection, path, headers) if place.docker else Connection(connection)
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


def _worker(record: WorkerRecord) -> Worker:
    platforms = ("/".join(filter(None, (p.os, p.architecture, p.variant))) for p in record.platforms)
    return Worker(record.id, dict(record.labels), tuple(dict.fromkeys(platforms)))


def _kind(workers: Sequence[Worker], exporters: frozenset[str]) -> str:
    if "moby" not in exporters:
        return "buildkitd"
    label = "org.mobyproject.buildkit.worker.containerd.namespace"
    return "docker-containerd" if any(label in worker.labels for worker in workers) else "docker-moby"


def _says_unknown_exporter(error: BaseException | None) -> bool:
    """Raises `error` when the daemon could not be asked at all."""
    if not isinstance(error, grpc.RpcError):
        return False
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        raise error
    text = error.details() or ""
    return "exporter" in text and "could not be found" in text


def _shared_key(context: Path) -> str:
    """The same for every build of this folder on this machine."""
    return hashlib.sha256(
        f"{socket.gethostname()}:{context.resolve()}".encode(errors="surrogateescape")
    ).hexdigest()


def _text(error: grpc.RpcError) -> str:
    return error.details() or error.code().name
