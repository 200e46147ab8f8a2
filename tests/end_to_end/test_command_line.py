"""What people type: files, folders, values, plans, checks, help."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.docker

HELLO = "version: v1.1.0\nsteps: [{id: hello, cmd: 'busybox echo $ID {{.Values.name}}'}]\n"


def test_without_arguments_the_task_file_of_the_folder_runs(tasks, project):
    folder = project("steps: [{id: s, cmd: busybox echo task}]")
    (folder / "acb.yaml").write_text("steps: [{id: s, cmd: busybox echo acb}]")

    assert tasks("run", "--json", cwd=folder).step_log("s") == b"acb\n"


def test_a_task_from_standard_input_works_on_the_current_folder(tasks, tmp_path):
    (tmp_path / "here.txt").write_text("found")

    outcome = tasks("run", "-", "--json", cwd=tmp_path, stdin=b"steps: [{id: s, cmd: busybox cat here.txt}]")

    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.step_log("s") == b"found"


def test_the_file_is_looked_up_in_the_context_too(tasks, project):
    folder = project("steps: [{id: s, cmd: busybox true}]")

    assert tasks("run", "task.yaml", str(folder)).exit_code == 0


def test_values_come_from_a_file_and_set_wins(tasks, project, tmp_path):
    folder = project(HELLO)
    values = tmp_path / "values.yaml"
    values.write_text("name: from file\n")

    assert (
        tasks("run", str(folder), "--values", str(values), "--json")
        .step_log("hello")
        .endswith(b" from file\n")
    )
    assert (
        tasks("run", str(folder), "--values", str(values), "--set", "name=from set", "--json")
        .step_log("hello")
        .endswith(b" from set\n")
    )


def test_dry_run_prints_the_plan_and_starts_nothing(tasks, project):
    folder = project(HELLO)

    outcome = tasks("run", str(folder), "--dry-run")

    assert outcome.exit_code == 0
    assert "hello" in outcome.stdout
    assert not (tasks.state_dir / "runs").exists()


def test_plan_as_json_holds_every_step(tasks, project):
    plan = json.loads(tasks("plan", str(project(HELLO)), "--json").stdout)

    assert plan["steps"][0]["id"] == "hello"
    assert plan["steps"][0]["cmd"]["image"] == "busybox"
    assert plan["steps"][0]["timeout_s"] == 600


def test_validate_prints_every_problem_with_its_place(tasks, project):
    folder = project("steps:\n  - {cmd: busybox true, build: .}\n  - {cmd: busybox true, when: [nope]}\n")

    outcome = tasks("validate", str(folder))

    assert outcome.exit_code == 2
    assert "task.yaml:2:" in outcome.stderr
    assert "task.yaml:3:" in outcome.stderr
    assert "2 problems" in outcome.stderr


def test_unknown_keys_are_warned_about_and_refused_when_strict(tasks, project):
    folder = project("steps:\n  - {cmd: busybox true, tiemout: 3}\n")

    lenient = tasks("validate", str(folder))
    strict = tasks("validate", str(folder), "--strict")

    assert lenient.exit_code == 0
    assert "did you mean 'timeout'" in lenient.stderr
    assert strict.exit_code == 2


def test_problems_as_json_have_code_place_and_hint(tasks, project):
    outcome = tasks("validate", str(project("steps: [{cmd: busybox true, when: [x]}]")), "--json")

    report = json.loads(outcome.stdout)
    assert report["valid"] is False
    assert report["problems"][0]["code"] == "definition"
    assert report["problems"][0]["location"]["line"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "no-such.yaml"), "there is no task file 'no-such.yaml'"),
        (("run", "task.yml"), "did you mean 'task.yaml'?"),
        (("run", "task.yaml", "no-such-folder"), "does not exist"),
        (("run", "task.yaml", "task.yaml"), "is a file"),
        (("run", "a", "b", "c"), "FILE and CONTEXT"),
        (("run", "--set", "x", "task.yaml"), "name=value"),
        (("frobnicate",), "invalid choice"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(tasks, project, arguments, message):
    folder = project("steps: [{cmd: busybox true}]")

    outcome = tasks(*arguments, cwd=folder)

    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_help_teaches_with_examples_and_exit_codes(tasks):
    assert "tasks engine start" in tasks("--help").stdout
    shown = tasks("run", "--help").stdout
    assert "examples:" in shown
    assert "124 timed out" in shown


@pytest.mark.parametrize("engine", ["engine", "old_engine"], indirect=True)
def test_doctor_tells_what_is_there(tasks, registry):
    outcome = tasks("doctor", "--registry", registry, "--json")

    findings = {finding["name"]: finding for finding in reversed(json.loads(outcome.stdout))}
    assert outcome.exit_code == 0, outcome.stdout
    assert findings["engine"]["state"] == "ok"
    assert findings["registry"]["state"] == "ok"
    assert findings["buildkit"]["state"] == "ok"
    assert "moby" in findings["buildkit"]["text"]


def test_doctor_names_the_fix_for_what_is_missing(tasks):
    outcome = tasks("doctor", "--registry", "127.0.0.1:1", env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})

    assert outcome.exit_code == 3
    assert "MISSING" in outcome.stdout
    assert "/nowhere/docker.sock" in outcome.stdout
    assert "fix:" in outcome.stdout
