from __future__ import annotations

import json
from collections.abc import Callable

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


def test_a_plan_comes_back_from_its_json(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(TASK, registry="r.io")
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_step_holds_its_work_under_its_kind(plan_of: Callable[..., Plan]) -> None:
    steps = plan_of(TASK).to_json()["steps"]
    assert [(step["kind"], sorted({"build", "cmd", "push"} & step.keys())) for step in steps] == [
        ("build", ["build"]),
        ("cmd", ["cmd"]),
        ("push", ["push"]),
    ]


def test_a_plan_of_another_version_is_refused(plan_of: Callable[..., Plan]) -> None:
    with pytest.raises(ValueError, match="plan of version 99"):
        Plan.from_json({**plan_of(TASK).to_json(), "version": 99})


def test_steps_are_found_by_id(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(TASK)
    assert plan.step_by_id["c"] is plan.steps[1]
