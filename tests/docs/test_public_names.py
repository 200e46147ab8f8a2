"""The names that other programs may import."""

from __future__ import annotations

import tasks_engine


def test_every_public_name_can_be_imported():
    for name in tasks_engine.__all__:
        assert getattr(tasks_engine, name).__name__ == name


def test_a_task_becomes_a_plan_through_public_names_alone():
    task = tasks_engine.load_task("steps: [{cmd: busybox true}]", "task.yaml", tasks_engine.Inputs())

    plan = tasks_engine.make_plan(task, tasks_engine.RunRequest("r1", "task.yaml"))

    assert [step.id for step in plan.steps] == ["acb_step_0"]
