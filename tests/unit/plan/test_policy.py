"""What of a task the policy of a machine forbids, and where it says so."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from tasks_engine.definition.model import Task
from tasks_engine.plan.model import Plan
from tasks_engine.plan.policy import check_policy, forbidden_image, forbidden_in_step, forbidden_option
from tasks_engine.policy import DockerSocket, Policy

STRICT = Policy(
    docker_socket=DockerSocket.NEVER,
    privileged=False,
    host_network=False,
    host_files=False,
    allowed_registries=("registry.example.com", "docker.io/library"),
    container_runtime="runsc",
    max_cpus=2,
    max_memory_bytes=1 << 30,
    max_pids=100,
)


@pytest.fixture
def settings_of(load: Callable[..., Task]) -> Callable[..., list[str]]:
    """Settings that forbid something in the step `cmd` of a task."""

    def settings_of(step: str, policy: Policy = STRICT, **options: Any) -> list[str]:
        volumes = "volumes: [{name: own, secret: {a: YQ==}}]\n"
        task = load(f"{volumes}steps:\n- id: web\n  cmd: a\n- id: s\n  {step}\n", **options)
        return [
            each.hint.removeprefix("its settings can allow it: policy.")
            for each in check_policy(task, policy)
        ]

    return settings_of


@pytest.mark.parametrize(
    ("step", "setting"),
    [
        ("cmd: a\n  privileged: true", "privileged"),
        ("cmd: --privileged a", "privileged"),
        ("cmd: --cap-add SYS_ADMIN a", "privileged"),
        ("cmd: --cap-add ALL a", "privileged"),
        ("cmd: --security-opt seccomp=unconfined a", "privileged"),
        ("cmd: --pid host a", "privileged"),
        ("cmd: --pid container:stranger a", "privileged"),
        ("cmd: --ipc host a", "privileged"),
        ("cmd: --uts host a", "privileged"),
        ("cmd: --userns host a", "privileged"),
        ("cmd: --cgroupns host a", "privileged"),
        ("cmd: --cgroup-parent x a", "privileged"),
        ("cmd: --device-cgroup-rule 'c 1:3 mr' a", "privileged"),
        ("cmd: --oom-score-adj -500 a", "privileged"),
        ("cmd: a && --privileged b", "privileged"),
        ("build: --allow security.insecure .", "privileged"),
        ("cmd: a\n  network: host", "host_network"),
        ("cmd: --net host a", "host_network"),
        ("cmd: --network name=host a", "host_network"),
        ("cmd: --network container:stranger a", "host_network"),
        ("build: --network host .", "host_network"),
        ("build: --allow network.host .", "host_network"),
        ("cmd: -v /etc:/x a", "host_files"),
        ("cmd: -v /workspace/../etc:/x a", "host_files"),
        ("cmd: -v ../../etc:/x a", "host_files"),
        ("cmd: -v ./sub:/x a", "host_files"),
        ("cmd: --mount type=bind,src=/etc,dst=/x a", "host_files"),
        ("cmd: --mount type=bind,source=etc,dst=/x a", "host_files"),
        ("cmd: --mount type=volume,dst=/x,volume-opt=type=none,volume-opt=device=/ a", "host_files"),
        ("cmd: --volume-driver x a", "host_files"),
        ("cmd: -v cache:/x a", "host_files"),
        ("cmd: --mount type=volume,src=cache,dst=/x a", "host_files"),
        ("cmd: --device /dev/sda a", "host_files"),
        ("cmd: --gpus all a", "host_files"),
        ("cmd: --volumes-from stranger a", "host_files"),
        ("cmd: -v /var/run/docker.sock:/x a", "docker_socket"),
        ("cmd: -v //run/docker.sock:/x a", "docker_socket"),
        ("cmd: b.example.com/a", "allowed_registries"),
        ("cmd: registry.example.com.evil.com/a", "allowed_registries"),
        ("cmd: team/a", "allowed_registries"),
        ("cmd: a && b.example.com/a", "allowed_registries"),
        ("push: [b.example.com/a]", "allowed_registries"),
        ("build: --build-context x=docker-image://b.example.com/a .", "allowed_registries"),
        ("build: --sbom=generator=b.example.com/a .", "allowed_registries"),
        ("build: --attest type=sbom,generator=b.example.com/a .", "allowed_registries"),
        ("build: --build-arg BUILDKIT_SYNTAX=b.example.com/a .", "allowed_registries"),
        ("build: --cache-to type=registry,ref=b.example.com/a .", "allowed_registries"),
        ("build: --cache-from b.example.com/a .", "allowed_registries"),
        ("build: -t b.example.com/a .\n  cache: enabled", "allowed_registries"),
        ("cmd: --runtime runc a", "container_runtime"),
        ("cmd: a\n  cpus: '2.5'", "max_cpus"),
        ("cmd: --cpus 3 a", None),
        ("cmd: --cpu-quota 300000 a", "max_cpus"),
        ("cmd: --cpu-period 1000 a", "max_cpus"),
        ("cmd: --memory 2g a", "max_memory_bytes"),
        ("cmd: --memory 0 a", "max_memory_bytes"),
        ("cmd: --memory-swap -1 a", "max_memory_bytes"),
        ("cmd: --pids-limit -1 a", "max_pids"),
        ("cmd: --pids-limit 101 a", "max_pids"),
    ],
)
def test_what_is_forbidden_is_found(
    settings_of: Callable[..., list[str]], step: str, setting: str | None
) -> None:
    assert settings_of(step) == [setting or "max_cpus"]


@pytest.mark.parametrize(
    "step",
    [
        "cmd: a",
        "cmd: --cap-add NET_BIND_SERVICE --cap-add CAP_CHOWN --cap-drop ALL a",
        "cmd: --security-opt no-new-privileges a",
        "cmd: --pid container:web --ipc private a",
        "cmd: a\n  network: container:web",
        "cmd: a\n  network: bridge",
        "cmd: -v /workspace:/x -v .:/y -v own:/z -v tasks-r1-workspace:/w -v /anonymous a",
        "cmd: --mount type=tmpfs,dst=/x a",
        "cmd: --volumes-from web:ro a",
        "cmd: registry.example.com/deep/er:1",
        "cmd: --runtime runsc --cpu-quota 100000 --memory 1g --memory-swap 2g --pids-limit 100 a\n  cpus: '2'",
        "cmd: --privileged=false a",
        "build: -t b.example.com/own .",
    ],
)
def test_what_is_not_forbidden_passes(settings_of: Callable[..., list[str]], step: str) -> None:
    assert settings_of(step) == []


def test_an_image_that_the_task_builds_may_be_run(load: Callable[..., Task]) -> None:
    task = load("steps:\n- build: -t own/app:1 .\n- cmd: own/app:1\n- cmd: own/app:2\n")
    assert [problem.message for problem in check_policy(task, STRICT)] == [
        "step 'acb_step_2' uses image 'own/app:2', which the policy of this machine forbids"
    ]


@pytest.mark.parametrize("driver", ["host", "macvlan", "ipvlan"])
def test_a_network_of_the_task_is_not_that_of_the_machine(load: Callable[..., Task], driver: str) -> None:
    task = load(f"networks: [{{name: n, driver: {driver}}}]\nsteps: [{{cmd: a}}]")
    assert [problem.rule for problem in check_policy(task, STRICT)] == ["policy"]


def test_the_socket_may_be_mounted_where_every_step_has_it(settings_of: Callable[..., list[str]]) -> None:
    always = Policy(docker_socket=DockerSocket.ALWAYS, host_files=False)
    assert settings_of("cmd: -v /var/run/docker.sock:/var/run/docker.sock a", always) == []
    auto = Policy(host_files=False)
    assert settings_of("cmd: -v /var/run/docker.sock:/var/run/docker.sock a", auto) == ["host_files"]


def test_a_policy_that_forbids_nothing_finds_nothing(settings_of: Callable[..., list[str]]) -> None:
    assert settings_of("cmd: --privileged --network host -v /:/x b.example.com/a", Policy()) == []


def test_places_are_those_of_the_words_that_are_forbidden(load: Callable[..., Task]) -> None:
    text = dedent(
        """\
        steps:
          - id: first
            privileged: false
            cmd: a
          - id: second
            cmd: busybox true
            privileged: true
          - {id: third, cmd: "-v /etc:/x busybox"}
        """
    )
    problems = check_policy(load(text), STRICT, text)
    shown = [(str(problem.location), problem.location.width) for problem in problems if problem.location]
    assert shown == [("task.yaml:7:5", 11), ("task.yaml:8:26", 7)]


def test_what_stands_nowhere_is_shown_at_the_step(load: Callable[..., Task]) -> None:
    text = "steps:\n  - cmd: {{ print `--priv` `ileged` }} a\n"
    (problem,) = check_policy(load(text), STRICT, text)
    assert str(problem.location) == "task.yaml:2:3"


def test_without_the_text_there_are_no_places(load: Callable[..., Task]) -> None:
    (problem,) = check_policy(load("steps: [{cmd: --privileged a}]"), STRICT)
    assert problem.location is None


def test_values_are_judged_again_when_secrets_are_known(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of("steps: [{cmd: -v /etc:/x a}]")
    forbidden = forbidden_in_step(plan.steps[0], STRICT, (), ())
    assert forbidden is not None
    assert forbidden.message == "mounts '/etc' of the machine, which the policy of this machine forbids"
    assert forbidden_in_step(plan.steps[0], Policy(), (), ()) is None


@pytest.mark.parametrize("value", ["a:b:c:d", "nothing", "+:/x"])
def test_a_value_that_means_nothing_is_left_to_whoever_reads_it(value: str) -> None:
    assert forbidden_option("volume", value, STRICT, ()) is None


def test_an_image_is_judged_by_registry_and_folder() -> None:
    policy = Policy(allowed_registries=("a.example.com:5000/team/",))
    assert forbidden_image("a.example.com:5000/team/x@sha256:" + 64 * "0", policy) is None
    assert forbidden_image("a.example.com:5000/teams/x", policy) is not None
    assert forbidden_image("anything", Policy()) is None
