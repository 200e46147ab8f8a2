"""A planned build step for tests of builds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tasks_engine.definition.model import StepKind
from tasks_engine.plan.model import BuildWork, PlannedStep


def build_work(context: str = ".", dockerfile: str = "", **fields: Any) -> BuildWork:
    return replace(BuildWork(context, dockerfile, (), {}, {}, "", (), False, False, False), **fields)


def build_step(work: BuildWork, working_directory: str = "/workspace", **fields: Any) -> PlannedStep:
    step = PlannedStep("b", StepKind.BUILD, (), 600, 0, 5, False, False, {}, working_directory, work)
    return replace(step, **fields)
