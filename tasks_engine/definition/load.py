"""`load_task`: the text of a task file becomes a Task, or all that is wrong with it."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tasks_engine.definition import checks
from tasks_engine.definition.aliases import ReadSource
from tasks_engine.definition.environment import merge_inherited
from tasks_engine.definition.expand import Expanded, expand_text, structure_warnings, task_schema
from tasks_engine.definition.model import Inputs, Network, Secret, Task, Volume
from tasks_engine.definition.nodes import Mapping as MappingNode
from tasks_engine.definition.nodes import Node, Scalar, Sequence, parse_yaml
from tasks_engine.definition.scalars import Value, parse_value
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.step_notes import Surroundings
from tasks_engine.definition.step_outputs import output_problems
from tasks_engine.definition.steps import read_steps, step_ids
from tasks_engine.definition.structure import Path, Structure, read_structure, schema_problems
from tasks_engine.errors import DefinitionError, DefinitionErrors


def load_task(
    text: str,
    source_name: str,
    inputs: Inputs,
    read_source: ReadSource | None = None,
    *,
    strict: bool = False,
) -> Task:
    """The task a text defines.

    Order, as in the original: comment lines are dropped, aliases expanded (from v1.1.0), the template
    rendered, the YAML read, types and rules checked. `read_source` gives the text of an alias source by the
    name it has in the file, or raises UnreadableSource. `strict` turns warnings into problems.

    Raises DefinitionErrors with every problem that can be told, in file order.
    """
    with _without_collections():
        return _load(text, source_name, inputs, read_source, strict)


def _load(text: str, source_name: str, inputs: Inputs, read_source: ReadSource | None, strict: bool) -> Task:
    expanded = expand_text(text, source_name, inputs, read_source)
    try:
        root = parse_yaml(expanded.source)
    except DefinitionError as error:
        raise DefinitionErrors([error]) from error
    structure = read_structure(root, expanded.source, task_schema())
    mistyped = schema_problems(structure, task_schema())
    problems = [*structure.problems, *mistyped.values()]
    warnings = [*expanded.warnings, *structure.warnings, *structure_warnings(expanded.source, root)]
    task = None
    if () not in mistyped:
        problems += checks.task_problems(structure, mistyped)
        task = _task(structure, mistyped, expanded, inputs, problems, warnings)
    if strict:
        problems, warnings = problems + warnings, []
    if problems or task is None:
        raise DefinitionErrors(sorted(problems, key=_position), sorted(warnings, key=_position))
    return task


def load_values(text: str, source_name: str) -> dict[str, Value]:
    """The values file: a YAML map of free data. Raises DefinitionError."""
    source = SourceText(source_name, text)
    root = parse_yaml(source)
    value = parse_value(root)
    if value is None:
        return {}
    if not isinstance(root, MappingNode) or not isinstance(value, dict):
        raise DefinitionError("a values file is a map of names to values", location=source.locate(root.start))
    for scalar in _scalars(root):
        number = parse_value(scalar)
        if isinstance(number, float) and not math.isfinite(number):
            raise DefinitionError(
                f"'{scalar.text}' is no finite number, and values must be",
                location=source.locate(scalar.start, scalar.end),
                rule="values-not-serialisable",
            )
    return value


def _task(
    structure: Structure,
    mistyped: Mapping[Path, DefinitionError],
    expanded: Expanded,
    inputs: Inputs,
    problems: list[DefinitionError],
    warnings: list[DefinitionError],
) -> Task | None:
    """The task, if nothing is wrong with it; adds what is to be said to `problems` and `warnings`."""
    data: Mapping[str, Any] = structure.data
    broken = {path[0] for path in mistyped}
    if "steps" in broken and ("steps",) in mistyped:
        return None
    usable = {name: [] if name in broken else data.get(name) or [] for name in ("env", "volumes")}
    surroundings = Surroundings(
        environment=merge_inherited(usable["env"], inputs.env),
        image_aliases=expanded.aliases.image_by_name if expanded.aliases is not None else {},
        volume_names={volume.get("name", "") for volume in usable["volumes"]},
    )
    unreadable = {path[1] for path in mistyped if path[0] == "steps" and isinstance(path[1], int)}
    read = read_steps(structure, unreadable, surroundings)
    problems += read.problems
    ids = step_ids(data.get("steps", []))
    problems += output_problems(structure, ids, unreadable, read.steps)
    warnings += [*read.warnings, *_undeclared(expanded, data, broken)]
    if not mistyped:
        warnings += checks.task_warnings(structure)
    if problems:
        return None
    return Task(
        version=data.get("version", "").lower() or "v1.0.0",
        steps=tuple(read.steps),
        working_directory=data.get("workingDirectory", ""),
        step_timeout=max(0, data.get("stepTimeout", 0)),
        secrets=tuple(
            Secret(each["id"], each["keyvault"], each.get("clientID", "")) for each in data.get("secrets", ())
        ),
        networks=tuple(
            Network(
                each.get("name", ""),
                each.get("driver", ""),
                each.get("ipv6", False),
                each.get("skipCreation", False),
                each.get("isDefault", False),
            )
            for each in data.get("networks", ())
        ),
        volumes=tuple(Volume(each["name"], each["secret"]) for each in data.get("volumes", ())),
        source_name=expanded.source.name,
        warnings=tuple(sorted(warnings, key=_position)),
    )


@contextmanager
def _without_collections() -> Iterator[None]:
    """Keeps the garbage collector from walking nodes again and again that are all in use: a fifth of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _undeclared(
    expanded: Expanded, data: Mapping[str, Any], broken: set[str | int]
) -> Iterator[DefinitionError]:
    """Secrets that are used and not declared; the original takes nothing for them."""
    if "secrets" in broken:
        return
    declared = {secret.get("id", "") for secret in data.get("secrets") or []}
    for name, location in expanded.secrets.items():
        if name not in declared:
            yield DefinitionError(
                f"secret '{name}' is not declared and is left empty",
                location=location,
                hint=f"add it: secrets: [{{id: {name}, keyvault: …}}]",
                rule="missing-value",
            )


def _scalars(root: Node) -> Iterator[Scalar]:
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Scalar):
            yield node
        elif isinstance(node, Sequence):
            stack += node.items
        else:
            stack += [value for _, value in node.pairs]


def _position(problem: DefinitionError) -> tuple[int, int]:
    location = problem.location
    return (location.line, location.column) if location is not None else (0, 0)
