"""What the options of a command line mean for loading and planning a task."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks_engine.backends.contexts import Revision
from tasks_engine.backends.credential_arguments import ValueKind
from tasks_engine.cli.task_inputs import TaskInput, command_task
from tasks_engine.cli.task_options import GivenTask, add_task_options, given_task
from tasks_engine.definition.model import IMAGE_ALIASES
from tasks_engine.errors import DefinitionErrors, UsageError
from tasks_engine.plan.request import RunRequest
from tasks_engine.policy import Policy
from tasks_engine.settings import Settings

Given = Callable[..., GivenTask]
MARK = "\U000f5ec0"


@pytest.fixture
def given(tmp_path: Path) -> Given:
    """What a command line gives to a task of that text."""

    def given(
        *argv: str,
        text: str = "steps: [{cmd: a}]",
        registry: str = "r.io",
        revision: Revision | None = None,
        **settings: object,
    ) -> GivenTask:
        parser = argparse.ArgumentParser()
        add_task_options(parser)
        fields = {"state_dir": tmp_path, "docker_config_dir": tmp_path, "home": tmp_path, "environ": {}}
        chosen = Settings(**{**fields, "buildkit_host": "", "registry": "", **settings})  # type: ignore[arg-type]
        found = TaskInput(text, "task.yaml", tmp_path, revision)
        return given_task(parser.parse_args(argv), chosen, found, registry)

    return given


def refused(given: Given, *argv: str) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        given(*argv)
    return caught.value.message, caught.value.hint


def test_without_options_there_are_defaults(given: Given) -> None:
    before = datetime.now(UTC)
    found = given()
    run_id = found.request.run_id
    assert found.request == RunRequest(run_id, "task.yaml", "r.io", "quickrun", "", "")
    assert found.inputs.run == {
        "ID": run_id,
        "Registry": "r.io",
        "OS": "linux",
        "Architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "TaskName": "quickrun",
        "SharedVolume": f"tasks-{run_id}-workspace",
        "Commit": "",
        "Branch": "",
        "Repository": "",
        "GitTag": "",
        "TriggeredBy": "Manual",
    }
    assert (found.inputs.values, found.inputs.env, found.strict, found.inputs.seed) == ({}, (), False, run_id)
    assert found.inputs.now.utcoffset() == timedelta(0)
    assert before - timedelta(seconds=1) <= found.inputs.now <= datetime.now(UTC)
    assert found.inputs.image_aliases == IMAGE_ALIASES


def test_run_variables_come_from_flags(given: Given) -> None:
    found = given(
        *("--id", "r1", "--commit", "c", "--branch", "b", "--repository", "u", "--git-tag", "t"),
        *("--triggered-by", "Timer", "--task-name", "nightly"),
    )
    run = found.inputs.run
    assert [
        run[name] for name in ("ID", "Commit", "Branch", "Repository", "GitTag", "TriggeredBy", "TaskName")
    ] == [
        *("r1", "c", "b", "u", "t", "Timer", "nightly"),
    ]
    assert (found.request.run_id, found.request.task_name) == ("r1", "nightly")


def test_run_variables_come_from_the_context_where_no_flag_gives_them(given: Given) -> None:
    revision = Revision("c0", "b0", "t0", "https://h/r.git")
    names = ("Commit", "Branch", "GitTag", "Repository")
    run = given(revision=revision).inputs.run
    assert [run[name] for name in names] == ["c0", "b0", "t0", "https://h/r.git"]
    run = given("--commit=c", "--branch=b", "--git-tag=t", "--repository=r", revision=revision).inputs.run
    assert [run[name] for name in names] == ["c", "b", "t", "r"]


def test_what_steps_get_goes_into_inputs_and_request(given: Given) -> None:
    found = given("--env", "A=1", "--env", "B=", "--working-directory", "src", "--network", "n", "--strict")
    assert found.inputs.env == ("A=1", "B=")
    assert (found.request.working_directory, found.request.network, found.strict) == ("src", "n", True)


def test_every_run_has_an_id_of_its_own(given: Given) -> None:
    assert given().request.run_id != given().request.run_id


@pytest.mark.parametrize("run_id", ["a b", "-a", ".a", "a/b", "", "x" * 64, "ä", "a\n"])
def test_an_id_fits_into_names(given: Given, run_id: str) -> None:
    if run_id:
        assert refused(given, f"--id={run_id}")[0] == f"'{run_id}' cannot be the id of a run"
    else:
        assert given("--id=").request.run_id


def test_settings_may_name_image_aliases(given: Given) -> None:
    found = given(image_aliases={"bash": "here/bash", "tool": "here/tool"})
    assert found.inputs.image_aliases == {**IMAGE_ALIASES, "bash": "here/bash", "tool": "here/tool"}


def test_values_come_from_the_file_and_from_set(given: Given, tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("a: 1\nb: {c: 2}\n")
    found = given("--values", str(tmp_path / "v.yaml"), "--set", "a=2", "--set", "d=3")
    assert found.inputs.values == {"a": "2", "b": {"c": 2}, "d": "3"}


@pytest.mark.parametrize("entry", ["A", "", "=b", "=="])
def test_a_variable_is_given_with_its_name_and_value(given: Given, entry: str) -> None:
    assert refused(given, f"--env={entry}")[0] == f"--env takes NAME=VALUE, not '{entry}'"


def test_a_secret_value_is_kept_apart_from_what_the_task_sees(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_ENV", "s3cret two")
    found = given("--set-secret", "a=s3cret=one", "--set-secret", "FROM_ENV", "--set", "a=plain")
    assert found.secret_values == {"a": "s3cret=one", "FROM_ENV": "s3cret two"}
    assert found.inputs.secret_values == {"a", "FROM_ENV"}
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("NOT_THERE", "--set-secret NOT_THERE: there is no variable 'NOT_THERE' in the environment"),
        ("", "--set-secret takes NAME=VALUE, or NAME for a variable of the environment"),
        ("=s3cret", "--set-secret takes NAME=VALUE, or NAME for a variable of the environment"),
    ],
)
def test_a_secret_value_that_cannot_be_had_is_told(given: Given, assignment: str, message: str) -> None:
    assert refused(given, f"--set-secret={assignment}")[0] == message


def test_marks_of_secrets_are_refused_in_the_environment(given: Given) -> None:
    assert refused(given, f"--env=A={MARK}")[0] == (
        "--env holds a character that tasks keeps for itself (U+F5EC0 or U+F5EC1)"
    )


@pytest.mark.parametrize("flag", ["--set=a=", "--branch=", "--task-name=", "--set=", "--repository="])
def test_marks_of_secrets_are_refused_in_values_and_run_variables(given: Given, flag: str) -> None:
    suffix = MARK + "=x" if flag == "--set=" else MARK
    with pytest.raises(DefinitionErrors, match="a character that tasks keeps for itself"):
        given(flag + suffix).load()


def test_logins_are_read_and_never_show(given: Given) -> None:
    login = {"registry": "r.io", "username": "u", "password": "s3cret"}
    types = {"userNameProviderType": "opaque", "passwordProviderType": "opaque"}
    found = given("--credential", json.dumps(login | types))
    assert [(each.registry, each.username_kind) for each in found.credentials] == [("r.io", ValueKind.OPAQUE)]
    assert "s3cret" not in repr(found)


def test_a_given_task_can_be_loaded(given: Given, tmp_path: Path) -> None:
    (tmp_path / "aliases.yaml").write_text("repo: registry.local/app")
    text = "version: v1.1.0\nalias: {src: [aliases.yaml]}\nsteps: [{cmd: $repo $ID}]"
    [step] = given("--id", "r1", text=text).load().steps
    assert (step.commands[0].image, step.commands[0].args) == ("registry.local/app", ("r1",))


def test_strict_counts_when_a_task_is_loaded(given: Given) -> None:
    assert given(text="foo: 1\nsteps: [{cmd: a}]").load().warnings
    with pytest.raises(DefinitionErrors):
        given("--strict", text="foo: 1\nsteps: [{cmd: a}]").load()


def test_there_are_two_paths_at_most(given: Given, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        given("a", "b", "c")
    assert "takes FILE and CONTEXT, not 3 paths: a b c" in capsys.readouterr().err


def test_what_the_policy_forbids_is_found_when_the_task_is_loaded(given: Given) -> None:
    text = "steps:\n  - {id: s, cmd: --privileged busybox}\n"
    forbidding = given(text=text, policy=Policy(privileged=False))
    with pytest.raises(DefinitionErrors) as caught:
        forbidding.load()
    assert [str(problem.location) for problem in caught.value.problems] == ["task.yaml:2:18"]


def test_the_platform_is_told_to_the_task_and_given_to_its_steps(given: Given) -> None:
    text = "version: v1.1.0\nsteps: [{cmd: 'a $OS $Architecture'}]"
    [command] = given("--platform", "linux/arm/v7", text=text).load().steps[0].commands
    assert command.args == ("linux", "arm")
    assert [(option.name, option.value) for option in command.options] == [("platform", "linux/arm/v7")]
    assert refused(given, "--platform=mac")[1] == "operating systems are linux, windows"


def test_without_an_architecture_the_platform_is_that_of_this_machine(given: Given) -> None:
    assert given("--platform=linux").platform == f"linux/{given().inputs.run['Architecture']}"


def test_a_run_that_keeps_going_is_asked_for(given: Given) -> None:
    assert given("--keep-going").request.keep_going
    assert not given().request.keep_going


def test_builds_get_secrets_whose_values_never_show(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    found = given("--secret", "id=token,env=TOKEN", "--ssh", "default", text="steps: [{build: .}]")
    [step] = found.load().steps
    assert step.build is not None
    assert [each.id for each in step.build.secrets] == ["token"]
    assert [each.id for each in step.build.ssh] == ["default"]
    assert found.secret_values == {"--secret token": "s3cret"}
    assert found.inputs.secret_values == frozenset()
    assert "s3cret" not in repr(found)


def test_the_policy_counts_for_a_command_too(given: Given) -> None:
    text = command_task("--privileged busybox", None)
    with pytest.raises(DefinitionErrors):
        given(text=text, policy=Policy(privileged=False)).load()
