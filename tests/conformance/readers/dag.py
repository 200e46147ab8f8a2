"""The steps of a plan with what they wait for."""

from __future__ import annotations

from typing import Any

from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import DefinitionErrors
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.request import RunRequest
from tests.conformance.readers.task_files import refusal
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    try:
        task = load_task(vector.input["yaml"], "task.yaml", Inputs())
    except DefinitionErrors as errors:
        return refusal(errors)
    plan = make_plan(task, RunRequest("run", "task.yaml"))
    return {"steps": [{"id": step.id, "parents": sorted(step.depends_on)} for step in plan.steps]}
