"""A Docker Engine for runs of vectors: it holds nothing, does what a script says, and writes down what it was asked.

It speaks the part of the Engine API that a run uses, on a unix socket. A script is a list of
`{"target": TARGET, "exits": [STATUS, …], "stdout": …, "stderr": …, "seconds": …}`, where a target is `step:ID`,
`push:IMAGE`, `pull:IMAGE`, `network-create` or `volume-create`; the last status repeats. It has every image.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import socketserver
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tasks_engine.backends.docker.convert import STEP_LABEL
from tasks_engine.definition.model import HOME
from tasks_engine.images.reference import parse_reference

#: what a killed container ends with
_KILLED = 137
_STREAMS = {"stdout": 1, "stderr": 2}
_MISSING = 404, {"message": "no such thing"}

Answer = tuple[int, Any]


@dataclass
class _Container:
    name: str
    body: Mapping[str, Any]
    ended: threading.Event = field(default_factory=threading.Event)
    status: int = 0
    #: the call that started it; None for one that never runs
    call: dict[str, Any] | None = None
    #: (stream, bytes)
    printed: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.body.get("Labels") or {}

    @property
    def mounts(self) -> Sequence[Mapping[str, Any]]:
        return (self.body.get("HostConfig") or {}).get("Mounts") or ()


class _Outcomes:
    """What a script says of each call."""

    def __init__(self, script: Iterable[Mapping[str, Any]]) -> None:
        self._script = {each["target"]: each for each in script}
        self._calls: dict[str, int] = {}

    def next(self, target: str) -> tuple[int, Mapping[str, Any]]:
        """Status and all else of the next call."""
        entry = self._script.get(target, {})
        number = self._calls.get(target, 0)
        self._calls[target] = number + 1
        exits = entry.get("exits", [0])
        return exits[min(number, len(exits) - 1)], entry


class ScriptedEngine:
    """`with` starts it. `calls` and `removed` are in the order in which they came."""

    def __init__(self, script: Iterable[Mapping[str, Any]] = (), *, sees_files: bool = True) -> None:
        """`sees_files`: paths of this machine mean the same to it."""
        self.calls: list[dict[str, Any]] = []
        #: (kind, name, or step of a container)
        self.removed: list[tuple[str, str]] = []
        self._outcomes = _Outcomes(script)
        self._sees_files = sees_files
        self._lock = threading.Lock()
        self._containers: dict[str, _Container] = {}
        #: id -> body
        self._networks: dict[str, Mapping[str, Any]] = {}
        self._volumes: dict[str, Mapping[str, Any]] = {}
        self._has_logins = False
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> ScriptedEngine:
        self._folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
        path = self._folder / "docker.sock"
        self.url = f"unix://{path}"
        self._server = _Server(str(path), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        for container in self._containers.values():
            container.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        shutil.rmtree(self._folder)

    def note(self, call: dict[str, Any]) -> dict[str, Any]:
        """Writes a call down."""
        with self._lock:
            self.calls.append(call)
        return call

    @property
    def left(self) -> list[str]:
        """Names of what was made and is still there."""
        return [
            *(each.name for each in self._containers.values()),
            *(str(each["Name"]) for each in self._networks.values()),
            *self._volumes,
        ]

    def stream(self, container_id: str) -> list[tuple[str, bytes]]:
        """What a container prints; returns when it has ended."""
        container = self._containers[container_id]
        container.ended.wait()
        return container.printed

    # --- the Engine API -----------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        for verb, pattern, act in _ROUTES:
            found = re.fullmatch(pattern, path)
            if verb == method and found is not None:
                return act(self, *map(unquote, found.groups()), query=query, body=body)
        return 501, {"message": f"the scripted engine knows no {method} {path}"}

    def ping(self, **_: Any) -> Answer:
        return 200, "OK"

    def info(self, **_: Any) -> Answer:
        return 200, {"DriverStatus": [["Backing Filesystem", "extfs"]]}

    def create_container(self, query: Mapping[str, str], body: bytes) -> Answer:
        config = json.loads(body)
        if config["Image"].startswith("tasks-engine.invalid/"):
            if self._sees_files:
                return 404, {"message": f"No such image: {config['Image']}"}
            return 400, {
                "message": 'invalid mount config for type "bind": bind source path does not exist: /x'
            }
        with self._lock:
            container_id = f"{len(self._containers) + len(self.removed) + 1:064x}"
            self._containers[container_id] = _Container(query.get("name", container_id), config)
        return 201, {"Id": container_id, "Warnings": []}

    def inspect_container(self, container_id: str, **_: Any) -> Answer:
        return 200, {"Id": container_id, "Image": "sha256:0"}

    def start_container(self, container_id: str, **_: Any) -> Answer:
        container = self._containers[container_id]
        self._note_logins(container)
        container.call = self.note({"op": "run-step", "body": container.body})
        status, entry = self._outcomes.next(f"step:{container.labels[STEP_LABEL]}")
        container.printed = [
            (stream, entry[stream].encode()) for stream in ("stdout", "stderr") if entry.get(stream)
        ]
        timer = threading.Timer(entry.get("seconds", 0), self._end, (container, status))
        timer.daemon = True
        self._timers.append(timer)
        timer.start()
        return 204, None

    def wait_for_container(self, container_id: str, **_: Any) -> Answer:
        container = self._containers[container_id]
        container.ended.wait()
        return 200, {"StatusCode": container.status}

    def kill_container(self, container_id: str, **_: Any) -> Answer:
        container = self._containers[container_id]
        if container.call is None or container.ended.is_set():
            return 409, {"message": "the container is not running"}
        self._end(container, _KILLED, killed=True)
        return 204, None

    def remove_container(self, container_id: str, **_: Any) -> Answer:
        container = self._containers.pop(container_id, None)
        if container is None:
            return _MISSING
        if container.call is not None:
            self._end(container, _KILLED, killed=True)
            self.removed.append(("container", container.labels[STEP_LABEL]))
        return 204, None

    def list_containers(self, query: Mapping[str, str], **_: Any) -> Answer:
        found = [
            {"Id": name, "Names": [f"/{each.name}"], "Labels": each.labels}
            for name, each in self._containers.items()
        ]
        return 200, _with_label(found, query)

    def put_archive(self, container_id: str, query: Mapping[str, str], body: bytes) -> Answer:
        into = query["path"]
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            files = sorted(each.name for each in tar if each.isfile())
        volume = next(
            (
                mount["Source"]
                for mount in self._containers[container_id].mounts
                if mount["Target"] == into and mount["Type"] == "volume"
            ),
            "",
        )
        self.note({"op": "put-files", "volume": volume, "files": files})
        return 200, None

    def missing(self, *_: str, **__: Any) -> Answer:
        return _MISSING

    def create_network(self, body: bytes, **_: Any) -> Answer:
        config = json.loads(body)
        call = self.note({"op": "network-create", "body": config})
        status, entry = self._outcomes.next("network-create")
        if status:
            call["exit"] = status
            return 409, {"message": entry.get("stdout", "")}
        network_id = f"{len(self._networks):064x}"
        self._networks[network_id] = config
        return 201, {"Id": network_id}

    def inspect_network(self, name: str, **_: Any) -> Answer:
        return 200, {"Name": name, "Containers": {}}

    def remove_network(self, network_id: str, **_: Any) -> Answer:
        self.removed.append(("network", str(self._networks.pop(network_id)["Name"])))
        return 204, None

    def list_networks(self, query: Mapping[str, str], **_: Any) -> Answer:
        found = [
            {"Id": name, "Name": each["Name"], "Labels": each["Labels"]}
            for name, each in self._networks.items()
        ]
        return 200, _with_label(found, query)

    def create_volume(self, body: bytes, **_: Any) -> Answer:
        config = json.loads(body)
        call = self.note({"op": "volume-create", "name": config["Name"]})
        status, entry = self._outcomes.next("volume-create")
        if status:
            call["exit"] = status
            return 500, {"message": entry.get("stdout", "")}
        self._volumes[config["Name"]] = config
        return 201, config

    def remove_volume(self, name: str, **_: Any) -> Answer:
        del self._volumes[name]
        self.removed.append(("volume", name))
        return 204, None

    def list_volumes(self, query: Mapping[str, str], **_: Any) -> Answer:
        return 200, {"Volumes": _with_label(list(self._volumes.values()), query)}

    def pull(self, query: Mapping[str, str], **_: Any) -> Answer:
        return self._transfer("pull", f"{query['fromImage']}:{query['tag']}")

    def push(self, name: str, query: Mapping[str, str], **_: Any) -> Answer:
        return self._transfer("push", f"{name}:{query['tag']}")

    def inspect_image(self, name: str, **_: Any) -> Answer:
        return 200, {"Id": "sha256:0", "RepoDigests": [f"{name.partition(':')[0]}@sha256:{'0' * 64}"]}

    # --- what they share ----------------------------------------------------------------------------------------------

    def _transfer(self, op: str, image: str) -> Answer:
        familiar = parse_reference(image).familiar
        call = self.note({"op": op, "image": image})
        status, _ = self._outcomes.next(f"{op}:{familiar}")
        if status:
            call["exit"] = status
            return 200, {"error": "the script says so"}
        return 200, {"aux": {"Digest": f"sha256:{'0' * 64}", "Size": 1}}

    def _end(self, container: _Container, status: int, *, killed: bool = False) -> None:
        with self._lock:
            if container.ended.is_set():
                return
            container.status = status
            if status and not killed and container.call is not None:
                container.call["exit"] = status
            container.ended.set()

    def _note_logins(self, container: _Container) -> None:
        """The logins that steps see, before the first one starts."""
        if self._has_logins:
            return
        self._has_logins = True
        for mount in container.mounts:
            if mount["Target"] == HOME and mount["Type"] == "bind":
                config = json.loads((Path(mount["Source"]) / ".docker/config.json").read_text())
                for registry, login in config["auths"].items():
                    username, _, password = base64.b64decode(login["auth"]).decode().partition(":")
                    self.note(
                        {"op": "login", "registry": registry, "username": username, "password": password}
                    )


def _with_label(found: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    wanted = json.loads(query.get("filters", "{}")).get("label", [])
    pairs = [each.partition("=")[::2] for each in wanted]
    return [each for each in found if all(each["Labels"].get(name) == value for name, value in pairs)]


_Act = Callable[..., Answer]
_ROUTES: Sequence[tuple[str, str, _Act]] = (
    ("GET", "/_ping", ScriptedEngine.ping),
    ("GET", "/info", ScriptedEngine.info),
    ("POST", "/containers/create", ScriptedEngine.create_container),
    ("GET", "/containers/json", ScriptedEngine.list_containers),
    ("GET", "/containers/([^/]+)/json", ScriptedEngine.inspect_container),
    ("POST", "/containers/([^/]+)/start", ScriptedEngine.start_container),
    ("POST", "/containers/([^/]+)/wait", ScriptedEngine.wait_for_container),
    ("POST", "/containers/([^/]+)/(?:kill|stop)", ScriptedEngine.kill_container),
    ("PUT", "/containers/([^/]+)/archive", ScriptedEngine.put_archive),
    ("GET", "/containers/([^/]+)/archive", ScriptedEngine.missing),
    ("DELETE", "/containers/([^/]+)", ScriptedEngine.remove_container),
    ("POST", "/networks/create", ScriptedEngine.create_network),
    ("GET", "/networks", ScriptedEngine.list_networks),
    ("GET", "/networks/([^/]+)", ScriptedEngine.inspect_network),
    ("DELETE", "/networks/([^/]+)", ScriptedEngine.remove_network),
    ("POST", "/volumes/create", ScriptedEngine.create_volume),
    ("GET", "/volumes", ScriptedEngine.list_volumes),
    ("DELETE", "/volumes/([^/]+)", ScriptedEngine.remove_volume),
    ("POST", "/images/create", ScriptedEngine.pull),
    ("POST", "/images/(.+)/push", ScriptedEngine.push),
    ("GET", "/images/(.+)/json", ScriptedEngine.inspect_image),
)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        raise


def _handler(engine: ScriptedEngine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = re.sub(r"\A/v[0-9.]+", "", parts.path)
            body = self._body()
            attached = re.fullmatch("/containers/([^/]+)/attach", path)
            if attached is not None:
                self._attach(attached[1])
                return
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, said = engine.answer(self.command, path, query, body)
            data = (
                b"" if said is None else said.encode() if isinstance(said, str) else json.dumps(said).encode()
            )
            with suppress(OSError):  # a client that has left
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_POST = do_PUT = do_DELETE = do_GET

        def _attach(self, container: str) -> None:
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            for stream, data in engine.stream(container):
                header = bytes([_STREAMS[stream], 0, 0, 0]) + len(data).to_bytes(4, "big")
                with suppress(OSError):
                    self.wfile.write(header + data)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts: list[bytes] = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
