"""What the arguments of `tasks build` ask for."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_engine.cli.build_task import AskedBuild, BuildTask, build_task
from tasks_engine.definition.model import Inputs
from tasks_engine.definition.template.secret_text import mask_tokens, tokens_in
from tasks_engine.errors import UsageError

INPUTS = Inputs(run={"ID": "run1", "Registry": "r.io"})


def made(*words: str, environ: dict[str, str] | None = None, **asked: Any) -> BuildTask:
    return build_task(AskedBuild(words or (".",), **asked), environ or {}, INPUTS)


def pushed(**asked: Any) -> tuple[str, ...]:
    steps = made(**asked).task.steps
    return steps[1].push if len(steps) > 1 else ()


def test_flags_are_those_of_docker_build():
    (step,) = made("--target=t", "--platform=linux/arm64", "--file=D", "dir").task.steps

    assert step.build is not None
    assert (step.build.target, step.build.platforms, step.build.dockerfile) == ("t", ("linux/arm64",), "D")
    assert step.build.context == "dir"


@pytest.mark.parametrize(
    ("images", "registry", "push", "expected"),
    [
        (["app"], "", None, ()),
        (["me/app:1"], "", None, ()),
        (["r.io/app:1"], "", None, ("r.io/app:1",)),
        (["localhost:5000/app"], "", None, ("localhost:5000/app:latest",)),
        (["app:1", "q.io/b"], "r.io", None, ("r.io/app:1", "q.io/b:latest")),
        (["app:1", "r.io/app:1"], "r.io", None, ("r.io/app:1",)),
        (["library/app"], "r.io", None, ()),
        (["docker.io/me/app"], "r.io", None, ()),
        (["r.io/app"], "r.io", False, ()),
        (["me/app"], "", True, ("me/app:latest",)),
        ([], "r.io", None, ()),
    ],
)
def test_images_with_a_registry_are_pushed(images, registry, push, expected):
    assert pushed(images=images, registry=registry, push=push) == expected


def test_the_push_waits_for_the_build_and_has_an_hour():
    build, push = made(images=["r.io/a"]).task.steps

    assert (build.timeout, push.timeout, push.when) == (28800, 3600, None)
    assert [each.timeout for each in made(images=["r.io/a"], timeout_s=5).task.steps] == [5, 5]


def test_names_of_images_may_refer_to_the_run():
    assert pushed(images=["$Registry/a:$ID", "r.io/b:{{.Run.ID}}"]) == ("r.io/a:run1", "r.io/b:run1")


def test_nothing_else_is_a_template():
    (step,) = made("--build-arg=A={{.Run.ID}} $ID", "--label=l=$ID").task.steps

    assert step.build is not None
    assert step.build.build_args == {"A": "{{.Run.ID}} $ID"}
    assert step.build.labels == {"l": "$ID"}


def test_a_lone_name_takes_its_value_from_the_environment():
    (step,) = made(
        "--build-arg=A", "--build-arg=B", "--build-arg=C=", environ={"A": "x", "C": "y"}
    ).task.steps

    assert step.build is not None
    assert step.build.build_args == {"A": "x", "C": ""}


def test_values_of_secrets_are_nowhere_in_the_task():
    build = made(
        "--secret=id=TOK",
        "--secret=id=o,env=OTHER",
        "--secret=id=f,src=file",
        "--secret=id=g",
        secret_build_args=["ARG", "LIT=hunter2"],
        environ={"TOK": "hunter0", "OTHER": "hunter1", "ARG": "hunter3"},
    )
    (step,) = build.task.steps

    assert "hunter" not in repr(build)
    assert sorted(build.secret_values.values()) == ["hunter0", "hunter1", "hunter2", "hunter3"]
    assert {name: mask_tokens(value) for name, value in step.env.items()} == {"TOK": "***", "OTHER": "***"}
    assert step.build is not None
    for name, value in step.build.build_args.items():
        assert value is not None
        (token,) = tokens_in(value)
        assert token.names == {("value", f"build-arg {name}")}


@pytest.mark.parametrize(
    ("words", "asked", "message"),
    [
        (("--no-such=1", "."), {}, "no-such"),
        (("--platform=x/y/z/w", "."), {}, "cannot read platform"),
        (("--secret=id=a,env=NONE", "."), {}, "there is no variable 'NONE' in the environment"),
        ((), {"images": ["UPPER"]}, "must be lower case"),
        ((), {"images": ["a:{{.Nope"]}, "--image"),
        ((), {"images": ["a\n{{.Run.ID}}"]}, "line break"),
        ((), {"images": ["a@sha256:" + "0" * 64]}, "has a digest"),
        ((), {"push": True}, "--push needs an image"),
        ((), {"secret_build_args": ["=x"]}, "takes NAME=VALUE"),
        ((), {"secret_build_args": ["NONE"]}, "no variable 'NONE'"),
        (("--label=a=\U000f5ec0", "."), {}, "keeps for itself"),
    ],
)
def test_what_cannot_be_meant_is_told(words, asked, message):
    with pytest.raises(UsageError, match=message):
        made(*words, **asked)
