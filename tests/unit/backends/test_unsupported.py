"""What a plan may ask for and a run cannot do yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks_engine.backends.unsupported import CONTAINER_OPTIONS, refuse_unsupported
from tasks_engine.definition.run_options import FLAGS, Flag, Meaning, Takes
from tasks_engine.definition.step_texts import OPTIONS_OF_STEPS
from tasks_engine.errors import ExitCode, UsageError
from tasks_engine.plan.model import Plan

PlanOf = Callable[..., Plan]
PREFIX = "this version of tasks cannot run everything that the plan has: "


def refused(plan: Plan) -> list[str]:
    with pytest.raises(UsageError) as caught:
        refuse_unsupported(plan)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.message.startswith(PREFIX)
    return caught.value.message.removeprefix(PREFIX).split(", ")


@pytest.mark.parametrize(
    "step",
    [
        "push: [a]",
        "build: --build-arg A=1 --label b=c --target t -f D --platform linux/arm64 --no-cache --pull -t a .",
        "cmd: -p 80:80 -e A=1 -u 0 -w /x --network host --cap-add A --cap-drop B -h n --init -l a=b --name c"
        " --read-only --tmpfs /run --privileged --cpus 1 --entrypoint sh --expose 80 -d --isolation default"
        " --pull always a b",
        "cmd: a {{.Secrets.s}}\n  env: ['A={{.Secrets.s}}']",
        "cmd: a\n  network: none\n  startDelay: 1\n  repeat: 1\n  keep: true\n  retryOnErrors: [x]",
        "build: -t r.io/a .\n  cache: enabled",
    ],
)
def test_what_can_be_run_is_let_pass(plan_of: PlanOf, step: str) -> None:
    refuse_unsupported(plan_of(f"secrets: [{{id: s, keyvault: env:S}}]\nsteps:\n- {step}"))


@pytest.mark.parametrize(
    ("step", "names"),
    [
        ("cmd: a\n  network: other", ["network 'other' of step 's'"]),
        ("cmd: --isolation hyperv a", ["isolation 'hyperv' of step 's'"]),
        ("cmd: a && b", ["several commands or a redirection of step 's'"]),
        ("cmd: a > /dev/null", ["several commands or a redirection of step 's'"]),
        ("cmd: --gpus all --memory 1g a", ["--gpus of step 's'", "--memory of step 's'"]),
        ("build: https://example.com/a.git", ["a context that is no folder of step 's'"]),
        ("build: '--platform linux/amd64,linux/arm64 .'", ["several platforms of step 's'"]),
        ("build: --secret id=a .", ["build flag --secret of step 's'"]),
        ("build: --ssh default .", ["build flag --ssh of step 's'"]),
        ("build: -o out .", ["build flag --output of step 's'"]),
        ("build: --sbom=true .", ["build flag --attest of step 's'"]),
        ("build: --cache-to type=inline .", ["build flag --cache-to of step 's'"]),
        ("build: --cache-from a .", ["build flag --cache-from of step 's'"]),
        ("build: --annotation a=b .", ["build flag --annotation of step 's'"]),
        ("build: --ulimit nofile=1 .", ["build flag --ulimit of step 's'"]),
        ("build: --allow network.host .", ["build flag --allow of step 's'"]),
        ("build: --build-context a=b .", ["build flag --build-context of step 's'"]),
        ("build: --add-host a:1.2.3.4 .", ["build flag --add-host of step 's'"]),
        ("build: --no-cache-filter a .", ["build flag --no-cache-filter of step 's'"]),
        ("build: --shm-size 1g .", ["build flag --shm-size of step 's'"]),
        ("build: --cgroup-parent a .", ["build flag --cgroup-parent of step 's'"]),
        ("build: --network host .", ["build flag --network of step 's'"]),
        ("build: --build-arg A={{.Secrets.s}} .", ["a secret in the build of step 's'"]),
        ("build: --label {{.Secrets.s}}=a .", ["a secret in the build of step 's'"]),
        ("build: --target {{.Secrets.s}} .", ["a secret in the build of step 's'"]),
        ("build: -f {{.Secrets.s}} .", ["a secret in the build of step 's'"]),
        ("build: '{{.Secrets.s}}'", ["a secret in the build of step 's'"]),
    ],
)
def test_what_cannot_be_run_is_named_with_its_step(plan_of: PlanOf, step: str, names: list[str]) -> None:
    assert refused(plan_of(f"secrets: [{{id: s, keyvault: env:S}}]\nsteps:\n- id: s\n  {step}")) == names


def test_volumes_and_networks_are_named(plan_of: PlanOf) -> None:
    plan = plan_of(
        "networks: [{name: n}]\nvolumes: [{name: v, secret: {a: b}}]\n"
        "steps: [{id: s, cmd: a, volumeMounts: [{name: v, mountPath: /v}]}]"
    )
    assert refused(plan) == ["volume 'v'", "network 'n'", "volumeMounts of step 's'"]


def test_a_network_of_the_run_is_named(plan_of: PlanOf) -> None:
    assert refused(plan_of("steps: [{id: s, cmd: a}]", network="mine")) == [
        "network 'mine'",
        "network 'mine' of step 's'",
    ]


def test_of_many_the_first_five_are_named(plan_of: PlanOf) -> None:
    plan = plan_of("steps:" + "".join(f"\n- {{id: s{number}, cmd: a && b}}" for number in range(8)))
    names = refused(plan)
    assert len(names) == 5
    assert names[-1] == "several commands or a redirection of step 's4' and 3 more"


def value_of(flag: Flag) -> str:
    if flag.takes is Takes.NOTHING:
        return ""
    return (
        " 1"
        if flag.takes is Takes.NUMBER
        else {"pull": " always", "cgroupns": " host"}.get(flag.name, " default")
    )


@pytest.mark.parametrize("name", [flag.name for flag in FLAGS.values() if flag.meaning is Meaning.HONOURED])
def test_every_container_option_is_carried_out_or_refused_by_name(plan_of: PlanOf, name: str) -> None:
    plan = plan_of(f"steps: [{{id: s, cmd: --{name}{value_of(FLAGS[name])} a}}]")
    if name in CONTAINER_OPTIONS | OPTIONS_OF_STEPS:
        refuse_unsupported(replace(plan, steps=(replace(plan.steps[0], network=""),)))
    else:
        assert refused(plan) == [f"--{name} of step 's'"]
