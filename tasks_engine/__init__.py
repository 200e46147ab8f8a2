"""Build-task engine: task files become plans, plans become runs.

The public names are those of `__all__`; they load when first used, so that the command starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_engine.definition.load import load_task
    from tasks_engine.definition.model import Inputs, Task
    from tasks_engine.engine.loop import run_plan
    from tasks_engine.errors import TasksError
    from tasks_engine.events import RunEvent
    from tasks_engine.plan.make import make_plan
    from tasks_engine.plan.model import Plan
    from tasks_engine.plan.request import RunRequest

_MODULE_BY_NAME = {
    "Inputs": "definition.model",
    "Plan": "plan.model",
    "RunEvent": "events",
    "RunRequest": "plan.request",
    "Task": "definition.model",
    "TasksError": "errors",
    "load_task": "definition.load",
    "make_plan": "plan.make",
    "run_plan": "engine.loop",
}

__all__ = [
    "Inputs",
    "Plan",
    "RunEvent",
    "RunRequest",
    "Task",
    "TasksError",
    "load_task",
    "make_plan",
    "run_plan",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
