"""Whether a rendered task is valid, and for one that is not its first problem in the order of the file."""

from __future__ import annotations

from typing import Any

from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import DefinitionErrors
from tests.conformance.readers.task_files import refusal
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    try:
        load_task(vector.input["yaml"], "task.yaml", Inputs())
    except DefinitionErrors as errors:
        return {"valid": False, **refusal(errors)}
    return {"valid": True}
