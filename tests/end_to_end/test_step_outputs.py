"""What a step writes to $TASKS_OUTPUT, and where later steps find it."""

from __future__ import annotations

import json
import os

import pytest

pytestmark = pytest.mark.docker

DOCKERFILE = 'FROM busybox\nARG TEXT\nRUN echo "$TEXT" > /text\n'
HOSTILE_TEXT = """a 'b' "c" $(id) `id` $HOME {{.Run.ID}} ; && | \\"""


@pytest.fixture(params=["shared folder", "engine's volumes"])
def run(request, tasks, tmp_path):
    """`tasks run --json`, with an engine that sees our files, and with one that does not."""
    if request.param == "shared folder":
        return lambda *arguments, **options: tasks("run", *arguments, "--json", **options)
    if os.geteuid() != 0:
        pytest.skip("a mount namespace needs root")
    (tmp_path / "state").mkdir()
    kept = tmp_path / "kept"
    script = f'mount -t tmpfs none {tmp_path}/state && "$@"; code=$?; cp -r {tmp_path}/state/runs {kept}; exit $code'
    prefix = ("unshare", "-m", "sh", "-c", script, "sh")
    return lambda *arguments, **options: tasks("run", *arguments, "--json", prefix=prefix, **options)


def printed(outcome, step_id: str) -> str:
    return "".join(
        event["text"]
        for event in outcome.of_type("step_log")
        if event["step_id"] == step_id and event["stream"] != "engine"
    )


def outputs_of(outcome) -> dict[str, dict[str, str]]:
    return {event["step_id"]: event["outputs"] for event in outcome.of_type("step_outputs")}


def errors_of(outcome) -> dict[str, str]:
    return {
        event["step_id"]: event["error"]["message"]
        for event in outcome.of_type("step_finished")
        if "error" in event
    }


def test_later_steps_use_what_a_step_wrote(run, project):
    folder = project(
        "version: v1.1.0\n"
        "steps:\n"
        "  - id: version\n"
        "    cmd: busybox sh -c 'echo tag=1.2 >> $TASKS_OUTPUT; cat /workspace/text >> $TASKS_OUTPUT'\n"
        "  - id: as-user\n"
        "    user: '1000'\n"
        "    cmd: busybox sh -c 'echo id=$(id -u) >> $TASKS_OUTPUT' && busybox sh -c 'echo more=2 >> $TASKS_OUTPUT'\n"
        "  - id: build\n"
        "    build: -t outputs-$ID:{{.Steps.version.Outputs.tag}} --build-arg TEXT={{.Steps.version.Outputs.text}} .\n"
        "  - id: show\n"
        "    cmd: outputs-$ID:{{.Steps.version.Outputs.tag}} cat /text\n"
        "  - id: by-name\n"
        "    cmd: >-\n"
        '      {{.Steps.build.Outputs.image}} sh -c \'echo "$TEXT"\' {{(index .Steps "as-user").Outputs.more}}\n'
        "    env: ['TEXT={{.Steps.version.Outputs.text}}']\n"
        "  - id: words\n"
        '    cmd: busybox echo {{.Steps.version.Outputs.text}} {{(index .Steps "as-user").Outputs.id}}\n',
        Dockerfile=DOCKERFILE,
        text=f"text={HOSTILE_TEXT}\n",
    )

    outcome = run(str(folder))

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    outputs = outputs_of(outcome)
    assert outputs["version"] == {"tag": "1.2", "text": HOSTILE_TEXT}
    assert outputs["as-user"] == {"id": "1000", "more": "2"}
    assert outputs["build"]["image"].endswith(":1.2")
    assert printed(outcome, "show") == f"{HOSTILE_TEXT}\n"
    assert printed(outcome, "by-name") == f"{HOSTILE_TEXT}\n"
    assert printed(outcome, "words") == f"{HOSTILE_TEXT} 1000\n"


def test_an_image_is_pushed_under_a_tag_that_a_step_made(tasks, project, registry):
    folder = project(
        "version: v1.1.0\n"
        "steps:\n"
        "  - {id: version, cmd: \"busybox sh -c 'echo tag=v7 >> $TASKS_OUTPUT'\"}\n"
        "  - {id: build, build: '-t $Registry/outputs:{{.Steps.version.Outputs.tag}} .'}\n"
        "  - {id: push, push: ['$Registry/outputs:{{.Steps.version.Outputs.tag}}']}\n",
        Dockerfile=DOCKERFILE,
    )

    outcome = tasks("run", str(folder), "--json", "--registry", registry)

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert [event["image"] for event in outcome.of_type("image_pushed")] == [f"{registry}/outputs:v7"]


def test_what_stands_in_the_place_of_the_file_is_never_followed(run, project, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("host=secret of the machine\n")
    commands = {
        "link": f"ln -sf {secret} $TASKS_OUTPUT",
        "pipe": "rm $TASKS_OUTPUT; mkfifo $TASKS_OUTPUT",
        "device": "rm $TASKS_OUTPUT; mknod $TASKS_OUTPUT c 1 5",
        "folder": "rm $TASKS_OUTPUT; mkdir $TASKS_OUTPUT",
        "huge": "truncate -s 100G $TASKS_OUTPUT",
        "binary": r'printf "a=\377\n" >> $TASKS_OUTPUT',
        "words": "echo some words >> $TASKS_OUTPUT",
        "gone": "rm $TASKS_OUTPUT",
        "other": "rm $TASKS_OUTPUT; echo a=1 > /acb/home/new; mv /acb/home/new $TASKS_OUTPUT",
        "locked": "echo a=2 >> $TASKS_OUTPUT; chmod 0 $TASKS_OUTPUT",
    }
    steps = [
        {"id": name, "when": ["-"], "ignoreErrors": True, "cmd": f"busybox sh -c '{command}'"}
        for name, command in commands.items()
    ]
    folder = project(json.dumps({"version": "v1.1.0", "steps": steps}))

    outcome = run(str(folder))

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    errors = errors_of(outcome)
    not_a_file = "$TASKS_OUTPUT is no file any more"
    assert {name: errors.get(name) for name in ("link", "pipe", "device", "folder")} == {
        "link": not_a_file, "pipe": not_a_file, "device": not_a_file, "folder": not_a_file,
    }  # fmt: skip
    assert errors["huge"] == "the step wrote to $TASKS_OUTPUT more than 1024 KiB"
    assert errors["binary"] == "the step wrote to $TASKS_OUTPUT line 1, whose byte 3 is not UTF-8"
    assert errors["words"].endswith("line 1, 'some words', which is not name=value")
    assert "gone" not in errors
    assert outputs_of(outcome) == {"other": {"a": "1"}, "locked": {"a": "2"}}
    assert "secret of the machine" not in outcome.stdout
    assert secret.read_text() == "host=secret of the machine\n"


def test_each_attempt_begins_without_outputs(run, project):
    folder = project(
        "version: v1.1.0\n"
        "steps:\n"
        "  - id: flaky\n"
        "    retries: 1\n"
        "    retryDelay: 1\n"
        "    cmd: >-\n"
        "      busybox sh -c 'test -e again && echo b=2 >> $TASKS_OUTPUT && exit;\n"
        "      touch again; echo a=1 >> $TASKS_OUTPUT; exit 1'\n"
        "  - {id: use, cmd: 'busybox echo {{.Steps.flaky.Outputs.b}}'}\n"
        "  - {id: lost, cmd: 'busybox echo {{.Steps.flaky.Outputs.a}}'}\n"
    )

    outcome = run(str(folder))

    assert outcome.exit_code == 1, outcome.stdout + outcome.stderr
    assert outputs_of(outcome) == {"flaky": {"b": "2"}}
    assert printed(outcome, "use") == "2\n"
    assert errors_of(outcome) == {
        "lost": "this needs output 'a' of step 'flaky', which has not written it, only 'b'"
    }


def test_a_secret_in_an_output_is_masked_and_still_used(tasks, project):
    folder = project(
        "version: v1.1.0\n"
        "secrets: [{id: s, keyvault: 'env:SECRET_OF_TEST'}]\n"
        "steps:\n"
        "  - id: write\n"
        "    cmd: busybox sh -c 'echo target=$S >> $TASKS_OUTPUT'\n"
        "    env: ['S={{.Secrets.s}}']\n"
        "  - id: use\n"
        "    cmd: busybox sh -c 'echo ${#T}'\n"
        "    env: ['T={{.Steps.write.Outputs.target}}']\n"
    )

    outcome = tasks("run", str(folder), "--json", env={"SECRET_OF_TEST": "hunter2-hunter2"})

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outputs_of(outcome) == {"write": {"target": "***"}}
    assert printed(outcome, "use") == "15\n"
    for file in outcome.folder.iterdir():
        assert b"hunter2" not in file.read_bytes()
