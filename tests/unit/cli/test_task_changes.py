"""What a command line adds to all steps of a task."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_engine.cli.task_changes import GivenAccess, read_access, with_access, with_platform
from tasks_engine.definition.build_attributes import BuildSecret
from tasks_engine.definition.build_values import SshForward
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs, Task
from tasks_engine.definition.template.secret_text import secret_value
from tasks_engine.errors import UsageError
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import BuildWork, CmdWork, ContainerOption
from tasks_engine.plan.request import RunRequest

TOKEN = secret_value("--secret token").token


def task(text: str) -> Task:
    return load_task(text, "task.yaml", Inputs(), None)


def works(changed: Task) -> list:
    return [step.work for step in make_plan(changed, RunRequest("r1", "task.yaml")).steps]


def test_builds_and_containers_get_the_platform_unless_they_name_one() -> None:
    changed = with_platform(
        task(
            "steps:\n"
            "- build: .\n"
            "- build: --platform linux/s390x .\n"
            "- cmd: busybox true\n"
            "- cmd: --platform linux/386 busybox true\n"
            "- push: [a]\n"
        ),
        "linux/arm64",
    )

    plain, chosen, container, other, _ = works(changed)

    assert isinstance(plain, BuildWork)
    assert (plain.platforms, chosen.platforms) == (("linux/arm64",), ("linux/s390x",))
    assert isinstance(container, CmdWork)
    assert container.options == (ContainerOption("platform", "linux/arm64"),)
    assert other.options == (ContainerOption("platform", "linux/386"),)


def test_each_of_several_commands_gets_the_platform() -> None:
    [work] = works(with_platform(task("steps: [{cmd: 'a x && echo y && b z'}]"), "linux/arm64"))

    platforms = [[option.value for option in command.options] for command in work.commands]
    assert platforms == [["linux/arm64"], [], ["linux/arm64"]]


def test_without_a_platform_the_task_stays_as_it_is() -> None:
    written = task("steps: [{build: .}]")
    assert with_platform(written, "") is written
    assert with_access(written, GivenAccess()) is written


def test_every_build_gets_the_secrets_and_agents_but_keeps_its_own() -> None:
    written = task(
        "steps:\n- build: .\n- build: --secret id=token,src=own.txt --ssh default=own .\n- cmd: a\n"
    )
    given = read_access(["id=token,env=TOKEN"], ["default"], {"TOKEN": "value"}, Path())

    first, second, third = with_access(written, given).steps

    assert first.build is not None
    assert second.build is not None
    assert first.build.secrets == (BuildSecret("token", env="--secret token"),)
    assert first.build.ssh == (SshForward("default"),)
    assert first.env == {"--secret token": TOKEN}
    assert second.build.secrets == (BuildSecret("token", "own.txt"),)
    assert second.build.ssh == (SshForward("default", ("own",)),)
    assert third.env == {}


def test_keys_by_their_paths_stay_out_of_the_task(tmp_path: Path) -> None:
    given = read_access([], ["git=key,/abs/key", "default"], {}, tmp_path)

    assert given.keys == (SshForward("git", (str(tmp_path / "key"), "/abs/key")),)
    (step,) = with_access(task("steps: [{build: .}]"), given).steps
    assert step.build is not None
    assert step.build.ssh == (SshForward("default"),)


def test_a_secret_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff\nvalue")
    (tmp_path / "by-id").write_text("of the file")

    given = read_access(
        ["id=a,env=A", "id=b,src=file", "id=A", "id=by-id"], [], {"A": "of the variable"}, tmp_path
    )

    values = {name.removeprefix("--secret "): value for name, value in given.values.items()}
    assert values["a"] == values["A"] == "of the variable"
    assert values["b"].encode("utf-8", "surrogateescape") == b"\xff\nvalue"
    assert values["by-id"] == "of the file"
    assert "of the" not in repr(given)


@pytest.mark.parametrize(
    ("secrets", "ssh", "message"),
    [
        (["id=a,env=NOT_THERE"], [], "there is no variable 'NOT_THERE'"),
        (["id=a,src=not-there"], [], "cannot be read: No such file"),
        (["id=a,src=."], [], "cannot be read: Is a directory"),
        (["id=a"], [], "neither a variable nor a file 'a'"),
        (["id=a,src=large"], [], "larger than 500 KiB"),
        (["src=x"], [], "--secret needs an id"),
        ([""], [], "--secret is empty"),
        ([], ["=x"], "--ssh needs an id"),
    ],
)
def test_what_builds_cannot_be_given_is_refused(
    secrets: list[str], ssh: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(b"x" * (500 * 1024 + 1))
    with pytest.raises(UsageError) as caught:
        read_access(secrets, ssh, {}, tmp_path)
    assert message in caught.value.message
