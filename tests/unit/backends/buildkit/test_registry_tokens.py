from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tasks_engine.backends.buildkit.docker_config import Credential
from tasks_engine.backends.buildkit.errors import CredentialError
from tasks_engine.backends.buildkit.registry_tokens import Token, TokenAuthority, TokenRequest

LOGIN = Credential("me", "hunter2")
IDENTITY = Credential("", "hunter2")
BASIC = "Basic " + base64.b64encode(b"me:hunter2").decode()


@dataclass(frozen=True)
class Asked:
    """One request that a server got."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: str

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)


#: raw bytes of the HTTP answer
Answer = Callable[[Asked], bytes]


def answer(body: object = b"", status: int = 200, **headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data


@dataclass
class Server:
    """A small HTTP server on a free port of 127.0.0.1."""

    respond: Answer
    context: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self._callers: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def tokens_asked(self) -> list[Asked]:
        """The requests but for those that ask who gives tokens."""
        return [each for each in self.asked if each.path != "/v2/"]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for caller in self._callers:
            caller.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            caller = threading.Thread(target=self._serve, args=(connection,))
            self._callers.append(caller)
            caller.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        # Callers that go away are part of the tests.
        with connection, contextlib.suppress(OSError):
            if not self.context and connection.recv(1, socket.MSG_PEEK) == b"\x16":
                # A TLS handshake.
                return
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as reader:
                method, target, _ = reader.readline().decode().split(" ")
                headers = {}
                while line := reader.readline().strip().decode():
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers.get("content-length", 0))).decode()
                asked = Asked(method, target, headers, body)
                self.asked.append(asked)
                connection.sendall(self.respond(asked))


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(respond: Answer | bytes, context: ssl.SSLContext | None = None) -> Server:
        server = Server(respond if callable(respond) else lambda _asked: respond, context)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


def authority(login: Credential | None = LOGIN, **options: object) -> TokenAuthority:
    return TokenAuthority(lambda _host: login, **{"timeout_s": 5, **options})


def request(host: str, realm: str, service: str = "reg", scopes: tuple[str, ...] = ()) -> TokenRequest:
    return TokenRequest("buildkit-client", host, realm, service, scopes)


def names_realm(realm: str) -> bytes:
    return answer(status=401, WWW_Authenticate=f'Bearer realm="{realm}",service="reg"')


# Who answers: keys and signatures.


def test_public_key_verifies_what_sign_gives() -> None:
    mine = authority()
    public_key = mine.public_key("r.example", b"salt")
    signed = mine.sign("r.example", b"salt", b"payload")
    assert public_key is not None
    assert len(public_key) == 32
    assert signed[64:] == b"payload"
    Ed25519PublicKey.from_public_bytes(public_key).verify(signed[:64], b"payload")
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(public_key).verify(signed[:64], b"payload!")


def test_key_is_of_host_salt_and_object() -> None:
    mine = authority()
    key = mine.public_key("r.example", b"salt")
    assert mine.public_key("r.example", b"salt") == key
    others = [
        mine.public_key("r.example", b"salt2"),
        mine.public_key("s.example", b"salt"),
        mine.public_key("r.examples", b"alt"),
        authority().public_key("r.example", b"salt"),
    ]
    assert len({key, *others}) == 5


def test_without_a_login_there_is_no_key() -> None:
    assert authority(None).public_key("r.example", b"salt") is None


def test_failure_of_the_login_comes_out_as_it_is() -> None:
    def fail(_host: str) -> Credential | None:
        raise LookupError("vault is sealed")

    with pytest.raises(LookupError, match="vault is sealed"):
        TokenAuthority(fail).public_key("r.example", b"salt")


# Asking for a token.


def test_password_goes_as_basic_with_service_and_every_scope(serve) -> None:
    server = serve(answer({"token": "t", "expires_in": 300, "issued_at": "2024-05-06T07:08:09.123456789Z"}))
    scopes = ("repository:a/b:pull", "repository:c:pull,push")
    token = authority().fetch(request(server.host, f"{server.url}/token", "my reg&x=1", scopes))
    assert token == Token("t", 300, int(datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()))
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.headers["authorization"]) == ("GET", "/token", BASIC)
    assert asked.query == {"service": ["my reg&x=1"], "scope": list(scopes)}
    assert asked.headers["host"] == server.host


def test_identity_token_goes_in_the_body(serve) -> None:
    server = serve(answer({"access_token": "t"}))
    scopes = ("repository:a/b:pull", "repository:c:pull,push")
    assert authority(IDENTITY).fetch(request(server.host, f"{server.url}/token", "reg", scopes)).token == "t"
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/token")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in asked.headers
    assert parse_qs(asked.body) == {
        "grant_type": ["refresh_token"],
        "service": ["reg"],
        "client_id": ["buildkit-client"],
        "scope": [" ".join(scopes)],
        "refresh_token": ["hunter2"],
    }


def test_query_of_the_realm_is_kept(serve) -> None:
    server = serve(answer({"token": "t"}))
    authority().fetch(request(server.host, f"{server.url}/token?account=x", "reg"))
    assert server.asked[0].query == {"account": ["x"], "service": ["reg"]}


def test_request_for_nothing_in_particular_has_no_query(serve) -> None:
    server = serve(answer({"token": "t"}))
    authority().fetch(request(server.host, server.url, ""))
    assert server.asked[0].target == "/"


@pytest.mark.parametrize(
    ("content", "expires_in_s"),
    [
        ({}, 60),
        ({"expires_in": 3600}, 3600),
        ({"expires_in": 3599.7}, 3599),
        ({"expires_in": "soon"}, 60),
        ({"expires_in": 0}, 60),
        ({"expires_in": -5}, 60),
        ({"expires_in": True}, 60),
        ({"expires_in": None}, 60),
        ({"expires_in": float("nan")}, 60),
        ({"expires_in": 1e300}, 1 << 31),
    ],
)
def test_token_lives_as_long_as_the_server_says_or_a_minute(
    serve, content: dict[str, object], expires_in_s: int
) -> None:
    server = serve(answer({"token": "t", **content}))
    assert authority().fetch(request(server.host, server.url)).expires_in_s == expires_in_s


@pytest.mark.parametrize("issued_at", [None, "", "yesterday", 7, "0001-01-01T00:00:00Z", ["x"]])
def test_token_is_of_now_where_the_server_does_not_say(serve, issued_at: object) -> None:
    server = serve(answer({"token": "t", "issued_at": issued_at}))
    before = int(time.time())
    assert before <= authority().fetch(request(server.host, server.url)).issued_at_s <= time.time()


def test_token_never_shows_in_a_repr() -> None:
    assert "hunter2" not in repr(Token("hunter2", 60, 0))


@pytest.mark.parametrize("login", [LOGIN, IDENTITY])
@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (answer({"details": "hunter2"}, 401), r"refused the login \(401\)"),
        (answer({"details": "hunter2"}, 403), r"refused the login \(403\)"),
        (answer(b"hunter2", 404), "answered 404 instead of a token"),
        (answer(b"hunter2", 500), "answered 500 instead of a token"),
        (answer(b"hunter2"), "not JSON"),
        (answer(b"\xff"), "not JSON"),
        (answer(b"[" * 200_000), "not JSON"),
        (answer({"hunter2": 1}), "without a token"),
        (answer(["hunter2"]), "without a token"),
        (answer({"token": ["hunter2"]}), "without a token"),
        (answer({"token": ""}), "without a token"),
        (answer(b" " * ((1 << 20) + 1)), "more than 1 MiB"),
        (b"", "cannot be reached: Remote end closed connection"),
        (b"SSH-2.0-hunter2\r\n", "does not speak HTTP as it should"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhunter2", "does not speak HTTP as it should"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000, "does not speak HTTP as it should"),
    ],
)
def test_failure_names_the_registry_and_no_secret(
    serve, login: Credential, response: bytes, reason: str
) -> None:
    server = serve(response)
    with pytest.raises(CredentialError, match=reason) as caught:
        authority(login).fetch(request(server.host, f"{server.url}/token"))
    assert str(caught.value).startswith(f"registry {server.host}: ")
    assert "hunter2" not in str(caught.value)


def test_refused_login_says_how_to_renew_it(serve) -> None:
    server = serve(answer(status=401))
    with pytest.raises(CredentialError) as caught:
        authority().fetch(request(server.host, server.url))
    assert caught.value.hint == f"run: docker login {server.host}"


def test_server_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        host = f"127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(CredentialError, match=f"{host} cannot be reached: Connection refused"):
        authority().fetch(request(host, f"http://{host}/token"))


def test_silent_server_is_given_up(serve) -> None:
    done = threading.Event()

    def wait(_asked: Asked) -> bytes:
        done.wait(5)
        return b""

    server = serve(wait)
    try:
        with pytest.raises(CredentialError, match="did not answer in time"):
            authority(timeout_s=0.1).fetch(request(server.host, server.url))
    finally:
        done.set()


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX: ", answer(b"x" * 1000)[:-990]])
def test_server_that_sends_byte_by_byte_is_given_up(start: bytes) -> None:
    """Each byte comes in time, all of them would not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            caller, _ = listener.accept()
            with caller, contextlib.suppress(OSError):
                caller.recv(4096)
                caller.sendall(start)
                for _ in range(500):
                    time.sleep(0.005)
                    caller.sendall(b"1")

        thread = threading.Thread(target=drip)
        thread.start()
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(CredentialError, match="did not answer in time"):
            authority(timeout_s=0.1).fetch(request(host, f"http://{host}/token"))
        assert time.monotonic() - began < 2
        thread.join()


def test_one_authority_serves_many_threads(serve) -> None:
    registry, tokens = (
        serve(lambda _asked: names_realm(realm)),
        serve(lambda asked: answer({"token": asked.target})),
    )
    realm = f"{tokens.url}/token"
    mine = authority()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: mine.fetch(request(registry.host, realm, f"s{n}")).token, range(16)))
    assert found == [f"/token?service=s{number}" for number in range(16)]


# Whom to trust with the login.


def test_realm_that_the_registry_names_gets_the_login_and_is_remembered(serve) -> None:
    tokens = serve(answer({"token": "t"}))
    realm = f"{tokens.url}/token"
    registry = serve(names_realm(realm))
    mine = authority()
    for _ in range(3):
        assert mine.fetch(request(registry.host, realm)).token == "t"
    assert [(each.method, each.target) for each in registry.asked] == [("GET", "/v2/")]
    assert "authorization" not in registry.asked[0].headers
    assert [each.headers["authorization"] for each in tokens.asked] == [BASIC] * 3


def test_realm_that_changed_is_asked_for_again(serve) -> None:
    tokens = serve(answer({"token": "t"}))
    realms = iter((f"{tokens.url}/old", f"{tokens.url}/new"))
    registry = serve(lambda _asked: names_realm(next(realms)))
    mine = authority()
    for realm in (f"{tokens.url}/old", f"{tokens.url}/new"):
        assert mine.fetch(request(registry.host, realm)).token == "t"
    assert len(registry.asked) == 2


@pytest.mark.parametrize("login", [LOGIN, IDENTITY])
@pytest.mark.parametrize(
    ("challenge", "says"),
    [
        ({}, "does not name it"),
        ({"WWW_Authenticate": 'Basic realm="REALM"'}, "does not name it"),
        ({"WWW_Authenticate": "Bearer"}, "does not name it"),
        ({"WWW_Authenticate": 'Bearer service="x"'}, "does not name it"),
        ({"WWW_Authenticate": 'Bearer xrealm="REALM"'}, "does not name it"),
        ({"WWW_Authenticate": 'Bearer service="realm=REALM"'}, "does not name it"),
        ({"WWW_Authenticate": 'Bearer service="x", Basic realm="REALM"'}, "does not name it"),
        ({"WWW_Authenticate": 'Bearer realm="'}, "does not name it"),
        ({"WWW_Authenticate": 'Bearer realm="https://auth.example/token"'}, r"names auth\.example"),
        ({"WWW_Authenticate": 'Bearer realm="REALM/other"'}, "names another address there"),
        ({"WWW_Authenticate": 'Bearer realm="REALM?x=y"'}, "names another address there"),
    ],
)
def test_hostile_realm_never_gets_the_login(
    serve, login: Credential, challenge: dict[str, str], says: str
) -> None:
    hostile = serve(answer({"token": "t"}))
    realm = f"{hostile.url}/token"
    headers = {name: value.replace("REALM", realm) for name, value in challenge.items()}
    registry = serve(answer(status=401, **headers))
    with pytest.raises(
        CredentialError, match=f"the registry, when asked, {says}; this cannot be verified"
    ) as caught:
        authority(login).fetch(request(registry.host, realm))
    assert hostile.host in str(caught.value)
    assert registry.host in str(caught.value)
    assert hostile.asked == []
    assert all("hunter2" not in each.body and "authorization" not in each.headers for each in registry.asked)


def test_another_port_of_the_registry_is_another_server(serve) -> None:
    hostile, registry = serve(answer({"token": "t"})), serve(answer(status=200))
    with pytest.raises(CredentialError, match="cannot be verified"):
        authority().fetch(request(registry.host, f"{hostile.url}/token"))
    assert hostile.asked == []


@pytest.mark.parametrize(
    "challenge",
    [
        'bearer realm="REALM"',
        'Bearer service="a, b", realm="REALM"',
        'Bearer  scope="x" ,realm = "REALM"',
        "Bearer Realm=REALM,service=x",
        'Basic realm="Registry", Bearer service="x", realm="REALM"',
    ],
)
def test_challenge_may_be_written_in_several_ways(serve, challenge: str) -> None:
    tokens = serve(answer({"token": "t"}))
    realm = f"{tokens.url}/token"
    registry = serve(answer(status=401, WWW_Authenticate=challenge.replace("REALM", realm)))
    assert authority().fetch(request(registry.host, realm)).token == "t"


def test_registry_that_is_not_there_makes_no_realm_trusted(serve) -> None:
    hostile = serve(answer({"token": "t"}))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        host = f"127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(CredentialError, match="Connection refused; so its token server cannot be verified"):
        authority().fetch(request(host, f"{hostile.url}/token"))
    assert hostile.asked == []


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "ftp://r.example/token",
        "file:///etc/passwd",
        "//r.example/token",
        "https://",
        "https:///token",
        "https://r.example@evil.example/token",
        "https://r.example:pw@evil.example/token",
        "https://evil.example\\@r.example/token",
        "https://r.example/token#x",
        "https://r.example/to ken",
        "https://r.example/token\r\nX-Evil: 1",
        "https://r.exämple/token",
        "https://r.example/tokön",
        "https://r.example:0/token",
        "https://r.example:99999/token",
        "https://[::1/token",
    ],
)
def test_realm_that_is_no_plain_url_is_refused(realm: str) -> None:
    with pytest.raises(CredentialError, match="is no plain http or https URL; the login was not sent"):
        authority().fetch(request("r.example", realm))


@pytest.mark.parametrize(
    ("host", "realm"),
    [
        ("r.example", "http://r.example/token"),
        ("r.example", "http://127.0.0.1:1/token"),
        ("127.0.0.1:5000", "http://r.example/token"),
        ("127.0.0.1.r.example", "http://127.0.0.1.r.example/token"),
        ("localhost.r.example", "http://localhost.r.example/token"),
        ("127.1", "http://127.1/token"),
    ],
)
def test_login_goes_over_plain_http_within_this_machine_only(host: str, realm: str) -> None:
    with pytest.raises(
        CredentialError, match="speaks plain http; the login was not sent; serve it over https"
    ):
        authority().fetch(request(host, realm))


@pytest.mark.parametrize(
    "host", ["", "r.example/x", "https://r.example", "a b", "r.example\r\n", "r:0", "r:99999", "ü"]
)
def test_registry_whose_name_is_none_is_refused_before_its_login_is_looked_up(host: str) -> None:
    def never(_host: str) -> Credential | None:
        raise AssertionError("not to be asked")

    with pytest.raises(CredentialError, match="whose name is none"):
        TokenAuthority(never).fetch(request(host, "https://r.example/token"))


def test_registry_without_a_login_is_asked_nothing(serve) -> None:
    server = serve(answer({"token": "t"}))
    with pytest.raises(
        CredentialError, match=f"there is no login for registry {server.host}; run: docker login"
    ):
        authority(None).fetch(request(server.host, server.url))
    assert server.asked == []


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("login", [LOGIN, IDENTITY])
def test_login_does_not_follow_to_another_server(serve, login: Credential, status: int) -> None:
    hostile = serve(answer({"token": "t"}))
    server = serve(answer(status=status, Location=f"{hostile.url}/token"))
    with pytest.raises(CredentialError, match="redirects to another server; the login does not go there"):
        authority(login).fetch(request(server.host, f"{server.url}/token"))
    assert hostile.asked == []


@pytest.mark.parametrize(
    "location",
    [
        "//evil.example/token",
        "https://127.0.0.1/token",
        "http://x@127.0.0.1/token",
        "ftp://127.0.0.1/",
        "\\\\evil",
    ],
)
def test_other_ways_to_another_server_are_refused(serve, location: str) -> None:
    server = serve(answer(status=302, Location=location))
    with pytest.raises(CredentialError, match="redirects to another server"):
        authority().fetch(request(server.host, server.url))


@pytest.mark.parametrize("login", [LOGIN, IDENTITY])
def test_redirect_within_the_server_is_followed(serve, login: Credential) -> None:
    def respond(asked: Asked) -> bytes:
        if asked.path == "/token":
            return answer(status=307, Location="/token/?there=1")
        return answer({"token": "t"})

    server = serve(respond)
    assert authority(login).fetch(request(server.host, f"{server.url}/token")).token == "t"
    first, second = server.asked
    assert second.target == "/token/?there=1"
    assert (second.method, second.body) == (first.method, first.body)


def test_redirects_end(serve) -> None:
    server = serve(answer(status=302, Location="/token"))
    with pytest.raises(CredentialError, match="redirects without an end"):
        authority().fetch(request(server.host, server.url))
    assert len(server.asked) == 4


def test_redirect_that_drops_the_body_is_refused(serve) -> None:
    server = serve(answer(status=302, Location="/other"))
    with pytest.raises(CredentialError, match=r"redirects where no login can follow \(302\)"):
        authority(IDENTITY).fetch(request(server.host, server.url))


def test_redirect_to_nowhere_is_told(serve) -> None:
    server = serve(answer(status=302))
    with pytest.raises(CredentialError, match="answered 302 instead of a token"):
        authority().fetch(request(server.host, server.url))


# TLS, and the way through a proxy.


@dataclass(frozen=True)
class Certified:
    """A server's side of TLS, and the context that trusts it."""

    server: ssl.SSLContext
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    names = [x509.DNSName(each) for each in ("registry-1.docker.io", "auth.docker.io", "registry.test")]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([*names, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    both = folder / "both.pem"
    both.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    trusting = ssl.create_default_context(cadata=certificate.public_bytes(Encoding.PEM).decode())
    return Certified(server, trusting)


def test_token_comes_over_tls(serve, certified: Certified) -> None:
    server = serve(answer({"token": "t"}), certified.server)
    mine = authority(context=certified.trusting)
    assert mine.fetch(request(server.host, f"https://{server.host}/token")).token == "t"


def test_registry_of_this_machine_may_name_its_realm_over_tls(serve, certified: Certified) -> None:
    tokens = serve(answer({"token": "t"}), certified.server)
    realm = f"https://{tokens.host}/token"
    registry = serve(names_realm(realm), certified.server)
    assert authority(context=certified.trusting).fetch(request(registry.host, realm)).token == "t"


def test_untrusted_certificate_is_told_and_gets_no_login(serve, certified: Certified) -> None:
    server = serve(answer({"token": "t"}), certified.server)
    with pytest.raises(CredentialError, match=r"shows a certificate that is not trusted: self.signed"):
        authority().fetch(request(server.host, f"https://{server.host}/token"))
    assert server.asked == []


def test_certificate_of_another_name_is_told(serve, certified: Certified) -> None:
    server = serve(answer({"token": "t"}), certified.server)
    host = f"localhost:{server.port}"
    with pytest.raises(CredentialError, match="certificate that is not trusted: Hostname mismatch"):
        authority(context=certified.trusting).fetch(request(host, f"https://{host}/token"))
    assert server.asked == []


def test_server_without_tls_is_told(serve) -> None:
    server = serve(answer({"token": "t"}))
    with pytest.raises(CredentialError, match=r"does not speak TLS as it should|cannot be reached"):
        authority().fetch(request(server.host, f"https://{server.host}/token"))
    assert server.asked == []


@dataclass
class Proxy:
    """Leads every CONNECT to one port of this machine."""

    target_port: int
    asked: list[str] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._lead, args=(caller,))
            self._threads.append(thread)
            thread.start()

    def _lead(self, caller: socket.socket) -> None:
        head = b""
        with caller, contextlib.suppress(OSError):
            caller.settimeout(5)
            while not head.endswith(b"\r\n\r\n"):
                head += caller.recv(1)
            self.asked.append(head.decode())
            caller.sendall(self.answer)
            if b" 200 " not in self.answer:
                return
            with socket.create_connection(("127.0.0.1", self.target_port), 5) as target:
                back = threading.Thread(target=_copy, args=(target, caller))
                back.start()
                _copy(caller, target)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Server], Proxy]]:
    proxies: list[Proxy] = []

    def start(server: Server) -> Proxy:
        proxies.append(Proxy(server.port))
        monkeypatch.setenv("https_proxy", f"http://us%40er:pw@{proxies[-1].place}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


def docker_hub(asked: Asked) -> bytes:
    if asked.headers["host"] == "registry-1.docker.io" and asked.path == "/v2/":
        return names_realm("https://auth.docker.io/token")
    if asked.headers["host"] == "auth.docker.io" and asked.headers.get("authorization") == BASIC:
        return answer({"token": "t", "access_token": "t", "expires_in": 300})
    return answer(status=404)


def test_docker_hub_is_asked_who_gives_its_tokens(serve, certified: Certified, proxy_to) -> None:
    server = serve(docker_hub, certified.server)
    proxy = proxy_to(server)
    mine = authority(context=certified.trusting)
    for _ in range(2):
        found = mine.fetch(
            request("registry-1.docker.io", "https://auth.docker.io/token", "registry.docker.io")
        )
        assert (found.token, found.expires_in_s) == ("t", 300)
    assert [(each.headers["host"], each.path) for each in server.asked] == [
        ("registry-1.docker.io", "/v2/"),
        ("auth.docker.io", "/token"),
        ("auth.docker.io", "/token"),
    ]
    assert proxy.asked[0].splitlines()[0] == "CONNECT registry-1.docker.io:443 HTTP/1.1"
    login = base64.b64encode(b"us@er:pw").decode()
    assert all(f"Proxy-Authorization: Basic {login}" in each for each in proxy.asked)
    assert all("hunter2" not in each and BASIC not in each for each in proxy.asked)


def test_hostile_realm_beside_docker_hub_is_refused(serve, certified: Certified, proxy_to) -> None:
    server = serve(docker_hub, certified.server)
    proxy_to(server)
    with pytest.raises(CredentialError, match=r"names auth\.docker\.io; this cannot be verified"):
        authority(context=certified.trusting).fetch(
            request("registry-1.docker.io", "https://registry.test/token")
        )
    assert [each.headers["host"] for each in server.asked] == ["registry-1.docker.io"]


def test_default_port_may_be_written_out(serve, certified: Certified, proxy_to) -> None:
    server = serve(answer({"token": "t"}), certified.server)
    proxy_to(server)
    mine = authority(context=certified.trusting)
    assert mine.fetch(request("registry.test", "https://registry.test:443/token")).token == "t"
    assert mine.fetch(request("registry.test:443", "https://registry.test/token")).token == "t"
    assert {each.path for each in server.asked} == {"/token"}


def test_proxy_that_refuses_is_told_without_its_login(serve, certified: Certified, proxy_to) -> None:
    proxy = proxy_to(serve(answer(), certified.server))
    proxy.answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(
        CredentialError, match=f"the proxy {proxy.place} answered 407 to CONNECT registry.test"
    ):
        authority().fetch(request("registry.test", "https://registry.test/token"))


@pytest.mark.parametrize("text", ["socks5://127.0.0.1:1", "http://", "http://127.0.0.1:port"])
def test_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("https_proxy", text)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(CredentialError, match="the proxy of HTTPS_PROXY cannot be used"):
        authority().fetch(request("registry.test", "https://registry.test/token"))


def test_this_machine_is_never_reached_through_a_proxy(
    serve, certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    mine = authority(context=certified.trusting)
    for scheme, context in (("http", None), ("https", certified.server)):
        server = serve(answer({"token": "t"}), context)
        assert mine.fetch(request(server.host, f"{scheme}://{server.host}/token")).token == "t"


def test_no_socket_stays_open(serve) -> None:
    """ResourceWarnings are errors: each way to fail must close what it opened."""
    server = serve(b"garbage\r\n\r\n")
    for realm in (server.url, f"https://{server.host}/token"):
        with pytest.raises(CredentialError):
            authority().fetch(request(server.host, realm))
