from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks_engine.plan.model import Plan

TASK = """
env: [A=1]
steps:
- {id: b, build: -t app --label x=y --build-arg A -f D ., retries: 2}
- {id: c, cmd: app 'x y', detach: true, when: ['-']}
- {id: p, push: [app, b.io/x], ignoreErrors: true, when: [b, c]}
foo: 1
"""
PLANS = sorted(Path(__file__).parents[2].glob("golden/cases/*/plan.json"))


def test_a_plan_comes_back_from_its_json(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(TASK, registry="r.io")
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.parent.name)
def test_every_part_of_a_plan_comes_back(path: Path) -> None:
    data = json.loads(path.read_bytes())
    assert Plan.from_json(data).to_json() == data


def test_fields_that_are_missing_have_their_defaults(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of("steps: [{cmd: a}]")
    data = plan.to_json()
    for name in ("volumes", "secrets", "warnings"):
        del data[name]
    for name in ("ports", "repeat", "keep", "volume_mounts"):
        del data["steps"][0][name]
    del data["steps"][0]["cmd"]["options"]
    assert Plan.from_json(data) == plan


def test_a_step_holds_its_work_under_its_kind(plan_of: Callable[..., Plan]) -> None:
    steps = plan_of(TASK).to_json()["steps"]
    assert [(step["kind"], sorted({"build", "cmd", "push"} & step.keys())) for step in steps] == [
        ("build", ["build"]),
        ("cmd", ["cmd"]),
        ("push", ["push"]),
    ]


def test_json_holds_plain_types_only(plan_of: Callable[..., Plan]) -> None:
    def kinds(value: object) -> set[type]:
        if isinstance(value, dict):
            return {dict}.union(*map(kinds, value), *map(kinds, value.values()))
        return {list}.union(*map(kinds, value)) if isinstance(value, list) else {type(value)}

    task = TASK + "- {cmd: a && b > /dev/null}\nvolumes: [{name: v, secret: {a: b}}]"
    assert kinds(plan_of(task.replace("foo: 1\n", "")).to_json()) <= {dict, list, str, int, bool}


def test_a_plan_of_another_version_is_refused(plan_of: Callable[..., Plan]) -> None:
    with pytest.raises(ValueError, match="plan of version 99"):
        Plan.from_json({**plan_of(TASK).to_json(), "version": 99})


def test_steps_are_found_by_id(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(TASK)
    assert plan.step_by_id["c"] is plan.steps[1]
    assert "step_by_id" not in plan.to_json()
