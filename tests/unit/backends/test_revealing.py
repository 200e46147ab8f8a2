"""Outputs of steps in the place of their tokens, in every part of a step that may hold one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tasks_engine.backends.revealing import refuse_forbidden_outputs, revealed
from tasks_engine.backends.secrets import SecretBook
from tasks_engine.definition.template.secret_text import has_token
from tasks_engine.errors import SecretError, StepFailed
from tasks_engine.plan.model import BuildWork, CmdWork, ContainerOption, Plan, PlannedStep, PushWork
from tasks_engine.policy import Policy

O = "{{.Steps.a.Outputs.o}}"  # noqa: E741
PlanOf = Callable[..., Plan]


def planned(plan_of: PlanOf, step: str) -> PlannedStep:
    """A step behind step `a`, whose outputs are given to `book`."""
    return plan_of(f"secrets: [{{id: s, keyvault: env:S}}]\nsteps:\n- {{id: a, cmd: x}}\n- {step}").steps[1]


def book(**outputs: str) -> SecretBook:
    made = SecretBook()
    made.add_outputs("a", outputs)
    made.add({"s": b"s3cret"})
    return made


def test_a_cmd_step_takes_outputs_everywhere(plan_of: PlanOf) -> None:
    step = planned(
        plan_of,
        f"{{cmd: '-e A={O} --label l={O} x:{O} {O} && --label m={O} y/{O} b{O}', env: ['B={O}']}}",
    )
    step = revealed(step, book(o="v"))
    assert not has_token(repr(step))
    assert isinstance(step.work, CmdWork)
    assert (step.env, step.work.image, step.work.args) == ({"B": "v"}, "x:v", ("v",))
    first, second = step.work.commands
    assert (first.image, first.args) == ("x:v", ("v",))
    assert first.options == (ContainerOption("env", "A=v"), ContainerOption("label", "l=v"))
    assert (second.image, second.options, second.args) == (
        "y/v:latest", (ContainerOption("label", "m=v"),), ("bv",),
    )  # fmt: skip


def test_a_build_step_takes_outputs_everywhere(plan_of: PlanOf) -> None:
    step = planned(
        plan_of,
        f"build: -t r.io/x:{O} -t {O} -f {O} --build-arg A={O} --build-arg S={{{{.Secrets.s}}}} --label {O}={O} "
        f"--target {O} --no-cache-filter {O} --annotation {O}={O} --build-context c={O} {O}\n  cache: enabled",
    )
    work = revealed(step, book(o="v")).work
    assert isinstance(work, BuildWork)
    assert work.tags == ("r.io/x:v", "v:latest")
    assert (work.dockerfile, work.context, work.target, work.no_cache_filter) == ("v", "v", "v", ("v",))
    assert work.build_args["A"] == "v"
    assert has_token(work.build_args["S"])
    assert (work.labels, work.build_contexts) == ({"v": "v"}, {"c": "v"})
    assert [(each.key, each.value) for each in work.annotations] == [("v", "v")]
    assert work.cache.startswith("r.io/x:cache_")


def test_a_push_step_pushes_what_outputs_name(plan_of: PlanOf) -> None:
    plan = plan_of(
        "steps:\n- {id: a, cmd: x}\n"
        f"- {{id: b, build: '-t r.io/x:{O} .'}}\n"
        f"- {{push: ['r.io/x:{O}', 'r.io/x:v', '{{{{.Steps.b.Outputs.image}}}}', 'y:{O}']}}"
    )
    full = book(o="v")
    full.add_outputs("b", {"image": "r.io/x:v"})
    work = revealed(plan.steps[2], full).work
    assert isinstance(work, PushWork)
    assert work.images == ("r.io/x:v", "y:v")
    assert work.built_by == {"r.io/x:v": "b"}


def test_outputs_named_image_of_other_steps_are_no_builds(plan_of: PlanOf) -> None:
    step = planned(plan_of, "push: ['{{.Steps.a.Outputs.image}}']")
    assert isinstance(step.work, PushWork)
    assert step.work.built_by == {}


@pytest.mark.parametrize("value", ["a b", "", "-a", "a,push=true", "a\nb", "x" * 200])
@pytest.mark.parametrize("step", [f"build: -t x:{O} .", f"push: ['x:{O}']", f"cmd: x:{O}"])
def test_a_value_that_makes_no_name_of_an_image_fails_the_step(
    plan_of: PlanOf, step: str, value: str
) -> None:
    with pytest.raises(StepFailed, match="made of outputs of earlier steps, is not an image reference"):
        revealed(planned(plan_of, step), book(o=value))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "this needs output 'o' of step 'a', which has not written it, nor any other"),
        (
            {"x": "1", "b": "2"},
            "this needs output 'o' of step 'a', which has not written it, only 'b', 'x'",
        ),
        (None, "this needs output 'o' of step 'a', which has not succeeded and so has none"),
    ],
)
def test_an_output_that_is_not_there_fails_the_step(
    plan_of: PlanOf, outputs: Mapping[str, str] | None, message: str
) -> None:
    full = SecretBook()
    if outputs is not None:
        full.add_outputs("a", outputs)
    with pytest.raises(StepFailed) as caught:
        revealed(planned(plan_of, f"cmd: x {O}"), full)
    assert caught.value.message == message


def test_a_digest_that_no_engine_knew_is_explained(plan_of: PlanOf) -> None:
    plan = plan_of("steps:\n- {id: a, build: '-t x .'}\n- cmd: x {{.Steps.a.Outputs.digest}}")
    with pytest.raises(StepFailed) as caught:
        revealed(plan.steps[1], book(image="x:latest"))
    assert "containerd" in caught.value.hint


def test_of_a_repeated_step_the_last_outputs_count(plan_of: PlanOf) -> None:
    full = book(o="1", p="1")
    full.add_outputs("a", {"o": "2"})
    work = revealed(planned(plan_of, f"cmd: x {O}"), full).work
    assert isinstance(work, CmdWork)
    assert work.args == ("2",)
    with pytest.raises(StepFailed):
        revealed(planned(plan_of, "cmd: x {{.Steps.a.Outputs.p}}"), full)


def test_a_function_that_refuses_an_output_says_why(plan_of: PlanOf) -> None:
    step = planned(plan_of, "cmd: x {{ regexReplaceAll .Steps.a.Outputs.o `a` `b` }}")
    with pytest.raises(
        StepFailed, match=r"a template function refuses the value of output 'o' of step 'a': \S"
    ):
        revealed(step, book(o="["))


def test_a_function_that_refuses_a_secret_beside_an_output_shows_neither(plan_of: PlanOf) -> None:
    step = planned(plan_of, "cmd: x {{ regexReplaceAll .Steps.a.Outputs.o .Secrets.s `b` }}")
    with pytest.raises(SecretError, match=r"a template function refuses the value of secret 's'\Z"):
        revealed(step, book(o="["))


def test_only_what_holds_a_secret_is_to_be_masked(plan_of: PlanOf) -> None:
    heard: list[bytes] = []
    full = SecretBook({}, heard.append)
    full.add_outputs("a", {"o": "output"})
    full.add({"s": b"s3cret"})
    revealed(planned(plan_of, f"cmd: x {O} {{{{ cat .Secrets.s .Steps.a.Outputs.o }}}}"), full)
    assert heard == [b"s3cret", b"s3cret output"]


@pytest.mark.parametrize(
    "step",
    ["push: ['{{.Steps.a.Outputs.o}}']", "build: --build-context c=docker-image://{{.Steps.a.Outputs.o}} ."],
)
def test_an_image_that_only_an_output_names_is_under_the_policy_too(plan_of: PlanOf, step: str) -> None:
    policy = Policy(allowed_registries=("good.io",))
    before = planned(plan_of, step)
    refuse_forbidden_outputs(before, revealed(before, book(o="good.io/x")), policy)
    with pytest.raises(
        StepFailed, match=r"uses image 'bad\.io/x:latest', which the policy of this machine forbids"
    ):
        refuse_forbidden_outputs(before, revealed(before, book(o="bad.io/x")), policy)
