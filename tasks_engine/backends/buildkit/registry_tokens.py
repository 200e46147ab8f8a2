"""Fetches registry tokens on this side, so that passwords never reach the daemon.

The daemon asks for a public key first, to recognise who answers for a registry, and then for tokens. It names
the realm, the token server's URL, and a hostile one would name its own. So a login goes only to the registry
itself or to a realm that the registry names when we ask it, and only over TLS, or within this machine.

Sources: Distribution's specifications "Token Authentication" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urljoin, urlsplit

from tasks_engine.backends.buildkit.docker_config import Credential
from tasks_engine.backends.buildkit.errors import CredentialError

if TYPE_CHECKING:
    import ssl

    from _typeshed import WriteableBuffer
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MAX_ANSWER_BYTES = 1 << 20
_MAX_REDIRECTS = 3
_DEFAULT_EXPIRES_IN_S = 60
_LONGEST_EXPIRES_IN_S = 1 << 31
_PORT_BY_SCHEME = {"http": 80, "https": 443}
_HOST = re.compile(r"([A-Za-z0-9_.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_URL = re.compile(r"(https?)://([^/?#]+)((?:/[^?#]*)?)((?:\?[^#]*)?)")
#: a part of WWW-Authenticate: name="text", name=word, or the name of a scheme alone
_CHALLENGE_PART = re.compile(r'([A-Za-z0-9_-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?')
#: to find out whether a registry can be asked from here; the build waits meanwhile
_REACH_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class TokenRequest:
    """What the daemon wants a token for; all of it is the daemon's word."""

    client_id: str
    #: host[:port] of the registry, "registry-1.docker.io" for Docker Hub
    host: str
    #: URL of the token server
    realm: str
    service: str
    #: such as "repository:team/app:pull"
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Token:
    """A bearer token of a registry."""

    token: str = field(repr=False)
    expires_in_s: int
    #: seconds since the epoch
    issued_at_s: int


class TokenMemory:
    """What is worth keeping from one build to the next: who we are for the daemon, and realms. Thread-safe.

    With it, the daemon recognises us and takes the tokens that it has.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        #: registry -> realm that it names; None for one that cannot be asked, or names none
        self._realm_by_host: dict[str, str | None] = {}

    def seed(self, *parts: bytes) -> bytes:
        """32 bytes that nobody else can know, the same for the same parts."""
        # With lengths, as ("ab", "c") is not ("a", "bc").
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._secret, message, "sha256")

    def knows(self, host: str) -> bool:
        """The registry was asked."""
        with self._lock:
            return host in self._realm_by_host

    def realm(self, host: str) -> str | None:
        """The realm it named."""
        with self._lock:
            return self._realm_by_host.get(host)

    def remember(self, host: str, realm: str | None) -> None:
        """What it named."""
        with self._lock:
            self._realm_by_host[host] = realm


class TokenAuthority:
    """Answers for the registries that `credentials` has a login for. Thread-safe."""

    def __init__(
        self,
        credentials: Callable[[str], Credential | None],
        *,
        timeout_s: float = 30,
        context: ssl.SSLContext | None = None,
        memory: TokenMemory | None = None,
    ) -> None:
        """`timeout_s` bounds each `fetch` as a whole; `context` says whom to trust, else the system does.

        What `credentials` raises comes out of the methods as it is.
        """
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._context = context
        self._memory = memory or TokenMemory()
        self._lock = threading.Lock()

    def public_key(self, host: str, salt: bytes) -> bytes | None:
        """32 bytes of ed25519; None without a login, when the daemon does better to ask as anonymous."""
        credential = self._credentials(host)
        if credential is None:
            return None
        return self._private_key(host, salt, credential).public_key().public_bytes_raw()

    def reaches(self, host: str) -> bool:
        """The registry, asked from here and over a connection that may carry a login, names a token server."""
        registry = _parse_host(host)
        if registry is None:
            return False
        if not self._memory.knows(registry.text):
            client = _Client(registry, time.monotonic() + _REACH_TIMEOUT_S, self._trust)
            try:
                realm = _realm_of_registry(registry, client)
            except CredentialError:
                realm = None
            self._memory.remember(registry.text, realm)
        return self._memory.realm(registry.text) is not None

    def sign(self, host: str, salt: bytes, payload: bytes) -> bytes:
        """Signature of 64 bytes by the key of `public_key`, then the payload. Raises CredentialError."""
        return self._private_key(host, salt, self._login(host)).sign(payload) + payload

    def fetch(self, request: TokenRequest) -> Token:
        """A token for the login of the registry.

        Raises CredentialError when there is no login, when the realm cannot be trusted with it, or when no
        token comes.
        """
        registry = _parse_host(request.host)
        if registry is None:
            raise CredentialError("the builder asks for a token of a registry whose name is none")
        credential = self._login(request.host)
        client = _Client(registry, time.monotonic() + self._timeout_s, self._trust)
        realm = self._trusted_realm(registry, request.realm, client)
        return _token(registry, realm, _ask(client, realm, request, credential))

    def _login(self, host: str) -> Credential:
        credential = self._credentials(host)
        if credential is None:
            raise CredentialError(f"there is no login for registry {host}", hint=f"run: docker login {host}")
        return credential

    def _private_key(self, host: str, salt: bytes, credential: Credential) -> Ed25519PrivateKey:
        """One for each login: the daemon gives tokens to whoever has the key they were fetched for."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        login = (credential.username.encode(), credential.secret.encode())
        return Ed25519PrivateKey.from_private_bytes(self._memory.seed(host.encode(), salt, *login))

    def _trust(self) -> ssl.SSLContext:
        import ssl

        with self._lock:
            if self._context is None:
                self._context = ssl.create_default_context()
            return self._context

    def _trusted_realm(self, registry: _Host, text: str, client: _Client) -> _Url:
        realm = _parse_url(text)
        if realm is None:
            raise CredentialError(
                f"registry {registry}: the builder names a token server whose address is no plain http or https "
                "URL; the login was not sent"
            )
        if realm.scheme == "http" and not (registry.is_loopback and realm.host.is_loopback):
            raise CredentialError(
                f"registry {registry}: its token server {realm.host} speaks plain http; the login was not sent",
                hint="serve it over https",
            )
        if realm.is_at(registry):
            return realm
        known = self._memory.realm(registry.text)
        if known != realm.text:
            known = _realm_of_registry(registry, client)
            self._memory.remember(registry.text, known)
        if known != realm.text:
            named = _parse_url(known or "")
            says = f"names {named.host}" if named else "does not name it"
            if named and named.host == realm.host:
                says = "names another address there"
            raise CredentialError(
                f"registry {registry}: the builder wants the login sent to the token server {realm.host}, but "
                f"the registry, when asked, {says}; this cannot be verified, and the login was not sent"
            )
        return realm


@dataclass(frozen=True)
class _Host:
    """A name or address, and a port where there is one; lower case."""

    name: str
    port: int | None

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        shown = f"[{self.name}]" if ":" in self.name else self.name
        return shown if self.port is None else f"{shown}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """On this machine by its very name, whatever a name server says."""
        try:
            return ipaddress.ip_address(self.name).is_loopback
        except ValueError:
            return self.name == "localhost"


@dataclass(frozen=True)
class _Url:
    scheme: str
    host: _Host
    #: path and query as they are sent, "/token?a=b"
    target: str

    @property
    def text(self) -> str:
        return f"{self.scheme}://{self.host}{self.target}"

    @property
    def port(self) -> int:
        return self.host.port or _PORT_BY_SCHEME[self.scheme]

    def is_at(self, registry: _Host) -> bool:
        """The same machine and port."""
        port = registry.port or _PORT_BY_SCHEME[self.scheme]
        return (self.host.name, self.port) == (registry.name, port)

    def with_query(self, query: str) -> _Url:
        joint = "&" if "?" in self.target else "?"
        return _Url(self.scheme, self.host, f"{self.target}{joint}{query}")


def _parse_host(text: str) -> _Host | None:
    match = _HOST.fullmatch(text)
    if not match or (match[2] and not 0 < int(match[2]) < 1 << 16):
        return None
    return _Host(match[1].strip("[]").lower(), int(match[2]) if match[2] else None)


def _parse_url(text: str) -> _Url | None:
    """None for what is not http or https, or has a user, a fragment or any character that wants escaping."""
    match = _URL.fullmatch(text)
    if not match or not text.isascii() or re.search(r'[\x00-\x20\x7f\\"<>^`{|}]', text):
        return None
    host = _parse_host(match[2])
    if host is None:
        return None
    if host.port == _PORT_BY_SCHEME[match[1]]:
        host = _Host(host.name, None)
    return _Url(match[1], host, (match[3] or "/") + match[4])


def _realm_of_registry(registry: _Host, client: _Client) -> str | None:
    """The realm that the registry names, None when it names none. Raises CredentialError when it is not there."""
    schemes = ("http", "https") if registry.is_loopback else ("https",)
    failure: CredentialError | None = None
    for scheme in schemes:
        try:
            answer = client.send("GET", _Url(scheme, registry, "/v2/"))
        except CredentialError as error:
            failure = error
            continue
        realm = _parse_url(_bearer_realm(answer.challenges))
        # Another status may be of a server that speaks TLS only.
        if realm is not None or answer.status in (200, 401):
            return realm.text if realm else None
    if failure:
        raise CredentialError(
            f"{failure.reason}; so its token server cannot be verified, and the login was not sent",
            hint=failure.hint,
        ) from failure
    return None


def _bearer_realm(challenges: list[str]) -> str:
    """The realm in the values of WWW-Authenticate, empty without one. Source: RFC 9110, 11.6.1."""
    for each in challenges:
        scheme = ""
        for part in _CHALLENGE_PART.finditer(each):
            name, quoted, word = part.groups()
            if quoted is None and word is None:
                scheme = name.lower()
            elif (scheme, name.lower()) == ("bearer", "realm"):
                return word or re.sub(r"\\(.)", r"\1", quoted)
    return ""


def _ask(client: _Client, realm: _Url, request: TokenRequest, credential: Credential) -> _Answer:
    service = [("service", request.service)] if request.service else []
    if credential.username:
        query = urlencode(service + [("scope", scope) for scope in request.scopes], quote_via=quote)
        login = f"{credential.username}:{credential.secret}".encode("utf-8", "replace")
        return client.send(
            "GET",
            realm.with_query(query) if query else realm,
            headers={"Authorization": "Basic " + base64.b64encode(login).decode()},
        )
    fields = [
        ("grant_type", "refresh_token"),
        *service,
        ("client_id", request.client_id or "buildkit-client"),
    ]
    fields += [("scope", " ".join(request.scopes))] if request.scopes else []
    fields.append(("refresh_token", credential.secret))
    return client.send(
        "POST",
        realm,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=urlencode(fields, errors="replace").encode(),
    )


def _token(registry: _Host, realm: _Url, answer: _Answer) -> Token:
    """Raises CredentialError. What the server says is not shown: it could be the password."""
    place = f"registry {registry}: its token server {realm.host}"
    if answer.status in (401, 403):
        raise CredentialError(
            f"{place} refused the login ({answer.status})", hint=f"run: docker login {registry}"
        )
    if answer.status != 200:
        raise CredentialError(f"{place} answered {answer.status} instead of a token")
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise CredentialError(f"{place} answered something that is not JSON") from None
    content = content if isinstance(content, dict) else {}
    token = content.get("token") or content.get("access_token")
    if not isinstance(token, str):
        raise CredentialError(f"{place} answered without a token")
    return Token(token, _expires_in_s(content), _issued_at_s(content))


def _expires_in_s(content: Mapping[str, object]) -> int:
    seconds = content.get("expires_in")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 1:
        return _DEFAULT_EXPIRES_IN_S
    return int(min(seconds, _LONGEST_EXPIRES_IN_S))


def _issued_at_s(content: Mapping[str, object]) -> int:
    """Now, where the server does not say it in RFC 3339."""
    try:
        issued_at = datetime.fromisoformat(str(content.get("issued_at")))
        aware = issued_at if issued_at.tzinfo else issued_at.replace(tzinfo=UTC)
        seconds = int(aware.timestamp())
    except (ValueError, OverflowError):
        seconds = 0
    # Before the epoch is the zero of some servers, which means nothing.
    return seconds if seconds > 0 else int(time.time())


@dataclass(frozen=True)
class _Answer:
    status: int
    challenges: list[str]
    body: bytes = field(repr=False)


@dataclass
class _Client:
    """Requests of one `fetch`, which share its deadline."""

    registry: _Host
    #: of time.monotonic()
    deadline_s: float
    trust: Callable[[], ssl.SSLContext]

    def send(
        self, method: str, url: _Url, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> _Answer:
        """The answer, after redirects within the same server. Raises CredentialError."""
        import http.client
        import ssl

        place = f"registry {self.registry}: {url.host}"
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                answer, location = self._send_once(method, url, headers or {}, body)
                if location is None:
                    return answer
                target = _parse_url(urljoin(url.text, location))
                if target is None or (target.scheme, target.host) != (url.scheme, url.host):
                    raise CredentialError(f"{place} redirects to another server; the login does not go there")
                if method != "GET" and answer.status not in (307, 308):
                    raise CredentialError(f"{place} redirects where no login can follow ({answer.status})")
                url = target
            raise CredentialError(f"{place} redirects without an end")
        except ssl.SSLCertVerificationError as error:
            raise CredentialError(
                f"{place} shows a certificate that is not trusted: {error.verify_message}",
                hint="add its authority to those that this machine trusts",
            ) from error
        except TimeoutError as error:
            raise CredentialError(f"{place} did not answer in time") from error
        except ssl.SSLError as error:
            raise CredentialError(f"{place} does not speak TLS as it should: {error.reason}") from error
        except OSError as error:
            raise CredentialError(f"{place} cannot be reached: {error.strerror or error}") from error
        except (http.client.HTTPException, ValueError):
            # Not its cause: that may show what was sent.
            raise CredentialError(f"{place} does not speak HTTP as it should") from None

    def _send_once(
        self, method: str, url: _Url, headers: Mapping[str, str], body: bytes
    ) -> tuple[_Answer, str | None]:
        """The answer, and where it redirects to."""
        import http.client

        connection = http.client.HTTPConnection("unused")
        with _connect(url, self.deadline_s, self.trust) as timed:
            # With a socket set, http.client connects nothing itself.
            connection.sock = timed
            connection.request(
                method,
                url.target,
                body=body or None,
                headers={"Host": url.host.text, "Connection": "close", **headers},
            )
            with connection.getresponse() as response:
                content = response.read(_MAX_ANSWER_BYTES + 1)
                is_cut = bool(response.length) and len(content) <= _MAX_ANSWER_BYTES
        if is_cut:
            raise http.client.IncompleteRead(b"")
        if len(content) > _MAX_ANSWER_BYTES:
            raise CredentialError(
                f"registry {self.registry}: {url.host} answered more than {_MAX_ANSWER_BYTES >> 20} MiB"
            )
        redirects = response.status in (301, 302, 303, 307, 308)
        location = response.getheader("Location") if redirects else None
        challenges = response.headers.get_all("WWW-Authenticate") or []
        return _Answer(response.status, challenges, content), location


class _TimedSocket:
    """As much of a socket as http.client uses; every wait ends at the deadline."""

    def __init__(self, connection: socket.socket, deadline_s: float) -> None:
        self._connection = connection
        self._deadline_s = deadline_s

    def __enter__(self) -> _TimedSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(_left_s(self._deadline_s))
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> BufferedReader:
        return BufferedReader(_TimedReader(self._connection, self._deadline_s))

    def close(self) -> None:
        """Left to the end of the `with`: http.client closes before the answer is read."""


class _TimedReader(RawIOBase):
    def __init__(self, connection: socket.socket, deadline_s: float) -> None:
        self._connection = connection
        self._deadline_s = deadline_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._connection.settimeout(_left_s(self._deadline_s))
        return self._connection.recv_into(buffer)


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s


def _connect(url: _Url, deadline_s: float, trust: Callable[[], ssl.SSLContext]) -> _TimedSocket:
    """Over TLS for https, and through the proxy that the environment names, if any."""
    proxy = _proxy(url)
    connection = (
        _dial(proxy.name, proxy.port, deadline_s) if proxy else _dial(url.host.name, url.port, deadline_s)
    )
    try:
        if proxy:
            _open_tunnel(_TimedSocket(connection, deadline_s), url, proxy)
        if url.scheme == "https":
            connection.settimeout(_left_s(deadline_s))
            connection = trust().wrap_socket(connection, server_hostname=url.host.name)
    except BaseException:
        connection.close()
        raise
    return _TimedSocket(connection, deadline_s)


def _dial(name: str, port: int, deadline_s: float) -> socket.socket:
    """The first address that answers; each has its share of the time."""
    try:
        addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("that is no name of a machine") from error
    failure: OSError | None = None
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left_s(deadline_s) / (len(addresses) - number))
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure or OSError("it has no address")


@dataclass(frozen=True)
class _Proxy:
    name: str
    port: int
    #: value of Proxy-Authorization, empty for none
    login: str = field(repr=False)


def _proxy(url: _Url) -> _Proxy | None:
    """The proxy of https_proxy that no_proxy does not rule out; never for this machine itself."""
    from urllib.request import getproxies_environment, proxy_bypass

    if url.scheme != "https" or url.host.is_loopback or proxy_bypass(url.host.text):
        return None
    text = getproxies_environment().get("https", "")
    if not text:
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        name, port = parts.hostname, parts.port or _PORT_BY_SCHEME["http"]
    except ValueError:
        name, port = None, 0
    if parts.scheme != "http" or not name:
        raise CredentialError(
            "the proxy of HTTPS_PROXY cannot be used to fetch a token", hint="write http://HOST:PORT"
        )
    login = ""
    if parts.username is not None:
        from urllib.parse import unquote

        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = "Basic " + base64.b64encode(pair.encode()).decode()
    return _Proxy(name, port, login)


def _open_tunnel(timed: _TimedSocket, url: _Url, proxy: _Proxy) -> None:
    """Source: RFC 9110, 9.3.6."""
    import http.client

    shown = f"[{url.host.name}]" if ":" in url.host.name else url.host.name
    lines = [f"CONNECT {shown}:{url.port} HTTP/1.1", f"Host: {shown}:{url.port}"]
    if proxy.login:
        lines.append(f"Proxy-Authorization: {proxy.login}")
    timed.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = http.client.HTTPResponse(timed, method="CONNECT")  # type: ignore[arg-type]
    try:
        answer.begin()
    finally:
        answer.close()
    if answer.status != 200:
        raise CredentialError(
            f"the proxy {proxy.name}:{proxy.port} answered {answer.status} to CONNECT {shown}"
        )
