"""A planned `cmd` step as the body of the Engine's container call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tasks_engine.backends.docker.commands import redirected, step_of
from tasks_engine.backends.docker.container_options import CONTAINER_OPTIONS, IDLE_OPTIONS
from tasks_engine.backends.docker.convert import container_body, container_name, network_name, platform_of
from tasks_engine.backends.docker.networks import network_names
from tasks_engine.definition.run_options import FLAGS, Meaning
from tasks_engine.definition.step_texts import OPTIONS_OF_STEPS
from tasks_engine.errors import StepFailed
from tasks_engine.plan.model import CmdWork, Plan, PlannedStep
from tasks_engine.policy import Policy

PlanOf = Callable[..., Plan]


class Around:
    """An engine that has the workspace at /ws, volume `keys` of the task, and a container of step `web`."""

    def __init__(self, plan: Plan, mounts: list[dict[str, Any]] | None = None) -> None:
        self._networks = network_names(plan)
        self._mounts = mounts or []

    def mounts(self, step: PlannedStep) -> list[dict[str, Any]]:
        return self._mounts

    def network_name(self, name: str) -> str:
        return self._networks.get(name, name)

    def workspace_mount(self, folder: str, *, make: bool = False) -> dict[str, Any]:
        return {"Type": "bind", "Source": f"/ws/{folder}"}

    def volume_name(self, name: str) -> str:
        return {"keys": "run1-keys"}.get(name, name)

    def container_of(self, name: str) -> str:
        return {"web": "c0ffee"}.get(name, name)

    def socket_path(self) -> str:
        return "/engine.sock"


@pytest.fixture
def body_of(plan_of: PlanOf) -> Callable[..., dict[str, Any]]:
    """The body of the only step of a task."""

    def body_of(
        step: str, policy: Policy | None = None, mounts: list[dict[str, Any]] | None = None, **options: Any
    ) -> dict[str, Any]:
        plan = plan_of(f"steps:\n- id: s\n  {step}\n", **options)
        return container_body(plan, plan.steps[0], Around(plan, mounts), policy or Policy())

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
        "HostConfig": {"NetworkMode": "tasks-run1", "Mounts": [], "LogConfig": {"Type": "none"}},
        "NetworkingConfig": {"EndpointsConfig": {"tasks-run1": {"Aliases": ["s"]}}},
    }


def test_mounts_are_handed_on(body_of: BodyOf) -> None:
    assert body_of("cmd: a", mounts=[{"Target": "/x"}])["HostConfig"]["Mounts"] == [{"Target": "/x"}]


def test_what_the_author_mounts_takes_the_place_of_ours(body_of: BodyOf) -> None:
    body = body_of("cmd: -v own:/x a", mounts=[{"Target": "/x"}, {"Target": "/y"}])
    assert body["HostConfig"]["Mounts"] == [{"Target": "/y"}]
    assert body["HostConfig"]["Binds"] == ["own:/x"]


def test_the_engine_keeps_the_log_of_a_container_that_is_kept(body_of: BodyOf) -> None:
    assert "LogConfig" not in body_of("cmd: a\n  keep: true")["HostConfig"]


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
    assert container_body(plan, plan.steps[0], Around(plan))["HostConfig"]["NetworkMode"] == "default"


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
    "port",
    [
        "",
        "a",
        "0",
        "65536",
        "80/icmp",
        "80/",
        "1:",
        "2-1",
        "1-",
        "x:80",
        "a:b:80",
        "-1",
        "٣",
        "1-3:1-2",
        "1:1-2",
    ],
)
def test_what_is_no_port_fails_the_step(body_of: BodyOf, port: str) -> None:
    with pytest.raises(StepFailed, match="is not a port"):
        body_of(f"cmd: a\n  ports: ['{port}']")


@pytest.mark.parametrize("port", ["", "8080:80", "a", "70000"])
def test_what_is_no_port_to_expose_fails_the_step(body_of: BodyOf, port: str) -> None:
    with pytest.raises(StepFailed, match="is not a port"):
        body_of(f"cmd: a\n  expose: ['{port}']")


@pytest.mark.parametrize("cpus", ["0", "0.009", "-1", "many", "nan", "inf", "1e9"])
def test_what_is_no_number_of_cpus_fails_the_step(body_of: BodyOf, cpus: str) -> None:
    with pytest.raises(StepFailed, match="cpus must be a number of at least"):
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


def test_a_range_of_ports_is_published_port_by_port(body_of: BodyOf) -> None:
    body = body_of("cmd: a\n  ports: ['8000-8001:80-81/udp', '9000-9005:90']\n  expose: [5-6]")
    published = {port: [each["HostPort"] for each in found] for port, found in bindings(body).items()}
    assert published == {"80/udp": ["8000"], "81/udp": ["8001"], "90/tcp": ["9000-9005"]}
    assert {"5/tcp", "6/tcp"} <= body["ExposedPorts"].keys()


def bindings(body: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = body["HostConfig"]["PortBindings"]
    return found


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ("--memory 1g", "Memory", 1 << 30),
        ("-m 512", "Memory", 512),
        ("--memory-swap -1", "MemorySwap", -1),
        ("--shm-size 64m", "ShmSize", 64 << 20),
        ("--pids-limit 10", "PidsLimit", 10),
        ("--cpuset-cpus 0-1", "CpusetCpus", "0-1"),
        ("--oom-kill-disable", "OomKillDisable", True),
        ("--sysctl a.b=1 --sysctl c=2", "Sysctls", {"a.b": "1", "c": "2"}),
        ("--ulimit nofile=1:2 --ulimit core=-1", "Ulimits",
         [{"Name": "nofile", "Soft": 1, "Hard": 2}, {"Name": "core", "Soft": -1, "Hard": -1}]),
        ("--add-host a:1.2.3.4 --add-host b=host-gateway", "ExtraHosts", ["a:1.2.3.4", "b:host-gateway"]),
        ("--dns 1.1.1.1 --dns 2.2.2.2", "Dns", ["1.1.1.1", "2.2.2.2"]),
        ("--device /dev/a --device /dev/b:/c:r", "Devices",
         [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/a", "CgroupPermissions": "rwm"},
          {"PathOnHost": "/dev/b", "PathInContainer": "/c", "CgroupPermissions": "r"}]),
        ("--device nvidia.com/gpu=all", "DeviceRequests", [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]),
        ("--gpus all", "DeviceRequests", [{"Driver": "", "Capabilities": [["gpu"]], "Count": -1}]),
        ("--gpus '\"device=0,1\"'", "DeviceRequests",
         [{"Driver": "", "Capabilities": [["gpu"]], "DeviceIDs": ["0", "1"]}]),
        ("--device-read-bps /dev/a:1m", "BlkioDeviceReadBps", [{"Path": "/dev/a", "Rate": 1 << 20}]),
        ("--device-write-iops /dev/a:9", "BlkioDeviceWriteIOps", [{"Path": "/dev/a", "Rate": 9}]),
        ("--blkio-weight-device /dev/a:9", "BlkioWeightDevice", [{"Path": "/dev/a", "Weight": 9}]),
        ("--restart on-failure:3 -d", "RestartPolicy", {"Name": "on-failure", "MaximumRetryCount": 3}),
        ("--pid host", "PidMode", "host"),
        ("--pid container:web", "PidMode", "container:c0ffee"),
        ("--ipc container:other", "IpcMode", "container:other"),
        ("--volumes-from web:ro", "VolumesFrom", ["c0ffee:ro"]),
        ("--security-opt no-new-privileges", "SecurityOpt", ["no-new-privileges"]),
        ("--security-opt systempaths=unconfined", "MaskedPaths", []),
        ("-v /a:/b:ro,z -v name:/c", "Binds", ["/a:/b:ro,z", "name:/c"]),
        ("-v keys:/k:ro", "Mounts",
         [{"Target": "/k", "ReadOnly": True, "Type": "volume", "Source": "run1-keys",
           "VolumeOptions": {"NoCopy": True}}]),
        ("-v ./sub:/k", "Mounts",
         [{"Target": "/k", "ReadOnly": False, "Type": "bind", "Source": "/ws/sub", "BindOptions": {}}]),
        ("-v /run/docker.sock:/s", "Mounts",
         [{"Target": "/s", "ReadOnly": False, "Type": "bind", "Source": "/engine.sock", "BindOptions": {}}]),
        ("--mount type=tmpfs,dst=/t,tmpfs-size=1k,tmpfs-mode=1777", "Mounts",
         [{"Target": "/t", "ReadOnly": False, "Type": "tmpfs",
           "TmpfsOptions": {"SizeBytes": 1024, "Mode": 0o1777}}]),
        ("--mount type=bind,src=/a,dst=/b,ro,bind-propagation=rslave", "Mounts",
         [{"Target": "/b", "ReadOnly": True, "Type": "bind", "Source": "/a",
           "BindOptions": {"Propagation": "rslave"}}]),
        ("--network bridge --link web:db", "Links", ["c0ffee:db"]),
    ],
)  # fmt: skip
def test_options_of_docker_run_are_parts_of_the_host(
    body_of: BodyOf, options: str, field: str, value: object
) -> None:
    body = body_of(f"cmd: |-\n    {options} a")
    assert body["HostConfig"][field] == value


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ("--health-cmd 'a b' --health-interval 1m30s --health-retries 3", "Healthcheck",
         {"Test": ["CMD-SHELL", "a b"], "Interval": 90_000_000_000, "Retries": 3}),
        ("--no-healthcheck", "Healthcheck", {"Test": ["NONE"]}),
        ("--stop-signal TERM", "StopSignal", "TERM"),
        ("--mac-address 02:42:ac:11:00:02", "MacAddress", "02:42:ac:11:00:02"),
        ("-v /anonymous", "Volumes", {"/anonymous": {}}),
    ],
)  # fmt: skip
def test_options_of_docker_run_are_parts_of_the_container(
    body_of: BodyOf, options: str, field: str, value: object
) -> None:
    assert body_of(f"cmd: |-\n    {options} a")[field] == value


def test_options_of_networks_belong_to_the_containers_place_there(body_of: BodyOf) -> None:
    body = body_of("cmd: --network-alias x --ip 10.0.0.9 --link web a")
    assert body["NetworkingConfig"]["EndpointsConfig"]["tasks-run1"] == {
        "Aliases": ["s", "x"],
        "IPAMConfig": {"IPv4Address": "10.0.0.9"},
        "Links": ["c0ffee:web"],
    }


def test_a_network_may_be_written_in_pairs(body_of: BodyOf) -> None:
    body = body_of("cmd: --network name=other,alias=x,ip=10.0.0.9 a")
    assert body["HostConfig"]["NetworkMode"] == "other"
    assert body["NetworkingConfig"]["EndpointsConfig"]["other"] == {
        "Aliases": ["s", "x"],
        "IPAMConfig": {"IPv4Address": "10.0.0.9"},
    }


def test_a_step_may_share_the_network_of_another(body_of: BodyOf) -> None:
    body = body_of("cmd: a\n  network: container:web")
    assert body["HostConfig"]["NetworkMode"] == "container:c0ffee"
    assert "NetworkingConfig" not in body


@pytest.mark.parametrize(
    "options",
    [
        "--memory lots", "-v a:b", "-v a:/b:ro:x", "-v +:/b", "--mount type=npipe,dst=/x", "--mount dst=/x,nokey=1",
        "--mount /x", "--mount dst=/x,readonly=perhaps", "--ulimit nofile", "--add-host a", "--device b", "--gpus many",
        "--device-read-bps /dev/a", "--device-read-iops /dev/a:b", "--blkio-weight-device x", "--health-timeout 5",
        "--security-opt seccomp=profile.json", "--restart on-failure:x", "--network name=", "--network name=a,mtu=1",
        "--mount type=tmpfs,dst=/t,tmpfs-mode=9",
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_fails_the_step(body_of: BodyOf, options: str) -> None:
    with pytest.raises(StepFailed) as caught:
        body_of(f"cmd: {options} a")
    assert caught.value.exit_status == 125


@pytest.mark.parametrize("name", [flag.name for flag in FLAGS.values() if flag.meaning is Meaning.HONOURED])
def test_every_option_that_is_accepted_does_something_or_is_said_to_do_nothing(name: str) -> None:
    assert sum(name in known for known in (CONTAINER_OPTIONS, OPTIONS_OF_STEPS, IDLE_OPTIONS)) == 1


def test_the_platform_is_not_part_of_the_body(plan_of: PlanOf) -> None:
    work = plan_of("steps: [{cmd: --platform linux/arm64 a}]").steps[0].work
    assert isinstance(work, CmdWork)
    assert platform_of(work) == "linux/arm64"


def test_a_policy_limits_what_asks_for_nothing(body_of: BodyOf) -> None:
    policy = Policy(max_cpus=1.5, max_memory_bytes=1000, max_pids=7, container_runtime="runsc")
    host = body_of("cmd: a", policy)["HostConfig"]
    assert (host["CpuPeriod"], host["CpuQuota"], host["Memory"], host["PidsLimit"], host["Runtime"]) == (
        *(100_000, 150_000, 1000, 7, "runsc"),
    )


def test_a_policy_leaves_a_step_what_it_asks_for_itself(body_of: BodyOf) -> None:
    policy = Policy(max_cpus=1.5, max_memory_bytes=1000, max_pids=7)
    host = body_of("cmd: --memory 10 --pids-limit 5 a\n  cpus: '1'", policy)["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["PidsLimit"]) == (1_000_000_000, 10, 5)
    assert "CpuQuota" not in host


# several commands


def test_a_command_has_its_own_options_and_shares_what_the_step_says(plan_of: PlanOf) -> None:
    plan = plan_of(
        "steps:\n- id: s\n  env: [A=1, B=1]\n  user: '5'\n  ports: ['80']\n"
        "  cmd: a && -e B=2 -w sub --network host -p 81 --memory 1g b c"
    )
    step = plan.steps[0]
    assert isinstance(step.work, CmdWork)
    second = step_of(step, step.work, step.work.commands[1])

    assert isinstance(second.work, CmdWork)
    assert (second.work.image, second.work.args, second.work.user) == ("b", ("c",), "5")
    assert second.env == {"A": "1", "B": "2"}
    assert second.working_directory == "/workspace/sub"
    assert (second.network, second.ports) == ("host", ("80", "81"))
    assert [option.name for option in second.work.options] == ["memory"]
    assert step_of(step, step.work, step.work.commands[0]).env == {"A": "1", "B": "1"}


@pytest.mark.parametrize(
    ("redirects", "expected"),
    [
        ("", {"stdout": b"out", "stderr": b"err"}),
        ("> /dev/null", {"stderr": b"err"}),
        ("2>&1", {"stdout": b"outerr"}),
        ("> /dev/null 2>&1", {}),
        ("2>&1 > /dev/null", {"stdout": b"err"}),
        ("&> /dev/null", {}),
    ],
)
def test_redirections_lead_output_elsewhere(
    plan_of: PlanOf, redirects: str, expected: dict[str, bytes]
) -> None:
    work = plan_of(f"steps: [{{cmd: 'a {redirects} ; b'}}]").steps[0].work
    assert isinstance(work, CmdWork)
    written: dict[str, bytes] = {}

    def write(stream: str, data: bytes) -> None:
        written[stream] = written.get(stream, b"") + data

    redirecting = redirected(write, work.commands[0].redirects)
    for stream, data in (("stdout", b"out"), ("stderr", b"err"), ("engine", b"said")):
        redirecting(stream, data)

    assert written == {**expected, "engine": b"said"}


# networks


def test_networks_of_a_run_have_names_that_no_other_run_has(plan_of: PlanOf) -> None:
    plan = plan_of(
        "networks: [{name: back}, {name: 'a b'}, {name: there, skipCreation: true}]\nsteps: [{cmd: a}]"
    )
    assert network_names(plan) == {"back": "tasks-run1-back", "a b": "tasks-run1-1-a-b", "there": "there"}
