"""`tasks plan`, `validate`, `render` and `schema`, run in this process; none of them needs an engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tasks_engine.plan.model import Plan
from tasks_engine.plan_schema import plan_schema

#: see conftest: a command line -> code, out, err
Tasks = Callable[..., Any]
START, END = "\U000f5ec0", "\U000f5ec1"

TASK = """\
version: v1.1.0
steps:
  - id: build
    build: -t $Registry/app:$ID .
    cache: enabled
    when: ["-"]
  - id: test
    cmd: $Registry/app:$ID sh -c 'echo hi' && echo done || false
    retries: 2
    repeat: 1
    startDelay: 3
    ignoreErrors: true
  - push: [$Registry/app:$ID]
"""
SECRETS = """\
secrets:
  - id: token
    keyvault: env:TOKEN
env: ["TOKEN={{ .Secrets.token }}"]
steps:
  - cmd: busybox login {{ .Values.password }} {{ .Values.password | b64enc }} {{ .Secrets.token }}
"""
GIVEN = ("--set-secret", "password=s3cret")


def task(text: str) -> dict[str, str]:
    return {"task.yaml": text}


def test_a_plan_is_shown_step_by_step(tasks: Tasks) -> None:
    assert tasks("plan", "--id", "r1", files=task(TASK)) == (
        0,
        """\
task.yaml: 3 steps, run r1, registry r.io
  build       build  r.io/app:r1 from .
                     after at once; at most 600 s; cache r.io/app:cache_quickrun_build
  test        cmd    r.io/app:r1 sh -c 'echo hi' && echo done || false
                     after build; at most 600 s; starts 3 s later; 3 attempts, 5 s apart; 2 times; errors ignored
  acb_step_2  push   r.io/app:r1
                     after test; at most 600 s
""",
        "",
    )


def test_a_plan_as_json_is_one_by_its_schema(tasks: Tasks) -> None:
    outcome = tasks("plan", "--json", "--id", "r1", files=task(TASK))
    data = json.loads(outcome.out)
    jsonschema.Draft202012Validator(plan_schema()).validate(data)
    assert [step.id for step in Plan.from_json(data).steps] == ["build", "test", "acb_step_2"]


def test_a_dry_run_is_a_plan(tasks: Tasks) -> None:
    assert tasks("run", "--dry-run", "--id", "r1", files=task(TASK)) == tasks("plan", "--id", "r1")


def test_warnings_of_a_plan_go_to_standard_error(tasks: Tasks) -> None:
    outcome = tasks("plan", files=task("steps: [{cmd: a}]\nfoo: 1\n"))
    assert outcome.err.startswith(
        "warning: task.yaml:2:1: unknown key 'foo' is ignored (a task knows: version, "
    )
    assert outcome.code == 0


def test_of_many_warnings_ten_are_printed(tasks: Tasks) -> None:
    text = "steps: [{cmd: a}]\n" + "".join(f"k{number}: 1\n" for number in range(30))
    assert tasks("plan", files=task(text)).err.count("is ignored") == 10
    assert "and 20 more; tasks validate --json shows all" in tasks("plan").err
    assert tasks("validate").err.count("is ignored") == 10
    assert "and 20 more; --json shows all" in tasks("validate").err
    assert len(json.loads(tasks("validate", "--json").out)["warnings"]) == 30


def test_what_could_drive_a_terminal_is_not_printed(tasks: Tasks) -> None:
    outcome = tasks("plan", files=task('steps:\n- cmd: "busybox a\\e[31m\\n b\\a"\n"k\\e]0;x\\a": 1\n'))
    assert outcome.out.replace("\n", "").isprintable()
    assert outcome.err.replace("\n", "").isprintable()
    for command in ("validate", "run"):
        outcome = tasks(command, files=task('steps: [{id: "a \\e[31m", cmd: a}]'))
        assert outcome.err.replace("\n", "").isprintable()


def test_a_step_of_several_lines_takes_two_lines_of_a_plan(tasks: Tasks) -> None:
    outcome = tasks("plan", files=task("steps:\n- cmd: |\n    busybox sh -c '\n    a\n    b'\n"))
    assert len(outcome.out.splitlines()) == 3


@pytest.mark.parametrize(
    "command", [("plan",), ("plan", "--json"), ("render",), ("validate",), ("run", "--dry-run")]
)
def test_secrets_show_as_stars(tasks: Tasks, command: tuple[str, ...]) -> None:
    outcome = tasks(*command, *GIVEN, files=task(SECRETS))
    shown = outcome.out + outcome.err
    assert outcome.code == 0
    for part in ("s3cret", "czNjcmV0", START, END):
        assert part not in shown
    assert ("***" in shown) is (command[0] != "validate")


def test_outputs_of_steps_show_as_their_author_wrote_them(tasks: Tasks) -> None:
    step = "{cmd: 'a:{{.Steps.v.Outputs.tag}} {{(index .Steps \"a-b\").Outputs.x | upper}}'}"
    files = task(f"steps:\n- {{id: v, cmd: x}}\n- {{id: a-b, cmd: x}}\n- {step}\n")
    assert (
        "a:{{.Steps.v.Outputs.tag}} {{upper (index .Steps `a-b`).Outputs.x}}\n"
        in tasks("plan", files=files).out
    )
    shown = json.loads(tasks("plan", "--json").out)["steps"][2]["cmd"]
    assert (shown["image"], shown["args"]) == (
        "a:{{.Steps.v.Outputs.tag}}",
        ["{{upper (index .Steps `a-b`).Outputs.x}}"],
    )
    assert START not in tasks("render").out


def test_secrets_show_in_no_error(tasks: Tasks) -> None:
    text = (
        SECRETS
        + "  - cmd: '{{ .Values.password }}'\n    id: '{{ .Values.password }}'\n  - {{ .Values.password }}: 1\n"
    )
    for command in ("plan", "validate"):
        outcome = tasks(command, *GIVEN, files=task(text))
        assert outcome.code == 2
        for part in ("s3cret", "czNjcmV0", START, "?"):
            assert part not in outcome.err
    problems = json.loads(tasks("validate", "--json", *GIVEN).out)
    assert "s3cret" not in str(problems)
    assert START not in str(problems)


def test_the_token_of_a_secret_value_holds_its_name_only(tasks: Tasks, folder: Path) -> None:
    outcome = tasks("plan", "--json", *GIVEN, files=task(SECRETS))
    assert json.loads(outcome.out)["steps"][0]["cmd"]["args"] == ["login", "***", "***", "***"]


def test_a_valid_file_is_said_to_be_one(tasks: Tasks) -> None:
    assert tasks("validate", files=task(TASK)) == (0, "task.yaml is valid: 3 steps\n", "")


def test_a_registry_is_made_up_for_validation(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKS_REGISTRY")
    assert tasks("validate", files=task(TASK)).code == 0


def test_problems_are_printed_with_their_number(tasks: Tasks) -> None:
    assert tasks("validate", files=task("steps: [{cmd: a | b}]\n")) == (
        2,
        "",
        """\
task.yaml:1:17: '|' needs a shell, and tasks never starts one on the host
  1 | steps: [{cmd: a | b}]
    |                 ^
hint: put the whole line inside the container's own shell: cmd: IMAGE sh -c '…'

task.yaml: 1 problem
""",
    )


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_of_many_problems_ten_are_printed(tasks: Tasks, command: str) -> None:
    outcome = tasks(command, files=task("steps:\n" + "- {id: 'a b', cmd: A}\n" * 20))
    assert outcome.code == 2
    assert outcome.err.count("task.yaml:") - outcome.err.count("problems\n") == 10
    assert "more; " in outcome.err
    assert len(outcome.err.splitlines()) <= 60


def test_problems_come_before_the_warnings_that_fit(tasks: Tasks) -> None:
    text = "steps:\n" + "- {run: a}\n" * 8
    err = tasks("validate", files=task(text)).err
    assert err.count("does nothing") == 8
    assert err.count("unknown key") == 2
    assert err.index("does nothing") < err.index("unknown key")


def test_problems_and_warnings_are_json_for_programs(tasks: Tasks) -> None:
    outcome = tasks("validate", "--json", files=task("version: v9\nfoo: 1\nsteps: [{cmd: a}]"))
    data = json.loads(outcome.out)
    assert (outcome.code, data["valid"], data["steps"]) == (2, False, 0)
    assert data["problems"] == [
        {
            "code": "definition",
            "message": "version 'v9' is not known",
            "location": {"source": "task.yaml", "line": 1, "column": 10, "text": "version: v9"},
            "hint": "use one of 1.0-preview-1, v1.0.0, v1.1.0",
            "rule": "version-unsupported",
        }
    ]
    assert [each["message"] for each in data["warnings"]] == ["unknown key 'foo' is ignored"]
    assert json.loads(tasks("validate", "--json", files=task(TASK)).out) == {
        "valid": True,
        "steps": 3,
        "problems": [],
        "warnings": [],
    }


def test_strict_makes_a_file_with_warnings_invalid(tasks: Tasks) -> None:
    files = task("foo: 1\nsteps: [{cmd: a}]")
    assert [tasks("validate", *flags, files=files).code for flags in ((), ("--strict",))] == [0, 2]


def test_a_file_is_rendered_after_aliases_and_templates(tasks: Tasks) -> None:
    head = "version: v1.1.0\n# comment\nalias: {values: {a: app}}\n"
    text = head + "steps: [{cmd: $a $ID {{.Values.x}} {{.Run.TaskName}}}]\n"
    assert tasks("render", "--id", "r1", "--set", "x=y", files=task(text)) == (
        0,
        "version: v1.1.0\nsteps: [{cmd: app r1 y quickrun}]\n",
        "",
    )


def test_what_is_rendered_need_not_be_a_task(tasks: Tasks) -> None:
    assert tasks("render", files=task("anything: [{{.Values.x}}")).out == "anything: [\n"
    assert ".Values.x has no value" in tasks("render").err
    assert tasks("render", "--strict") == (2, "", tasks("render", "--strict").err)


def test_a_template_error_ends_every_command(tasks: Tasks) -> None:
    for command in ("render", "plan", "validate", "run"):
        outcome = tasks(command, files=task('steps: [{cmd: {{ fail "no tag" }}}]'))
        assert (outcome.code, outcome.out) == (2, "")
        assert 'task.yaml:1:18: in {{ fail "no tag" }}: no tag' in outcome.err


def test_an_empty_file_renders_to_nothing(tasks: Tasks) -> None:
    assert tasks("render", files=task("")) == (0, "", "")


def test_a_file_may_come_from_standard_input(tasks: Tasks) -> None:
    assert tasks("validate", "-", stdin="steps: [{cmd: a}]") == (0, "<stdin> is valid: 1 step\n", "")


def test_settings_reach_a_task(tasks: Tasks, folder: Path) -> None:
    path = folder.parent / ".config/tasks/settings.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[image_aliases]\nbash = "here/bash:5"\n')
    assert "here/bash:5 -c x" in tasks("plan", files=task("version: v1.1.0\nsteps: [{cmd: bash -c x}]")).out
    path.write_text("colour = 1")
    assert tasks("plan").code == 2


@pytest.mark.parametrize(
    ("name", "title"), [("task", "Task file"), ("plan", "Plan"), ("run-event", "Run event")]
)
def test_each_schema_is_printed(tasks: Tasks, name: str, title: str) -> None:
    outcome = tasks("schema", name)
    schema = json.loads(outcome.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert (outcome.code, schema["title"]) == (0, title)


def test_the_schema_of_the_task_file_is_printed_without_a_name(tasks: Tasks) -> None:
    assert tasks("schema") == tasks("schema", "task")
    assert tasks("schema", "other").code == 2


def test_problems_without_a_place_name_the_program(tasks: Tasks) -> None:
    assert tasks("plan", "--set", f"a={START}", files=task(TASK)).err.startswith(
        "tasks: value 'a' holds a character"
    )
    assert tasks("plan", "none.yaml").err.startswith("tasks: there is no task file 'none.yaml' in ")


@pytest.mark.parametrize("argv", [("run", "--help"), ("plan", "--help"), ("validate", "--help")])
def test_a_terminal_that_lacks_characters_is_no_reason_to_fail(argv: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tasks_engine", *argv],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
