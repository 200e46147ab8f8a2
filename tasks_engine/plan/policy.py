"""What of a task the policy of a machine forbids. Pure.

`check_policy` reads the author's task, before anything runs. `forbidden_option` and `forbidden_in_step` judge single
values again when a container is made: by then the values of secrets are known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks_engine.definition.build_attributes import Attestation, CacheEntry
from tasks_engine.definition.build_values import InvalidValue, read_size
from tasks_engine.definition.model import Step, Task
from tasks_engine.errors import DefinitionError, SourceLocation
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.container_values import (
    AskedMount,
    MountKind,
    container_in,
    read_mount,
    read_network,
    read_volume,
)
from tasks_engine.plan.model import CmdWork, PlannedStep
from tasks_engine.policy import DockerSocket, Policy

#: what containers have without asking (Docker, default capabilities)
_USUAL_CAPABILITIES = frozenset(
    [
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    ]
)
#: drivers whose containers are on the machine's own network
_HOST_DRIVERS = ("host", "macvlan", "ipvlan")
_PERIOD_US = 100_000
#: `$SharedVolume`; that of another run is refused where a container is made
_SHARED_VOLUME = re.compile(r"tasks-[A-Za-z0-9._-]+-workspace")


@dataclass(frozen=True)
class Forbidden:
    #: goes on behind "step 'x' "
    what: str
    #: the setting that forbids it
    setting: str

    @property
    def message(self) -> str:
        return f"{self.what}, which the policy of this machine forbids"

    @property
    def hint(self) -> str:
        return f"its settings can allow it: policy.{self.setting}"


def check_policy(task: Task, policy: Policy, text: str = "") -> tuple[DefinitionError, ...]:
    """Everything in a task that a policy forbids, each with its place in `text`, the author's file."""
    if policy == Policy():
        return ()  # it forbids nothing
    places = _Places(task, text)
    problems = [
        DefinitionError(
            f"network '{network.name}' {forbidden.message}",
            location=places.of_name(network.name),
            hint=forbidden.hint,
            rule="policy",
        )
        for network in task.networks
        if (forbidden := _forbidden_network(network.name, policy, (), driver=network.driver)) is not None
    ]
    built: set[str] = set()
    ids = {step.id for step in task.steps}
    volumes = {volume.name for volume in task.volumes}
    for step in task.steps:
        for forbidden, words in _in_step(step, policy, built, ids, volumes):
            problems.append(
                DefinitionError(
                    f"step '{step.id}' {forbidden.message}",
                    location=places.of(step, words),
                    hint=forbidden.hint,
                    rule="policy",
                )
            )
        if step.build is not None:
            built |= set(map(_full, step.build.tags))
    return tuple(problems)


def forbidden_image(image: str, policy: Policy) -> Forbidden | None:
    """Why an image must not be run, built upon or pushed."""
    if not policy.allowed_registries:
        return None
    reference = parse_reference(image)
    name = f"{reference.registry}/{reference.repository}"
    for allowed in policy.allowed_registries:
        prefix = allowed.rstrip("/")
        if name == prefix or name.startswith(f"{prefix}/"):
            return None
    return Forbidden(f"uses image '{reference.familiar}'", "allowed_registries")


def forbidden_option(
    name: str, value: str, policy: Policy, step_ids: Collection[str], volumes: Collection[str] = ()
) -> Forbidden | None:
    """Why an option of `docker run` must not be used; containers of `step_ids` and `volumes` are those of the run."""
    try:
        if name in ("volume", "mount"):
            mount = read_volume(value) if name == "volume" else read_mount(value)
            return _forbidden_mount(mount, policy, volumes)
        if name == "network":
            return _forbidden_network(read_network(value).name, policy, step_ids)
        limit = _above_limit(name, value, policy)
    except InvalidValue:
        return None  # no container comes of it
    if limit is not None:
        return limit
    if name == "runtime" and policy.container_runtime and value != policy.container_runtime:
        return Forbidden(f"runs with runtime '{value}'", "container_runtime")
    if not policy.privileged and _is_privileged(name, value, step_ids):
        return Forbidden(f"uses --{name} {value}", "privileged")
    if not policy.host_files and _reaches_files(name, value, step_ids):
        return Forbidden(f"uses --{name} {value}", "host_files")
    return None


def forbidden_in_step(
    step: PlannedStep, policy: Policy, step_ids: Collection[str], volumes: Collection[str]
) -> Forbidden | None:
    """The first thing that a planned `cmd` step of a single container must not have."""
    assert isinstance(step.work, CmdWork)
    found = [
        *_forbidden_properties(step.privileged, step.network, step.cpus, policy, step_ids),
        *(
            (forbidden, ())
            for option in step.work.options
            if (forbidden := forbidden_option(option.name, option.value, policy, step_ids, volumes))
            is not None
        ),
    ]
    return found[0][0] if found else None


_Found = tuple[Forbidden, Sequence[str]]


def _in_step(
    step: Step, policy: Policy, built: set[str], ids: set[str], volumes: set[str]
) -> Iterator[_Found]:
    """What is forbidden, and words at whose place it is shown, the best first."""
    yield from _forbidden_properties(step.privileged, step.network, step.cpus, policy, ids)
    for command in step.commands:
        is_built = _full(command.image) in built and not step.pull
        if command.image and not is_built:
            yield from _image(command.image, policy)
        for option in command.options:
            if option.name == "privileged":
                if option.value == "true" and not policy.privileged:
                    yield Forbidden("is privileged", "privileged"), ["--privileged"]
                continue
            forbidden = forbidden_option(option.name, option.value, policy, ids, volumes)
            if forbidden is not None:
                yield forbidden, [option.value, f"--{option.name}"]
    for image in step.push:
        yield from _image(image, policy)
    if step.build is not None:
        if step.build.network == "host" and not policy.host_network:
            yield Forbidden("builds on the network of the machine", "host_network"), ["--network", "--allow"]
        for entitlement in step.build.allow:
            if entitlement == "network.host" and not policy.host_network:
                yield Forbidden("builds on the network of the machine", "host_network"), [entitlement]
            elif entitlement != "network.host" and not policy.privileged:
                yield Forbidden(f"builds with '{entitlement}'", "privileged"), [entitlement]
        for image in images_of_tools(
            step.build.build_args, step.build.attestations, (*step.build.cache_from, *step.build.cache_to)
        ):
            yield from _image(image, policy)
        if step.cache:
            for image in step.build.tags:
                yield from _image(image, policy)
        for source in step.build.build_contexts.values():
            if source.startswith("docker-image://"):
                yield from _image(source.removeprefix("docker-image://"), policy)


def images_of_tools(
    build_args: Mapping[str, str | None], attestations: Iterable[Attestation], caches: Iterable[CacheEntry]
) -> Iterator[str]:
    """Images that a build uses or writes beside those its Dockerfile and its tags name."""
    yield from filter(None, (build_args.get("BUILDKIT_SYNTAX"),))
    yield from (each.attributes["generator"] for each in attestations if each.attributes.get("generator"))
    yield from (each.attributes["ref"] for each in caches if each.attributes.get("ref"))


def _image(image: str, policy: Policy) -> Iterator[_Found]:
    try:
        forbidden = forbidden_image(image, policy)
    except InvalidReference:
        return
    if forbidden is not None:
        yield forbidden, [image]


def _forbidden_properties(
    privileged: bool, network: str, cpus: str, policy: Policy, step_ids: Collection[str]
) -> Iterator[_Found]:
    if privileged and not policy.privileged:
        yield Forbidden("is privileged", "privileged"), ["privileged:", "--privileged"]
    try:
        forbidden = _forbidden_network(read_network(network).name, policy, step_ids)
    except InvalidValue:
        forbidden = None
    if forbidden is not None:
        yield forbidden, ["network:", "--network", "--net"]
    forbidden = _above_limit("cpus", cpus, policy) if cpus else None
    if forbidden is not None:
        yield forbidden, ["cpus:", "--cpus"]


def _forbidden_network(
    name: str, policy: Policy, step_ids: Collection[str], *, driver: str = ""
) -> Forbidden | None:
    if policy.host_network:
        return None
    other = container_in(name)
    if name == "host" or driver in _HOST_DRIVERS:
        return Forbidden("is on the network of the machine", "host_network")
    if other and other not in step_ids:
        return Forbidden(
            f"is on the network of container '{other}', which is not of this run", "host_network"
        )
    return None


def _forbidden_mount(mount: AskedMount, policy: Policy, volumes: Collection[str]) -> Forbidden | None:
    if mount.kind is MountKind.SOCKET:
        if policy.docker_socket is DockerSocket.NEVER:
            return Forbidden("mounts the engine's socket", "docker_socket")
        if policy.docker_socket is DockerSocket.ALWAYS:
            return None
    if policy.host_files:
        return None
    if mount.kind in (MountKind.HOST, MountKind.SOCKET):
        return Forbidden(f"mounts '{mount.source}' of the machine", "host_files")
    if mount.kind is MountKind.WORKSPACE and mount.source:
        # a link in it could lead to anywhere on the machine
        return Forbidden(f"mounts a folder of the workspace, '{mount.source}'", "host_files")
    is_named = mount.kind is MountKind.VOLUME and mount.source
    if is_named and mount.source not in volumes and not _SHARED_VOLUME.fullmatch(mount.source):
        # such a volume may be a folder of the machine by another name
        return Forbidden(f"mounts '{mount.source}', a volume that is not of this run", "host_files")
    if "volume-opt" in mount.options or "volume-driver" in mount.options:
        return Forbidden("makes a volume with options of its own", "host_files")
    return None


def _is_privileged(name: str, value: str, step_ids: Collection[str]) -> bool:
    """Whether an option lets a container do what only the machine may."""
    if name == "cap-add":
        return value.upper().removeprefix("CAP_") not in _USUAL_CAPABILITIES
    if name == "security-opt":
        return value.partition("=")[0].partition(":")[0] != "no-new-privileges"
    if name in ("pid", "ipc", "uts", "userns", "cgroupns"):
        other = container_in(value)
        return value == "host" or bool(other and other not in step_ids)
    if name == "oom-score-adj":
        return value.startswith("-")
    return name in ("cgroup-parent", "device-cgroup-rule", "oom-kill-disable", "cpu-rt-runtime")


def _reaches_files(name: str, value: str, step_ids: Collection[str]) -> bool:
    """Whether an option lets a container reach files or devices of the machine."""
    if name == "volumes-from":
        return value.partition(":")[0] not in step_ids
    return name in ("device", "gpus", "volume-driver", "device-cgroup-rule")


def _above_limit(name: str, value: str, policy: Policy) -> Forbidden | None:
    if policy.max_cpus:
        if name == "cpus" and _number(value) > policy.max_cpus:
            return Forbidden(f"asks for {value} cpus of {policy.max_cpus:g}", "max_cpus")
        if name == "cpu-period" or (name == "cpu-quota" and _number(value) > policy.max_cpus * _PERIOD_US):
            return Forbidden(f"uses --{name} {value}", "max_cpus")
    if policy.max_memory_bytes and name in ("memory", "memory-swap"):
        # as much swap as memory is what the engine gives without asking
        at_most = policy.max_memory_bytes * (2 if name == "memory-swap" else 1)
        if value == "-1" or not 0 < read_size(value)[0] <= at_most:
            return Forbidden(f"uses --{name} {value}, more than {at_most} bytes", "max_memory_bytes")
    if policy.max_pids and name == "pids-limit" and not 0 < _number(value) <= policy.max_pids:
        return Forbidden(f"uses --{name} {value}, more than {policy.max_pids}", "max_pids")
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _full(image: str) -> str:
    try:
        return str(parse_reference(image))
    except InvalidReference:
        return image


class _Places:
    """Where in the author's file something of a step stands; the step's first line when that cannot be told."""

    def __init__(self, task: Task, text: str) -> None:
        self._name = task.source_name
        self._lines = text.splitlines()
        starts = sorted({step.line for step in task.steps})
        ends = [*starts[1:], len(self._lines) + 1]
        self._end_by_start = dict(zip(starts, ends, strict=True))

    def of(self, step: Step, words: Sequence[str]) -> SourceLocation | None:
        return self._find(words, step.line, self._end_by_start[step.line])

    def of_name(self, name: str) -> SourceLocation | None:
        return self._find([name], 1, len(self._lines) + 1)

    def _find(self, words: Sequence[str], start: int, end: int) -> SourceLocation | None:
        if not 0 < start <= len(self._lines):
            return None
        for word in filter(None, words):
            pattern = re.compile(rf"(?<![\w.-]){re.escape(word)}")
            for number in range(start, min(end, len(self._lines) + 1)):
                found = pattern.search(self._lines[number - 1])
                if found is not None:
                    return self._location(number, found.start() + 1, len(word))
        line = self._lines[start - 1]
        return self._location(start, len(line) - len(line.lstrip()) + 1, 1)

    def _location(self, number: int, column: int, width: int) -> SourceLocation:
        return SourceLocation(self._name, number, column, self._lines[number - 1], width)
