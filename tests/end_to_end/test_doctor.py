"""`tasks doctor` with real engines and registries."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.docker


def findings(outcome) -> dict[str, dict]:
    return {finding["name"]: finding for finding in json.loads(outcome.stdout)}


@pytest.mark.parametrize(("engine", "state"), [("engine", "ok"), ("old_engine", "note")], indirect=["engine"])
def test_doctor_tells_whether_tags_move_together(tasks, state):
    found = findings(tasks("doctor", "--json"))["tags"]

    assert found["state"] == state
    assert ("containerd-snapshotter" in found["fix"]) == (state == "note")


def test_doctor_tells_what_a_registry_wants(tasks, login_registry):
    found = findings(tasks("doctor", "--registry", login_registry, "--json"))["registry"]

    assert found["state"] == "note"
    assert f"docker login {login_registry}" in found["fix"]


def test_doctor_tells_the_policy(tasks, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text('[policy]\ndocker_socket = "never"\n')

    outcome = tasks("doctor", "--json", env={"TASKS_CONFIG": str(settings)})

    assert "docker_socket = never" in findings(outcome)["policy"]["text"]


def test_doctor_tells_what_killed_runs_hold_and_gc_removes_it(tasks):
    process = tasks.start("run", "--cmd", "busybox sh -c 'echo up; sleep 300'", "--id", "killed", "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["type"] == "step_log":
            break
    process.kill()
    process.wait()

    found = findings(tasks("doctor", "--json"))["left behind"]

    assert found["state"] == "note"
    # of other processes of this machine there may be temporary folders, too
    assert found["text"].startswith("1 container, 1 network, 1 workspace")
    assert found["text"].endswith(" of killed runs killed")
    assert tasks("gc").exit_code == 0
    assert "killed runs" not in findings(tasks("doctor", "--json")).get("left behind", {}).get("text", "")
