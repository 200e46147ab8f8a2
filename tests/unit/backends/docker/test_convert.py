"""A planned `cmd` step as the body of the Engine's container call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tasks_engine.backends.docker.convert import container_body, container_name, network_name
from tasks_engine.errors import StepFailed
from tasks_engine.plan.model import Plan

PlanOf = Callable[..., Plan]


@pytest.fixture
def body_of(plan_of: PlanOf) -> Callable[..., dict[str, Any]]:
    """The body of the only step of a task."""

    def body_of(step: str, **options: Any) -> dict[str, Any]:
        plan = plan_of(f"steps:\n- id: s\n  {step}\n", **options)
        return container_body(plan, plan.steps[0], [])

    return body_of


BodyOf = Callable[..., dict[str, Any]]


def test_a_step_has_all_that_its_container_needs(body_of: BodyOf) -> None:
    assert body_of("cmd: busybox echo 'a b'\n  env: [A=1]") == {
        "Image": "busybox",
        "Cmd": ["echo", "a b"],
        "Env": ["HOME=/acb/home", "A=1"],
        "WorkingDir": "/workspace",
        "User": "",
        "Labels": {"tasks.run": "run1", "tasks.step": "s"},
        "ExposedPorts": {},
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {"NetworkMode": "tasks-run1", "Mounts": []},
        "NetworkingConfig": {"EndpointsConfig": {"tasks-run1": {"Aliases": ["s"]}}},
    }


def test_mounts_are_handed_on(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{cmd: a}]")
    assert container_body(plan, plan.steps[0], [{"Target": "/x"}])["HostConfig"]["Mounts"] == [
        {"Target": "/x"}
    ]


def test_a_step_may_have_another_home(body_of: BodyOf) -> None:
    assert body_of("cmd: a\n  env: [HOME=/root]")["Env"] == ["HOME=/root"]


def test_without_arguments_the_command_of_the_image_stands(body_of: BodyOf) -> None:
    assert "Cmd" not in body_of("cmd: a")
    assert "Entrypoint" not in body_of("cmd: a")


@pytest.mark.parametrize(("network", "mode"), [("host", "host"), ("none", "none"), ("bridge", "bridge")])
def test_a_network_of_the_engine_has_no_names_of_steps(body_of: BodyOf, network: str, mode: str) -> None:
    body = body_of(f"cmd: a\n  network: {network}")
    assert body["HostConfig"]["NetworkMode"] == mode
    assert "NetworkingConfig" not in body


def test_a_step_without_a_network_gets_the_engines_default(plan_of: PlanOf) -> None:
    plan = plan_of("networks: [{name: n}]\nsteps: [{cmd: a}]")
    assert container_body(plan, plan.steps[0], [])["HostConfig"]["NetworkMode"] == "default"


@pytest.mark.parametrize(
    ("step", "field", "value"),
    [
        ("cmd: a\n  user: 1000:1000", "User", "1000:1000"),
        ("cmd: a\n  entryPoint: /bin/sh", "Entrypoint", ["/bin/sh"]),
        ("cmd: a\n  disableWorkingDirectoryOverride: true", "WorkingDir", ""),
        (
            "cmd: a\n  expose: [80, 53/udp, 1/sctp]",
            "ExposedPorts",
            {"80/tcp": {}, "53/udp": {}, "1/sctp": {}},
        ),
        ("cmd: --hostname h a", "Hostname", "h"),
        (
            "cmd: --label a=b --label c --label tasks.run=x a",
            *("Labels", {"tasks.run": "run1", "tasks.step": "s", "a": "b", "c": ""}),
        ),
    ],
)
def test_what_a_step_says_of_its_container(body_of: BodyOf, step: str, field: str, value: object) -> None:
    assert body_of(step)[field] == value


@pytest.mark.parametrize(
    ("step", "field", "value"),
    [
        ("cmd: a\n  privileged: true", "Privileged", True),
        ("cmd: a\n  cpus: 1.5", "NanoCpus", 1_500_000_000),
        ("cmd: --cap-add A --cap-add B a", "CapAdd", ["A", "B"]),
        ("cmd: --cap-drop ALL a", "CapDrop", ["ALL"]),
        ("cmd: --init a", "Init", True),
        ("cmd: --init=false a", "Init", False),
        ("cmd: --read-only a", "ReadonlyRootfs", True),
        ("cmd: --tmpfs /run --tmpfs /tmp:size=1m,exec a", "Tmpfs", {"/run": "", "/tmp": "size=1m,exec"}),
    ],
)
def test_what_a_step_says_of_its_host(body_of: BodyOf, step: str, field: str, value: object) -> None:
    assert body_of(step)["HostConfig"][field] == value


@pytest.mark.parametrize("field", ["Privileged", "NanoCpus", "PortBindings", "Tmpfs", "CapAdd", "Init"])
def test_what_a_step_does_not_say_is_left_to_the_engine(body_of: BodyOf, field: str) -> None:
    assert field not in body_of("cmd: a")["HostConfig"]


def test_the_name_of_a_container_is_not_the_authors_to_choose(body_of: BodyOf) -> None:
    assert body_of("cmd: --name mine a") == body_of("cmd: a")


@pytest.mark.parametrize(
    ("port", "inside", "binding"),
    [
        ("80", "80/tcp", {"HostIp": "", "HostPort": ""}),
        ("8080:80", "80/tcp", {"HostIp": "", "HostPort": "8080"}),
        ("8080:53/udp", "53/udp", {"HostIp": "", "HostPort": "8080"}),
        ("127.0.0.1:8080:80", "80/tcp", {"HostIp": "127.0.0.1", "HostPort": "8080"}),
        ("127.0.0.1::80", "80/tcp", {"HostIp": "127.0.0.1", "HostPort": ""}),
        ("[::1]:8080:80", "80/tcp", {"HostIp": "::1", "HostPort": "8080"}),
    ],
)
def test_ports_are_published(body_of: BodyOf, port: str, inside: str, binding: dict[str, str]) -> None:
    body = body_of(f"cmd: a\n  ports: ['{port}']")
    assert body["HostConfig"]["PortBindings"] == {inside: [binding]}
    assert body["ExposedPorts"] == {inside: {}}


def test_a_port_may_be_published_twice(body_of: BodyOf) -> None:
    bindings = body_of("cmd: a\n  ports: ['1:80', '2:80']")["HostConfig"]["PortBindings"]
    assert [each["HostPort"] for each in bindings["80/tcp"]] == ["1", "2"]


@pytest.mark.parametrize(
    "port", ["", "a", "0", "65536", "80/icmp", "80/", "1:", "1-2", "x:80", "a:b:80", "-1", "٣"]
)
def test_what_is_no_port_fails_the_step(body_of: BodyOf, port: str) -> None:
    with pytest.raises(StepFailed, match="is not a port"):
        body_of(f"cmd: a\n  ports: ['{port}']")


@pytest.mark.parametrize("port", ["", "8080:80", "a", "70000"])
def test_what_is_no_port_to_expose_fails_the_step(body_of: BodyOf, port: str) -> None:
    with pytest.raises(StepFailed, match="is not a port"):
        body_of(f"cmd: a\n  expose: ['{port}']")


@pytest.mark.parametrize("cpus", ["0", "-1", "many", "nan", "inf", "1e9"])
def test_what_is_no_number_of_cpus_fails_the_step(body_of: BodyOf, cpus: str) -> None:
    with pytest.raises(StepFailed, match="cpus must be a number above 0"):
        body_of(f"cmd: a\n  cpus: '{cpus}'")


def test_a_container_is_named_after_run_step_and_attempt(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{id: a-b_c.d, cmd: a}]")
    assert [container_name(plan, plan.steps[0], attempt) for attempt in (1, 2, 12)] == [
        *("tasks-run1-a-b_c.d", "tasks-run1-a-b_c.d-2", "tasks-run1-a-b_c.d-12"),
    ]


def test_odd_ids_have_safe_names_that_differ(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{id: 'a/b', cmd: a}, {id: 'a:b', cmd: a}, {id: 'ä', cmd: a}]")
    assert [container_name(plan, step, 1) for step in plan.steps] == [
        *("tasks-run1-0-a-b", "tasks-run1-1-a-b", "tasks-run1-2--"),
    ]


def test_a_step_whose_secrets_are_revealed_keeps_its_name(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{id: x, cmd: a}, {id: 'a/b', cmd: a}]")
    step = replace(plan.steps[1], env={"TOKEN": "value"})
    assert container_name(plan, step, 1) == "tasks-run1-1-a-b"


def test_each_run_has_a_network_of_its_own() -> None:
    assert network_name("r1") == "tasks-r1"
