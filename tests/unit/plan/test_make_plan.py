from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks_engine.definition.model import StepKind
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork

PlanOf = Callable[..., Plan]


def parents(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {step.id: step.depends_on for step in plan.steps}


def build(plan: Plan, index: int = 0) -> BuildWork:
    work = plan.steps[index].work
    assert isinstance(work, BuildWork)
    return work


def test_every_default_is_filled(plan_of: PlanOf) -> None:
    assert plan_of("steps: [{cmd: busybox}]") == Plan(
        run_id="run1",
        task="task.yaml",
        registry="",
        steps=(
            PlannedStep(
                id="acb_step_0",
                kind=StepKind.CMD,
                depends_on=(),
                timeout_s=600,
                retries=0,
                retry_delay_s=5,
                ignore_errors=False,
                detach=False,
                env={},
                working_directory="/workspace",
                work=CmdWork("busybox", ()),
            ),
        ),
    )


def test_a_step_takes_the_time_limit_of_the_task(plan_of: PlanOf) -> None:
    plan = plan_of("stepTimeout: 50\nsteps: [{cmd: a}, {cmd: a, timeout: 7}, {cmd: a, timeout: 0}]")
    assert [step.timeout_s for step in plan.steps] == [50, 7, 50]


def test_a_step_without_when_waits_for_the_one_before(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{id: a, cmd: a}, {id: b, cmd: a, when: ['-']}, {id: c, cmd: a}]")
    assert parents(plan) == {"a": (), "b": (), "c": ("b",)}


def test_a_step_waits_for_exactly_what_when_lists(plan_of: PlanOf) -> None:
    plan = plan_of(
        "steps: [{id: a, cmd: a}, {id: b, cmd: a}, {id: c, cmd: a, when: [a]}, {id: d, cmd: a, when: [c, a]}]"
    )
    assert parents(plan) == {"a": (), "b": ("a",), "c": ("a",), "d": ("c", "a")}


def test_a_parent_named_twice_is_one(plan_of: PlanOf) -> None:
    assert parents(plan_of("steps: [{id: a, cmd: a}, {id: b, cmd: a, when: [a, a]}]"))["b"] == ("a",)


def test_an_empty_when_is_none(plan_of: PlanOf) -> None:
    assert parents(plan_of("steps: [{id: a, cmd: a}, {id: b, cmd: a, when: []}]"))["b"] == ("a",)


def test_the_environment_of_a_step_wins_over_that_of_the_task(plan_of: PlanOf) -> None:
    plan = plan_of("env: [A=1, B=1]\nsteps: [{cmd: a, env: [B=2, C==x=, B=3]}, {cmd: a}]")
    assert [step.env for step in plan.steps] == [{"A": "1", "B": "3", "C": "=x="}, {"A": "1", "B": "1"}]


def test_environment_names_without_value_are_left_out(plan_of: PlanOf) -> None:
    assert plan_of("steps: [{cmd: a, env: [A, B=]}]").steps[0].env == {"B": ""}


@pytest.mark.parametrize(
    ("written", "directory"),
    [
        ("src", "/workspace/src"),
        ("/tmp", "/tmp"),
        ("./a/../b/", "/workspace/b"),
        ("..", "/"),
        ("''", "/workspace"),
    ],
)
def test_working_directories_are_absolute(plan_of: PlanOf, written: str, directory: str) -> None:
    assert (
        plan_of(f"steps: [{{cmd: a, workingDirectory: {written}}}]").steps[0].working_directory == directory
    )


def test_a_step_takes_the_working_directory_of_the_task(plan_of: PlanOf) -> None:
    plan = plan_of("workingDirectory: a\nsteps: [{cmd: a}, {cmd: a, workingDirectory: b}]")
    assert [step.working_directory for step in plan.steps] == ["/workspace/a", "/workspace/b"]


def test_a_command_is_an_image_and_arguments(plan_of: PlanOf) -> None:
    assert plan_of("steps: [{cmd: 'Registry.local:5000/app:1 sh -c \"a b\"'}]").steps[0].work == CmdWork(
        "Registry.local:5000/app:1", ("sh", "-c", "a b")
    )


def test_tags_are_normalised_and_counted_once(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{build: -t app -t docker.io/library/app:latest -t host:5000/a .}]")
    assert build(plan).tags == ("app:latest", "host:5000/a:latest")


def test_pushed_images_are_normalised_and_counted_once(plan_of: PlanOf) -> None:
    assert plan_of("steps: [{push: [app, app:latest, host:5000/a]}]").steps[0].work == PushWork(
        ("app:latest", "host:5000/a:latest")
    )


def test_a_push_knows_the_step_that_built_its_image(plan_of: PlanOf) -> None:
    plan = plan_of(
        "steps: [{id: one, build: -t app .}, {id: two, build: -t app -t b .}, {push: [app, b, c]}]"
    )
    work = plan.steps[2].work
    assert isinstance(work, PushWork)
    assert work.built_by == {"app:latest": "two", "b:latest": "two"}


def test_an_image_that_is_built_after_its_push_is_not_of_this_run(plan_of: PlanOf) -> None:
    work = plan_of("steps: [{push: [app]}, {build: -t app .}]").steps[0].work
    assert isinstance(work, PushWork)
    assert work.built_by == {}


def test_an_image_that_a_command_runs_is_known_when_it_is_built(plan_of: PlanOf) -> None:
    plan = plan_of(
        "steps: [{build: -t docker.io/library/app .}, {build: -t other .}, {cmd: 'app:latest test'}]"
    )
    assert [build(plan, index).runs_later for index in (0, 1)] == [True, False]


def test_build_arguments_without_value_come_from_the_environment(plan_of: PlanOf) -> None:
    plan = plan_of("env: [A=1]\nsteps: [{build: --build-arg A --build-arg B --build-arg C=3 .}]")
    assert build(plan).build_args == {"A": "1", "C": "3"}


def test_a_build_has_at_most_one_platform(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{build: --platform linux/arm64 .}, {build: .}]")
    assert [build(plan, index).platforms for index in (0, 1)] == [("linux/arm64",), ()]


def test_the_plan_carries_the_warnings_of_the_task(plan_of: PlanOf) -> None:
    [warning] = plan_of("steps: [{cmd: a}]\nfoo: 1").warnings
    assert warning["message"] == "unknown key 'foo' is ignored"


def test_the_plan_names_its_registries(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{cmd: a.io/x}, {build: -t b.io/x .}, {push: [c]}]", registry="r.io")
    assert plan.registries == {"a.io", "b.io", "docker.io", "r.io"}


@pytest.mark.parametrize(("step", "has"), [("cmd: a", True), ("build: .", False), ("push: [a]", False)])
def test_only_commands_need_containers(plan_of: PlanOf, step: str, has: bool) -> None:
    assert plan_of(f"steps: [{{{step}}}]").has_containers is has
