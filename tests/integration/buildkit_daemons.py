"""What the tests against real BuildKit daemons share: the daemons, contexts, and services around them.

TASKS_TEST_BUILDKIT holds the daemons' addresses, separated by commas. They run on this machine: what listens on
127.0.0.1 here is there for them too. A test module imports the fixtures it uses.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import gzip
import hashlib
import http.client
import http.server
import io
import json
import os
import socket
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import docker
import pytest

from runners.local.images import static_busybox
from tasks_engine.backends.buildkit.capabilities import Capabilities
from tasks_engine.backends.buildkit.client import BuildKitClient
from tasks_engine.backends.buildkit.destinations import ToFile
from tasks_engine.backends.buildkit.errors import UnsupportedFeature
from tasks_engine.backends.buildkit.exporters import files_tar, moby, oci_tar
from tasks_engine.backends.buildkit.ids import random_id
from tasks_engine.backends.buildkit.progress import Event, LogOutput, TransferChanged, VertexChanged
from tasks_engine.backends.buildkit.sockets import parse_address
from tasks_engine.backends.buildkit.solve import BuildOptions, BuildResult

ADDRESSES = [address for address in os.environ.get("TASKS_TEST_BUILDKIT", "").split(",") if address]
SHELL = "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\n"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
#: all that a registry may answer for a manifest
_ACCEPT = (
    f"{MANIFEST}, {INDEX}, application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=ADDRESSES or [""])
def buildkit_address(request: pytest.FixtureRequest) -> str:
    """Address of a daemon; the test runs once for each."""
    if not request.param:
        message = "TASKS_TEST_BUILDKIT is not set: comma-separated addresses like docker+unix:///path"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return str(request.param)


@pytest.fixture
def client(buildkit_address: str) -> Iterator[BuildKitClient]:
    with BuildKitClient.connect(buildkit_address) as connected:
        yield connected


@pytest.fixture
def daemon(client: BuildKitClient, buildkit_address: str) -> Daemon:
    return Daemon(buildkit_address, client)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No thread or descriptor outlives a client."""
    before = _open_files()
    yield
    wait_for(
        lambda: not _our_threads() and _open_files() <= before,
        f"left open: {_our_threads()} {_open_files() - before}",
    )


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A folder with a shell."""
    folder = tmp_path / "context"
    folder.mkdir()
    add_busybox(folder)
    return folder


def _open_files() -> Counter[str]:
    """What our descriptors stand for, but for the pollers that gRPC keeps for its next channel."""
    kinds = Counter[str]()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            kinds[os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]] += 1
    del kinds["anon_inode"]
    return kinds


def _our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]


def wait_for(condition: Callable[[], bool], message: str, timeout_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, message
        time.sleep(0.01)


# --- contexts and events ----------------------------------------------------------------------------------------------


def add_busybox(folder: Path) -> None:
    (folder / "busybox").write_bytes(static_busybox())
    (folder / "busybox").chmod(0o755)


def write(context: Path, dockerfile: str) -> BuildOptions:
    """Options of a build of this Dockerfile; steps need no network."""
    (context / "Dockerfile").write_text(dockerfile)
    return BuildOptions(context=context, dockerfile=context / "Dockerfile", network="none")


def fresh(steps: str) -> str:
    """A Dockerfile whose RUN steps are not in the daemon's cache."""
    return f"{SHELL}ENV FRESH={random_id()}\n{steps}"


def ignore(_: Event) -> None:
    pass


def output_of(events: Sequence[Event]) -> str:
    return b"".join(event.data for event in events if isinstance(event, LogOutput)).decode()


def transferred(events: Sequence[Event]) -> int:
    """Bytes of the context that the daemon took."""
    return max(
        (
            event.current
            for event in events
            if isinstance(event, TransferChanged) and event.id == "transferring context:"
        ),
        default=0,
    )


def steps_of(events: Sequence[Event]) -> dict[str, VertexChanged]:
    """Name -> the last that was heard of it."""
    latest = {event.digest: event for event in events if isinstance(event, VertexChanged)}
    return {event.name: event for event in latest.values()}


def cached_steps(events: Sequence[Event]) -> set[str]:
    return {name for name, step in steps_of(events).items() if step.cached}


def in_run_step(build_events: list[Event], text: str) -> None:
    wait_for(lambda: text in output_of(build_events), f"no '{text}' in {build_events[-3:]}", 20)


# --- daemons ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    result: BuildResult
    events: list[Event]

    @property
    def output(self) -> str:
        """What all RUN steps printed."""
        return output_of(self.events)


@dataclass(frozen=True)
class Daemon:
    """One daemon of the suite."""

    address: str
    client: BuildKitClient

    @property
    def can(self) -> Capabilities:
        return _capabilities(self.address)

    @property
    def engine(self) -> str:
        """The Docker Engine it belongs to; the test is skipped without one."""
        if not self.address.startswith("docker+"):
            pytest.skip("no Docker Engine is known for this daemon")
        return self.address.removeprefix("docker+")

    def build(self, options: BuildOptions, **access: Any) -> Built:
        events: list[Event] = []
        return Built(self.client.build(options, on_event=events.append, **access), events)

    def refuses(self, options: BuildOptions, feature: str, *, who: str | None = None, **access: Any) -> None:
        """The daemon can not do this, and the client says so before anything was begun."""
        events: list[Event] = []
        with pytest.raises(UnsupportedFeature) as caught:
            self.client.build(options, on_event=events.append, **access)
        assert caught.value.daemon == (self.address if who is None else who)
        assert feature in caught.value.feature
        assert len(caught.value.way_out) > 10
        assert caught.value.way_out in str(caught.value)
        assert not [event for event in events if isinstance(event, VertexChanged) and event.started_at]

    def files(self, options: BuildOptions, **access: Any) -> dict[str, bytes]:
        """Path -> content, of the regular files in the result."""
        output = io.BytesIO()
        self.build(replace(options, exporters=[files_tar(ToFile(output))]), **access)
        output.seek(0)
        with tarfile.open(fileobj=output) as tar:
            return {each.name: _content(tar, each) for each in tar if each.isfile()}

    def config(self, options: BuildOptions, **access: Any) -> dict[str, Any]:
        """The image's configuration in OCI's words."""
        if "oci" in self.can.exporters:
            output = io.BytesIO()
            self.build(replace(options, exporters=[oci_tar([], ToFile(output))]), **access)
            return OciTar(output.getvalue()).configs()[0]
        name, engine = f"bk-{random_id()}:1", self.engine
        self.build(replace(options, exporters=[moby([name])]), **access)
        found = inspect(engine, name)
        remove_image(engine, name)
        return {"config": found["Config"], "architecture": found["Architecture"], "created": found["Created"]}


@functools.cache
def _capabilities(address: str) -> Capabilities:
    with BuildKitClient.connect(address) as client:
        return client.capabilities()


@contextlib.contextmanager
def docker_api(engine: str) -> Iterator[docker.APIClient]:
    api = docker.APIClient(base_url=engine, version="auto", timeout=60)
    try:
        yield api
    finally:
        api.close()


def inspect(engine: str, image: str) -> dict[str, Any]:
    with docker_api(engine) as api:
        found: dict[str, Any] = api.inspect_image(image)  # type: ignore[no-untyped-call]
    return found


def remove_image(engine: str, image: str) -> None:
    with docker_api(engine) as api, contextlib.suppress(docker.errors.NotFound):
        api.remove_image(image, force=True)


def run_image(engine: str, image: str, command: Sequence[str]) -> str:
    """What the command prints in a container of the image."""
    with docker_api(engine) as api:
        host_config = api.create_host_config(network_mode="none")
        container = api.create_container(image, list(command), host_config=host_config)["Id"]
        try:
            api.start(container)
            api.wait(container)
            return bytes(api.logs(container)).decode()
        finally:
            api.remove_container(container, force=True)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file
    return file.read()


class OciTar:
    """The tar of an exporter oci or docker."""

    def __init__(self, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            self.files = {each.name: _content(tar, each) for each in tar if each.isfile()}

    def json(self, name: str) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.files[name])
        return decoded

    def blob(self, digest: str) -> bytes:
        return self.files[f"blobs/{digest.replace(':', '/')}"]

    def manifests(self) -> list[dict[str, Any]]:
        """Those of images; an index within the index is followed."""
        return list(self._manifests(self.json("index.json")))

    def configs(self) -> list[dict[str, Any]]:
        return [json.loads(self.blob(manifest["config"]["digest"])) for manifest in self.manifests()]

    def _manifests(self, index: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for each in index["manifests"]:
            content = json.loads(self.blob(each["digest"]))
            if "manifests" in content:
                yield from self._manifests(content)
            else:
                yield content


class Relay:
    """A unix socket in front of the daemon that can be cut or frozen."""

    def __init__(self, path: Path, address: str) -> None:
        self.docker = parse_address(address).docker
        self._target = parse_address(address)
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._frozen = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.address = f"{'docker+' if self.docker else ''}unix://{path}"
        self._start(self._accept)

    def freeze(self) -> None:
        """Connections stand, but nothing passes any more."""
        self._frozen.set()

    def cut(self) -> None:
        """Ends all connections, and takes no new ones."""
        for end in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in [*self._sockets, self._listener]:
            end.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = self._target.dial(5)
            far.settimeout(None)
            assert isinstance(far, socket.socket)
            self._sockets += [near, far]
            self._start(self._copy, near, far)
            self._start(self._copy, far, near)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self._frozen.is_set():
                    target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


# --- HTTP -------------------------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers TLS hellos so that daemons go on to plain http."""

    def handle_one_request(self) -> None:
        if self.rfile.peek(1)[:1] != b"\x16":  # type: ignore[attr-defined]
            return super().handle_one_request()
        self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        self.close_connection = True
        return None

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler], host: str = "127.0.0.1") -> Iterator[str]:
    """Serves on a free port: host:port."""
    with http.server.ThreadingHTTPServer((host, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serving_files(content_by_path: Mapping[str, bytes] | Path) -> Iterator[str]:
    """Serves a folder, or contents by path with its leading slash: http://host:port."""

    class Files(Handler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            content: bytes | None
            if isinstance(content_by_path, Path):
                file = content_by_path / path.lstrip("/")
                content = file.read_bytes() if file.is_file() else None
            else:
                content = content_by_path.get(path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET

    with serving(Files) as place:
        yield f"http://{place}"


@dataclass
class Seen:
    """What came to a `registry_proxy`."""

    #: (User-Agent, Authorization) of the requests for a token
    token_requests: list[tuple[str, str]] = field(default_factory=list)
    #: "GET /v2/..."
    requests: list[str] = field(default_factory=list)


@contextlib.contextmanager
def registry_proxy(registry: str, *, login: str = "", host: str = "127.0.0.1") -> Iterator[tuple[str, Seen]]:
    """The registry at another address; with a login ("name:password") it wants tokens, which it gives itself."""
    seen = Seen()
    token = random_id()
    basic = "Basic " + base64.b64encode(login.encode()).decode()

    class Forward(Handler):
        def do_GET(self) -> None:
            seen.requests.append(f"{self.command} {self.path}")
            if login and self.path.startswith("/token?"):
                return self._give_token()
            if login and self.headers.get("Authorization") != f"Bearer {token}":
                realm = f"http://{self.headers['Host']}/token"
                challenge = f'Bearer realm="{realm}",service="tests",scope="repository:x:pull,push"'
                return self._answer(401, [("WWW-Authenticate", challenge)], b"{}")
            body = self._body()
            sent = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in ("authorization", "transfer-encoding", "content-length", "connection")
            }
            connection = http.client.HTTPConnection(registry, timeout=30)
            try:
                connection.request(self.command, self.path, body=body, headers=sent)
                response = connection.getresponse()
                headers = [(name, value) for name, value in response.getheaders() if name != "Connection"]
                return self._answer(response.status, headers, response.read())
            finally:
                connection.close()

        do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def _give_token(self) -> None:
            authorization = self.headers.get("Authorization", "")
            seen.token_requests.append((self.headers.get("User-Agent", ""), authorization))
            if authorization != basic:
                return self._answer(401, [], b"{}")
            return self._answer(200, [], json.dumps({"token": token, "expires_in": 300}).encode())

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding") or self.command == "HEAD":
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    with serving(Forward, host) as place:
        yield place, seen


def outer_address() -> str:
    """An IPv4 address of this machine that is not loopback; the test is skipped without one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent; it only chooses a route.
        probe.connect(("198.51.100.1", 9))
        address = str(probe.getsockname()[0])
        if not address.startswith("127."):
            return address
    pytest.skip("this machine has loopback addresses only")


@dataclass(frozen=True)
class Registry:
    """A registry's API."""

    host: str
    #: "name:password"
    login: str = field(default="", repr=False)

    def image(self, repository: str, reference: str) -> tuple[str, dict[str, Any]]:
        """The digest and content of a manifest or index; raises LookupError."""
        headers, body = self._ask(
            "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": _ACCEPT}
        )
        return headers["docker-content-digest"], json.loads(body)

    def blob(self, repository: str, digest: str) -> bytes:
        return self._ask("GET", f"/v2/{repository}/blobs/{digest}")[1]

    def config(self, repository: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.blob(repository, manifest["config"]["digest"]))
        return found

    def push(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        config: Mapping[str, Any] | None = None,
        platforms: Sequence[str] = ("linux/amd64",),
    ) -> str:
        """Puts an image with these programs there as name:tag; its digest, of the index if there are several."""
        repository, _, tag = name.partition(":")
        layer_tar = tar_of({path: (content, 0o755) for path, content in files.items()})
        layer = self._put_blob(repository, gzip.compress(layer_tar, 1, mtime=0))
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
        diff_id = f"sha256:{hashlib.sha256(layer_tar).hexdigest()}"
        manifests = []
        for platform in platforms:
            system, _, architecture = platform.partition("/")
            content = {
                "architecture": architecture,
                "os": system,
                "config": config or {},
                "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            }
            described = self._put_blob(repository, json.dumps(content).encode())
            described["mediaType"] = "application/vnd.oci.image.config.v1+json"
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": [layer]}
            put = self._put_manifest(repository, tag if len(platforms) == 1 else "", manifest)
            manifests.append(put | {"platform": {"os": system, "architecture": architecture}})
        if len(platforms) == 1:
            return str(manifests[0]["digest"])
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        return str(self._put_manifest(repository, tag, index)["digest"])

    def push_shell(self, name: str, **others: Any) -> str:
        """As `push`, of an image that has a shell."""
        program = static_busybox()
        return self.push(name, {"bin/sh": program, "bin/busybox": program}, **others)

    def _put_blob(self, repository: str, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        headers, _ = self._ask("POST", f"/v2/{repository}/blobs/uploads/")
        place = headers["location"].removeprefix(f"http://{self.host}")
        self._ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data)
        return {"digest": digest, "size": len(data)}

    def _put_manifest(self, repository: str, tag: str, content: Mapping[str, Any]) -> dict[str, Any]:
        data = json.dumps(content).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        kind = {"Content-Type": content["mediaType"]}
        self._ask("PUT", f"/v2/{repository}/manifests/{tag or digest}", data, kind)
        return {"mediaType": content["mediaType"], "digest": digest, "size": len(data)}

    def _ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[dict[str, str], bytes]:
        sent = dict(headers or {})
        if self.login:
            sent["Authorization"] = "Basic " + base64.b64encode(self.login.encode()).decode()
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise LookupError(f"{method} {path}: {response.status} {content[:300]!r}")
        return {name.lower(): value for name, value in response.getheaders()}, content


def tar_of(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """A plain tar of path -> content and mode; the same files give the same bytes."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for path, (content, mode) in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return output.getvalue()
