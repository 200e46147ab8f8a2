"""Finds the container engine and asks who it is, with the standard library only.

Does not start anything and does not import the docker SDK: `tasks doctor` and error messages need this
even where nothing else works.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks_engine.backends.embedded.state import EnginePaths, read_engine_file
from tasks_engine.errors import EngineError

if TYPE_CHECKING:
    from http.client import HTTPConnection

DEFAULT_SOCKET = Path("/var/run/docker.sock")

_CONNECT_TIMEOUT_S = 2.0
#: a version document has about 2 KB; more than this is not a container engine
_ANSWER_LIMIT_BYTES = 1 << 20


class NoEngineError(EngineError):
    """There is no engine to use; unlike one that was chosen and cannot be used."""


@dataclass(frozen=True)
class TlsFiles:
    """Certificate files of an engine behind TLS; the fields are None where the file is not configured."""

    ca: Path | None
    cert: Path | None
    key: Path | None
    #: False only where the user's own configuration says so
    verify: bool


@dataclass(frozen=True)
class Endpoint:
    """An engine's address and why it was chosen."""

    #: unix:///path or tcp://host:port
    url: str
    #: "DOCKER_HOST", "docker context 'x'", "default socket", "rootless socket" or "embedded engine"
    origin: str
    tls: TlsFiles | None = None


@dataclass(frozen=True)
class EngineVersion:
    """What an engine says about itself; texts are empty where it does not say."""

    version: str
    api_version: str
    min_api_version: str
    os: str
    arch: str
    kernel: str
    #: product, such as "Docker Engine - Community" or "Podman Engine"
    name: str
    #: part -> version, such as {"containerd": "1.7.24"}
    component_version_by_name: Mapping[str, str] = field(default_factory=dict)


def find_endpoint(environ: Mapping[str, str], home: Path, state_dir: Path) -> Endpoint:
    """The engine to use: DOCKER_HOST, the docker context, a default socket that answers, the embedded one.

    What the user chose explicitly is returned as it is, reachable or not: silently building elsewhere would
    be worse than an error. Errors: NoEngineError; EngineError where the chosen one cannot be used.
    """
    explicit = _from_docker_host(environ, home) or _from_context(environ, home)
    if explicit is not None:
        return explicit
    if _accepts_connections(DEFAULT_SOCKET):
        return Endpoint(f"unix://{DEFAULT_SOCKET}", "default socket")
    runtime_dir = environ.get("XDG_RUNTIME_DIR", "")
    if runtime_dir and _accepts_connections(Path(runtime_dir) / "docker.sock"):
        return Endpoint(f"unix://{Path(runtime_dir) / 'docker.sock'}", "rootless socket")
    embedded = find_embedded(state_dir)
    if embedded is not None and _accepts_connections(Path(embedded.url.removeprefix("unix://"))):
        return embedded
    if embedded is not None:
        raise NoEngineError("the embedded engine is not running", hint="run `tasks engine start`")
    raise NoEngineError(
        f"no container engine found: neither DOCKER_HOST nor a docker context is set, and {DEFAULT_SOCKET} "
        "does not answer",
        hint=_how_to_get_an_engine(),
    )


def find_embedded(state_dir: Path) -> Endpoint | None:
    """The embedded engine this state folder knows of, running or not."""
    engine = read_engine_file(EnginePaths(state_dir).engine_file)
    return Endpoint(engine.docker_host, "embedded engine") if engine is not None else None


def ping(endpoint: Endpoint, timeout_s: float = 5.0) -> EngineVersion:
    """Who answers at this address. Errors: EngineError after `timeout_s` at most, whatever happens there."""
    status, body = _get(endpoint, "/version", timeout_s)
    if status != 200:
        raise EngineError(f"the engine at {_where(endpoint)} answered HTTP {status} to GET /version")
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise EngineError(f"what answers at {_where(endpoint)} is not a container engine") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("ApiVersion"), str):
        raise EngineError(f"what answers at {_where(endpoint)} is not a container engine")
    return _read_version(fields)


def _read_version(fields: Mapping[str, object]) -> EngineVersion:
    """Docker's and Podman's GET /version (Docker Engine API, SystemVersion)."""

    def text(name: str) -> str:
        value = fields.get(name)
        return value if isinstance(value, str) else ""

    version_by_name: dict[str, str] = {}
    listed = fields.get("Components")
    for component in listed if isinstance(listed, list) else []:
        if isinstance(component, dict) and isinstance(component.get("Name"), str):
            version_by_name[component["Name"]] = str(component.get("Version", ""))
    platform = fields.get("Platform")
    platform_name = platform.get("Name") if isinstance(platform, dict) else None
    name = next(iter(version_by_name), "")
    # Debian's build leaves the platform's name empty and calls its first component just "Engine"
    name = platform_name or {"Engine": "Docker Engine"}.get(name, name)
    return EngineVersion(
        version=text("Version"),
        api_version=text("ApiVersion"),
        min_api_version=text("MinAPIVersion"),
        os=text("Os"),
        arch=text("Arch"),
        kernel=text("KernelVersion"),
        name=name,
        component_version_by_name=version_by_name,
    )


def _from_docker_host(environ: Mapping[str, str], home: Path) -> Endpoint | None:
    url = environ.get("DOCKER_HOST", "").strip()
    if not url:
        return None
    # the docker CLI takes any non-empty value of DOCKER_TLS_VERIFY as "yes", even "0"
    tls = None
    if environ.get("DOCKER_TLS_VERIFY"):
        folder = Path(environ.get("DOCKER_CERT_PATH") or _docker_config_dir(environ, home))
        tls = _tls_files(folder, verify=True)
    return Endpoint(_usable_url(url, "DOCKER_HOST"), "DOCKER_HOST", tls)


def _from_context(environ: Mapping[str, str], home: Path) -> Endpoint | None:
    config_dir = _docker_config_dir(environ, home)
    name = environ.get("DOCKER_CONTEXT", "").strip()
    said_by = "DOCKER_CONTEXT"
    if not name:
        config_file = config_dir / "config.json"
        config = _read_json(config_file)
        current = config.get("currentContext") if config is not None else None
        name = current if isinstance(current, str) else ""
        said_by = str(config_file)
    if name in ("", "default"):
        return None
    origin = f"docker context '{name}'"
    # the docker CLI stores each context under the hash of its name
    folder_name = hashlib.sha256(name.encode()).hexdigest()
    meta_file = config_dir / "contexts" / "meta" / folder_name / "meta.json"
    meta = _read_json(meta_file)
    if meta is None:
        raise EngineError(
            f"{origin}, chosen by {said_by}, does not exist",
            hint="`docker context ls` lists them; `docker context use default` goes back to the local engine",
        )
    endpoints = meta.get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    url = docker.get("Host") if isinstance(docker, dict) else None
    if not isinstance(docker, dict) or not isinstance(url, str) or not url:
        raise EngineError(f"{origin} has no address of a Docker engine in {meta_file}")
    tls_dir = config_dir / "contexts" / "tls" / folder_name / "docker"
    skips_verify = docker.get("SkipTLSVerify") is True
    tls = _tls_files(tls_dir, verify=not skips_verify) if tls_dir.is_dir() or skips_verify else None
    return Endpoint(_usable_url(url, origin), origin, tls)


def _docker_config_dir(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or home / ".docker")


def _tls_files(folder: Path, *, verify: bool) -> TlsFiles:
    def existing(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    return TlsFiles(existing("ca.pem"), existing("cert.pem"), existing("key.pem"), verify)


def _read_json(path: Path) -> dict[str, object] | None:
    """A JSON object, or None where there is no such file. Errors: EngineError for anything else."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EngineError(f"{path} cannot be read: {error}", hint="repair or remove that file") from error
    if not isinstance(fields, dict):
        raise EngineError(f"{path} is not a JSON object", hint="repair or remove that file")
    return fields


def _usable_url(url: str, origin: str) -> str:
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("tcp", "http", "https"):
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = None
        if not parts.hostname or port is None:
            raise EngineError(
                f"{origin} says '{url}', which has no host and port", hint="write tcp://host:port"
            )
        return url
    if separator and scheme == "unix":
        if not rest.startswith("/"):
            raise EngineError(f"{origin} says '{url}', which has no absolute path", hint="write unix:///path")
        return url
    if separator and scheme == "ssh":
        raise EngineError(
            f"{origin} says '{url}': engines behind ssh cannot be used directly",
            hint=f"forward its socket: `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock {rest}`, "
            "then set DOCKER_HOST=unix:///tmp/docker.sock",
        )
    if separator and scheme == "npipe":
        raise EngineError(
            f"{origin} says '{url}': Windows pipes cannot be used",
            hint="run tasks inside WSL 2, where Docker Desktop offers unix:///var/run/docker.sock",
        )
    raise EngineError(
        f"{origin} says '{url}', which is no address of an engine",
        hint="write unix:///path or tcp://host:port",
    )


def _accepts_connections(path: Path) -> bool:
    # the file stays behind when an engine dies, so only connecting tells
    if not hasattr(socket, "AF_UNIX"):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_CONNECT_TIMEOUT_S)
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return True


def _how_to_get_an_engine() -> str:
    if sys.platform == "darwin":
        return "install and start Docker Desktop, OrbStack or Colima, or set DOCKER_HOST"
    if not sys.platform.startswith("linux"):
        return "run tasks inside WSL 2 with Docker Desktop, or set DOCKER_HOST"
    if DEFAULT_SOCKET.exists():
        return (
            f"{DEFAULT_SOCKET} is there but refuses: start Docker (`sudo systemctl start docker`), or join "
            "its group (`sudo usermod -aG docker $USER`, then log in again)"
        )
    if os.geteuid() == 0:
        return "run `tasks engine start`, or set DOCKER_HOST"
    return (
        "run `sudo tasks engine start`, or install Docker (https://docs.docker.com/engine/install/), "
        "or set DOCKER_HOST"
    )


def _where(endpoint: Endpoint) -> str:
    return f"{endpoint.url} ({endpoint.origin})"


def _get(endpoint: Endpoint, path: str, timeout_s: float) -> tuple[int, bytes]:
    """HTTP status and body of one GET, within `timeout_s` all in all."""
    from http.client import HTTPException  # not at the top: finding an engine does not need HTTP

    connection = _open_connection(endpoint, timeout_s)
    timed_out = threading.Event()

    def give_up() -> None:
        # a socket's own timeout starts again with every byte received; this one does not
        timed_out.set()
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    watchdog = threading.Timer(timeout_s, give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(_ANSWER_LIMIT_BYTES)
        if timed_out.is_set():
            raise TimeoutError
        return answer.status, body
    except (OSError, HTTPException) as error:
        if timed_out.is_set() or isinstance(error, TimeoutError):
            raise EngineError(
                f"the engine at {_where(endpoint)} did not answer within {timeout_s:g} s", retryable=True
            ) from error
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise EngineError(
            f"the engine at {_where(endpoint)} cannot be reached: {why or type(error).__name__}",
            hint=_how_to_reach(endpoint, error),
            retryable=True,
        ) from error
    finally:
        watchdog.cancel()
        connection.close()


def _open_connection(endpoint: Endpoint, timeout_s: float) -> HTTPConnection:
    import ssl
    from http.client import HTTPConnection, HTTPSConnection

    class UnixConnection(HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(endpoint.url.removeprefix("unix://"))

    if endpoint.url.startswith("unix://"):
        return UnixConnection("localhost", timeout=timeout_s)
    parts = urlsplit(endpoint.url)
    host = parts.hostname or ""
    if endpoint.tls is None and parts.scheme != "https":
        return HTTPConnection(host, parts.port, timeout=timeout_s)
    tls = endpoint.tls or TlsFiles(None, None, None, verify=True)
    try:
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.cert and tls.key:
            context.load_cert_chain(str(tls.cert), str(tls.key))
    except OSError as error:  # ssl.SSLError is one
        raise EngineError(f"the certificates of {_where(endpoint)} cannot be used: {error}") from error
    return HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)


def _how_to_reach(endpoint: Endpoint, error: Exception) -> str:
    if endpoint.origin == "embedded engine":
        return "run `tasks engine start`"
    if isinstance(error, PermissionError):
        return "join the docker group (`sudo usermod -aG docker $USER`, then log in again)"
    if endpoint.tls is not None:
        return "check DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, or the context's certificates"
    if endpoint.origin == "DOCKER_HOST":
        return "start that engine, or correct or unset DOCKER_HOST"
    if endpoint.origin.startswith("docker context"):
        return "start that engine, or choose another with `docker context use`"
    return "start Docker"
