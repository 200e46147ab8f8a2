"""What `tasks doctor` finds: engine, builder, registry, logins, limits and disk, with the fix for what is wrong."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.docker.endpoint import Endpoint, ping
from tasks_engine.errors import RegistryError, TasksError
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.policy import DockerSocket, Policy
from tasks_engine.settings import Settings
from tasks_engine.sizes import size_text

_REGISTRY_TIMEOUT_S = 5
#: a registry that is asked for it says that it has none, and whether it lets us in
_NO_REPOSITORY = "tasks-doctor"
#: that are named
_MAX_RUNS = 5
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
        yield from _tags(settings, endpoint)
    yield _registry(registry, settings)
    yield _logins(settings)
    yield _policy(settings.policy)
    yield from _state_folder(settings)
    yield from _left_behind(settings)


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


def _tags(settings: Settings, endpoint: Endpoint | None) -> Iterator[Finding]:
    """Whether the tags of a run's pushes can wait until all steps have succeeded."""
    if not settings.buildkit_host:
        from tasks_engine.backends.docker import client, images

        assert endpoint is not None, "without an engine there is a standalone builder"
        try:
            api = client.connect(endpoint)
            try:
                has_store = images.has_content_store(api)
            finally:
                api.close()
        except TasksError:
            return  # the engine itself was found to be missing
        if not has_store:
            yield Finding(
                "tags",
                "note",
                "this engine moves each tag with its push: when a later push fails, the tags before it have moved",
                'Docker Engine 24 or newer with "features": {"containerd-snapshotter": true} in its daemon.json, or a '
                "standalone BuildKit (BUILDKIT_HOST), moves them together at the end",
            )
            return
    yield Finding("tags", "ok", "the tags of a run move together, once all its steps have succeeded")


def _registry(registry: str, settings: Settings) -> Finding:
    if not registry:
        return Finding(
            "registry",
            "note",
            "none given, so $Registry is empty in task files",
            "use --registry HOST, or set TASKS_REGISTRY; `tasks engine start` brings one",
        )
    from tasks_engine.backends.registry import RegistryClient
    from tasks_engine.backends.registry.failures import Refused

    try:
        reference = parse_reference(f"{registry}/{_NO_REPOSITORY}")
    except InvalidReference as error:
        return Finding(
            "registry", "missing", f"'{registry}' is not the name of a registry: {error}", "use HOST[:PORT]"
        )
    until = time.monotonic() + _REGISTRY_TIMEOUT_S

    def wait(_: float) -> None:
        """One that is slow is not asked again; one that refuses is, at once."""
        if time.monotonic() > until:
            raise RegistryError(
                f"{registry} did not answer within {_REGISTRY_TIMEOUT_S} s",
                hint="check its name and that it runs",
            )

    credentials = DockerConfigCredentials(settings.docker_config_dir)
    try:
        with RegistryClient(
            credentials, settings.registries, timeout_s=_REGISTRY_TIMEOUT_S, sleep=wait
        ) as client:
            client.digest(reference)
        login = "" if credentials.find(reference.registry) is None else ", and knows the login"
    except Refused as error:
        state = "missing" if credentials.find(reference.registry) is not None else "note"
        return Finding("registry", state, error.message, error.hint)
    except RegistryError as error:
        return Finding("registry", "missing", error.message, error.hint or "check its name and that it runs")
    return Finding("registry", "ok", f"{registry} answers{login}")


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


def _policy(policy: Policy) -> Finding:
    """What steps may do here."""
    socket = {
        DockerSocket.AUTO: "steps with the image of a docker client get the engine's socket",
        DockerSocket.ALWAYS: "all steps get the engine's socket, which makes them masters of the engine's machine",
        DockerSocket.NEVER: "no step gets the engine's socket",
    }[policy.docker_socket]
    words = [f"{socket} (docker_socket = {policy.docker_socket.value})"]
    words += [
        f"no {what}"
        for what, allowed in (
            ("privileged steps", policy.privileged),
            ("network of the machine", policy.host_network),
            ("files and devices of the machine", policy.host_files),
        )
        if not allowed
    ]
    if policy.allowed_registries:
        words.append(f"images only from {', '.join(policy.allowed_registries)}")
    if policy.container_runtime:
        words.append(f"containers run in {policy.container_runtime}")
    words += [
        f"at most {limit} {what}"
        for limit, what in (
            (f"{policy.max_cpus:g}" if policy.max_cpus else "", "processors a step"),
            (size_text(policy.max_memory_bytes) if policy.max_memory_bytes else "", "of memory a step"),
            (str(policy.max_pids or ""), "processes a step"),
            (size_text(policy.max_log_bytes) if policy.max_log_bytes else "", "of log a run"),
            (str(policy.max_run_s or ""), "seconds a run"),
        )
        if limit
    ]
    if policy.docker_socket is DockerSocket.ALWAYS:
        return Finding("policy", "note", "; ".join(words), 'policy.docker_socket = "auto" in the settings')
    return Finding("policy", "ok", "; ".join(words))


def _left_behind(settings: Settings) -> Iterator[Finding]:
    """What runs hold whose process was killed."""
    from tasks_engine.backends.abandoned import collect

    try:
        collected = collect(settings, dry_run=True)
    except (TasksError, OSError):
        return  # the state folder was found to be missing
    held = [each for each in collected.garbage if each.kind not in ("run", "build cache")]
    if held:
        counts = Counter(each.kind for each in held)
        what = ", ".join(f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in counts.items())
        runs = sorted({each.run_id for each in held if each.run_id})
        of = f" of killed runs {', '.join(runs[:_MAX_RUNS])}{' and others' if len(runs) > _MAX_RUNS else ''}"
        yield Finding("left behind", "note", what + (of if runs else ""), "`tasks gc` removes them")
    for problem in collected.problems:
        yield Finding("left behind", "note", problem.message, problem.hint)
