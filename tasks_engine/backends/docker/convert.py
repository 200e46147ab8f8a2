"""A planned `cmd` step becomes the body of the Engine's container call. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tasks_engine.plan.model import CmdWork, Plan, PlannedStep

RUN_LABEL = "tasks.run"
STEP_LABEL = "tasks.step"
#: the same place as in Azure's runner, so that existing task files find what they look for
HOME = "/acb/home"

_SAFE = re.compile(r"[^a-zA-Z0-9_.-]")


def network_name(run_id: str) -> str:
    return f"tasks-{run_id}"


def container_name(plan: Plan, step: PlannedStep, attempt: int) -> str:
    """Unique on the engine: run, step and, from the second on, the attempt."""
    safe = _SAFE.sub("-", step.id)
    place = "" if safe == step.id else f"{plan.steps.index(step)}-"
    retry = f"-{attempt}" if attempt > 1 else ""
    return f"tasks-{plan.run_id}-{place}{safe}{retry}"


def container_body(plan: Plan, step: PlannedStep, mounts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The body of `POST /containers/create`. The step's id is the container's name on the run's network."""
    assert isinstance(step.work, CmdWork)
    network = network_name(plan.run_id)
    env = {"HOME": HOME, **step.env}
    body: dict[str, Any] = {
        "Image": step.work.image,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "WorkingDir": step.working_directory,
        "Labels": {RUN_LABEL: plan.run_id, STEP_LABEL: step.id},
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {"NetworkMode": network, "Mounts": list(mounts)},
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [step.id]}}},
    }
    if step.work.args:
        body["Cmd"] = list(step.work.args)
    return body
