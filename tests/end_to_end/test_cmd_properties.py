"""What a `cmd` step can say of its container, on a real engine."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import docker.errors
import pytest

from tests.end_to_end.conftest import Outcome, Tasks, assert_nothing_left

pytestmark = pytest.mark.docker

both_engines = pytest.mark.parametrize("engine", ["engine", "old_engine"], indirect=True)

Run = Callable[..., Outcome]


@pytest.fixture
def run(tasks: Tasks, project: Callable[..., Path]) -> Run:
    """Runs the steps of a task file of version v1.1.0; `config` is a settings file."""

    def run(text: str, *arguments: str, config: str = "", **options: object) -> Outcome:
        folder = project(f"version: v1.1.0\n{text}")
        if config:
            path = tasks.state_dir.parent / "settings.toml"
            path.write_text(config)
            tasks.environ["TASKS_CONFIG"] = str(path)
        return tasks("run", str(folder), "--json", *arguments, **options)

    return run


def text_of(outcome: Outcome, step_id: str) -> str:
    return outcome.step_log(step_id).decode()


def succeeded(outcome: Outcome) -> Outcome:
    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    return outcome


# networks


@both_engines
def test_steps_on_a_network_of_the_task_find_each_other_by_id(run):
    outcome = succeeded(
        run(
            "networks: [{name: back, driver: bridge}, {name: front, isDefault: true}]\n"
            "steps:\n"
            "  - {id: web, cmd: busybox sh -c 'echo hello > index.html; httpd -f -p 80', detach: true, network: back}\n"
            "  - {id: near, cmd: busybox wget -qO- http://web, network: back, retries: 5, retryDelay: 1}\n"
            "  - {id: far, cmd: busybox sh -c 'nslookup web || echo unknown'}\n"
        )
    )

    assert text_of(outcome, "near").startswith("hello\n")
    assert "unknown" in text_of(outcome, "far")


@both_engines
def test_a_network_has_addresses_of_version_6_when_asked(run):
    outcome = succeeded(
        run(
            "networks: [{name: six, ipv6: true, isDefault: true}]\nsteps: [{id: s, cmd: busybox ip -6 addr}]\n"
        )
    )

    assert "scope global" in text_of(outcome, "s")


def test_two_runs_with_the_same_network_name_do_not_meet(tasks, project):
    folder = project(
        "networks: [{name: mine, isDefault: true}]\n"
        "steps:\n  - {id: s, cmd: busybox sh -c 'sleep 1; nslookup s | grep -c Address'}\n"
    )

    first = tasks.start("run", str(folder), "--json")
    second = tasks.start("run", str(folder), "--json")

    for outcome in (tasks.wait(first), tasks.wait(second)):
        assert outcome.exit_code == 0, outcome.stdout
        # the server's own, and that of one container
        assert outcome.of_type("step_log")[0]["text"] == "2\n"


def test_an_existing_network_is_used_and_stays(run, docker_api):
    network = docker_api.networks.create("tasks-test-existing")
    try:
        outcome = succeeded(
            run(
                "networks: [{name: tasks-test-existing, skipCreation: true, isDefault: true}]\n"
                "steps:\n  - {id: up, cmd: busybox sleep 60, detach: true}\n"
                "  - {id: find, cmd: busybox ping -c 1 up}\n"
            )
        )
        assert "1 packets received" in text_of(outcome, "find")
        docker_api.networks.get("tasks-test-existing")
    finally:
        network.remove()


def test_an_existing_network_may_come_with_the_run(run, docker_api):
    network = docker_api.networks.create("tasks-test-given")
    try:
        succeeded(run("steps: [{id: s, cmd: busybox ping -c 1 s}]\n", "--network", "tasks-test-given"))
        docker_api.networks.get("tasks-test-given")
    finally:
        network.remove()


@both_engines
@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("{name: n, driver: no-such-driver}", "no network driver 'no-such-driver'"),
        ("{name: tasks-test-absent, skipCreation: true}", "skipCreation"),
    ],
)
def test_a_network_that_cannot_be_had_ends_the_run_before_any_step(run, docker_api, network, message):
    bystander = docker_api.networks.create("n")
    try:
        outcome = run(f"networks: [{network}]\nsteps: [{{id: s, cmd: busybox true}}]\n")
        docker_api.networks.get(bystander.id)
    finally:
        bystander.remove()

    assert outcome.exit_code == 3
    assert message in outcome.stdout
    assert not outcome.of_type("step_started")


def test_networks_of_the_engine_are_reached_by_their_names(run):
    outcome = succeeded(
        run(
            "steps:\n  - {id: host, cmd: busybox ip link, network: host}\n"
            "  - {id: none, cmd: busybox ip link, network: none}\n"
            "  - {id: holder, cmd: busybox sleep 60, detach: true}\n"
            "  - {id: same, cmd: --network container:holder busybox hostname}\n"
            "  - {id: own, cmd: --network-alias other busybox ping -c 1 other}\n"
        )
    )

    assert "docker0" in text_of(outcome, "host") or "br-" in text_of(outcome, "host")
    assert "eth0" not in text_of(outcome, "none")
    assert len(text_of(outcome, "same").strip()) == 12


# volumes


@both_engines
def test_files_of_a_volume_are_seen_at_every_place_it_is_mounted(run):
    outcome = succeeded(
        run(
            "volumes:\n  - {name: keys, secret: {a: aGVsbG8=, b.txt: 'AP8K'}}\n  - {name: unused, secret: {c: eA==}}\n"
            "steps:\n"
            "  - id: s\n"
            "    cmd: -v keys:/named:ro busybox sh -c 'cat /one/a /two/a /named/a; od -An -tx1 /one/b.txt; ls /two'\n"
            "    user: '1000'\n"
            "    volumeMounts: [{name: keys, mountPath: /one}, {name: keys, mountPath: /two}]\n"
        )
    )

    # the line break is the original's
    assert text_of(outcome, "s") == "hello\nhello\nhello\n 00 ff 0a 0a\na\nb.txt\n"


def test_files_of_a_volume_may_come_from_secrets_and_stay_hidden(run, tasks):
    outcome = succeeded(
        run(
            "secrets: [{id: key, keyvault: env:KEY}]\n"
            "volumes: [{name: v, secret: {key: '{{.Secrets.key | b64enc}}'}}]\n"
            "steps: [{id: s, cmd: 'busybox sh -c \"wc -c < /v/key; cat /v/key\"', "
            "volumeMounts: [{name: v, mountPath: /v}]}]\n",
            env={"KEY": "correct-horse"},
        )
    )

    assert text_of(outcome, "s") == "14\n***\n"
    encoded = base64.b64encode(b"correct-horse").decode()
    for path in outcome.folder.rglob("*"):
        if path.is_file():
            text = path.read_text(errors="replace")
            assert "correct-horse" not in text
            assert encoded not in text


def test_what_is_no_base64_ends_the_run_before_it_begins(run, tasks):
    outcome = run("volumes: [{name: v, secret: {key: '!!!'}}]\nsteps: [{id: s, cmd: busybox true}]\n")

    assert outcome.exit_code == 2
    assert "file 'key' of volume 'v' is not Base64" in outcome.stderr
    assert not list((tasks.state_dir / "runs").iterdir())


def test_secret_files_of_a_killed_run_are_removed_by_the_next_one(tasks, project, docker_api):
    folder = project(
        "volumes: [{name: v, secret: {key: aGVsbG8=}}]\n"
        "steps: [{id: s, cmd: busybox sleep 60, volumeMounts: [{name: v, mountPath: /v}]}]\n"
    )
    process = tasks.start("run", str(folder), "--json", "--id", "killedrun")
    deadline = time.monotonic() + 60
    while not any(each.status == "running" for each in of_run(docker_api, "killedrun")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    tasks.wait(process)
    assert docker_api.volumes.list(filters={"label": "tasks.run=killedrun"})

    (folder / "task.yaml").write_text("steps: [{cmd: busybox true}]\n")
    succeeded(tasks("run", str(folder), "--json"))

    assert_nothing_left(tasks.environ["DOCKER_HOST"], ["killedrun"])


def of_run(docker_api: docker.DockerClient, run_id: str) -> list:
    with contextlib.suppress(docker.errors.NotFound):
        return docker_api.containers.list(all=True, filters={"label": f"tasks.run={run_id}"})
    return []


@both_engines
def test_the_workspace_can_be_mounted_elsewhere(run):
    outcome = succeeded(
        run(
            "steps:\n  - {id: make, cmd: busybox sh -c 'mkdir sub; echo made > sub/file'}\n"
            "  - id: see\n"
            "    cmd: -v $SharedVolume:/a -v ./sub:/b:ro -v /workspace/sub:/c --mount type=bind,src=/workspace,dst=/d\n"
            "      busybox sh -c 'cat /a/sub/file /b/file /c/file /d/sub/file;\n"
            "      touch /b/x 2> /dev/null || echo read only'\n"
        )
    )

    assert text_of(outcome, "see").startswith("made\n" * 4)
    assert text_of(outcome, "see").endswith("read only\n")


def test_a_volume_of_the_engine_outlives_the_run(run, docker_api):
    task = "steps: [{id: s, cmd: -v tasks-test-cache:/cache busybox sh -c 'echo x >> /cache/f; wc -l < /cache/f'}]\n"
    try:
        succeeded(run(task))
        assert text_of(succeeded(run(task)), "s") == "2\n"
    finally:
        docker_api.volumes.get("tasks-test-cache").remove()


@pytest.mark.parametrize("volume", ["tasks-another-volume-keys", "tasks-another-workspace"])
def test_a_volume_of_another_run_is_not_to_be_had(run, docker_api, volume):
    outcome = run(f"steps: [{{id: s, cmd: -v {volume}:/x busybox true}}]\n")

    assert outcome.exit_code == 1
    assert f"volume '{volume}' belongs to another run" in outcome.stdout
    with pytest.raises(docker.errors.NotFound):
        docker_api.volumes.get(volume)


# commands


@both_engines
def test_several_commands_run_one_after_another_as_a_shell_would(run):
    outcome = succeeded(
        run(
            "steps:\n  - id: s\n    cmd: |\n"
            "      busybox sh -c 'echo one > file; exit 3' || -e A=2 busybox sh -c 'cat file; echo $A' && echo three\n"
            "      busybox true || echo never\n"
            "      busybox sh -c 'echo out; echo err >&2' > /dev/null 2>&1\n"
            "      busybox sh -c 'echo out; echo err >&2' 2> /dev/null\n"
            "      busybox false ; busybox no-such-command ; true\n"
        )
    )

    output = [event["text"] for event in outcome.of_type("step_log") if event["stream"] != "engine"]
    assert "".join(output) == "one\n2\nthree\nout\n"


def test_the_last_command_that_ran_decides(run):
    outcome = run("steps:\n  - {id: s, cmd: busybox true && busybox sh -c 'exit 5' && busybox true}\n")

    assert outcome.exit_code == 1
    assert outcome.of_type("step_finished")[0]["exit_code"] == 5


def test_a_command_behind_a_missing_image_runs(run, registry):
    succeeded(run(f"steps:\n  - {{id: s, cmd: '{registry}/no-such-image:1 || busybox true'}}\n"))


# life of a container


def test_a_detached_container_loses_no_output_and_its_end_is_told(run):
    outcome = succeeded(
        run(
            "steps:\n"
            "  - {id: dies, cmd: busybox sh -c 'echo last words; exit 3', detach: true}\n"
            "  - {id: lives, cmd: busybox sh -c 'seq 1 200000; echo ready; sleep 60', detach: true}\n"
            "  - {id: s, cmd: busybox sleep 1}\n"
        )
    )

    assert outcome.statuses == {"dies": "succeeded", "lives": "succeeded", "s": "succeeded"}
    assert text_of(outcome, "dies") == "last words\nthe container exited with 3\n"
    lines = text_of(outcome, "lives").splitlines()
    assert lines[199999:] == ["200000", "ready", "the container was stopped at the end of the run"]


def test_a_detached_container_with_a_stop_timeout_may_say_goodbye(run):
    outcome = succeeded(
        run(
            "steps:\n  - id: s\n    detach: true\n"
            "    cmd: --stop-timeout 5 busybox sh -c\n"
            "      'trap \"echo goodbye; exit 0\" TERM; while true; do sleep 0.1; done'\n"
            "  - {id: wait, cmd: busybox sleep 1}\n"
        )
    )

    assert "goodbye" in text_of(outcome, "s")


def test_a_kept_container_stays_until_the_end_and_is_replaced_by_a_new_try(run, tasks):
    outcome = succeeded(
        run(
            "steps:\n  - id: s\n    keep: true\n    retries: 2\n    retryDelay: 1\n"
            "    cmd: busybox sh -c 'echo try >> file; echo in $(wc -l < file) > /inside; [ $(wc -l < file) = 3 ]'\n"
            "  - {id: after, cmd: --volumes-from s busybox true}\n"
            "  - {id: gone, cmd: --volumes-from after busybox true, ignoreErrors: true}\n"
        )
    )

    assert outcome.of_type("step_finished")[0]["attempts"] == 3
    assert "step 'after' has no container now" in outcome.stdout


def test_a_detached_step_that_is_repeated_holds_its_port_once(run):
    outcome = succeeded(
        run(
            "steps:\n  - {id: s, cmd: busybox httpd -f -p 80, detach: true, repeat: 2, ports: ['127.0.0.1:18431:80']}\n"
            "  - {id: see, cmd: busybox wget -qO- http://s/task.yaml, retries: 3, retryDelay: 1}\n"
        )
    )

    assert "httpd" in text_of(outcome, "see")


@both_engines
def test_a_step_that_takes_too_long_is_killed(run, docker_api):
    begun = time.monotonic()
    outcome = run(
        "steps:\n  - {id: s, cmd: busybox sleep 300, timeout: 1, retries: 3, ignoreErrors: true}\n"
        "  - {id: next, cmd: busybox true}\n",
        "--id",
        "timelimit",
    )

    assert outcome.statuses == {"s": "timed_out", "next": "succeeded"}
    assert outcome.of_type("step_finished")[0]["attempts"] == 1
    assert time.monotonic() - begun < 30
    assert of_run(docker_api, "timelimit") == []


def test_ten_cancelled_containers_are_gone_soon(tasks, project, docker_api):
    steps = "".join(f"  - {{id: s{n}, cmd: busybox sleep 300, when: ['-']}}\n" for n in range(10))
    folder = project(f"steps:\n{steps}")
    process = tasks.start("run", str(folder), "--json", "--id", "tencancelled")
    deadline = time.monotonic() + 60
    while sum(each.status == "running" for each in of_run(docker_api, "tencancelled")) < 10:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    outcome = tasks.wait(process)

    assert outcome.exit_code == 130
    assert time.monotonic() - begun < 10  # 5 on a machine of one's own


# properties and options


@both_engines
def test_a_container_is_what_its_step_says(run):
    outcome = succeeded(
        run(
            "steps:\n"
            "  - {id: user, cmd: busybox id, user: '12:34'}\n"
            "  - {id: entry, cmd: busybox from the entry point, entryPoint: /bin/echo}\n"
            "  - {id: cpus, cmd: busybox cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max, cpus: '0.5',"
            " ignoreErrors: true}\n"
            "  - {id: isolation, cmd: busybox true, isolation: default, expose: ['80', 53/udp]}\n"
        )
    )

    assert text_of(outcome, "user").startswith("uid=12 gid=34")
    assert text_of(outcome, "entry") == "from the entry point\n"
    assert "50000" in text_of(outcome, "cpus")


def test_a_privileged_step_may_do_more_than_others(run):
    outcome = succeeded(
        run(
            "steps:\n"
            "  - {id: privileged, cmd: busybox mount -t tmpfs none /tmp, privileged: true}\n"
            "  - {id: other, cmd: busybox mount -t tmpfs none /tmp, ignoreErrors: true}\n"
        )
    )

    assert outcome.statuses == {"privileged": "succeeded", "other": "failed"}


@both_engines
def test_options_of_docker_run_do_what_they_say(run):
    outcome = succeeded(
        run(
            "steps:\n  - id: s\n    cmd: >-\n"
            "      --tmpfs /t:size=1m --mount type=tmpfs,target=/m,tmpfs-size=2m --ulimit nofile=99 --shm-size 10m\n"
            "      --add-host friend:10.9.8.7 --group-add 5 --device /dev/null:/dev/nothing --hostname here --init\n"
            "      --sysctl net.ipv4.ip_unprivileged_port_start=7 -v /etc/hostname:/machine:ro --pids-limit 50\n"
            "      --cap-drop ALL --security-opt no-new-privileges --health-cmd true --health-interval 1m30s\n"
            "      --stop-signal USR1 --cpu-shares 512 --memory 64m --dns 10.9.8.6 --label a=b --rm -it --quiet\n"
            "      busybox sh -c 'hostname; ulimit -n; id -G; grep friend /etc/hosts;\n"
            '      df -k | grep -E "/(t|m|dev/shm)$";\n'
            "      cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ls /dev/nothing; wc -l < /machine;\n"
            "      grep CapEff /proc/self/status; cat /proc/1/comm'\n"
            "  - {id: pid, cmd: --pid host busybox sh -c 'ps | wc -l'}\n"
        )
    )

    shown = text_of(outcome, "s")
    for words in ("here\n", "\n99\n", "10.9.8.7", " 1024 ", " 2048 ", " 10240 ", "\n7\n", "/dev/nothing"):
        assert words in shown
    assert "0000000000000000" in shown
    assert int(text_of(outcome, "pid")) > 20


def test_an_option_whose_value_means_nothing_fails_its_step(run):
    outcome = run("steps:\n  - {id: s, cmd: --memory lots busybox true}\n")

    assert outcome.exit_code == 1
    assert "docker run option '--memory' cannot read size 'lots'" in outcome.stdout


def test_a_port_that_is_taken_is_told_with_a_way_out(run, registry):
    port = registry.rpartition(":")[2]
    outcome = run(f"steps:\n  - {{id: s, cmd: busybox true, ports: ['127.0.0.1:{port}:80']}}\n")

    assert outcome.exit_code == 3
    assert "has that port" in outcome.of_type("step_finished")[0]["error"]["hint"]


def test_options_without_effect_are_told(run):
    outcome = succeeded(run("steps:\n  - {id: s, cmd: --log-driver syslog busybox true}\n"))

    assert "--log-driver of step 's' has no effect" in outcome.of_type("run_warning")[0]["message"]


def test_windows_isolation_is_refused_before_the_run(run):
    outcome = run("steps:\n  - {id: s, cmd: busybox true, isolation: hyperv}\n")

    assert outcome.exit_code == 2
    assert "isolation 'hyperv'" in outcome.stderr


# the engine's socket


@pytest.fixture
def client_image(docker_api: docker.DockerClient) -> Iterator[str]:
    """An image that is called as the docker client is."""
    docker_api.images.get("busybox").tag("tasks-test/docker", "1")
    yield "tasks-test/docker:1"
    docker_api.images.remove("tasks-test/docker:1")


IS_SOCKET = "sh -c 'test -S /var/run/docker.sock && echo yes || echo no'"


@pytest.mark.parametrize(
    ("policy", "client", "other"),
    [("auto", "yes", "no"), ("always", "yes", "yes"), ("never", "no", "no")],
)
def test_steps_get_the_socket_as_the_policy_says(run, client_image, policy, client, other):
    outcome = succeeded(
        run(
            f"steps:\n  - {{id: client, cmd: {client_image} {IS_SOCKET}}}\n"
            f"  - {{id: other, cmd: busybox {IS_SOCKET}}}\n",
            config=f'[policy]\ndocker_socket = "{policy}"\n',
        )
    )

    assert text_of(outcome, "client") == f"{client}\n"
    assert text_of(outcome, "other") == f"{other}\n"


def test_a_named_client_and_a_step_that_asks_get_the_socket(run):
    asking = "-v /var/run/docker.sock:/var/run/docker.sock"
    outcome = succeeded(run(f"steps:\n  - {{id: s, cmd: {asking} busybox {IS_SOCKET}}}\n"))
    assert text_of(outcome, "s") == "yes\n"

    outcome = succeeded(
        run(
            f"steps:\n  - {{id: s, cmd: busybox {IS_SOCKET}}}\n",
            config='[policy]\ndocker_clients = ["busybox"]\n',
        )
    )
    assert text_of(outcome, "s") == "yes\n"


def test_a_client_that_misses_the_socket_is_told_of_the_setting(run):
    complaint = (
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    )
    outcome = run(f"steps:\n  - {{id: s, cmd: busybox sh -c 'echo {complaint} >&2; exit 1'}}\n")

    assert outcome.exit_code == 1
    assert "policy.docker_clients" in outcome.of_type("step_finished")[0]["error"]["hint"]


# policy


def test_what_the_policy_forbids_is_refused_with_its_place(run):
    outcome = run(
        "steps:\n  - id: a\n    cmd: busybox true\n    privileged: true\n"
        "  - {id: b, cmd: --network host -v /etc:/x busybox true}\n"
        "  - {id: c, cmd: example.com/evil:1}\n",
        config=(
            "[policy]\nprivileged = false\nhost_network = false\nhost_files = false\n"
            'allowed_registries = ["docker.io/library"]\n'
        ),
    )

    assert outcome.exit_code == 2
    for place in ("task.yaml:5:5", "task.yaml:6:", "task.yaml:7:"):
        assert place in outcome.stderr
    for setting in (
        "policy.privileged",
        "policy.host_network",
        "policy.host_files",
        "policy.allowed_registries",
    ):
        assert setting in outcome.stderr


def test_a_secret_does_not_carry_a_forbidden_option_past_the_policy(run):
    outcome = run(
        "secrets: [{id: place, keyvault: env:PLACE}]\n"
        "steps: [{id: s, cmd: '-v {{.Secrets.place}}:/x busybox ls /x'}]\n",
        config="[policy]\nhost_files = false\n",
        env={"PLACE": "/etc"},
    )

    assert outcome.exit_code == 1
    assert "policy.host_files" in outcome.stdout


def test_a_step_has_at_most_what_the_policy_gives(run):
    outcome = succeeded(
        run(
            "steps:\n  - id: s\n    cmd: >-\n      busybox sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes\n"
            "      memory.max pids/pids.max pids.max cpu/cpu.cfs_quota_us cpu.max 2> /dev/null; true'\n",
            config='[policy]\nmax_cpus = 64\nmax_memory_bytes = "64MiB"\nmax_pids = 33\n',
        )
    )

    shown = text_of(outcome, "s")
    assert "67108864\n" in shown
    assert "33\n" in shown
    assert "6400000" in shown


def test_more_than_the_policy_gives_is_refused(run):
    outcome = run(
        "steps:\n  - {id: s, cmd: --memory 1g --pids-limit -1 busybox true, cpus: '3'}\n",
        config='[policy]\nmax_cpus = 2\nmax_memory_bytes = "64MiB"\nmax_pids = 33\n',
    )

    assert outcome.exit_code == 2
    for setting in ("policy.max_cpus", "policy.max_memory_bytes", "policy.max_pids"):
        assert setting in outcome.stderr


# images


def test_an_image_comes_from_the_mirror_of_its_registry(run, tasks, docker_api, registry):
    image = docker_api.images.get("busybox")
    image.tag(f"{registry}/mirror/team/tool", "1")
    docker_api.images.push(f"{registry}/mirror/team/tool", tag="1")
    docker_api.images.remove(f"{registry}/mirror/team/tool:1")
    try:
        outcome = succeeded(
            run(
                "steps:\n  - {id: s, cmd: registry.invalid/team/tool:1 echo mirrored}\n",
                config=f'[registries]\nmirrors = {{ "registry.invalid" = "{registry}/mirror" }}\n',
            )
        )
        assert "mirrored\n" in text_of(outcome, "s")
    finally:
        for name in (f"{registry}/mirror/team/tool:1", "registry.invalid/team/tool:1"):
            with contextlib.suppress(docker.errors.ImageNotFound):
                docker_api.images.remove(name)


def test_a_pull_is_tried_again_as_often_as_the_step_says(run, registry):
    outcome = run(
        f"steps:\n  - {{id: s, cmd: '{registry}/no-such-image:1', pull: true, cmdDownloadRetries: 2}}\n"
    )

    assert outcome.exit_code == 1
    assert text_of(outcome, "s").count(f"pulling {registry}/no-such-image:1\n") == 3


@both_engines
def test_an_engine_on_another_machine_has_volumes_and_the_shared_one_too(tasks, project, tmp_path):
    """A mount namespace of our own hides the run's folder from the engine, as another machine would."""
    if os.geteuid() != 0:
        pytest.skip("a mount namespace needs root")
    folder = project(
        "version: v1.1.0\nvolumes: [{name: keys, secret: {a: aGVsbG8=}}]\n"
        "steps:\n"
        "  - id: s\n"
        "    cmd: -v $SharedVolume:/a -v /workspace:/b busybox sh -c 'cat /k/a; cmp /a/task.yaml /b/task.yaml'\n"
        "    volumeMounts: [{name: keys, mountPath: /k}]\n"
        "  - {id: home, cmd: 'busybox sh -c \"cat .docker/config.json > x && echo written\"',"
        " workingDirectory: /acb/home, user: '1000'}\n"
        "  - {id: part, cmd: -v ./sub:/x busybox true, ignoreErrors: true}\n"
    )
    (tmp_path / "state").mkdir()
    kept = tmp_path / "kept"
    script = f'mount -t tmpfs none {tmp_path}/state && "$@"; code=$?; cp -r {tmp_path}/state/runs {kept}; exit $code'

    outcome = tasks("run", str(folder), "--json", prefix=("unshare", "-m", "sh", "-c", script, "sh"))

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    text = {event["step_id"]: event["text"] for event in outcome.of_type("step_log")}
    assert text["s"] == "hello\n"
    assert text["home"] == "written\n"
    assert "cannot be mounted alone" in json.dumps(outcome.of_type("step_finished"))


def test_a_folder_of_the_workspace_that_is_missing_is_made_for_volume_and_not_for_mount(tasks, project):
    outcome = tasks(
        "run",
        str(
            project("steps: [{id: s, cmd: -v ./new/deep:/x busybox sh -c 'echo hi > /x/f; cat new/deep/f'}]")
        ),
        "--json",
    )
    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outcome.step_log("s").endswith(b"hi\n")
    mounted = "steps: [{id: s, cmd: '--mount type=bind,src=/workspace/none,dst=/x busybox true'}]"
    assert tasks("run", str(project(mounted))).exit_code == 1


def test_a_run_whose_terminal_closes_is_cancelled_and_cleaned_up(tasks, project):
    folder = project("steps: [{id: s, cmd: busybox sh -c 'echo up; sleep 300'}]")
    process = tasks.start("run", str(folder), "--json")
    for line in process.stdout:
        if json.loads(line).get("text", "").strip() == "up":
            break
    process.send_signal(signal.SIGHUP)
    outcome = tasks.wait(process)
    assert outcome.exit_code == 130, outcome.stderr
