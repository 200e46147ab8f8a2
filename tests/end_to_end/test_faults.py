"""What goes wrong in use: a clear message, the right exit code, nothing left, the log kept."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import assert_nothing_left

pytestmark = pytest.mark.docker

both_engines = pytest.mark.parametrize("engine", ["engine", "old_engine"], indirect=True)


def log_in(tasks, registry: str, password: str) -> None:
    folder = Path(tasks.environ["DOCKER_CONFIG"])
    folder.mkdir(exist_ok=True)
    login = base64.b64encode(f"tester:{password}".encode()).decode()
    config = {"auths": {registry: {"auth": login}, "other.example": {"auth": login}}}
    (folder / "config.json").write_text(json.dumps(config))


@both_engines
def test_a_failing_step_ends_the_run_and_skips_the_rest(tasks, project):
    folder = project(
        "steps:\n  - {id: test, cmd: busybox sh -c 'echo broken; exit 3'}\n  - {id: next, cmd: busybox true}\n"
    )

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 1
    last = outcome.stdout.splitlines()[-1]
    assert "test" in last
    assert last.endswith("exit code 3")
    assert "broken" in outcome.stdout
    assert "skipped" in outcome.stdout


@both_engines
def test_a_failing_run_line_is_shown_with_its_place(tasks, project):
    dockerfile = "FROM busybox\nRUN true\nRUN echo before; \\\n    exit 7\n"
    folder = project("steps:\n  - {id: b, build: .}\n", Dockerfile=dockerfile)

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 1
    assert "Dockerfile:3" in outcome.stdout
    assert "RUN echo before" in outcome.stdout
    assert outcome.stdout.splitlines()[-1].endswith("exit code 7")


@both_engines
@pytest.mark.parametrize(
    ("task", "dockerfile", "message"),
    [
        ("build: -f nope.Dockerfile .", "FROM busybox", "there is no Dockerfile 'nope.Dockerfile'"),
        ("build: nowhere", "FROM busybox", "build context 'nowhere' is not a folder"),
        ("build: ..", "FROM busybox", "outside"),
        ("build: .", "FROM busybox\nRUNN true", "unknown instruction"),
        ("build: .", "FROM 127.0.0.1:1/none:1", "127.0.0.1:1/none:1"),
        ("build: --target nope .", "FROM busybox", "nope"),
        ("build: .", "FROM busybox\nCOPY nofile /", "nofile"),
    ],
)
def test_a_build_that_cannot_work_says_why(tasks, project, task, dockerfile, message):
    folder = project(f"steps:\n  - {{id: b, {task}}}\n", Dockerfile=dockerfile)

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 1, outcome.stdout
    assert message in outcome.stdout
    assert "Traceback" not in outcome.stderr


@both_engines
def test_an_image_that_is_not_in_its_registry_fails_the_step(tasks, project, registry):
    folder = project(f"steps:\n  - {{id: c, cmd: '{registry}/no-such-image:1 true'}}\n")

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 1
    assert "image not found" in outcome.stdout


def test_a_command_that_is_not_in_the_image_fails_with_127(tasks, project):
    folder = project("steps:\n  - {id: c, cmd: busybox no-such-command}\n")

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 1
    assert "no-such-command" in outcome.stdout
    assert outcome.stdout.splitlines()[-1].endswith("exit code 127")


@both_engines
def test_a_registry_that_is_not_there_is_an_infrastructure_error(tasks, project):
    folder = project(
        "version: v1.1.0\nsteps:\n  - {build: '-t 127.0.0.1:1/x:$ID .'}\n  - {id: p, push: ['127.0.0.1:1/x:$ID']}\n",
        Dockerfile="FROM busybox\n",
    )

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 3, outcome.stdout
    assert "127.0.0.1:1" in outcome.stdout
    assert "connection refused" in outcome.stdout


PUSH_TO_LOGIN = """
version: v1.1.0
steps:
  - {id: b, build: "-t $Registry/private:$ID ."}
  - {id: p, push: ["$Registry/private:$ID"]}
  - {id: see, cmd: "busybox cat /acb/home/.docker/config.json"}
"""


@both_engines
def test_a_wrong_password_says_how_to_log_in(tasks, project, login_registry):
    log_in(tasks, login_registry, "battery staple")
    folder = project(PUSH_TO_LOGIN, Dockerfile="FROM busybox\n")

    outcome = tasks("run", str(folder), "--registry", login_registry)

    assert outcome.exit_code == 3
    assert f"docker login {login_registry}" in outcome.stdout
    assert "battery staple" not in outcome.stdout + outcome.stderr


@both_engines
def test_the_login_of_docker_works_and_steps_see_no_other(tasks, project, login_registry):
    log_in(tasks, login_registry, "correct horse")
    folder = project(PUSH_TO_LOGIN, Dockerfile="FROM busybox\n")

    outcome = tasks("run", str(folder), "--registry", login_registry, "--json")

    assert outcome.exit_code == 0, outcome.stdout
    assert list(json.loads(outcome.step_log("see"))["auths"]) == [login_registry]


def test_no_engine_is_told_at_once(tasks, project):
    folder = project("steps: [{cmd: busybox true}]")
    started = time.monotonic()

    outcome = tasks("run", str(folder), env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})

    assert outcome.exit_code == 3
    assert "/nowhere/docker.sock" in outcome.stderr
    assert outcome.stdout == ""
    assert list((tasks.state_dir / "runs").iterdir()) == []
    assert "hint:" in outcome.stderr
    assert time.monotonic() - started < 20


@both_engines
def test_a_step_is_killed_at_its_time_limit(tasks, project):
    folder = project("steps:\n  - {id: slow, cmd: 'busybox sleep 60', timeout: 1}\n")
    started = time.monotonic()

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 124
    assert "within 1 s" in outcome.stdout
    assert time.monotonic() - started < 20


def test_a_build_is_stopped_at_its_time_limit(tasks, project):
    folder = project(
        "steps:\n  - {id: slow, build: ., timeout: 2}\n", Dockerfile="FROM busybox\nRUN echo now; sleep 60\n"
    )

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 124
    assert "now" in outcome.stdout


def test_ignored_errors_let_the_next_step_run_and_are_not_shown_as_success(tasks, project):
    folder = project(
        "steps:\n  - {id: a, cmd: busybox false, ignoreErrors: true}\n  - {id: b, cmd: busybox echo went on}\n"
    )

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 0
    assert "went on" in outcome.stdout
    assert "failed, ignored" in outcome.stdout


def test_retries_run_the_step_again_until_it_succeeds(tasks, project):
    folder = project(
        "steps:\n  - {id: a, cmd: busybox sh count.sh, retries: 4, retryDelay: 1}\n",
        count__sh='echo x >> tries\ntest "$(wc -l < tries)" -eq 3\n',
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0
    assert outcome.of_type("step_finished")[0]["attempts"] == 3
    assert [event["attempt"] for event in outcome.of_type("step_retrying")] == [1, 2]


def in_step(step_id: str, text: str):
    def happened(event: dict) -> bool:
        return event["type"] == "step_log" and event["step_id"] == step_id and text in event["text"]

    return happened


@both_engines
@pytest.mark.parametrize(
    ("task", "happened"),
    [
        ("steps: [{id: c, cmd: 'busybox sh -c \"echo up; sleep 60\"'}]", in_step("c", "up")),
        ("steps: [{id: b, build: .}]", in_step("b", "building")),
        ("steps: [{id: c, cmd: busybox sleep 60}]", lambda event: event["type"] == "run_started"),
        ("steps: [{id: c, cmd: busybox sleep 60}]", lambda event: event["type"] == "step_started"),
        (
            "steps: [{id: c, cmd: busybox false, retries: 1, retryDelay: 60}]",
            lambda event: event["type"] == "step_retrying",
        ),
    ],
    ids=["in a container", "in a build", "at the start", "while a container starts", "between attempts"],
)
def test_ctrl_c_ends_the_run_within_seconds_and_leaves_nothing(tasks, project, task, happened):
    folder = project(task, Dockerfile="FROM busybox\nARG now\nRUN echo building $now; sleep 60\n")

    process = tasks.start("run", str(folder), "--json")
    outcome = tasks.interrupt_when(process, happened)

    assert outcome.exit_code == 130, outcome.stderr
    assert outcome.events[-1]["type"] == "run_finished"
    assert outcome.events[-1]["status"] == "canceled"
    assert "Traceback" not in outcome.stderr


@pytest.fixture
def silent_registry() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(32)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@both_engines
@pytest.mark.parametrize(
    "task",
    [
        "version: v1.1.0\nsteps:\n  - {id: b, build: '-t $Registry/x:$ID .'}\n  - {id: p, push: ['$Registry/x:$ID']}\n",
        "version: v1.1.0\nsteps: [{id: p, cmd: '$Registry/x:1 true'}]\n",
    ],
    ids=["in a push", "in a pull"],
)
def test_ctrl_c_ends_a_transfer_that_hangs(tasks, project, silent_registry, task):
    folder = project(task, Dockerfile="FROM busybox\n")

    process = tasks.start("run", str(folder), "--registry", silent_registry, "--json")
    outcome = tasks.interrupt_when(process, in_step("p", "ing"))

    assert outcome.exit_code == 130, outcome.stderr
    assert outcome.events[-1]["status"] == "canceled"


def test_a_run_killed_with_9_is_cleaned_up_by_the_next_command(tasks, project, engine, docker_api):
    folder = project("steps: [{id: c, cmd: 'busybox sh -c \"echo up; sleep 300\"'}]")
    process = tasks.start("run", str(folder), "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if in_step("c", "up")(json.loads(line)):
            break
    process.kill()
    process.wait()
    run_id = next((tasks.state_dir / "runs").iterdir()).name
    assert docker_api.containers.list(filters={"label": f"tasks.run={run_id}"})

    tasks("run", str(project("steps: [{id: c, cmd: busybox true}]")))

    assert_nothing_left(engine, [run_id])
    assert not (tasks.state_dir / "runs" / run_id / "workspace").exists()
    assert (tasks.state_dir / "runs" / run_id / "log").read_bytes() == b"up\n"


def test_a_full_disk_ends_the_run_and_keeps_the_log_so_far(tasks, project, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    (tmp_path / "state").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path / "state")], check=True)
    try:
        folder = project("steps: [{id: c, cmd: 'busybox sh -c \"seq 1 1000000; sleep 60\"'}]")
        outcome = tasks("run", str(folder))

        assert outcome.exit_code == 3
        assert "No space left" in outcome.stdout
        assert "Traceback" not in outcome.stderr
        assert outcome.log.startswith(b"1\n2\n3\n")
        assert_nothing_left(tasks.environ["DOCKER_HOST"], [outcome.folder.name])
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "state")], check=True)


def test_output_that_is_no_text_is_kept_byte_by_byte(tasks, project):
    folder = project("steps: [{id: c, cmd: busybox cat data}]")
    data = bytes(range(256)) * 100 + "größe".encode()[:3]
    (folder / "data").write_bytes(data)

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0
    assert outcome.step_log("c") == data
    plain = tasks("run", str(folder))
    assert plain.exit_code == 0
    assert "\x1b" not in plain.stdout


def test_ten_megabytes_without_a_line_break_are_kept_whole(tasks, project):
    folder = project("steps: [{id: c, cmd: busybox cat data}]")
    (folder / "data").write_bytes(b"x" * 10_000_000)

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0
    assert len(outcome.step_log("c")) == 10_000_000


def test_two_runs_at_once_do_not_meet(tasks, project):
    folder = project(
        "version: v1.1.0\n"
        "steps:\n"
        "  - {id: web, cmd: busybox httpd -f -p 80, detach: true}\n"
        "  - {id: write, cmd: 'busybox sh -c \"echo $ID > id.txt; sleep 1; cat id.txt\"'}\n"
        "  - {id: call, cmd: busybox wget -q -O - http://web/id.txt}\n"
    )
    runs = [tasks.start("run", str(folder), "--json") for _ in range(3)]
    outcomes = [tasks.wait(run) for run in runs]

    for outcome in outcomes:
        assert outcome.exit_code == 0, outcome.stdout
        run_id = outcome.events[0]["run_id"]
        text = "".join(event["text"] for event in outcome.of_type("step_log") if event["step_id"] == "call")
        assert text == f"{run_id}\n"


def test_a_reader_of_the_events_that_goes_away_does_not_stop_the_run(tasks, project):
    folder = project("steps: [{id: c, cmd: 'busybox sh -c \"seq 1 20000; echo end\"'}]")
    process = tasks.start("run", str(folder), "--json")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=60)

    assert b"Traceback" not in stderr
    run = next((tasks.state_dir / "runs").iterdir())
    assert (run / "log").read_bytes().endswith(b"end\n")


def test_the_second_ctrl_c_ends_at_once(tasks, project, engine):
    folder = project("steps: [{id: c, cmd: 'busybox sh -c \"echo up; sleep 300\"'}]")
    process = tasks.start("run", str(folder), "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if in_step("c", "up")(json.loads(line)):
            break
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)  # two presses, not one signal delivered once
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    tasks("run", str(project("steps: [{id: c, cmd: busybox true}]")))
    assert_nothing_left(engine, [folder.name for folder in (tasks.state_dir / "runs").iterdir()])
