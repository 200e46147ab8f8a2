"""What a `cmd` step runs: container options and properties of the step are the same thing said twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks_engine.definition.command_line import RunIf
from tasks_engine.definition.redirections import Redirect, Stream
from tasks_engine.plan.model import CmdWork, ContainerOption, Plan, PlannedCommand, PlannedStep

PlanOf = Callable[..., Plan]


@pytest.fixture
def step_of(plan_of: PlanOf) -> Callable[..., PlannedStep]:
    def step_of(cmd: str, **properties: str) -> PlannedStep:
        lines = [f"  {name}: {value}\n" for name, value in properties.items()]
        return plan_of(f"steps:\n- cmd: >-\n    {cmd}\n{''.join(lines)}").steps[0]

    return step_of


StepOf = Callable[..., PlannedStep]


def work(step: PlannedStep) -> CmdWork:
    assert isinstance(step.work, CmdWork)
    return step.work


@pytest.mark.parametrize(
    ("options", "properties"),
    [
        ("--network host", {"network": "host"}),
        ("--net=host", {"network": "host"}),
        ("-p 80:80 --publish 81", {"ports": "['80:80', 81]"}),
        ("--expose 80 --expose 53/udp", {"expose": "[80, 53/udp]"}),
        ("--privileged", {"privileged": "true"}),
        ("-u 1000:1000", {"user": "1000:1000"}),
        ("--entrypoint sh", {"entryPoint": "sh"}),
        ("--isolation default", {"isolation": "default"}),
        ("--cpus=1.5", {"cpus": "1.5"}),
        ("-w src", {"workingDirectory": "src"}),
        ("-d", {"detach": "true"}),
        ("--pull always", {"pull": "true"}),
        ("-e A=1 --env B=", {"env": "[A=1, B=]"}),
    ],
)
def test_an_option_means_the_same_as_the_property(
    step_of: StepOf, options: str, properties: dict[str, str]
) -> None:
    assert step_of(f"{options} busybox true") == step_of("busybox true", **properties)


def test_an_option_wins_over_the_property_and_lists_are_joined(step_of: StepOf) -> None:
    step = step_of(
        "-u 1 --network none -p 81 -w /b -e A=2 -e C --entrypoint x --cpus 2 --isolation b busybox",
        user="0",
        network="host",
        ports="[80]",
        workingDirectory="/a",
        env="[A=1, B=1]",
        entryPoint="y",
        cpus="1",
        isolation="a",
    )
    assert work(step) == CmdWork("busybox", (), entrypoint="x", user="1")
    assert (step.network, step.ports, step.working_directory, step.cpus, step.isolation) == (
        *("none", ("80", "81"), "/b", "2", "b"),
    )
    assert step.env == {"A": "2", "B": "1"}


@pytest.mark.parametrize("options", ["--privileged=false", "-d=false", "--pull missing", "--pull never"])
def test_a_switch_may_be_off(step_of: StepOf, options: str) -> None:
    assert step_of(f"{options} busybox") == step_of("busybox")


@pytest.mark.parametrize("options", ["--rm", "-it", "-i -t", "--sig-proxy=false", "-q"])
def test_options_without_a_meaning_here_leave_no_trace(step_of: StepOf, options: str) -> None:
    assert step_of(f"{options} busybox") == step_of("busybox")


def test_other_options_are_kept_in_their_order(step_of: StepOf) -> None:
    assert work(step_of("--cap-add A -e X=1 --init --cap-add B -h name busybox")).options == (
        *(ContainerOption("cap-add", "A"), ContainerOption("init", "true"), ContainerOption("cap-add", "B")),
        ContainerOption("hostname", "name"),
    )


def test_pull_and_its_retries_are_kept(step_of: StepOf) -> None:
    properties = {"pull": "yes", "cmdDownloadRetries": "2", "cmdDownloadRetryDelay": "3"}
    assert work(step_of("busybox", **properties)) == CmdWork(
        "busybox", (), pull=True, download_retries=2, download_retry_delay_s=3
    )


def test_a_single_command_is_no_list(step_of: StepOf) -> None:
    assert work(step_of("busybox true")).commands == ()


def test_several_commands_are_a_list_and_the_first_stands_before_it(step_of: StepOf) -> None:
    found = work(step_of("-e A=1 busybox x && echo y || b.io/c z; false", user="1"))
    assert (found.image, found.args, found.user, found.options) == ("busybox", ("x",), "1", ())
    assert found.commands == (
        PlannedCommand(RunIf.ALWAYS, "", "busybox", ("x",), (), (ContainerOption("env", "A=1"),)),
        PlannedCommand(RunIf.SUCCESS, "echo", "", ("y",)),
        PlannedCommand(RunIf.FAILURE, "", "b.io/c", ("z",)),
        PlannedCommand(RunIf.ALWAYS, "false", "", ()),
    )
    assert found.images == ("busybox", "b.io/c")


def test_a_redirection_makes_a_list_of_one(step_of: StepOf) -> None:
    assert work(step_of("busybox x 2> /dev/null")).commands == (
        PlannedCommand(RunIf.ALWAYS, "", "busybox", ("x",), (Redirect(Stream.STDERR, Stream.NULL),)),
    )


def test_every_image_of_a_list_counts_for_builds_and_logins(plan_of: PlanOf) -> None:
    plan = plan_of("steps:\n- build: -t r.io/b .\n- cmd: a.io/a && r.io/b:latest\n")
    assert plan.registries == {"a.io", "r.io"}
    assert plan.steps[0].work.runs_later  # type: ignore[union-attr]
