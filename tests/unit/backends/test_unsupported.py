"""What a plan may ask for and a run cannot do yet."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks_engine.backends.unsupported import refuse_unsupported, unused
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
        "build: --platform linux/amd64,linux/arm64 --secret id=a --ssh default -o out --sbom=true --cache-from a"
        " --cache-to type=inline --annotation a=b --ulimit nofile=1 --allow network.host --build-context a=b"
        " --add-host a:1.2.3.4 --no-cache-filter a --shm-size 1g --cgroup-parent a --network host .",
        "build: https://example.com/a.git",
        "build: -t {{.Steps.a.Outputs.o}} -f {{.Steps.a.Outputs.o}} --label a={{.Steps.a.Outputs.o}}"
        " --target {{.Steps.a.Outputs.o}} --annotation a={{.Steps.a.Outputs.o}} {{.Steps.a.Outputs.o}}",
        "build: --build-arg A={{.Secrets.s}} https://{{.Secrets.s}}@example.com/a.git",
        "build: --cache-to type=s3,secret_access_key={{.Secrets.s}} --build-context a=https://{{.Secrets.s}}@h/a.git .",
    ],
)
def test_what_can_be_run_is_let_pass(plan_of: PlanOf, step: str) -> None:
    text = f"secrets: [{{id: s, keyvault: env:S}}]\nsteps:\n- {{id: a, cmd: x}}\n- {step}"
    refuse_unsupported(plan_of(text))


@pytest.mark.parametrize(
    ("step", "names"),
    [
        ("cmd: --isolation hyperv a", ["isolation 'hyperv' (for Windows containers) of step 's'"]),
        ("cmd: a && --isolation process b", ["isolation 'process' (for Windows containers) of step 's'"]),
        ("build: --label {{.Secrets.s}}=a .", ["a secret in the labels of step 's'"]),
        ("build: --target {{.Secrets.s}} .", ["a secret in the target of step 's'"]),
        ("build: -f {{.Secrets.s}} .", ["a secret in the Dockerfile's name of step 's'"]),
        ("build: --annotation a={{.Secrets.s}} .", ["a secret in the annotations of step 's'"]),
        ("build: --platform {{.Steps.a.Outputs.o}} .", ["an output of a step in the platforms of step 's'"]),
        ("build: --network {{.Steps.a.Outputs.o}} .", ["an output of a step in the options of step 's'"]),
        ("build: --secret id=a,src={{.Secrets.s}} .", ["a secret in the build secrets of step 's'"]),
    ],
)
def test_what_cannot_be_run_is_named_with_its_step(plan_of: PlanOf, step: str, names: list[str]) -> None:
    text = f"secrets: [{{id: s, keyvault: env:S}}]\nsteps:\n- {{id: a, cmd: x}}\n- id: s\n  {step}"
    assert refused(plan_of(text)) == names


def test_of_many_the_first_five_are_named(plan_of: PlanOf) -> None:
    plan = plan_of(
        "steps:" + "".join(f"\n- {{id: s{number}, cmd: a, isolation: hyperv}}" for number in range(8))
    )
    names = refused(plan)
    assert len(names) == 5
    assert names[-1] == "isolation 'hyperv' (for Windows containers) of step 's4' and 3 more"


def test_what_a_run_goes_without_is_told(plan_of: PlanOf) -> None:
    plan = plan_of(
        "volumes: [{name: v, secret: {a: eA==}}]\n"
        "steps:\n- {id: b, build: ., volumeMounts: [{name: v, mountPath: /v}]}\n"
        "- {id: c, cmd: --log-opt a=b --name n x}"
    )
    assert [warning["message"] for warning in unused(plan)] == [
        "volumeMounts of step 'b' have no effect: a build sees no volumes",
        "--log-opt of step 'c' has no effect: the output of a step goes into the log of the run",
    ]
