"""The completed task: a plan in the words of a task file.

- An environment is a mapping: of entries with one name the engine keeps the last.
- `cmd` is compared by its words, `build` by its parts, its tags in their full form.
- A working directory is compared as the path in the container; with the image's own one there is none.
- `initBuildx` and `cacheTag` are about a cache in a registry. `usesBuildkit` is compared where the environment of a
  build names DOCKER_BUILDKIT; elsewhere the original's choice between two builders has no counterpart.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable
from typing import Any

from tasks_engine.definition.build_string import parse_build_string
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs, Step
from tasks_engine.errors import DefinitionErrors
from tasks_engine.plan.make import DEFAULT_STEP_TIMEOUT_S, WORKSPACE, make_plan
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork
from tasks_engine.plan.request import QUICK_RUN, RunRequest
from tests.conformance.readers.builds import full_image, parts_of_text, parts_of_work
from tests.conformance.readers.task_files import refusal
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    options = vector.input.get("options") or {}
    request = RunRequest(
        "run",
        "task.yaml",
        registry=options.get("registry") or "",
        task_name=options.get("task_name") or QUICK_RUN,
        working_directory=options.get("working_directory") or "",
        network=options.get("network") or "",
    )
    try:
        task = load_task(vector.input["yaml"], "task.yaml", Inputs(env=tuple(options.get("env") or ())))
    except DefinitionErrors as errors:
        return refusal(errors)
    plan = make_plan(task, request)
    return {
        "version": plan.task_version,
        "stepTimeout": task.step_timeout or DEFAULT_STEP_TIMEOUT_S,
        "taskName": plan.task_name,
        "initBuildx": any(isinstance(step.work, BuildWork) and bool(step.work.cache) for step in plan.steps),
        "networks": _networks(plan),
        "steps": [_step(written, planned) for written, planned in zip(task.steps, plan.steps, strict=True)],
    }


def wanted(vector: Vector) -> dict[str, Any]:
    outcome = vector.wanted
    return {**outcome, "steps": [_comparable(step) for step in outcome["steps"]]}


def _networks(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "name": network.name,
            "driver": network.driver,
            "ipv6": network.ipv6,
            "skipCreation": network.skip_creation,
            "isDefault": network.is_default,
        }
        for network in plan.networks
    ]


def _step(written: Step, planned: PlannedStep) -> dict[str, Any]:
    fields = {
        "id": planned.id,
        "kind": planned.kind.value,
        "workingDirectory": planned.working_directory,
        "disableWorkingDirectoryOverride": not planned.working_directory,
        "network": planned.network,
        "isolation": planned.isolation,
        "cpus": planned.cpus,
        "env": dict(planned.env),
        "expose": list(planned.expose),
        "ports": list(planned.ports),
        "when": list(written.when or ()),
        "cache": written.cache,
        "timeout": planned.timeout_s,
        "startDelay": planned.start_delay_s,
        "retryDelay": planned.retry_delay_s,
        "retries": planned.retries,
        "retryOnErrors": list(planned.retry_on_errors),
        "repeat": planned.repeat,
        "keep": planned.keep,
        "detach": planned.detach,
        "privileged": planned.privileged,
        "ignoreErrors": planned.ignore_errors,
        **_work(planned),
    }
    return {name: value for name, value in fields.items() if value}


def _work(step: PlannedStep) -> dict[str, Any]:
    work = step.work
    match work:
        case CmdWork():
            return {
                "cmd": [work.image, *work.args],
                "entryPoint": work.entrypoint,
                "user": work.user,
                "pull": work.pull,
            }
        case PushWork():
            return {"push": list(work.images)}
        case BuildWork():
            return {
                "build": parts_of_work(work),
                "tags": [full_image(tag) for tag in work.tags],
                "buildArgs": [f"{name}={value}" for name, value in work.build_args.items()],
                "cacheTag": work.cache.rpartition(":")[2],
                "usesBuildkit": "DOCKER_BUILDKIT" in step.env,
            }


def _comparable(step: dict[str, Any]) -> dict[str, Any]:
    """A recorded step in the form of `_step`."""
    step = dict(step)
    if "env" in step:
        step["env"] = _last_of_each_name(step["env"])
    if "cmd" in step:
        step["cmd"] = shlex.split(step["cmd"])
    if "build" in step:
        step["build"] = parts_of_text(parse_build_string(step["build"]))
    if "tags" in step:
        step["tags"] = [full_image(tag) for tag in step["tags"]]
    if "cache" in step:
        step["cache"] = step["cache"].lower() == "enabled"
    directory = posixpath.normpath(posixpath.join(WORKSPACE, step.pop("workingDirectory", "")))
    if not step.get("disableWorkingDirectoryOverride"):
        step["workingDirectory"] = directory
    return step


def _last_of_each_name(entries: Iterable[str]) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in pairs}
