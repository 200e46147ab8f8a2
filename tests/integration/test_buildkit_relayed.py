"""The ways to a daemon: plain sockets, TLS and containers, each through a relay in front of a real Docker Engine.

Docker's API, upgraded to /grpc by a relay, is what a buildkitd looks like.
"""

# Fixtures are imported by name.
# ruff: noqa: F401, F811

from __future__ import annotations

import contextlib
import io
import select
import socket
import ssl
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tasks_engine.backends.buildkit import sockets
from tasks_engine.backends.buildkit.client import BuildKitClient
from tasks_engine.backends.buildkit.destinations import ToFile
from tasks_engine.backends.buildkit.errors import ConnectError
from tasks_engine.backends.buildkit.exporters import files_tar
from tasks_engine.backends.buildkit.ids import random_id
from tasks_engine.backends.buildkit.tls import TlsFiles
from tests.integration.buildkit_daemons import (
    buildkit_address,
    context,
    docker_api,
    fresh,
    nothing_is_left,
    output_of,
    tar_of,
    write,
)
from tests.services import require

pytestmark = pytest.mark.buildkit


class Relay:
    """Listens in front of a Docker Engine: as Docker itself, or as the buildkitd that its /grpc is."""

    def __init__(
        self, listener: socket.socket, docker: str, *, as_buildkitd: bool, tls: ssl.SSLContext | None = None
    ) -> None:
        """Takes over `listener`; `docker` is docker+unix:///path."""
        self._listener = listener
        self._docker = sockets.parse_address(docker)
        self._as_buildkitd = as_buildkitd
        self._tls = tls
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        with self._lock:
            for end in (self._listener, *self._open):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=[near])
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            if self._tls:
                near.settimeout(5)
                with self._tls.wrap_socket(near, server_side=True, do_handshake_on_connect=False) as wrapped:
                    try:
                        wrapped.do_handshake()
                    except ssl.SSLError:
                        return self._hang_up(socket.socket(fileno=wrapped.detach()))
                    # As gRPC's server in Go does; Docker's HTTP server would go on in the protocol that was chosen.
                    if wrapped.selected_alpn_protocol() != ("h2" if self._as_buildkitd else None):
                        return None
                    wrapped.settimeout(None)
                    self._connect(wrapped)
            else:
                self._connect(near)
        return None

    @staticmethod
    def _hang_up(near: socket.socket) -> None:
        """After the other side has read why: a socket closed with unread bytes takes back what it sent."""
        with near:
            near.settimeout(5)
            near.shutdown(socket.SHUT_WR)
            while near.recv(65536):
                pass

    def _connect(self, near: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as far:
            far.connect(self._docker.path)
            with self._lock:
                self._open += [near, far]
            if self._as_buildkitd:
                near.sendall(sockets.upgrade(far, "/grpc").first)
            self._copy(near, far)

    @staticmethod
    def _copy(near: socket.socket, far: socket.socket) -> None:
        """Both ways in one thread, as an SSLSocket wants it."""
        while True:
            decrypted = isinstance(near, ssl.SSLSocket) and near.pending()
            ready = [near] if decrypted else select.select([near, far], [], [])[0]
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                (far if source is near else near).sendall(data)


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, of a daemon at 127.0.0.1 and of a client."""

    folder: Path

    def client_side(self) -> TlsFiles:
        return TlsFiles(self.folder / "ca.pem", self.folder / "client.pem", self.folder / "client.key")

    def server_side(self) -> ssl.SSLContext:
        """It takes clients of the authority only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        context.load_verify_locations(self.folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    folder = tmp_path / "certificates"
    folder.mkdir()
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the test")])
    for name in ("ca", "server", "client"):
        key = authority_key if name == "ca" else ec.generate_private_key(ec.SECP256R1())
        subject = authority if name == "ca" else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        )
        if name == "server":
            address = x509.IPAddress(IPv4Address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        signed = builder.sign(authority_key, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(signed.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(private)
    return Certificates(folder)


@pytest.fixture
def docker_address(buildkit_address: str) -> str:
    if not buildkit_address.startswith("docker+unix://"):
        pytest.skip("not a Docker Engine at a unix socket of this machine")
    return buildkit_address


def listen_tcp() -> tuple[socket.socket, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def serving(relay: Relay) -> Iterator[None]:
    try:
        yield
    finally:
        relay.close()


def build_through(client: BuildKitClient, context: Path) -> None:
    """Something big goes there, comes back, and is what it was; so does a step's output."""
    (context / "data").write_bytes(random_id().encode() * 100_000)
    output = io.BytesIO()
    events: list[object] = []
    options = replace(
        write(context, fresh("COPY data /data\nRUN busybox seq 1 1000\n")),
        exporters=[files_tar(ToFile(output))],
    )
    client.build(options, on_event=events.append)
    assert output_of(events) == "".join(f"{number}\n" for number in range(1, 1001))  # type: ignore[arg-type]
    output.seek(0)
    with tarfile.open(fileobj=output) as tar:
        assert tar.extractfile("data").read() == (context / "data").read_bytes()  # type: ignore[union-attr]


def test_buildkitd_at_a_unix_socket(docker_address: str, context: Path, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "plain"))
    listener.listen()
    with (
        serving(Relay(listener, docker_address, as_buildkitd=True)),
        BuildKitClient.connect(f"unix://{tmp_path}/plain") as client,
    ):
        build_through(client, context)


def test_buildkitd_at_a_port(docker_address: str, context: Path) -> None:
    listener, place = listen_tcp()
    with (
        serving(Relay(listener, docker_address, as_buildkitd=True)),
        BuildKitClient.connect(f"tcp://{place}") as client,
    ):
        build_through(client, context)


def test_docker_at_a_port(docker_address: str, context: Path) -> None:
    listener, place = listen_tcp()
    with (
        serving(Relay(listener, docker_address, as_buildkitd=False)),
        BuildKitClient.connect(f"docker+tcp://{place}") as client,
    ):
        build_through(client, context)


@pytest.mark.parametrize("scheme", ["tcp", "docker+tcp"])
def test_daemon_behind_mutual_tls(
    docker_address: str, context: Path, certificates: Certificates, scheme: str
) -> None:
    listener, place = listen_tcp()
    tls = certificates.server_side()
    with (
        serving(Relay(listener, docker_address, as_buildkitd=scheme == "tcp", tls=tls)),
        BuildKitClient.connect(f"{scheme}://{place}", tls=certificates.client_side()) as client,
    ):
        build_through(client, context)


@pytest.mark.parametrize("scheme", ["tcp", "docker+tcp"])
def test_daemon_behind_mutual_tls_refuses_strangers(
    docker_address: str, certificates: Certificates, scheme: str
) -> None:
    listener, place = listen_tcp()
    tls = certificates.server_side()
    address = f"{scheme}://{place}"
    with serving(Relay(listener, docker_address, as_buildkitd=scheme == "tcp", tls=tls)):
        nameless = TlsFiles(certificates.folder / "ca.pem")
        with pytest.raises(ConnectError, match="certificate"):
            BuildKitClient.connect(address, 5, tls=nameless)
        trusting_others = replace(certificates.client_side(), ca=certificates.folder / "client.pem")
        with pytest.raises(ConnectError, match="not trusted"):
            BuildKitClient.connect(address, 5, tls=trusting_others)
        with pytest.raises(ConnectError):
            BuildKitClient.connect(address, 2)


@pytest.fixture
def container(docker_address: str) -> Iterator[str]:
    """A container in which `buildctl dial-stdio` leads to the daemon."""
    engine = require("TASKS_TEST_ENGINE")
    name = f"bk-{random_id()}"
    listener, place = listen_tcp()
    script = f'#!/bin/sh\n[ "$1" = dial-stdio ] && exec nc {place.replace(":", " ")}\nexit 1\n'
    with serving(Relay(listener, docker_address, as_buildkitd=True)), docker_api(engine) as api:
        host_config = api.create_host_config(network_mode="host")
        api.create_container("busybox", ["sleep", "300"], name=name, host_config=host_config)
        try:
            api.put_archive(name, "/bin", tar_of({"buildctl": (script.encode(), 0o755)}))
            api.start(name)
            yield name
        finally:
            api.remove_container(name, force=True)


def test_buildkitd_in_a_container(container: str, context: Path) -> None:
    address = f"docker-container://{container}"
    with BuildKitClient.connect(address, docker=require("TASKS_TEST_ENGINE")) as client:
        build_through(client, context)


def test_container_without_a_buildkitd_is_told(container: str) -> None:
    engine = require("TASKS_TEST_ENGINE")
    with docker_api(engine) as api:
        api.put_archive(
            container, "/bin", tar_of({"buildctl": (b"#!/bin/sh\necho none here >&2; exit 1\n", 0o755)})
        )
    with pytest.raises(ConnectError, match="none here"):
        BuildKitClient.connect(f"docker-container://{container}", 5, docker=engine)
    with pytest.raises(ConnectError, match="there is no container bk-nowhere"):
        BuildKitClient.connect("docker-container://bk-nowhere", 5, docker=engine)
