"""A planned `cmd` step becomes the body of the Engine's container call. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from tasks_engine.backends.docker import container_options
from tasks_engine.backends.docker.container_options import Draft, add_options
from tasks_engine.definition.build_values import InvalidValue
from tasks_engine.definition.model import HOME
from tasks_engine.errors import StepFailed
from tasks_engine.plan.container_values import container_in, read_network
from tasks_engine.plan.model import CmdWork, Plan, PlannedStep
from tasks_engine.policy import Policy

RUN_LABEL = "tasks.run"
#: whose run it is, of the state folders that use an engine
OWNER_LABEL = "tasks.owner"
STEP_LABEL = "tasks.step"

_SAFE = re.compile(r"[^a-zA-Z0-9_.-]")
_NUMBER = re.compile(r"[0-9]{1,5}\Z")
_PERIOD_US = 100_000
#: networks of the engine whose containers do not find each other by name
NETWORKS_WITHOUT_NAMES = ("default", "bridge", "host", "none")
DEFAULT_POLICY = Policy()


class Surroundings(container_options.Surroundings, Protocol):
    """What a run has on its engine for a step's container."""

    def mounts(self, step: PlannedStep) -> Sequence[dict[str, Any]]:
        """Mounts that every step has, and those of its properties (Engine API, Mount)."""

    def network_name(self, name: str) -> str:
        """The name on the engine of a network of the task; that of any other as it is."""


def network_name(run_id: str) -> str:
    return f"tasks-{run_id}"


def container_name(plan: Plan, step: PlannedStep, attempt: int) -> str:
    """Unique on the engine: run, step and, from the second on, the attempt."""
    safe = _SAFE.sub("-", step.id)
    place = "" if safe == step.id else f"{[each.id for each in plan.steps].index(step.id)}-"
    retry = f"-{attempt}" if attempt > 1 else ""
    return f"tasks-{plan.run_id}-{place}{safe}{retry}"


def container_body(
    plan: Plan, step: PlannedStep, around: Surroundings, policy: Policy = DEFAULT_POLICY
) -> dict[str, Any]:
    """The body of `POST /containers/create`. The step's id is the container's name on the run's network.

    Raises StepFailed for values that the engine could not understand.
    """
    assert isinstance(step.work, CmdWork)
    work = step.work
    env = {"HOME": HOME, **step.env}
    bindings = [binding for port in step.ports for binding in _port_bindings(port)]
    exposed = [*(port for text in step.expose for port in _ports(text)), *(port for port, _ in bindings)]
    host: dict[str, Any] = {"Mounts": list(around.mounts(step))}
    body: dict[str, Any] = {
        "Image": work.image,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "WorkingDir": step.working_directory,
        "User": work.user,
        "Labels": {RUN_LABEL: plan.run_id, STEP_LABEL: step.id},
        "ExposedPorts": {port: {} for port in exposed},
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": host,
    }
    if not step.keep:
        # the run's log has all of it; the engine's own takes longer than the rest of the way together
        host["LogConfig"] = {"Type": "none"}
    if work.args:
        body["Cmd"] = list(work.args)
    if work.entrypoint:
        body["Entrypoint"] = [work.entrypoint]
    if step.privileged:
        host["Privileged"] = True
    if step.cpus:
        host["NanoCpus"] = _nano_cpus(step.cpus)
    for port, binding in bindings:
        host.setdefault("PortBindings", {}).setdefault(port, []).append(binding)
    _add_network_and_options(body, step, work, around)
    _add_limits(host, policy)
    return body


def platform_of(work: CmdWork) -> str:
    """Such as linux/arm64; empty: the engine's own."""
    return next((option.value for option in reversed(work.options) if option.name == "platform"), "")


def _add_network_and_options(
    body: dict[str, Any], step: PlannedStep, work: CmdWork, around: Surroundings
) -> None:
    try:
        asked = read_network(step.network)
    except InvalidValue as error:
        raise StepFailed(f"network {error.message}", exit_status=125, hint=error.hint) from error
    other = container_in(asked.name)
    network = f"container:{around.container_of(other)}" if other else around.network_name(asked.name)
    has_names = bool(network) and not other and network not in NETWORKS_WITHOUT_NAMES
    addresses = {
        field: asked.addresses[key]
        for key, field in (("ip", "IPv4Address"), ("ip6", "IPv6Address"))
        if key in asked.addresses
    }
    endpoint: dict[str, Any] = {"Aliases": [step.id, *asked.aliases]} if has_names else {}
    if addresses:
        endpoint["IPAMConfig"] = addresses
    if "mac-address" in asked.addresses:
        body["MacAddress"] = asked.addresses["mac-address"]
    body["HostConfig"]["NetworkMode"] = network or "default"
    add_options(Draft(body, around, endpoint, has_names), work.options)
    if endpoint:
        body["NetworkingConfig"] = {"EndpointsConfig": {network or "bridge": endpoint}}


def _add_limits(host: dict[str, Any], policy: Policy) -> None:
    """What a policy allows at most, for a container that asks for nothing."""
    if policy.max_cpus and not host.get("NanoCpus") and host.get("CpuQuota", 0) <= 0:
        # unlike NanoCpus this may be more than the machine has
        host["CpuPeriod"], host["CpuQuota"] = _PERIOD_US, int(policy.max_cpus * _PERIOD_US)
    if policy.max_memory_bytes and not host.get("Memory"):
        host["Memory"] = policy.max_memory_bytes
    if policy.max_pids and not host.get("PidsLimit"):
        host["PidsLimit"] = policy.max_pids
    if policy.container_runtime:
        host["Runtime"] = policy.container_runtime


def _ports(text: str) -> list[str]:
    """`80/tcp` of `80`, and every port of a range such as `8000-8010`; the form of the Engine API."""
    numbers, slash, protocol = text.partition("/")
    first, dash, last = numbers.partition("-")
    last = last if dash else first
    if (
        not _NUMBER.match(first)
        or not _NUMBER.match(last)
        or not 0 < int(first) <= int(last) < 65536
        or (slash and protocol not in ("tcp", "udp", "sctp"))
    ):
        raise StepFailed(f"'{text}' is not a port", hint="write 80, 8080:80 or 53:53/udp")
    return [f"{number}/{protocol or 'tcp'}" for number in range(int(first), int(last) + 1)]


def _port_bindings(text: str) -> list[tuple[str, dict[str, str]]]:
    """Ports of the container, and where the engine's machine publishes them: `[[ADDRESS:]PORT:]PORT[/PROTOCOL]`.

    Ranges go port by port; a range outside for one port inside leaves the choice to the engine.
    """
    outside, _, inside = text.rpartition(":")
    address, _, published = outside.rpartition(":")
    ports = _ports(inside)
    chosen = [""] * len(ports)
    if published:
        first, dash, last = published.partition("-")
        if not _NUMBER.match(first) or (dash and not _NUMBER.match(last)):
            raise StepFailed(f"'{text}' is not a port to publish", hint="write 8080:80 or 127.0.0.1:8080:80")
        count = int(last or first) - int(first) + 1
        if count == len(ports):
            chosen = [str(int(first) + index) for index in range(count)]
        elif len(ports) == 1 and count > 1:
            chosen = [published]
        else:
            raise StepFailed(f"'{text}' is not a port to publish: the ranges differ in length")
    return [
        (port, {"HostIp": address.strip("[]"), "HostPort": number})
        for port, number in zip(ports, chosen, strict=True)
    ]


def _nano_cpus(text: str) -> int:
    try:
        cpus = float(text)
    except ValueError:
        cpus = 0.0
    if not 0.01 <= cpus < 1_000_000:  # of less the engine makes none at all, and so no limit
        raise StepFailed(f"cpus must be a number of at least 0.01, not '{text}'", hint='such as cpus: "1.5"')
    return int(cpus * 1_000_000_000)
