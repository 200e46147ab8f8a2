"""How a well-behaved daemon and the client work together; the daemon is the one of fake_daemon.py."""

from __future__ import annotations

import io
import os
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tasks_engine.backends.buildkit.build_secrets import SecretValue
from tasks_engine.backends.buildkit.client import BuildKitClient
from tasks_engine.backends.buildkit.destinations import ToFile, ToPath
from tasks_engine.backends.buildkit.docker_config import Credential
from tasks_engine.backends.buildkit.errors import BuildCanceled, BuildFailed, BuildKitError, ConnectionLost
from tasks_engine.backends.buildkit.exporters import docker_tar, local, moby
from tasks_engine.backends.buildkit.progress import Event, LogOutput, VertexChanged
from tasks_engine.backends.buildkit.proto import content_pb2, control_pb2, ssh_pb2
from tasks_engine.backends.buildkit.proto.control_pb2 import (
    SolveRequest,
    SolveResponse,
    StatusResponse,
    Vertex,
)
from tasks_engine.backends.buildkit.proto.fsutil_pb2 import Stat
from tasks_engine.backends.buildkit.solve import BuildOptions
from tasks_engine.backends.buildkit.ssh_agent import AgentSocket
from tests.unit.backends.buildkit.fake_daemon import (
    CREDENTIALS,
    FOLDER_MODE,
    GET_SECRET,
    LINK_MODE,
    SYNC_DIFF_COPY,
    FakeDaemon,
    FakeSession,
    Folder,
    Frames,
    Script,
    SolveFailed,
    context_of,
    details_of,
    dockerfile_folder_of,
    nothing_is_left,
)


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with nothing_is_left(monkeypatch):
        yield


@pytest.fixture
def options(tmp_path: Path) -> BuildOptions:
    context = tmp_path / "context"
    (context / "d").mkdir(parents=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (context / "a").write_bytes(b"a" * 10)
    (context / "d" / "b").write_bytes(os.urandom(3 << 20))
    (context / "d" / "link").symlink_to("../a")
    os.link(context / "a", context / "e")
    return BuildOptions(context, context / "Dockerfile")


def run(script: Script, options: BuildOptions, **access: Any) -> list[Event]:
    """Builds once; the events."""
    events: list[Event] = []
    with FakeDaemon(script) as daemon, BuildKitClient.connect(daemon.address) as client:
        client.build(options, on_event=events.append, **access)
    return events


def test_build_is_solve_and_its_answer(options: BuildOptions) -> None:
    digest = f"sha256:{'1' * 64}"

    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> SolveResponse:
        assert request.frontend_attrs["filename"] == "Dockerfile"
        assert session.id == request.session
        return SolveResponse(
            exporter_response={"containerimage.digest": digest, "containerimage.descriptor": "e30="}
        )

    with FakeDaemon(solve) as daemon, BuildKitClient.connect(daemon.address) as client:
        assert client.build(options, on_event=lambda _: None).image_digest == digest
        assert [solve.frontend for solve in daemon.solves] == ["dockerfile.v0"]
        assert SYNC_DIFF_COPY in daemon.sessions[0].methods
        assert daemon.sessions[0].shared_key


def test_folders_arrive_as_they_are(options: BuildOptions) -> None:
    pulled: list[Folder] = []

    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        pulled.append(
            session.diff_copy(dockerfile_folder_of(request), follow=["Dockerfile", "Dockerfile.dockerignore"])
        )
        pulled.append(session.diff_copy(context_of(request)))
        pulled.append(session.diff_copy(context_of(request), exclude=["d", "ä*"], want=lambda _: False))

    run(solve, options)
    context = Path(options.context)
    assert pulled[0].content_by_path == {"Dockerfile": (context / "Dockerfile").read_bytes()}
    assert pulled[1].paths == ["Dockerfile", "a", "d", "d/b", "d/link", "e"]
    assert pulled[1].content_by_path == {
        name: (context / name).read_bytes() for name in ("Dockerfile", "a", "d/b")
    }
    assert [entry.linkname for entry in pulled[1].entries] == ["", "", "", "", "../a", "a"]
    assert (pulled[2].paths, pulled[2].content_by_path) == (["Dockerfile", "a", "e"], {})


def test_status_becomes_events(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, _session: FakeSession) -> None:
        log = control_pb2.VertexLog(vertex="sha256:1", stream=1, msg=b"hello")
        daemon.job(request.ref).status(
            StatusResponse(vertexes=[Vertex(digest="sha256:1", name="[1/1] RUN echo hello")]),
            StatusResponse(logs=[log]),
        )

    vertex, log = run(solve, options)
    assert isinstance(vertex, VertexChanged)
    assert vertex.name == "[1/1] RUN echo hello"
    assert isinstance(log, LogOutput)
    assert log.data == b"hello"


def test_failed_solve_has_its_details(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, _session: FakeSession) -> None:
        vertex = Vertex(digest="sha256:1", name="[2/2] COPY . /", error="exit code: 7")
        daemon.job(request.ref).status(StatusResponse(vertexes=[vertex]))
        raise SolveFailed(
            "exit code: 7",
            details=details_of(
                "exit code: 7",
                {
                    "errdefs.Vertex": {"digest": "sha256:1"},
                    "errdefs.Source": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]},
                    "gatewayapi.ExitMessage": {"Code": 7},
                },
            ),
        )

    with pytest.raises(BuildFailed) as caught:
        run(solve, options)
    assert (caught.value.exit_code, caught.value.dockerfile_line) == (7, 2)
    assert caught.value.vertex_name == "[2/2] COPY . /"


def test_error_of_a_call_to_the_client_fails_the_solve(options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        session.diff_copy("no such folder")

    with pytest.raises(BuildFailed, match="folder"):
        run(solve, options)


def test_mistake_in_a_script_is_not_swallowed(options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, _session: FakeSession) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(solve, options)


def test_canceled_build_frees_the_script(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, _session: FakeSession) -> None:
        daemon.job(request.ref).status(StatusResponse(vertexes=[Vertex(digest="sha256:1", name="slow")]))
        daemon.job(request.ref).hang()

    with FakeDaemon(solve) as daemon, BuildKitClient.connect(daemon.address) as client:
        events: list[Event] = []
        build = client.start(options, on_event=events.append)
        deadline_s = time.monotonic() + 5
        while not events and time.monotonic() < deadline_s:
            time.sleep(0.002)
        build.cancel()
        with pytest.raises(BuildCanceled):
            build.wait()
    assert daemon.job(daemon.solves[0].ref).over.is_set()


def test_health_is_checked_over_and_over(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        session.keep_checking_health(0.01)
        time.sleep(0.05)
        assert not session.ended.is_set()

    run(solve, options)


def test_health_keeps_a_quiet_build_alive(options: BuildOptions) -> None:
    """The build is silent for longer than the watchdog allows, but for the health checks."""

    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        session.keep_checking_health(0.05)
        time.sleep(0.6)

    with FakeDaemon(solve) as daemon, BuildKitClient.connect(daemon.address, silence_s=0.3) as client:
        client.build(options, on_event=lambda _: None)


def test_session_can_be_spoken_byte_by_byte(options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        frames = Frames(session.raw).greet()
        frames.check_health()
        frames.check_health()

    run(solve, options)


def test_daemon_that_dies_is_lost(options: BuildOptions) -> None:
    def solve(daemon: FakeDaemon, request: SolveRequest, _session: FakeSession) -> None:
        daemon.die()
        daemon.job(request.ref).hang()

    with pytest.raises(ConnectionLost):
        run(solve, options)


def test_builds_run_side_by_side(options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> SolveResponse:
        session.diff_copy(context_of(request))
        return SolveResponse(exporter_response={"ref": request.ref})

    with FakeDaemon(solve) as daemon, BuildKitClient.connect(daemon.address) as client:
        builds = [client.start(options, on_event=lambda _: None) for _ in range(4)]
        refs = {build.wait().exporter_response["ref"] for build in builds}
        assert refs == {solve.ref for solve in daemon.solves}
        assert len(refs) == 4


# --- what a daemon says of itself -------------------------------------------------------------------------------------


def test_buildkitd_says_what_it_is() -> None:
    with FakeDaemon() as daemon, BuildKitClient.connect(daemon.address) as client:
        info = client.info()
    assert (info.kind, info.version, info.capabilities.error_details) == ("buildkitd", "v0.13.0", True)
    assert info.capabilities.exporters == {"image", "docker", "oci", "tar", "local"}
    assert [worker.platforms for worker in info.workers] == [("linux/amd64",)]


def test_old_docker_cannot_be_asked_for_its_version() -> None:
    with (
        FakeDaemon(version=None, exporters=["moby", "tar", "local"]) as daemon,
        BuildKitClient.connect(daemon.address) as client,
    ):
        info = client.info()
    assert (info.kind, info.version, info.capabilities.error_details) == ("docker-moby", "", False)
    assert info.capabilities.exporters == {"moby", "tar", "local"}


def test_unknown_exporter_is_refused_before_it_is_a_build(options: BuildOptions) -> None:
    """Status then waits for a build that never comes, and the client must not wait with it."""
    with FakeDaemon(exporters=[]) as daemon, BuildKitClient.connect(daemon.address) as client:
        started_s = time.monotonic()
        with pytest.raises(BuildKitError, match="moby"):
            client.build(replace(options, exporters=[moby(["a:1"])]), on_event=lambda _: None)
        assert time.monotonic() - started_s < 3
        assert [exporter.type for exporter in daemon.solves[0].exporters] == ["moby"]


# --- what a session gives ---------------------------------------------------------------------------------------------


def test_tar_goes_where_it_is_wanted(options: BuildOptions) -> None:
    content = os.urandom(300_000)

    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> None:
        assert [(exporter.type, exporter.attrs["name"]) for exporter in request.exporters] == [
            ("docker", "a:1")
        ]
        session.send_tar(content[at : at + 32_768] for at in range(0, len(content), 32_768))

    with io.BytesIO() as file:
        run(solve, replace(options, exporters=[docker_tar(["a:1"], to=ToFile(file))]))
        assert file.getvalue() == content


def test_each_tar_goes_to_its_exporter(options: BuildOptions, tmp_path: Path) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        session.send_tar([b"second"], exporter_id=1)
        session.send_tar([b"first"], exporter_id=0)

    exporters = [
        docker_tar(["a:1"], to=ToPath(tmp_path / "one")),
        docker_tar(["b:1"], to=ToPath(tmp_path / "two")),
    ]
    run(solve, replace(options, exporters=exporters))
    assert [(tmp_path / name).read_bytes() for name in ("one", "two")] == [b"first", b"second"]


def test_old_daemon_does_not_say_which_exporter_it_means(options: BuildOptions, tmp_path: Path) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        session.send_tar([b"tar"], exporter_id=None)

    run(solve, replace(options, exporters=[docker_tar(["a:1"], to=ToPath(tmp_path / "out.tar"))]))
    assert (tmp_path / "out.tar").read_bytes() == b"tar"


def test_folder_comes_back(options: BuildOptions, tmp_path: Path) -> None:
    content = os.urandom(200_000)

    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        session.send_folder(
            [
                (Stat(path="a", mode=0o640, size=3, mod_time=10**18), b"abc"),
                (Stat(path="d", mode=FOLDER_MODE), b""),
                (Stat(path="d/b", mode=0o755, size=len(content)), content),
                (Stat(path="d/hard", mode=0o640, linkname="a"), b""),
                (Stat(path="d/link", mode=LINK_MODE, linkname="../a"), b""),
                (Stat(path="empty", mode=0o600), b""),
            ]
        )

    folder = tmp_path / "result"
    run(solve, replace(options, exporters=[local(folder)]))
    assert (folder / "d" / "b").read_bytes() == content
    assert (folder / "a").stat().st_mode & 0o777 == 0o640
    assert (folder / "a").stat().st_mtime_ns == 10**18
    assert (folder / "d" / "hard").samefile(folder / "a")
    assert os.readlink(folder / "d" / "link") == "../a"
    assert (folder / "empty").read_bytes() == b""


def test_secret_is_given_by_its_name_only(options: BuildOptions) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        assert GET_SECRET in session.methods
        assert session.secret("token") == b"s3cret\n"
        for name in ("Token", "", "token\0", "../token", "/etc/passwd"):
            assert code_of(partial(session.secret, name)) == grpc.StatusCode.NOT_FOUND

    run(solve, options, secrets={"token": SecretValue(b"s3cret\n")})


def test_login_is_given_to_its_registry_only(options: BuildOptions) -> None:
    def credentials(host: str) -> Credential | None:
        return Credential("me", "pass") if host == "registry.example:5000" else None

    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        assert CREDENTIALS in session.methods
        answer = session.credentials("registry.example:5000")
        assert (answer.username, answer.secret) == ("me", "pass")
        answer = session.credentials("other.example")
        assert (answer.username, answer.secret) == ("", "")

    run(solve, options, credentials=credentials)


def test_client_signs_for_the_registries_it_has_a_login_for(options: BuildOptions) -> None:
    def credentials(host: str) -> Credential | None:
        return Credential("me", "pass") if host == "registry.example" else None

    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        key = session.token_authority("registry.example", b"salt")
        signed = session.verify_token_authority("registry.example", b"salt", b"payload")
        assert signed[64:] == b"payload"
        Ed25519PublicKey.from_public_bytes(key).verify(signed[:64], b"payload")
        assert key != session.token_authority("registry.example", b"pepper")
        refused = code_of(lambda: session.token_authority("other.example", b"salt"))
        assert refused == grpc.StatusCode.UNIMPLEMENTED

    # A client that may send passwords first asks whether the registry gives tokens; this one does not exist.
    with FakeDaemon(solve) as daemon, BuildKitClient.connect(daemon.address, send_passwords=False) as client:
        client.build(options, credentials=credentials)


def test_agent_is_forwarded(options: BuildOptions, ssh_agent: Path) -> None:
    def solve(_daemon: FakeDaemon, _request: SolveRequest, session: FakeSession) -> None:
        session.check_agent("")
        assert code_of(lambda: session.check_agent("other")) != grpc.StatusCode.OK
        call = session.forward_agent("default")
        # Requests for the identities, cut anywhere, and one that would remove them all.
        for piece in (b"\0\0", b"\0\1\x0b\0\0\0\1\x0b", b"\0\0\0\1\x13"):
            call.send(ssh_pb2.BytesMessage(data=piece))
        call.half_close()
        messages, code = call.to_the_end()
        answer = b"".join(ssh_pb2.BytesMessage.FromString(message).data for message in messages)
        assert answer == (b"\0\0\0\5\x0c" + bytes(4)) * 2 + b"\0\0\0\1\5"
        assert code == grpc.StatusCode.OK

    run(solve, options, ssh={"default": AgentSocket(ssh_agent)})


@pytest.fixture
def ssh_agent() -> Iterator[Path]:
    """A socket behind which an agent says that it has no keys, whatever it is asked."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while head := self.request.recv(4, socket.MSG_WAITALL):
                self.request.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
                self.request.sendall(b"\0\0\0\5\x0c" + bytes(4))

    with socketserver.ThreadingUnixStreamServer(str(folder / "agent"), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield folder / "agent"
        server.shutdown()
        thread.join()
    shutil.rmtree(folder)


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    """How the client answered."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


# --- stores, asked without the client ---------------------------------------------------------------------------------


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    with FakeDaemon() as started:
        yield started


@pytest.fixture
def channel(daemon: FakeDaemon) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(daemon.address.replace("unix://", "unix:")) as opened:
        yield opened


def test_prune_removes_what_is_not_in_use(daemon: FakeDaemon, channel: grpc.Channel) -> None:
    daemon.usage = [
        control_pb2.UsageRecord(id="used", in_use=True),
        control_pb2.UsageRecord(id="internal", record_type="internal"),
        control_pb2.UsageRecord(id="old", size=7),
    ]
    prune = channel.unary_stream(
        "/moby.buildkit.v1.Control/Prune",
        request_serializer=control_pb2.PruneRequest.SerializeToString,
        response_deserializer=control_pb2.UsageRecord.FromString,
    )
    disk_usage = channel.unary_unary(
        "/moby.buildkit.v1.Control/DiskUsage",
        request_serializer=control_pb2.DiskUsageRequest.SerializeToString,
        response_deserializer=control_pb2.DiskUsageResponse.FromString,
    )
    assert [record.id for record in prune(control_pb2.PruneRequest())] == ["old"]
    assert [record.id for record in prune(control_pb2.PruneRequest(all=True))] == ["internal"]
    assert [record.id for record in disk_usage(control_pb2.DiskUsageRequest()).record] == ["used"]
    assert [request.all for request in daemon.prunes] == [False, True]


def test_history_is_told(daemon: FakeDaemon, channel: grpc.Channel) -> None:
    daemon.history = [
        control_pb2.BuildHistoryEvent(record=control_pb2.BuildHistoryRecord(ref=ref))
        for ref in ("one", "two")
    ]
    listen = channel.unary_stream(
        "/moby.buildkit.v1.Control/ListenBuildHistory",
        request_serializer=control_pb2.BuildHistoryRequest.SerializeToString,
        response_deserializer=control_pb2.BuildHistoryEvent.FromString,
    )
    told = listen(control_pb2.BuildHistoryRequest(early_exit=True, ref="two"))
    assert [event.record.ref for event in told] == ["two"]


def test_blobs_come_in_pieces(daemon: FakeDaemon, channel: grpc.Channel) -> None:
    daemon.blobs["sha256:1"] = os.urandom(200_000)
    read = channel.unary_stream(
        "/containerd.services.content.v1.Content/Read",
        request_serializer=content_pb2.ReadContentRequest.SerializeToString,
        response_deserializer=content_pb2.ReadContentResponse.FromString,
    )
    pieces = list(read(content_pb2.ReadContentRequest(digest="sha256:1")))
    assert len(pieces) > 1
    assert b"".join(piece.data for piece in pieces) == daemon.blobs["sha256:1"]
    part = read(content_pb2.ReadContentRequest(digest="sha256:1", offset=10, size=5))
    assert b"".join(piece.data for piece in part) == daemon.blobs["sha256:1"][10:15]
    with pytest.raises(grpc.RpcError, match="not found"):
        list(read(content_pb2.ReadContentRequest(digest="sha256:2")))
