"""Steps as the author wrote them, from the data of a task file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tasks_engine.definition import environment
from tasks_engine.definition.model import Step, StepKind, VolumeMount
from tasks_engine.definition.step_notes import ReadSteps, StepNotes, Surroundings
from tasks_engine.definition.step_rules import check_step, check_step_of_kind, kinds_of
from tasks_engine.definition.step_texts import read_build, read_cmd, read_push
from tasks_engine.definition.structure import Structure

if TYPE_CHECKING:
    from tasks_engine.definition.build_string import BuildArguments
    from tasks_engine.definition.command_line import CommandLine


def step_ids(steps: list[dict[str, Any]]) -> list[str]:
    """The id of every step; one without is `acb_step_<its position, from 0>`."""
    return [_id_of(step, index) for index, step in enumerate(steps)]


def read_steps(structure: Structure, unreadable: Collection[int], surroundings: Surroundings) -> ReadSteps:
    """All steps of a task but the `unreadable` ones, by their position, whose form is wrong already."""
    steps = structure.data.get("steps", [])
    ids = step_ids(steps)
    first: dict[str, int] = {}
    for index, step_id in enumerate(ids):
        first.setdefault(step_id, index)
    result = ReadSteps()
    for index in range(len(steps)):
        if index not in unreadable:
            _read(StepNotes(structure, index, ids, first, surroundings, result))
    return result


def _read(notes: StepNotes) -> None:
    """Adds the step to those that could be read, unless something is wrong with it."""
    before = len(notes.result.problems)
    check_step(notes)
    kinds = kinds_of(notes)
    if len(kinds) != 1:
        return
    env = environment.merge_own(notes.data.get("env", ()), notes.around.environment)
    check_step_of_kind(notes, kinds[0], env)
    commands: CommandLine | None = None
    build: BuildArguments | None = None
    push: tuple[str, ...] = ()
    match kinds[0]:
        case StepKind.CMD:
            commands = read_cmd(notes, env)
        case StepKind.BUILD:
            build = read_build(notes, env)
        case StepKind.PUSH:
            push = read_push(notes)
    if len(notes.result.problems) == before:
        notes.result.steps.append(_step(notes, kinds[0], env, commands, build, push))


def _step(
    notes: StepNotes,
    kind: StepKind,
    env: Mapping[str, str],
    commands: CommandLine | None,
    build: BuildArguments | None,
    push: tuple[str, ...],
) -> Step:
    data = notes.data
    get = data.get
    return Step(
        id=notes.id,
        kind=kind,
        line=notes.structure.line(notes.path),
        commands=commands.commands if commands is not None else (),
        build=build,
        push=push,
        when=tuple(data["when"]) if get("when") else None,
        env=env,
        working_directory=get("workingDirectory", ""),
        disable_working_directory_override=get("disableWorkingDirectoryOverride", False),
        entry_point=get("entryPoint", ""),
        user=get("user", ""),
        network=get("network", ""),
        isolation=get("isolation", ""),
        cpus=get("cpus", ""),
        cache=get("cache", "").lower() == "enabled",
        volume_mounts=tuple(VolumeMount(each["name"], each["mountPath"]) for each in get("volumeMounts", ())),
        expose=tuple(get("expose", ())),
        ports=tuple(get("ports", ())),
        timeout=max(0, get("timeout", 0)),
        start_delay=max(0, get("startDelay", 0)),
        retries=get("retries", 0),
        retry_delay=max(0, get("retryDelay", 0)),
        retry_on_errors=tuple(each for each in get("retryOnErrors", ()) if each),
        repeat=get("repeat", 0),
        pull=get("pull", False),
        download_retries=max(0, get("cmdDownloadRetries", 0) or get("downloadRetries", 0)),
        download_retry_delay=max(0, get("cmdDownloadRetryDelay", 0) or get("downloadRetryDelay", 0)),
        keep=get("keep", False),
        detach=get("detach", False),
        privileged=get("privileged", False),
        ignore_errors=get("ignoreErrors", False),
    )


def _id_of(step: Any, index: int) -> str:
    written = step.get("id") if isinstance(step, dict) else None
    return written if isinstance(written, str) and written else f"acb_step_{index}"
