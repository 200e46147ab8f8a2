"""A planned `cmd` step becomes the body of the Engine's container call. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tasks_engine.definition.model import HOME
from tasks_engine.errors import StepFailed
from tasks_engine.plan.make import DEFAULT_NETWORK
from tasks_engine.plan.model import CmdWork, ContainerOption, Plan, PlannedStep

RUN_LABEL = "tasks.run"
STEP_LABEL = "tasks.step"

_SAFE = re.compile(r"[^a-zA-Z0-9_.-]")
_NUMBER = re.compile(r"[0-9]{1,5}\Z")


def network_name(run_id: str) -> str:
    return f"tasks-{run_id}"


def container_name(plan: Plan, step: PlannedStep, attempt: int) -> str:
    """Unique on the engine: run, step and, from the second on, the attempt."""
    safe = _SAFE.sub("-", step.id)
    place = "" if safe == step.id else f"{[each.id for each in plan.steps].index(step.id)}-"
    retry = f"-{attempt}" if attempt > 1 else ""
    return f"tasks-{plan.run_id}-{place}{safe}{retry}"


def container_body(plan: Plan, step: PlannedStep, mounts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The body of `POST /containers/create`. The step's id is the container's name on the run's network.

    Raises StepFailed for values that the engine could not understand.
    """
    assert isinstance(step.work, CmdWork)
    work = step.work
    network = network_name(plan.run_id) if step.network == DEFAULT_NETWORK else step.network
    env = {"HOME": HOME, **step.env}
    bindings = [_port_binding(port) for port in step.ports]
    exposed = [*(_port(port) for port in step.expose), *(port for port, _ in bindings)]
    host: dict[str, Any] = {"NetworkMode": network or "default", "Mounts": list(mounts)}
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
    if step.network == DEFAULT_NETWORK:
        body["NetworkingConfig"] = {"EndpointsConfig": {network: {"Aliases": [step.id]}}}
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
    for option in work.options:
        _add_option(body, host, option)
    return body


def _add_option(body: dict[str, Any], host: dict[str, Any], option: ContainerOption) -> None:
    """An option of `docker run` that steps have no property for."""
    match option.name:
        case "cap-add" | "cap-drop":
            host.setdefault("CapAdd" if option.name == "cap-add" else "CapDrop", []).append(option.value)
        case "hostname":
            body["Hostname"] = option.value
        case "init" | "read-only":
            host["Init" if option.name == "init" else "ReadonlyRootfs"] = option.value == "true"
        case "label":
            name, _, value = option.value.partition("=")
            body["Labels"].setdefault(name, value)
        case "tmpfs":
            path, _, options = option.value.partition(":")
            host.setdefault("Tmpfs", {})[path] = options
        case "name":
            pass  # the step's id is its name


def _port(text: str) -> str:
    """`80/tcp` of `80`; the form of the Engine API."""
    number, slash, protocol = text.partition("/")
    if (
        not _NUMBER.match(number)
        or not 0 < int(number) < 65536
        or (slash and protocol not in ("tcp", "udp", "sctp"))
    ):
        raise StepFailed(f"'{text}' is not a port", hint="write 80, 8080:80 or 53:53/udp")
    return f"{number}/{protocol or 'tcp'}"


def _port_binding(text: str) -> tuple[str, dict[str, str]]:
    """The port of the container, and where the engine's machine publishes it: `[[ADDRESS:]PORT:]PORT[/PROTOCOL]`."""
    outside, _, inside = text.rpartition(":")
    address, _, number = outside.rpartition(":")
    if number and not _NUMBER.match(number):
        raise StepFailed(f"'{text}' is not a port to publish", hint="write 8080:80 or 127.0.0.1:8080:80")
    return _port(inside), {"HostIp": address.strip("[]"), "HostPort": number}


def _nano_cpus(text: str) -> int:
    try:
        cpus = float(text)
    except ValueError:
        cpus = 0.0
    if not 0 < cpus < 1_000_000:
        raise StepFailed(f"cpus must be a number above 0, not '{text}'", hint='such as cpus: "1.5"')
    return int(cpus * 1_000_000_000)
