"""`make_plan`: a Task becomes a Plan. Defaults are filled, names normalised, the graph is closed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from tasks_engine.definition.build_string import parse_build_string
from tasks_engine.definition.checks import STARTS_AT_ONCE
from tasks_engine.definition.model import Step, StepKind, Task
from tasks_engine.definition.words import split_words
from tasks_engine.images.reference import parse_reference
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork, Work
from tasks_engine.plan.request import RunRequest

WORKSPACE = "/workspace"
DEFAULT_STEP_TIMEOUT_S = 600
DEFAULT_RETRY_DELAY_S = 5


def make_plan(task: Task, request: RunRequest) -> Plan:
    """The plan of a task that `load_task` accepted; there is nothing left that could be wrong."""
    run_images = {_full(split_words(step.cmd)[0]) for step in task.steps if step.kind is StepKind.CMD}
    planned: list[PlannedStep] = []
    built_by: dict[str, str] = {}
    for index, step in enumerate(task.steps):
        env = _env(task.env, step.env)
        work = _work(step, env, run_images, built_by)
        if isinstance(work, BuildWork):
            built_by.update({_full(tag): step.id for tag in work.tags})
        planned.append(
            PlannedStep(
                id=step.id,
                kind=step.kind,
                depends_on=_parents(task.steps, index),
                timeout_s=step.timeout or task.step_timeout or DEFAULT_STEP_TIMEOUT_S,
                retries=step.retries,
                retry_delay_s=step.retry_delay or DEFAULT_RETRY_DELAY_S,
                ignore_errors=step.ignore_errors,
                detach=step.detach,
                env=env,
                working_directory=_working_directory(step.working_directory or task.working_directory),
                work=work,
            )
        )
    return Plan(
        run_id=request.run_id,
        task=request.task,
        registry=request.registry,
        steps=tuple(planned),
        warnings=tuple(warning.to_json() for warning in task.warnings),
    )


def _work(step: Step, env: Mapping[str, str], run_images: set[str], built_by: Mapping[str, str]) -> Work:
    if step.kind is StepKind.CMD:
        image, *args = split_words(step.cmd)
        return CmdWork(image=image, args=tuple(args))
    if step.kind is StepKind.PUSH:
        images = tuple(dict.fromkeys(parse_reference(image).familiar for image in step.push))
        makers = {image: built_by[_full(image)] for image in images if _full(image) in built_by}
        return PushWork(images=images, built_by=makers)
    arguments = parse_build_string(step.build)
    build_args = {
        name: env.get(name, "") if value is None else value
        for name, value in arguments.build_args.items()
        if value is not None or name in env
    }
    return BuildWork(
        context=arguments.context,
        dockerfile=arguments.dockerfile,
        tags=tuple(dict.fromkeys(parse_reference(tag).familiar for tag in arguments.tags)),
        build_args=build_args,
        labels=arguments.labels,
        target=arguments.target,
        platforms=(arguments.platform,) if arguments.platform else (),
        no_cache=arguments.no_cache,
        pull=arguments.pull,
        runs_later=any(_full(tag) in run_images for tag in arguments.tags),
    )


def _parents(steps: tuple[Step, ...], index: int) -> tuple[str, ...]:
    """Ids a step waits for: what `when` lists, else the step written before it."""
    when = steps[index].when
    if when is None:
        return (steps[index - 1].id,) if index else ()
    return tuple(dict.fromkeys(parent for parent in when if parent != STARTS_AT_ONCE))


def _env(*layers: Iterable[str]) -> dict[str, str]:
    """name -> value; later layers win."""
    merged: dict[str, str] = {}
    for layer in layers:
        for entry in layer:
            name, equals, value = entry.partition("=")
            if equals:
                merged[name] = value
    return merged


def _working_directory(path: str) -> str:
    return posixpath.normpath(posixpath.join(WORKSPACE, path))


def _full(image: str) -> str:
    return str(parse_reference(image))
