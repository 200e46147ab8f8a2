"""Rules a task must keep that no schema can say. Every problem is reported, not only the first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from tasks_engine.definition.build_string import BuildStringError, parse_build_string
from tasks_engine.definition.model import StepKind
from tasks_engine.definition.structure import Path, Structure
from tasks_engine.definition.words import WordError, split_words
from tasks_engine.errors import DefinitionError
from tasks_engine.images.reference import InvalidReference, parse_reference

VERSIONS = ("1.0-preview-1", "v1.0.0", "v1.1.0")
#: the invisible root of the graph in the original; nobody may take its name
RESERVED_ID = "acb_root"
STARTS_AT_ONCE = "-"


def step_ids(steps: list[dict[str, Any]]) -> list[str]:
    """The id of every step; one without is `acb_step_<its position, from 0>`."""
    return [_id_of(step, index) for index, step in enumerate(steps)]


def _id_of(step: Any, index: int) -> str:
    written = step.get("id") if isinstance(step, dict) else None
    return written if isinstance(written, str) and written else f"acb_step_{index}"


@dataclass(frozen=True)
class _Ids:
    """The ids of all steps in file order, and where each stands first."""

    in_order: list[str]
    first: dict[str, int]


def task_problems(structure: Structure, mistyped: Collection[Path]) -> Iterator[DefinitionError]:
    """What is wrong with a task, leaving out what `mistyped` names: values of the wrong type."""
    if () in mistyped or ("steps",) in mistyped:
        return
    task = structure.data
    version = task.get("version", "")
    if ("version",) not in mistyped and version and version.lower() not in VERSIONS:
        yield structure.problem(
            f"version '{version}' is not known", ("version",), hint=f"use one of {', '.join(VERSIONS)}"
        )
    if not any(path[0] == "env" for path in mistyped):
        yield from _env_problems(structure, task.get("env", []), ("env",))
    steps = task.get("steps", [])
    in_order = step_ids(steps)
    first = {step_id: index for index, step_id in reversed(list(enumerate(in_order)))}
    unreadable = {path[1] for path in mistyped if path[0] == "steps"}
    for index, step in enumerate(steps):
        if index not in unreadable:
            yield from _step_problems(structure, index, step, _Ids(in_order, first))


def task_warnings(structure: Structure) -> Iterator[DefinitionError]:
    """What the original lets pass although it cannot be meant, in a task without problems."""
    steps = structure.data.get("steps", [])
    if not steps:
        hint = "add: steps: [{cmd: busybox echo hello}]"
        yield structure.problem("the task has no steps", ("steps",), hint=hint)
    for index, step in enumerate(steps):
        for position, entry in enumerate(step.get("env", [])):
            if "=" not in entry:
                yield structure.problem(
                    f"environment entry '{entry}' has no value and is left out",
                    ("steps", index, "env", position),
                    hint=f'write "{entry}=value", or "{entry}=" for an empty one',
                )


def _step_problems(
    structure: Structure, index: int, step: dict[str, Any], ids: _Ids
) -> Iterator[DefinitionError]:
    path: Path = ("steps", index)
    step_id = ids.in_order[index]
    kinds = [kind for kind in StepKind if step.get(kind)]
    if len(kinds) > 1:
        yield structure.problem(
            f"step '{step_id}' has {_join(kinds)}, but a step does one thing",
            path,
            hint="make a step of each; the second waits for the first by itself",
        )
    if re.search(r"\s", step_id):
        yield structure.problem(f"step id '{step_id}' contains a blank", (*path, "id"), hint="use '-' or '_'")
    if not kinds:
        yield structure.problem(f"step '{step_id}' does nothing: it needs build, push or cmd", (*path, "id"))
    if step_id == RESERVED_ID:
        yield structure.problem(f"step id '{RESERVED_ID}' is reserved", (*path, "id"))
    if ids.first[step_id] < index:
        first = structure.line(("steps", ids.first[step_id], "id"))
        yield structure.problem(
            f"step id '{step_id}' is already taken", (*path, "id"), hint=f"the first one is in line {first}"
        )
    yield from _when_problems(structure, index, step, ids)
    inherits = bool(structure.data.get("env"))
    yield from _env_problems(structure, step.get("env", []), (*path, "env"), bare_names=not inherits)
    yield from _kind_problems(structure, path, step, kinds[0] if len(kinds) == 1 else None)


def _when_problems(
    structure: Structure, index: int, step: dict[str, Any], ids: _Ids
) -> Iterator[DefinitionError]:
    parents = step.get("when", [])
    step_id = ids.in_order[index]
    for position, parent in enumerate(parents):
        path: Path = ("steps", index, "when", position)
        if parent == STARTS_AT_ONCE:
            if len(parents) > 1:
                yield structure.problem("'-' (start at once) stands alone or not at all", path)
        elif parent == step_id:
            yield structure.problem(f"step '{parent}' waits for itself", path)
        elif parent not in ids.first:
            yield structure.problem(
                f"step '{step_id}' waits for '{parent}', which no earlier step defines",
                path,
                hint=_guess_id(structure, parent, ids.in_order[:index]),
            )
        elif ids.first[parent] > index:
            line = structure.line(("steps", ids.first[parent]))
            yield structure.problem(
                f"step '{step_id}' waits for '{parent}', which is defined later (line {line})",
                path,
                hint=f"move '{parent}' before '{step_id}': steps wait only for earlier ones",
            )


def _guess_id(structure: Structure, wanted: str, ids: list[str]) -> str:
    guess = difflib.get_close_matches(wanted, ids, n=1)
    if guess:
        return f"did you mean '{guess[0]}' (line {structure.line(('steps', ids.index(guess[0])))})?"
    return f"earlier steps: {', '.join(ids)}" if ids else "it is the first step"


def _env_problems(
    structure: Structure, env: list[str], path: Path, *, bare_names: bool = False
) -> Iterator[DefinitionError]:
    for position, entry in enumerate(env):
        name, equals, _ = entry.partition("=")
        if not name or not (equals or bare_names):
            yield structure.problem(
                f"environment entry '{entry}' must be name=value",
                (*path, position),
                hint=f'write "{name}=value", or "{name}=" for an empty one' if name else "",
            )


def _kind_problems(
    structure: Structure, path: Path, step: dict[str, Any], kind: StepKind | None
) -> Iterator[DefinitionError]:
    if kind is None:
        return
    text = step[kind]
    try:
        if kind is StepKind.CMD:
            yield from _cmd_problems(structure, path, split_words(text))
        elif kind is StepKind.BUILD:
            yield from _build_problems(structure, path, text)
        else:
            for position, image in enumerate(text):
                yield from _reference_problems(structure, (*path, "push", position), image)
                if "@" in image:
                    yield structure.problem(
                        f"'{image}' names a digest, but a push needs a tag", (*path, "push", position)
                    )
    except WordError as error:
        yield structure.problem(error.message, (*path, kind), hint=error.hint)
    except BuildStringError as error:
        yield structure.problem(error.message, (*path, kind), hint=error.hint)
    if step.get("detach") and kind is not StepKind.CMD:
        yield structure.problem(f"'detach' means nothing for a {kind} step", (*path, "detach"))


def _cmd_problems(structure: Structure, path: Path, words: list[str]) -> Iterator[DefinitionError]:
    if not words:
        yield structure.problem("cmd names no image", (*path, "cmd"))
    elif words[0].startswith("-"):
        yield structure.problem(
            f"docker run options before the image ('{words[0]}') are not supported by this version of tasks",
            (*path, "cmd"),
            hint="begin with the image; use the step's properties, such as env and workingDirectory",
        )
    else:
        yield from _reference_problems(structure, (*path, "cmd"), words[0])


def _build_problems(structure: Structure, path: Path, text: str) -> Iterator[DefinitionError]:
    arguments = parse_build_string(text)
    remote = "://" in arguments.context or arguments.context.startswith(("git@", "github.com/"))
    if remote or arguments.context == "-":
        yield structure.problem(
            f"build context '{arguments.context}' is not a folder",
            (*path, "build"),
            hint="this version of tasks builds folders of the workspace",
        )
    if "," in arguments.platform:
        yield structure.problem(
            "one platform a build in this version of tasks", (*path, "build"), hint="make a step of each"
        )
    for tag in arguments.tags:
        yield from _reference_problems(structure, (*path, "build"), tag)


def _reference_problems(structure: Structure, path: Path, image: str) -> Iterator[DefinitionError]:
    try:
        parse_reference(image)
    except InvalidReference as error:
        empty_registry = "is $Registry empty? Give --registry HOST or set TASKS_REGISTRY"
        yield structure.problem(
            f"'{image}' is not an image reference: {error}",
            path,
            hint=empty_registry if image.startswith("/") else "",
        )


def _join(names: list[StepKind]) -> str:
    return " and ".join(f"'{name}'" for name in names)
