"""A registry in this process, for tests: keeps what is pushed, wants a login if told so, and fails as scripted."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

USERNAME, PASSWORD = "tester", "correct horse"
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)")


@dataclass
class Scripted:
    """An answer in place of the registry's own, used once."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: without Content-Length the connection ends the body
    length: int | None = -1
    #: writes to the connection itself instead; the connection is closed behind it
    raw: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    #: name in lower case
    headers: Mapping[str, str]
    body: bytes = b""


class FakeRegistry:
    """`auth` is "", "basic" or "bearer". What it holds may be changed while it runs."""

    def __init__(self, auth: str = "", *, address: str = "127.0.0.1") -> None:
        self.auth = auth
        #: repository -> tag or digest -> (media type, bytes)
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        #: repository -> digest -> bytes
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.asked: list[Asked] = []
        #: where clients called from, one for each connection
        self.connections: list[tuple[str, int]] = []
        #: (method and path as a pattern, answer); the first that fits is taken and removed
        self.script: list[tuple[str, Scripted]] = []
        #: sent with every answer of the registry itself
        self.headers: dict[str, str] = {}
        #: tags in one page
        self.page_size = 1000
        self.sends_digest = True
        self.token_lifetime_s = 300
        self.identity_token = "identity"
        self.realm = ""
        self.tokens: set[str] = set()
        self._server = _Server((address, 0), self)

    @property
    def name(self) -> str:
        """Its name in references."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def requests(self, pattern: str = "") -> list[str]:
        """`METHOD path` of those that fit."""
        lines = [f"{each.method} {each.path}" for each in self.asked]
        return [line for line in lines if re.search(pattern, line)]

    def fail(self, pattern: str, answer: Scripted, times: int = 1) -> None:
        self.script += [(pattern, answer)] * times

    def put_blob(self, repository: str, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs.setdefault(repository, {})[digest] = data
        return digest

    def put(self, repository: str, tag: str, content: Mapping[str, object] | bytes, media_type: str) -> str:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        for key in (tag, digest):
            self.manifests.setdefault(repository, {})[key] = (media_type, data)
        return digest

    @contextmanager
    def running(self, context: ssl.SSLContext | None = None) -> Iterator[FakeRegistry]:
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True

    def __init__(self, address: tuple[str, int], registry: FakeRegistry) -> None:
        super().__init__(address, _Handler)
        self.registry = registry
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()

    def process_request(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        with self.lock:
            self.open.add(request)
            self.registry.connections.append(client_address)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:  # type: ignore[no-untyped-def]
        with self.lock:
            self.open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Ends connections that clients keep open, so that no thread stays."""
        with self.lock:
            for connection in self.open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        """Clients that hang up are what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        self.request.settimeout(20)
        super().setup()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_POST = do_GET

    @property
    def _registry(self) -> FakeRegistry:
        return self.server.registry

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._registry.asked.append(Asked(self.command, self.path, headers, body))
        scripted = self._scripted()
        url = urlsplit(self.path)
        if scripted is not None:
            self._send_scripted(scripted)
        elif url.path == "/token":
            self._give_token(parse_qs(url.query), parse_qs(body.decode()))
        elif not self._is_let_in(url.path):
            self._challenge(url.path)
        elif url.path == "/v2/":
            self._send(200, b"{}", {"Content-Type": "application/json"})
        else:
            self._route(url.path, parse_qs(url.query), body)

    def _scripted(self) -> Scripted | None:
        line = f"{self.command} {self.path}"
        with self.server.lock:
            for index, (pattern, answer) in enumerate(self._registry.script):
                if re.search(pattern, line):
                    del self._registry.script[index]
                    return answer
        return None

    def _send_scripted(self, answer: Scripted) -> None:
        if answer.raw is not None:
            self.close_connection = True
            answer.raw(self)
            return
        length = len(answer.body) if answer.length == -1 else answer.length
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if length is None:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
            self.close_connection = length != len(answer.body)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _send(self, status: int, body: bytes = b"", headers: Mapping[str, str] = {}) -> None:
        self.send_response(status)
        for name, value in {**self._registry.headers, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str, headers: Mapping[str, str] = {}) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]})
        self._send(status, body.encode(), {"Content-Type": "application/json", **headers})

    def _scope(self, path: str) -> str:
        match = _PATH.fullmatch(path)
        if match is None:
            return ""
        actions = "pull" if self.command in ("GET", "HEAD") else "pull,push"
        return f"repository:{match['name']}:{actions}"

    def _is_let_in(self, path: str) -> bool:
        given = self.headers.get("Authorization", "")
        if self._registry.auth == "basic":
            return given == _basic(USERNAME, PASSWORD)
        if self._registry.auth == "bearer":
            token = given.removeprefix("Bearer ")
            return token in self._registry.tokens and token.endswith(f"|{self._scope(path)}")
        return True

    def _challenge(self, path: str) -> None:
        if self._registry.auth == "basic":
            value = 'Basic realm="tests"'
        else:
            realm = self._registry.realm or f"http://{self._registry.name}/token"
            value = f'Bearer realm="{realm}",service="fake",scope="{self._scope(path)}"'
        self._error(401, "UNAUTHORIZED", {"WWW-Authenticate": value})

    def _give_token(self, query: Mapping[str, list[str]], form: Mapping[str, list[str]]) -> None:
        if self.command == "POST":
            query = form
            is_known = form.get("refresh_token") == [self._registry.identity_token]
        else:
            is_known = self.headers.get("Authorization") == _basic(USERNAME, PASSWORD)
        if not is_known:
            self._error(401, "UNAUTHORIZED")
            return
        token = f"{len(self._registry.tokens)}-{time.monotonic_ns()}|{query.get('scope', [''])[0]}"
        self._registry.tokens.add(token)
        content = {"token": token, "expires_in": self._registry.token_lifetime_s}
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _route(self, path: str, query: Mapping[str, list[str]], body: bytes) -> None:
        match = _PATH.fullmatch(path)
        if match is None:
            self._error(404, "NOT_FOUND")
            return
        name, kind, rest = match["name"], match["kind"], match["rest"]
        if kind == "manifests" and self.command == "PUT" and not self._has_parts(name, json.loads(body)):
            self._error(400, "MANIFEST_BLOB_UNKNOWN")
        elif kind == "manifests" and self.command == "PUT":
            digest = self._registry.put(name, rest, body, self.headers.get("Content-Type", ""))
            self._send(
                201, b"", {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/manifests/{digest}"}
            )
        elif kind == "manifests":
            self._give_manifest(name, rest)
        elif kind == "blobs" and self.command == "POST" and rest == "uploads/":
            self._send(202, b"", {"Location": f"/v2/{name}/blobs/uploads/1?state=x"})
        elif kind == "blobs" and self.command == "PUT":
            self._take_blob(name, query.get("digest", [""])[0], body)
        elif kind == "blobs":
            self._give_blob(name, rest)
        else:
            self._list_tags(name, query)

    def _has_parts(self, name: str, content: Mapping[str, Any]) -> bool:
        """Whether all that a manifest or an index lists was pushed."""
        parts = [*content.get("layers", ()), *filter(None, [content.get("config")])]
        blobs = self._registry.blobs.get(name, {})
        manifests = self._registry.manifests.get(name, {})
        return all(part["digest"] in blobs for part in parts) and all(
            entry["digest"] in manifests for entry in content.get("manifests", ())
        )

    def _give_manifest(self, name: str, rest: str) -> None:
        found = self._registry.manifests.get(name, {}).get(rest)
        if found is None:
            self._error(404, "MANIFEST_UNKNOWN")
            return
        digest = f"sha256:{hashlib.sha256(found[1]).hexdigest()}"
        extra = {"Docker-Content-Digest": digest} if self._registry.sends_digest else {}
        self._send(200, found[1], {"Content-Type": found[0], **extra})

    def _take_blob(self, name: str, digest: str, body: bytes) -> None:
        if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
            self._error(400, "DIGEST_INVALID")
            return
        self._registry.put_blob(name, body)
        self._send(201, b"", {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/blobs/{digest}"})

    def _give_blob(self, name: str, digest: str) -> None:
        data = self._registry.blobs.get(name, {}).get(digest)
        if data is None:
            self._error(404, "BLOB_UNKNOWN")
        else:
            self._send(200, data, {"Content-Type": "application/octet-stream"})

    def _list_tags(self, name: str, query: Mapping[str, list[str]]) -> None:
        if name not in self._registry.manifests:
            self._error(404, "NAME_UNKNOWN")
            return
        last = query.get("last", [""])[0]
        tags = sorted(key for key in self._registry.manifests[name] if ":" not in key and key > last)
        page = tags[: self._registry.page_size]
        link = {}
        if len(page) < len(tags):
            address = f"/v2/{name}/tags/list?last={page[-1]}&n={len(page)}"
            link = {"Link": f'<{address}>; rel="next"'}
        self._send(
            200,
            json.dumps({"name": name, "tags": page}).encode(),
            {"Content-Type": "application/json", **link},
        )


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
