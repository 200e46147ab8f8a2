from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks_engine.definition.model import Network, StepKind, Volume, VolumeMount
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
                network="acb_default_network",
            ),
        ),
        task_version="v1.0.0",
        task_name="quickrun",
        networks=(Network("acb_default_network", "bridge", is_default=True),),
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


def test_to_wait_for_the_root_is_to_start_at_once(plan_of: PlanOf) -> None:
    plan = plan_of(
        "steps: [{id: a, cmd: a}, {id: b, cmd: a, when: [acb_root]}, {id: c, cmd: a, when: [acb_root, a]}]"
    )
    assert parents(plan) == {"a": (), "b": (), "c": ("a",)}


def test_the_environment_of_a_step_wins_over_that_of_the_task_and_of_the_run(plan_of: PlanOf) -> None:
    plan = plan_of(
        "env: ['A=1,B=1', \"E='1 2'\"]\nsteps: [{cmd: a, env: [B=2, C==x=, B=3]}, {cmd: a}]",
        env=("A=run", "R=run"),
    )
    assert [step.env for step in plan.steps] == [
        {"B": "3", "C": "=x=", "A": "1", "E": "1 2", "R": "run"},
        {"A": "1", "B": "1", "E": "1 2", "R": "run"},
    ]


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


def test_a_step_without_a_working_directory_takes_that_of_the_run(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{cmd: a}, {cmd: a, workingDirectory: b}]", working_directory="../run")
    assert [step.working_directory for step in plan.steps] == ["/run", "/workspace/b"]


def test_the_working_directory_of_the_image_stands_when_a_step_says_so(plan_of: PlanOf) -> None:
    plan = plan_of(
        "workingDirectory: a\nsteps:\n- {cmd: a, workingDirectory: b, disableWorkingDirectoryOverride: true}\n"
        "- {cmd: -w c a, disableWorkingDirectoryOverride: true}"
    )
    assert [step.working_directory for step in plan.steps] == ["", "/workspace/c"]


def test_a_command_is_an_image_and_arguments(plan_of: PlanOf) -> None:
    assert plan_of("steps: [{cmd: 'Registry.local:5000/app:1 sh -c \"a b\"'}]").steps[0].work == CmdWork(
        "Registry.local:5000/app:1", ("sh", "-c", "a b")
    )


def test_tags_are_normalised_and_counted_once(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{build: -t app -t docker.io/library/app:latest -t host:5000/a .}]")
    assert build(plan).tags == ("app:latest", "host:5000/a:latest")


def test_pushed_images_are_normalised_and_counted_once(plan_of: PlanOf) -> None:
    assert plan_of("steps: [{push: [app, app:latest, host:5000/a]}]").steps[0].work == PushWork(
        ("app:latest", "host:5000/a:latest"), at_end=True
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


def test_platforms_are_kept(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{build: '--platform linux/arm64,linux/amd64 .'}, {build: .}]")
    assert [build(plan, index).platforms for index in (0, 1)] == [("linux/arm64", "linux/amd64"), ()]


def test_times_and_counts_of_a_step_are_kept(plan_of: PlanOf) -> None:
    step = plan_of(
        "steps: [{cmd: a, startDelay: 1, retries: 2, retryDelay: 3, repeat: 4, retryOnErrors: [x, '', y], keep: y}]"
    ).steps[0]
    assert (
        step.start_delay_s,
        step.retries,
        step.retry_delay_s,
        step.repeat,
        step.retry_on_errors,
        step.keep,
    ) == (*(1, 2, 3, 4, ("x", "y"), True),)


def test_a_cache_is_an_image_beside_the_first_tag_with_a_registry(plan_of: PlanOf) -> None:
    plan = plan_of(
        "steps:\n- {id: a, build: -t app -t r.io/x/app:1 ., cache: enabled}\n"
        "- {id: b, build: -t app ., cache: enabled}\n"
        "- {id: c, build: -t r.io/app ., cache: disabled}\n- {id: d, build: -t r.io/app .}",
        registry="run.io",
        task_name="nightly",
    )
    assert [build(plan, index).cache for index in range(4)] == [
        *("r.io/x/app:cache_nightly_a", "run.io/app:cache_nightly_b", "", ""),
    ]
    assert not plan.warnings


@pytest.mark.parametrize(
    ("tags", "options", "why"),
    [
        ("", {"registry": "r.io"}, "the build has no tag"),
        ("-t app", {}, "neither a tag nor the run names a registry"),
        ("-t r.io/app", {"task_name": "x" * 128}, "is not a tag"),
    ],
)
def test_a_cache_without_a_usable_name_is_left_out_with_a_warning(
    plan_of: PlanOf, tags: str, options: dict[str, str], why: str
) -> None:
    plan = plan_of(f"steps: [{{id: s, build: {tags} ., cache: enabled}}]", **options)
    assert build(plan).cache == ""
    [warning] = plan.warnings
    assert warning["message"].startswith("step 's' is built without a cache in the registry: ")
    assert warning["message"].endswith(why)


def test_without_networks_the_run_has_one_of_its_own(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{cmd: a}, {cmd: a, network: host}]")
    assert plan.networks == (Network("acb_default_network", "bridge", is_default=True),)
    assert [step.network for step in plan.steps] == ["acb_default_network", "host"]


def test_the_last_default_network_is_that_of_steps_without_their_own(plan_of: PlanOf) -> None:
    networks = "networks: [{name: a, isDefault: true}, {name: b, isDefault: true}, {name: c}]\n"
    plan = plan_of(networks + "steps: [{cmd: x}, {cmd: x, network: c}]")
    assert [step.network for step in plan.steps] == ["b", "c"]


def test_without_a_default_network_steps_have_none(plan_of: PlanOf) -> None:
    plan = plan_of("networks: [{name: a, driver: bridge, ipv6: true, skipCreation: true}]\nsteps: [{cmd: x}]")
    assert plan.networks == (Network("a", "bridge", ipv6=True, skip_creation=True),)
    assert plan.steps[0].network == ""


def test_the_network_of_the_run_exists_and_is_the_default(plan_of: PlanOf) -> None:
    plan = plan_of("networks: [{name: a, isDefault: true}]\nsteps: [{cmd: x}]", network="outside")
    assert plan.networks == (
        Network("a", is_default=True),
        Network("outside", "external", skip_creation=True, is_default=True),
    )
    assert plan.steps[0].network == "outside"


def test_volumes_and_mounts_are_kept(plan_of: PlanOf) -> None:
    plan = plan_of(
        "volumes: [{name: v, secret: {f: YQ==}}]\n"
        "steps: [{cmd: a, volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /b}]}]"
    )
    assert plan.volumes == (Volume("v", {"f": "YQ=="}),)
    assert plan.steps[0].volume_mounts == (VolumeMount("v", "/a"), VolumeMount("v", "/b"))


def test_of_secrets_the_plan_knows_the_ids_only(plan_of: PlanOf) -> None:
    plan = plan_of("secrets: [{id: a, keyvault: 'env:A'}, {id: b, keyvault: 'file:b'}]\nsteps: [{cmd: a}]")
    assert plan.secrets == ("a", "b")
    assert "env:A" not in str(plan.to_json())


def test_the_plan_names_the_version_and_the_task(plan_of: PlanOf) -> None:
    plan = plan_of("version: V1.1.0\nsteps: [{cmd: a}]", task_name="nightly")
    assert (plan.task_version, plan.task_name) == ("v1.1.0", "nightly")


def test_the_plan_carries_the_warnings_of_the_task(plan_of: PlanOf) -> None:
    [warning] = plan_of("steps: [{cmd: a}]\nfoo: 1").warnings
    assert warning["message"] == "unknown key 'foo' is ignored"


def test_the_plan_names_its_registries(plan_of: PlanOf) -> None:
    plan = plan_of("steps: [{cmd: a.io/x}, {build: -t b.io/x .}, {push: [c]}]", registry="r.io")
    assert plan.registries == {"a.io", "b.io", "docker.io", "r.io"}


@pytest.mark.parametrize(("step", "has"), [("cmd: a", True), ("build: .", False), ("push: [a]", False)])
def test_only_commands_need_containers(plan_of: PlanOf, step: str, has: bool) -> None:
    assert plan_of(f"steps: [{{{step}}}]").has_containers is has
