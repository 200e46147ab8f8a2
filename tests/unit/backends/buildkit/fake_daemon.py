"""A BuildKit daemon for tests: it speaks the real protocol and does what a script says.

    def solve(daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> SolveResponse:
        folder = session.diff_copy(context_of(request), exclude=["*.tmp"])
        daemon.job(request.ref).status(StatusResponse(vertexes=[Vertex(digest="sha256:1", name="[1/1] COPY")]))
        return SolveResponse(exporter_response={"containerimage.digest": "sha256:2"})

    with FakeDaemon(solve) as daemon, BuildKitClient.connect(daemon.address) as client:
        client.build(...)

It serves Control and Content as a buildkitd does on its unix socket. The stream of Control.Session carries a second
HTTP/2 connection, in which the daemon is the client: a `FakeSession` speaks on it through a gRPC channel (`channel` and
all that is built on it), or byte by byte (`raw`, `Frames`) for what no library would send. One session, one of the two.

A script that raises SolveFailed, or lets the error of a call to the client pass, fails its Solve as a daemon does. Any
other exception in a script is a mistake of the test, or its assertion, and comes out of the `with`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote_plus

import grpc
import hpack
import pytest

from tasks_engine.backends.buildkit.proto import (
    content_pb2,
    control_pb2,
    filesync_pb2,
    secrets_pb2,
    ssh_pb2,
    worker_pb2,
)
from tasks_engine.backends.buildkit.proto.fsutil_pb2 import Packet, Stat
from tasks_engine.backends.buildkit.proto.ops_pb2 import Platform
from tasks_engine.backends.buildkit.proto.rpc_status_pb2 import Status

#: what the fake waits for anything; a test that needs more of it hangs
PATIENCE_S = 8.0
#: a daemon waits this long for the session that a Solve names
_SESSION_WAIT_S = 5.0
_READ_BYTES = 64 * 1024
_WORKERS = 32
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 32 << 20),
    ("grpc.absolute_max_metadata_size", 64 << 20),
]

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
SYNC_DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"
SEND_DIFF_COPY = "/moby.filesync.v1.FileSend/DiffCopy"
CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
GET_TOKEN_AUTHORITY = "/moby.filesync.v1.Auth/GetTokenAuthority"
VERIFY_TOKEN_AUTHORITY = "/moby.filesync.v1.Auth/VerifyTokenAuthority"
FETCH_TOKEN = "/moby.filesync.v1.Auth/FetchToken"
GET_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
CHECK_AGENT = "/moby.sshforward.v1.SSH/CheckAgent"
FORWARD_AGENT = "/moby.sshforward.v1.SSH/ForwardAgent"

FOLDER_MODE = 1 << 31 | 0o755
LINK_MODE = 1 << 27 | 0o777
#: bits of a Go FileMode of which a regular file has none
_NOT_REGULAR = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19

#: (daemon, request, session of the request) -> answer, None for an empty one
Script = Callable[["FakeDaemon", control_pb2.SolveRequest, "FakeSession"], control_pb2.SolveResponse | None]
Metadata = Sequence[tuple[str, str | bytes]]


class SolveFailed(Exception):
    """Raised by a script: the status that its Solve ends with."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        details: bytes | None = None,
    ) -> None:
        """`details` is the trailer grpc-status-details-bin, see `details_of`."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details


def details_of(message: str, values: Mapping[str, object]) -> bytes:
    """Details as newer daemons attach them: type, as in "errdefs.Vertex", -> value, which travels as JSON."""
    status = Status(code=2, message=message)
    for name, value in values.items():
        status.details.add(
            type_url=f"github.com/moby/buildkit/{name}+json",
            value=value if isinstance(value, bytes) else json.dumps(value).encode(),
        )
    return status.SerializeToString()


class Job:
    """One build in the daemon: what Status tells of it, and whether its Solve still stands."""

    def __init__(self, ref: str) -> None:
        self.ref = ref
        #: the Solve call is over: answered, canceled, or the client went away
        self.over = threading.Event()
        #: called once Solve is over; a script may put something else here, or nothing
        self.when_over: Callable[[], None] = self.end_status
        self._messages: list[bytes] = []
        self._ended = False
        self._changed = threading.Condition()

    def status(self, *messages: control_pb2.StatusResponse | bytes) -> None:
        """Tells every Status call of this build; bytes go out as they are. Nothing comes after the end."""
        with self._changed:
            if self._ended:
                return
            self._messages += [m if isinstance(m, bytes) else m.SerializeToString() for m in messages]
            self._changed.notify_all()

    def end_status(self) -> None:
        """Ends every Status call once it has told all."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def hang(self) -> None:
        """Never answers; returns by SolveFailed when the client has given up, which it must."""
        assert self.over.wait(PATIENCE_S), "the client waits for ever"
        raise SolveFailed("context canceled", code=grpc.StatusCode.CANCELLED)

    def tell(self, call: grpc.ServicerContext) -> Iterator[bytes]:
        """The messages for one Status call, from the first one on."""
        if not call.add_callback(self._wake):
            return
        told = 0
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda told=told: self._ended or len(self._messages) > told or not call.is_active()  # type: ignore[misc]
                )
                if not call.is_active() or (self._ended and len(self._messages) == told):
                    return
                message = self._messages[told]
            told += 1
            yield message

    def solve_is_over(self) -> None:
        self.over.set()
        self.when_over()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class FakeDaemon:
    """The daemon. `with` starts it and, at its end, raises what went wrong in scripts."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        version: str | None = "v0.13.0",
        exporters: Iterable[str] = ("image", "docker", "oci", "tar", "local"),
        cache_exports: Iterable[str] = ("registry", "inline", "local"),
    ) -> None:
        """Without `version` it is as a daemon before 0.11: not to be asked for one."""
        self._script: Script = script or (lambda _daemon, _request, _session: None)
        self._version = version
        self._exporters = frozenset(exporters)
        self._cache_exports = frozenset(cache_exports)
        worker = worker_pb2.WorkerRecord(id="fake", platforms=[Platform(os="linux", architecture="amd64")])
        #: what ListWorkers answers; bytes go out as they are
        self.workers: control_pb2.ListWorkersResponse | bytes = control_pb2.ListWorkersResponse(
            record=[worker]
        )
        #: of every build that came, refused ones too
        self.solves: list[control_pb2.SolveRequest] = []
        #: of the builds that clients only try in order to see what is refused; scripts never see them
        self.probes: list[control_pb2.SolveRequest] = []
        #: every session that came
        self.sessions: list[FakeSession] = []
        self.usage: list[control_pb2.UsageRecord] = []
        self.prunes: list[control_pb2.PruneRequest] = []
        self.history: list[control_pb2.BuildHistoryEvent] = []
        #: digest -> what Content.Read gives
        self.blobs: dict[str, bytes] = {}
        #: what scripts raised that is no answer
        self.mistakes: list[BaseException] = []
        #: as long as it is clear, calls to ListWorkers get no answer
        self.answers = threading.Event()
        self.answers.set()
        self._jobs: dict[str, Job] = {}
        self._arrived = threading.Condition()

    def __enter__(self) -> FakeDaemon:
        # The path of a unix socket has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="fake-", dir="/tmp"))
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="fake-daemon")
        self._server = grpc.server(self._pool, options=_OPTIONS)
        for service, handlers in self._services().items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        inside = self._folder / "grpc"
        self._server.add_insecure_port(f"unix:{inside}")
        self._server.start()
        self._door = _Door(self._folder / "buildkitd.sock", inside)
        self.address = f"unix://{self._folder}/buildkitd.sock"
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.answers.set()
        self._door.cut()
        self._server.stop(None).wait()
        for session in self.sessions:
            session.hang_up()
        self._pool.shutdown()
        for session in self.sessions:
            session.close()
        shutil.rmtree(self._folder)
        if self.mistakes and not isinstance(error, AssertionError):
            raise self.mistakes[0]

    def die(self) -> None:
        """All connections end at once, as when the process is killed; nobody listens any more."""
        self._door.cut()

    def job(self, ref: str) -> Job:
        """The build of that Solve."""
        with self._arrived:
            self._arrived.notify_all()
            return self._jobs.setdefault(ref, Job(ref))

    # --- Control ------------------------------------------------------------------------------------------------------

    def _services(self) -> dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]]:
        def unary(work: Any, request: Any) -> grpc.RpcMethodHandler[Any, Any]:
            return grpc.unary_unary_rpc_method_handler(work, request.FromString, _serialized)

        def stream(work: Any, request: Any) -> grpc.RpcMethodHandler[Any, Any]:
            return grpc.unary_stream_rpc_method_handler(work, request.FromString, _serialized)

        return {
            "moby.buildkit.v1.Control": {
                "Solve": unary(self._solve, control_pb2.SolveRequest),
                "Status": stream(self._status, control_pb2.StatusRequest),
                "Session": grpc.stream_stream_rpc_method_handler(
                    self._session, control_pb2.BytesMessage.FromString, _serialized
                ),
                "ListWorkers": unary(self._list_workers, control_pb2.ListWorkersRequest),
                "Info": unary(self._info, control_pb2.InfoRequest),
                "DiskUsage": unary(self._disk_usage, control_pb2.DiskUsageRequest),
                "Prune": stream(self._prune, control_pb2.PruneRequest),
                "ListenBuildHistory": stream(self._build_history, control_pb2.BuildHistoryRequest),
            },
            "containerd.services.content.v1.Content": {
                "Read": stream(self._read_blob, content_pb2.ReadContentRequest)
            },
        }

    def _solve(
        self, request: control_pb2.SolveRequest, call: grpc.ServicerContext
    ) -> control_pb2.SolveResponse:
        (self.probes if request.internal else self.solves).append(request)
        try:
            self._refuse_before_it_is_a_job(request)
            if request.internal:
                return control_pb2.SolveResponse()
            job = self.job(request.ref)
            if not call.add_callback(job.solve_is_over):
                job.solve_is_over()
            answer = self._script(self, request, self._session_of(request))
            return answer or control_pb2.SolveResponse()
        except SolveFailed as error:
            failed = error
        except grpc.RpcError as error:
            # A call to the client failed: its text is the build's.
            failed = SolveFailed(error.details() or error.code().name)
        except OSError as error:
            failed = SolveFailed(f"error reading from server: {error}: transport is closing")
        except BaseException as error:  # noqa: BLE001 - raised again at the end of the `with`
            self.mistakes.append(error)
            failed = SolveFailed(f"the script of the test failed: {error!r}")
        if failed.details is not None:
            call.set_trailing_metadata((("grpc-status-details-bin", failed.details),))
        call.abort(failed.code, failed.message)
        raise AssertionError("abort raises")

    def _refuse_before_it_is_a_job(self, request: control_pb2.SolveRequest) -> None:
        """Exporters are looked up first, then the frontend; Status of such a build waits in vain."""
        wanted = [exporter.type for exporter in request.exporters]
        if self._version is None:
            # Before 0.12 there was only this one field.
            wanted = [request.exporter_deprecated] if request.exporter_deprecated else []
        for kind in wanted:
            if kind not in self._exporters:
                raise SolveFailed(f'exporter "{kind}" could not be found')
        for cache in request.cache.exports:
            if cache.type not in self._cache_exports:
                raise SolveFailed(f'unknown cache exporter: "{cache.type}"')
        if request.frontend != "dockerfile.v0":
            raise SolveFailed(f"invalid frontend: {request.frontend}")
        if self._version is not None:
            self._refuse_attributes(request.frontend_attrs)

    def _refuse_attributes(self, attrs: Mapping[str, str]) -> None:
        """What newer frontends know and check; older ones leave it out without a word."""
        for name, value in attrs.items():
            kind, _, rest = name.partition(":")
            if kind == "attest" and rest not in ("provenance", "sbom"):
                raise SolveFailed(f"unknown attestation type: {rest}")
            if kind == "context" and rest and ":" not in value:
                raise SolveFailed(f"unsupported context source {value} for {rest}")

    def _session_of(self, request: control_pb2.SolveRequest) -> FakeSession:
        def find() -> FakeSession | None:
            return next((session for session in self.sessions if session.id == request.session), None)

        with self._arrived:
            found = self._arrived.wait_for(find, _SESSION_WAIT_S)
        if found is None:
            raise SolveFailed(f"no active session for {request.session}: context deadline exceeded")
        return found

    def _status(self, request: control_pb2.StatusRequest, call: grpc.ServicerContext) -> Iterator[bytes]:
        """Waits for its build to be one, as long as the client does."""
        call.add_callback(self._wake)
        with self._arrived:
            self._arrived.wait_for(lambda: request.ref in self._jobs or not call.is_active(), PATIENCE_S)
            job = self._jobs.get(request.ref)
        if job is None:
            call.abort(grpc.StatusCode.NOT_FOUND, f"no such job {request.ref}")
        yield from job.tell(call)

    def _wake(self) -> None:
        with self._arrived:
            self._arrived.notify_all()

    def _session(
        self, pieces: Iterator[control_pb2.BytesMessage], call: grpc.ServicerContext
    ) -> Iterator[control_pb2.BytesMessage]:
        session = FakeSession(
            [(key, value) for key, value in call.invocation_metadata() if isinstance(value, str)],
            self._folder / f"session{len(self.sessions)}",
        )
        with self._arrived:
            self.sessions.append(session)
            self._arrived.notify_all()
        return session.carry(pieces, call)

    def _list_workers(
        self, _: control_pb2.ListWorkersRequest, call: grpc.ServicerContext
    ) -> control_pb2.ListWorkersResponse | bytes:
        call.add_callback(self.answers.set)
        self.answers.wait(PATIENCE_S)
        return self.workers

    def _info(self, _: control_pb2.InfoRequest, call: grpc.ServicerContext) -> control_pb2.InfoResponse:
        if self._version is None:
            call.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method Info")
        version = worker_pb2.BuildkitVersion(version=self._version or "")
        return control_pb2.InfoResponse(buildkit_version=version)

    def _disk_usage(
        self, _: control_pb2.DiskUsageRequest, _call: grpc.ServicerContext
    ) -> control_pb2.DiskUsageResponse:
        return control_pb2.DiskUsageResponse(record=self.usage)

    def _prune(
        self, request: control_pb2.PruneRequest, _: grpc.ServicerContext
    ) -> Iterator[control_pb2.UsageRecord]:
        """Tells each record that it removes; those in use stay, and internal ones unless all is wanted."""
        self.prunes.append(request)
        for record in list(self.usage):
            internal = record.record_type in ("internal", "frontend")
            if not record.in_use and (request.all or not internal):
                self.usage.remove(record)
                yield record

    def _build_history(
        self, request: control_pb2.BuildHistoryRequest, _: grpc.ServicerContext
    ) -> Iterator[control_pb2.BuildHistoryEvent]:
        for event in self.history:
            if request.ref in ("", event.record.ref):
                yield event

    def _read_blob(
        self, request: content_pb2.ReadContentRequest, call: grpc.ServicerContext
    ) -> Iterator[content_pb2.ReadContentResponse]:
        blob = self.blobs.get(request.digest)
        if blob is None:
            call.abort(grpc.StatusCode.NOT_FOUND, f"content {request.digest}: not found")
            return
        end = request.offset + request.size if request.size else len(blob)
        for offset in range(request.offset, min(end, len(blob)), _READ_BYTES):
            piece = blob[offset : min(offset + _READ_BYTES, end)]
            yield content_pb2.ReadContentResponse(offset=offset, data=piece)


@dataclass(frozen=True)
class Folder:
    """What a daemon has of a folder after DiffCopy."""

    entries: list[Stat] = field(default_factory=list)
    #: path -> content, of the files that were wanted
    content_by_path: dict[str, bytes] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        return [entry.path for entry in self.entries]


class FakeSession:
    """The daemon's end of one session."""

    def __init__(self, announcement: Sequence[tuple[str, str]], socket_path: Path) -> None:
        values: dict[str, list[str]] = {}
        for key, value in announcement:
            values.setdefault(key.removeprefix("x-docker-expose-session-"), []).append(value)
        self.id = values["uuid"][0]
        self.shared_key = values.get("sharedkey", [""])[0]
        #: what the client says it serves, as /package.Service/Method
        self.methods = values.get("grpc-method", [])
        #: the pipe itself: what is written here reaches the client's session server as it is
        self.raw, self._wire = socket.socketpair()
        self.raw.settimeout(PATIENCE_S)
        self._socket_path = socket_path
        self._channel: grpc.Channel | None = None
        self._pump: _Pump | None = None
        self._threads: list[threading.Thread] = []
        #: the client or the daemon ended it
        self.ended = threading.Event()

    # --- the pipe -----------------------------------------------------------------------------------------------------

    def carry(
        self, pieces: Iterator[control_pb2.BytesMessage], call: grpc.ServicerContext
    ) -> Iterator[control_pb2.BytesMessage]:
        """Control.Session itself: slices of the byte stream both ways, cut anywhere."""
        call.add_callback(self.hang_up)
        self._start(self._copy_in, pieces)
        with contextlib.suppress(OSError):
            while data := self._wire.recv(_READ_BYTES):
                yield control_pb2.BytesMessage(data=data)

    def hang_up(self) -> None:
        """Ends the pipe; what still runs on it fails."""
        self.ended.set()
        _shut(self._wire)
        _shut(self.raw)

    def close(self) -> None:
        """Gives back what it took, once the server has stopped."""
        self.hang_up()
        if self._channel:
            self._channel.close()
        for thread in self._threads:
            thread.join()
        if self._pump:
            self._pump.close()
        self._wire.close()
        self.raw.close()

    def _copy_in(self, pieces: Iterator[control_pb2.BytesMessage]) -> None:
        # The iterator raises when the call is over, the socket when we hung up: the end either way.
        with contextlib.suppress(Exception):
            for piece in pieces:
                self._wire.sendall(piece.data)
        self.hang_up()

    @property
    def channel(self) -> grpc.Channel:
        """A gRPC channel to the client's session server, made when it is first wanted."""
        if self._channel is None:
            # gRPC takes no connected socket, only addresses.
            listener = socket.socket(socket.AF_UNIX)
            listener.settimeout(PATIENCE_S)
            listener.bind(str(self._socket_path))
            listener.listen()
            self._start(self._accept, listener)
            self._channel = grpc.insecure_channel(f"unix:{self._socket_path}", options=_OPTIONS)
        return self._channel

    def _accept(self, listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):
            near, _ = listener.accept()
            near.settimeout(None)
            self.raw.settimeout(None)
            self._pump = _Pump(near, self.raw)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="fake-session", daemon=True)
        self._threads.append(thread)
        thread.start()

    # --- calls to the client ------------------------------------------------------------------------------------------

    def ask(self, method: str, request: Any, answer: Any, metadata: Metadata = ()) -> Any:
        """One unary call; `answer` is the class of its answer. Raises grpc.RpcError."""
        call = self.channel.unary_unary(method, _serialized, answer.FromString)
        return call(request, metadata=tuple(metadata), timeout=PATIENCE_S)

    def stream(self, method: str, metadata: Metadata = ()) -> StreamCall:
        """A call whose messages go one by one, right or wrong."""
        return StreamCall(self.channel, method, metadata)

    def check_health(self) -> None:
        """Asks whether the client is there; raises grpc.RpcError when it is not."""
        answer = self.channel.unary_unary(HEALTH_CHECK, _serialized, bytes)(b"", timeout=PATIENCE_S)
        assert answer == b"\x08\x01", "the client does not say SERVING"

    def keep_checking_health(self, every_s: float) -> None:
        """From now on asks all the time, as daemons do every 5 s, and hangs up when there is no answer."""
        self._start(self._check_health_until_the_end, every_s)

    def _check_health_until_the_end(self, every_s: float) -> None:
        with contextlib.suppress(grpc.RpcError, ValueError):
            while not self.ended.wait(every_s):
                self.check_health()
        self.hang_up()

    def diff_copy(
        self,
        name: str,
        *,
        follow: Sequence[str] = (),
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        want: Callable[[Stat], bool] = lambda _: True,
    ) -> Folder:
        """Pulls a folder: the listing, and the content of the regular files that are wanted.

        A daemon wants those that it does not have yet, judged by the listing. Raises SolveFailed with what the client
        said when it could not send.
        """
        call = self.stream(SYNC_DIFF_COPY, asking_for(name, follow=follow, include=include, exclude=exclude))
        folder = Folder()
        unfinished: set[int] = set()
        listed = False
        while unfinished or not listed:
            packet = call.packet()
            if packet.type == Packet.PACKET_ERR:
                raise SolveFailed(f"error from sender: {packet.data.decode()}")
            if packet.type == Packet.PACKET_STAT and not packet.HasField("stat"):
                listed = True
            elif packet.type == Packet.PACKET_STAT:
                entry_id = len(folder.entries)
                folder.entries.append(packet.stat)
                if is_requestable(packet.stat) and want(packet.stat):
                    folder.content_by_path[packet.stat.path] = b""
                    unfinished.add(entry_id)
                    call.send(Packet(type=Packet.PACKET_REQ, id=entry_id))
            elif packet.type == Packet.PACKET_DATA and packet.data:
                assert packet.id in unfinished, "content of a file that was not requested"
                folder.content_by_path[folder.entries[packet.id].path] += packet.data
            elif packet.type == Packet.PACKET_DATA:
                unfinished.remove(packet.id)
            else:
                raise AssertionError(f"no packet of a sender: {packet}")
        call.send(Packet(type=Packet.PACKET_FIN))
        assert call.packet().type == Packet.PACKET_FIN
        # It waits for the client's end of the stream before it ends its own.
        assert call.receive() is None
        return folder

    def send_tar(self, pieces: Iterable[bytes], exporter_id: int | None = 0) -> None:
        """Sends the result of an exporter docker, oci or tar. 0.8 daemons say no exporter's number."""
        call = self.stream(SEND_DIFF_COPY, for_exporter(exporter_id))
        for piece in pieces:
            call.send(filesync_pb2.BytesMessage(data=piece))
        call.half_close()
        assert call.receive() is None

    def send_folder(self, entries: Sequence[tuple[Stat, bytes]], exporter_id: int | None = 0) -> None:
        """Sends the result of the exporter local: entries in order, parents first; the client requests."""
        call = self.stream(SEND_DIFF_COPY, for_exporter(exporter_id))
        for stat, _ in entries:
            call.send(Packet(stat=stat))
        call.send(Packet())
        while (packet := call.packet()).type != Packet.PACKET_FIN:
            assert packet.type == Packet.PACKET_REQ, f"no packet of a receiver: {packet}"
            stat, content = entries[packet.id]
            assert is_requestable(stat), f"{stat.path} has no content to request"
            for offset in range(0, len(content), _READ_BYTES):
                piece = content[offset : offset + _READ_BYTES]
                call.send(Packet(type=Packet.PACKET_DATA, id=packet.id, data=piece))
            call.send(Packet(type=Packet.PACKET_DATA, id=packet.id))
        call.send(Packet(type=Packet.PACKET_FIN))
        call.half_close()
        assert call.receive() is None

    def credentials(self, host: str) -> filesync_pb2.CredentialsResponse:
        """The login for a registry; both fields empty for none."""
        answer = self.ask(
            CREDENTIALS, filesync_pb2.CredentialsRequest(host=host), filesync_pb2.CredentialsResponse
        )
        assert isinstance(answer, filesync_pb2.CredentialsResponse)
        return answer

    def token_authority(self, host: str, salt: bytes) -> bytes:
        """The public key with which the client signs for this registry. UNIMPLEMENTED: ask for credentials."""
        request = filesync_pb2.GetTokenAuthorityRequest(host=host, salt=salt)
        return bytes(
            self.ask(GET_TOKEN_AUTHORITY, request, filesync_pb2.GetTokenAuthorityResponse).public_key
        )

    def verify_token_authority(self, host: str, salt: bytes, payload: bytes) -> bytes:
        """The payload with the client's signature of 64 bytes before it."""
        request = filesync_pb2.VerifyTokenAuthorityRequest(host=host, payload=payload, salt=salt)
        return bytes(
            self.ask(VERIFY_TOKEN_AUTHORITY, request, filesync_pb2.VerifyTokenAuthorityResponse).signed
        )

    def fetch_token(self, request: filesync_pb2.FetchTokenRequest) -> filesync_pb2.FetchTokenResponse:
        """A registry token, for which the client itself asks the realm."""
        answer = self.ask(FETCH_TOKEN, request, filesync_pb2.FetchTokenResponse)
        assert isinstance(answer, filesync_pb2.FetchTokenResponse)
        return answer

    def secret(self, secret_id: str) -> bytes:
        """The value for a RUN --mount=type=secret; grpc.RpcError NOT_FOUND when there is none."""
        request = secrets_pb2.GetSecretRequest(id=secret_id)
        return bytes(self.ask(GET_SECRET, request, secrets_pb2.GetSecretResponse).data)

    def check_agent(self, agent_id: str) -> None:
        """Whether there is this agent, empty for the default one; any grpc.RpcError means no."""
        self.ask(CHECK_AGENT, ssh_pb2.CheckAgentRequest(id=agent_id), ssh_pb2.CheckAgentResponse)

    def forward_agent(self, agent_id: str) -> StreamCall:
        """A connection to an agent, its bytes as messages of ssh_pb2.BytesMessage."""
        return self.stream(FORWARD_AGENT, [("buildkit.ssh.id", agent_id)])


def asking_for(
    name: str, *, follow: Sequence[str] = (), include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> list[tuple[str, str | bytes]]:
    """The metadata of a DiffCopy that pulls a folder; escaped, and said so, when a value is not ASCII."""
    metadata: list[tuple[str, str | bytes]] = [("dir-name", name)]
    for key, values in (
        ("followpaths", follow),
        ("include-patterns", include),
        ("exclude-patterns", exclude),
    ):
        if all(value.isascii() for value in values):
            metadata += [(key, value) for value in values]
        else:
            metadata += [(key, quote_plus(value)) for value in values]
            metadata.append((f"{key}-encoded", "1"))
    return metadata


def context_of(request: control_pb2.SolveRequest) -> str:
    """The name of the folder that is the build's context."""
    return request.frontend_attrs.get("contextkey", "context")


def dockerfile_folder_of(request: control_pb2.SolveRequest) -> str:
    """The name of the folder in which the Dockerfile is."""
    return request.frontend_attrs.get("dockerfilekey", "dockerfile")


def for_exporter(exporter_id: int | None) -> Metadata:
    """The metadata of a FileSend."""
    return [] if exporter_id is None else [("buildkit-attachable-exporter-id", str(exporter_id))]


def is_requestable(stat: Stat) -> bool:
    """A regular file that is no other name of an earlier one."""
    return not stat.mode & _NOT_REGULAR and not stat.linkname


class StreamCall:
    """A streaming call to the client, message by message. All of it within PATIENCE_S."""

    def __init__(self, channel: grpc.Channel, method: str, metadata: Metadata) -> None:
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._call = channel.stream_stream(method, _serialized, bytes)(
            iter(self._outgoing.get, None), metadata=tuple(metadata), timeout=PATIENCE_S
        )
        # gRPC's thread that reads our messages stays until there are no more.
        if not self._call.add_callback(self.half_close):
            self.half_close()

    def send(self, message: Any) -> None:
        """A message, or bytes that pretend to be one."""
        self._outgoing.put(_serialized(message))

    def half_close(self) -> None:
        """Nothing more comes from the daemon."""
        self._outgoing.put(None)

    def cancel(self) -> None:
        """Breaks the call off (RST_STREAM)."""
        self._call.cancel()  # type: ignore[no-untyped-call]

    def receive(self) -> bytes | None:
        """The next message, None when the client ended the call well; grpc.RpcError when it did not."""
        for message in self._call:
            return bytes(message)
        return None

    def packet(self) -> Packet:
        """The next message of a DiffCopy, which must come."""
        message = self.receive()
        assert message is not None, "the client ended the call too early"
        return Packet.FromString(message)

    def to_the_end(self) -> tuple[list[bytes], grpc.StatusCode]:
        """All the messages that still come, and how the client ended the call, which it must."""
        messages: list[bytes] = []
        try:
            while (message := self.receive()) is not None:
                messages.append(message)
        except grpc.RpcError as error:
            assert error.code() != grpc.StatusCode.DEADLINE_EXCEEDED, "the client never ended the call"
            return messages, error.code()
        return messages, grpc.StatusCode.OK


def _serialized(message: Any) -> bytes:
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())


# --- HTTP/2 by hand ---------------------------------------------------------------------------------------------------


class Kind(IntEnum):
    """Types of frames. Source: RFC 9113, 6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM = ACK = 1
END_HEADERS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW_SIZE = 4


@dataclass(frozen=True)
class Frame:
    """One frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    #: of a HEADERS frame
    headers: dict[str, str] = field(default_factory=dict)


def frame(
    kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0, length: int | None = None
) -> bytes:
    """A frame; `length` lies about the payload's."""
    announced = len(payload) if length is None else length
    return struct.pack(">I", announced)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**value_by_name: int) -> bytes:
    """A SETTINGS frame; only `initial_window_size` so far."""
    numbers = {"initial_window_size": INITIAL_WINDOW_SIZE}
    return frame(
        Kind.SETTINGS,
        b"".join(struct.pack(">HI", numbers[name], value) for name, value in value_by_name.items()),
    )


def grpc_message(message: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """gRPC's frame around a message; `length` lies about it."""
    return struct.pack(">BI", compressed, len(message) if length is None else length) + message


class Frames:
    """HTTP/2 on a session's pipe, frame by frame and as wrong as wanted."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        self._received = b""
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._next_stream = 1
        #: the client closed the connection
        self.closed = False

    def greet(self, **settings_: int) -> Frames:
        """What every connection starts with."""
        self.send(PREFACE + settings(**settings_))
        return self

    def send(self, data: bytes) -> None:
        """Writes all of `data`, and reads meanwhile: a client that answers all of a flood must not block us.

        Stops when the client has closed the connection.
        """
        left = memoryview(data)
        deadline_s = time.monotonic() + PATIENCE_S
        self._pipe.setblocking(False)
        try:
            while left and not self.closed:
                assert time.monotonic() < deadline_s, "the client reads no more"
                readable, writable, _ = select.select([self._pipe], [self._pipe], [], 1)
                if readable:
                    self._take()
                if writable and not self.closed:
                    left = left[self._pipe.send(left[:_READ_BYTES]) :]
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True
        finally:
            self._pipe.settimeout(PATIENCE_S)

    def _take(self) -> None:
        piece = self._pipe.recv(_READ_BYTES)
        self.closed = not piece
        self._received += piece

    def receive(self) -> Frame | None:
        """The next frame, None at the end of the connection."""
        try:
            while not self._complete() and not self.closed:
                self._take()
        except TimeoutError as error:
            raise AssertionError("the client says nothing, and does not close the connection") from error
        except ConnectionResetError:
            self.closed = True
        if not self._complete():
            return None
        length = int.from_bytes(self._received[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
        payload, self._received = self._received[9 : 9 + length], self._received[9 + length :]
        # Every block must be decoded, whose ever it is: they share one table.
        block = self._decoder.decode(_block(flags, payload)) if kind == Kind.HEADERS else ()
        headers = {str(name): str(value) for name, value in block}
        return Frame(kind, flags, stream & 0x7FFFFFFF, payload, headers)

    def _complete(self) -> bool:
        return len(self._received) >= 9 and len(self._received) >= 9 + int.from_bytes(
            self._received[:3], "big"
        )

    def new_stream(self) -> int:
        self._next_stream += 2
        return self._next_stream - 2

    def headers(self, path: str, metadata: Metadata = (), **replaced: str) -> bytes:
        """The header block of a gRPC call, compressed; `replaced` names pseudo headers."""
        pseudo = {"method": "POST", "scheme": "http", "path": path, "authority": "localhost"} | replaced
        return self._encoder.encode(
            [
                *((f":{name}", value) for name, value in pseudo.items()),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                *metadata,
            ]
        )

    def call(self, path: str, metadata: Metadata = (), **replaced: str) -> int:
        """Opens a call; its stream."""
        stream = self.new_stream()
        self.send(
            frame(Kind.HEADERS, self.headers(path, metadata, **replaced), flags=END_HEADERS, stream=stream)
        )
        return stream

    def answer(self, stream: int) -> dict[str, str]:
        """Waits for the end of a call: its headers and trailers, or "reset" or "goaway" with the code."""
        found: dict[str, str] = {}
        while (came := self.receive()) is not None:
            if came.kind == Kind.GOAWAY:
                return found | {"goaway": str(int.from_bytes(came.payload[4:8], "big"))}
            if came.stream != stream:
                continue
            found |= came.headers
            if came.kind == Kind.RST_STREAM:
                return found | {"reset": str(int.from_bytes(came.payload, "big"))}
            if came.flags & END_STREAM and came.kind in (Kind.DATA, Kind.HEADERS):
                return found
        return found | {"closed": ""}

    def check_health(self) -> None:
        """The client still serves on this connection."""
        stream = self.call(HEALTH_CHECK)
        self.send(frame(Kind.DATA, grpc_message(b""), flags=END_STREAM, stream=stream))
        answer = self.answer(stream)
        assert answer.get("grpc-status") == "0", f"the session is broken: {answer}"

    def wait_for_the_end(self) -> None:
        """The client gives up the connection: by GOAWAY, or by closing it."""
        while (came := self.receive()) is not None:
            if came.kind == Kind.GOAWAY:
                return


def _block(flags: int, payload: bytes) -> bytes:
    assert flags & END_HEADERS, "a header block in several frames"
    assert not flags & 0x28, "padding or priority from a server"
    return payload


# --- sockets ----------------------------------------------------------------------------------------------------------


class _Pump:
    """Copies bytes both ways between two sockets until either ends."""

    def __init__(self, one: socket.socket, other: socket.socket) -> None:
        self._ends = (one, other)
        self._threads = [
            threading.Thread(target=self._copy, args=pair, name="fake-pump", daemon=True)
            for pair in ((one, other), (other, one))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for end in self._ends:
            _shut(end)
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_READ_BYTES):
                target.sendall(data)
        _shut(source)
        _shut(target)


class _Door:
    """The socket that clients see, before the one that gRPC serves: it can be cut as a kill would."""

    def __init__(self, path: Path, inside: Path) -> None:
        self._inside = inside
        self._pumps: list[_Pump] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, name="fake-door", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        _shut(self._listener)
        self._thread.join()
        self._listener.close()
        for pump in self._pumps:
            pump.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(self._inside))
            self._pumps.append(_Pump(near, far))


def _shut(end: socket.socket) -> None:
    # Not connected any more, or closed already.
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


# --- what a client leaves: nothing ------------------------------------------------------------------------------------


@contextlib.contextmanager
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails when a thread, descriptor or temporary file outlives what runs inside."""
    made: list[str] = []
    for name in ("mkdtemp", "mkstemp"):
        monkeypatch.setattr(tempfile, name, _remembering(getattr(tempfile, name), made))
    threads = set(threading.enumerate())
    files = _open_files()
    yield
    deadline_s = time.monotonic() + 5
    while left := _left(threads, files, made):
        if time.monotonic() > deadline_s:
            raise AssertionError(f"left: {left}")
        time.sleep(0.002)


def _remembering(make: Callable[..., Any], made: list[str]) -> Callable[..., Any]:
    def remember(*arguments: Any, **named: Any) -> Any:
        result = make(*arguments, **named)
        made.append(result if isinstance(result, str) else result[1])
        return result

    return remember


def _left(threads: set[threading.Thread], files: Counter[str], made: Sequence[str]) -> list[str]:
    return [
        *(thread.name for thread in set(threading.enumerate()) - threads),
        *(_open_files() - files),
        *(path for path in made if os.path.lexists(path)),
    ]


def _open_files() -> Counter[str]:
    """What our descriptors stand for, but for the pollers that gRPC keeps for its next channel."""
    kinds = Counter[str]()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            kinds[os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]] += 1
    del kinds["anon_inode"]
    return kinds
