"""What `tasks doctor` finds: engine, BuildKit, registry, logins and disk, each with the fix for what is wrong."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.docker.endpoint import Endpoint, ping
from tasks_engine.backends.run_folder import abandoned_runs
from tasks_engine.errors import TasksError
from tasks_engine.settings import Settings

_REGISTRY_TIMEOUT_S = 5
_LOW_DISK_BYTES = 2 * 1024**3
#: the oldest engine this project is tested against
_OLDEST_API = (1, 41)


@dataclass(frozen=True)
class Finding:
    #: what was looked at
    name: str
    #: "ok", "missing" (runs fail without it), or "note" (they work, with a limit)
    state: str
    text: str
    fix: str = ""


FindEngine = Callable[[], tuple[Endpoint | None, str]]


def diagnose(settings: Settings, find_engine: FindEngine) -> Iterator[Finding]:
    """All findings, as they are made. `find_engine` gives the endpoint and its registry, or raises."""
    registry = settings.registry
    endpoint: Endpoint | None = None
    try:
        endpoint, own_registry = find_engine()
        registry = registry or own_registry
    except TasksError as error:
        yield Finding("engine", "missing", error.message, error.hint)
    if endpoint is not None:
        yield _engine(endpoint)
    elif settings.buildkit_host:
        yield Finding(
            "engine", "note", "no Docker engine: cmd steps cannot run", "`tasks engine start` starts one"
        )
    if settings.buildkit_host or endpoint is not None:
        yield from _buildkit(settings, endpoint)
    yield _registry(registry)
    yield _logins(settings)
    yield from _state_folder(settings)


def _engine(endpoint: Endpoint) -> Finding:
    try:
        version = ping(endpoint)
    except TasksError as error:
        return Finding(
            "engine", "missing", f"{endpoint.url} ({endpoint.origin}): {error.message}", error.hint
        )
    text = (
        f"{version.name} {version.version}, API {version.api_version}, {version.os}/{version.arch}, at "
        f"{endpoint.url} ({endpoint.origin})"
    )
    if tuple(int(part) for part in version.api_version.split(".") if part.isdigit()) < _OLDEST_API:
        return Finding("engine", "missing", text, "tasks needs Docker Engine 20.10 or newer")
    return Finding("engine", "ok", text)


def _buildkit(settings: Settings, endpoint: Endpoint | None) -> Iterator[Finding]:
    from tasks_engine.backends import buildkit, builds

    try:
        with builds.connect(settings.buildkit_host, endpoint, settings.buildkit_tls_dir) as client:
            info = client.info()
    except (buildkit.BuildKitError, TasksError) as error:
        yield Finding(
            "buildkit", "missing", error.message, "Docker Engine 20.10 and newer have it; see BUILDKIT_HOST"
        )
        return
    can = info.capabilities
    platforms = ", ".join(dict.fromkeys(p for worker in info.workers for p in worker.platforms)) or "unknown"
    version = info.version or "0.8 or older"
    yield Finding(
        "buildkit",
        "ok",
        f"{info.kind}, version {version}, platforms {platforms}, exporters {', '.join(sorted(can.exporters))}",
    )
    if not can.error_details:
        yield Finding(
            "buildkit",
            "note",
            "old: it sends errors without their place; lines of failing Dockerfiles are found by their text",
            "a newer engine (`tasks engine start` on a machine without one) tells them exactly",
        )
    if settings.buildkit_host or endpoint is None or "tasks-engine" not in endpoint.url:
        yield Finding(
            "step logs",
            "note",
            "by default an engine drops build output beyond 2 MiB a step or 200 KiB/s",
            "set BUILDKIT_STEP_LOG_MAX_SIZE=1073741824 and BUILDKIT_STEP_LOG_MAX_SPEED=1073741824 in the "
            "environment of dockerd or buildkitd and restart it",
        )


def _registry(registry: str) -> Finding:
    if not registry:
        return Finding(
            "registry",
            "note",
            "none given, so $Registry is empty in task files",
            "use --registry HOST, or set TASKS_REGISTRY; `tasks engine start` brings one",
        )
    is_local = registry.partition(":")[0] in ("localhost", "[") or registry.startswith("127.")
    attempts = ("http", "https") if is_local else ("https",)
    problem = ""
    for scheme in attempts:
        try:
            status = _get_v2(scheme, registry)
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = str(error) or type(error).__name__
            continue
        if status in (200, 401):
            login = "" if status == 200 else ", asks for a login"
            return Finding("registry", "ok", f"{registry} answers over {scheme}{login}")
        problem = f"HTTP {status} to GET /v2/"
    return Finding(
        "registry",
        "missing",
        f"{registry} does not answer as a registry: {problem}",
        "check its name and that it runs",
    )


def _get_v2(scheme: str, registry: str) -> int:
    connection = (
        http.client.HTTPConnection(registry, timeout=_REGISTRY_TIMEOUT_S)
        if scheme == "http"
        else http.client.HTTPSConnection(
            registry, timeout=_REGISTRY_TIMEOUT_S, context=ssl.create_default_context()
        )
    )
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status
    finally:
        connection.close()


def _logins(settings: Settings) -> Finding:
    try:
        names = DockerConfigCredentials(settings.docker_config_dir).registries()
    except TasksError as error:
        return Finding("logins", "missing", error.message, error.hint)
    if not names:
        return Finding("logins", "ok", f"none in {settings.docker_config_dir}; public registries need none")
    return Finding("logins", "ok", ", ".join(names))


def _state_folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.state_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding(
            "state folder", "missing", f"{folder}: {error.strerror}", "choose another with TASKS_STATE_DIR"
        )
        return
    text = f"{folder}, {free / 1e9:.1f} GB free"
    if not os.access(folder, os.W_OK):
        yield Finding(
            "state folder", "missing", f"{text}, not writable", "choose another with TASKS_STATE_DIR"
        )
    elif free < _LOW_DISK_BYTES:
        yield Finding("state folder", "note", text, "free some space: runs keep their logs there")
    else:
        yield Finding("state folder", "ok", text)
    abandoned = []
    for run in abandoned_runs(settings.runs_dir):
        abandoned.append(run.path.name)
        run.close()
    if abandoned:
        yield Finding(
            "left behind",
            "note",
            f"{len(abandoned)} runs were killed and still hold things: {', '.join(abandoned)}",
            "the next `tasks run` removes them once their engine answers",
        )
