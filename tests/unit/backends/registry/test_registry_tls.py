"""Over TLS: whose certificates are trusted. 0.0.0.0 is this machine too, and not by its name."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks_engine.backends.credentials import Credential
from tasks_engine.backends.registry import RegistryClient
from tasks_engine.errors import RegistryError
from tasks_engine.images.reference import Reference, parse_reference
from tasks_engine.settings import RegistrySettings
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Scripted
from tests.open_files import open_files

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Login:
    def find(self, registry: str) -> Credential:
        return Credential(USERNAME, PASSWORD)


@dataclass(frozen=True)
class Secured:
    """A registry over TLS at 0.0.0.0, and the file with its certificate, which is its own authority."""

    fake: FakeRegistry
    certificate: Path

    @property
    def name(self) -> str:
        return self.fake.name.replace("127.0.0.1", "0.0.0.0")

    @property
    def image(self) -> Reference:
        return parse_reference(f"{self.name}/team/app:1")


@pytest.fixture
def certified() -> str:
    """The host that the certificate is for."""
    return "0.0.0.0"


@pytest.fixture
def secured(tmp_path: Path, certified: str) -> Iterator[Secured]:
    certificate = tmp_path / "certificate.pem"
    key = tmp_path / "key.pem"
    write_certificate(certificate, key, certified)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    fake = FakeRegistry("basic")
    with fake.running(context):
        yield Secured(fake, certificate)


def write_certificate(certificate: Path, key: Path, address: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def digest(image: Reference, **settings: object) -> str | None:
    with RegistryClient(Login(), RegistrySettings(**settings), sleep=lambda _: None, timeout_s=5) as client:  # type: ignore[arg-type]
        return client.digest(image)


def test_an_authority_of_the_settings_is_trusted(secured: Secured) -> None:
    before = open_files()
    for _ in range(3):
        assert digest(secured.image, ca_files={secured.name: secured.certificate}) is None
    assert {target for _, target in open_files() - before if not target.startswith("socket")} == set()


def test_connections_over_tls_are_used_again(secured: Secured) -> None:
    settings = RegistrySettings(ca_files={secured.name: secured.certificate})
    with RegistryClient(Login(), settings) as client:
        for _ in range(5):
            client.digest(secured.image)
        assert len(secured.fake.connections) == 1


def test_an_unknown_authority_is_refused_before_the_login_is_sent(secured: Secured) -> None:
    with pytest.raises(RegistryError, match="shows a certificate that is not trusted") as caught:
        digest(secured.image)
    assert "registries.ca_files" in caught.value.hint
    assert not caught.value.retryable
    assert secured.fake.asked == []


@pytest.mark.parametrize("certified", ["0.0.0.1"])
def test_a_certificate_of_another_host_is_refused(secured: Secured) -> None:
    with pytest.raises(RegistryError, match="not trusted: IP address mismatch"):
        digest(secured.image, ca_files={secured.name: secured.certificate})
    assert secured.fake.asked == []


def test_a_registry_named_insecure_may_show_any_certificate(secured: Secured) -> None:
    assert digest(secured.image, insecure=frozenset({secured.name})) is None
    assert secured.fake.asked


def test_an_authority_that_was_named_counts_for_an_insecure_registry_too(
    secured: Secured, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    write_certificate(other, tmp_path / "other.key", "0.0.0.0")
    with pytest.raises(RegistryError, match="not trusted"):
        digest(secured.image, insecure=frozenset({secured.name}), ca_files={secured.name: other})
    assert secured.fake.asked == []


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_an_authority_that_cannot_be_read_is_named(
    secured: Secured, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RegistryError, match=r"certificates in .*ca\.pem cannot be read"):
        digest(secured.image, ca_files={secured.name: file})


def test_a_redirect_to_plain_http_elsewhere_is_refused(secured: Secured) -> None:
    secured.fake.fail("HEAD", Scripted(307, {"Location": f"http://{secured.name}/v2/"}))
    with pytest.raises(RegistryError, match="over plain HTTP"):
        digest(secured.image, ca_files={secured.name: secured.certificate})


def test_a_token_server_over_plain_http_elsewhere_gets_no_login(secured: Secured) -> None:
    challenge = f'Bearer realm="http://{secured.name}/token"'
    secured.fake.fail("HEAD", Scripted(401, {"WWW-Authenticate": challenge}))
    with pytest.raises(RegistryError, match="speaks plain HTTP"):
        digest(secured.image, ca_files={secured.name: secured.certificate})
    assert secured.fake.requests() == ["HEAD /v2/team/app/manifests/1"]


class Proxy(BaseHTTPRequestHandler):
    """Opens tunnels; keeps what was asked of it."""

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))  # type: ignore[attr-defined]
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port)), timeout=5) as far:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: far, far: self.connection}
            while True:
                readable, _, _ = select.select(list(ends), [], [], 5)
                chunks = [(ends[each], each.recv(65536)) for each in readable]
                if not all(chunk for _, chunk in chunks) or not chunks:
                    return
                for other, chunk in chunks:
                    other.sendall(chunk)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[HTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.005,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_other_machines_are_reached_through_the_proxy(
    secured: Secured, proxy: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass%20word@127.0.0.1:{proxy.server_address[1]}")
    monkeypatch.setenv("NO_PROXY", "")
    assert digest(secured.image, ca_files={secured.name: secured.certificate}) is None

    login = base64.b64encode(b"user:pass word").decode()
    assert proxy.asked == [(secured.name, f"Basic {login}")]  # type: ignore[attr-defined]
    assert "proxy-authorization" not in secured.fake.asked[-1].headers


def test_what_no_proxy_names_is_reached_without(
    secured: Secured, proxy: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_address[1]}")
    monkeypatch.setenv("NO_PROXY", "0.0.0.0")
    assert digest(secured.image, ca_files={secured.name: secured.certificate}) is None
    assert proxy.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1", "http://", "http://a:x"])
def test_a_proxy_that_cannot_be_used_is_named(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(RegistryError, match="the proxy of HTTPS_PROXY cannot be used"):
        digest(secured.image)
