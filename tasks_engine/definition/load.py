"""`load_task`: the text of a task file becomes a Task, or all that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from tasks_engine.definition import aliases, checks, template
from tasks_engine.definition.model import Inputs, Step, StepKind, Task
from tasks_engine.definition.nodes import Mapping as MappingNode
from tasks_engine.definition.nodes import parse_yaml
from tasks_engine.definition.scalars import Value, parse_value
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.structure import Schema, Structure, load_schema, read_structure, schema_problems
from tasks_engine.errors import DefinitionError, DefinitionErrors
from tasks_engine.schemas_folder import schema_text


def load_task(text: str, source_name: str, inputs: Inputs, *, strict: bool = False) -> Task:
    """The task a text defines.

    Order, as in the original: comment lines are dropped, aliases expanded (from v1.1.0), the template
    rendered, the YAML read, types and rules checked. `strict` turns warnings into problems.

    Raises DefinitionErrors with every problem that can be told, in file order.
    """
    try:
        source = aliases.drop_comment_lines(SourceText(source_name, text))
        if aliases.aliases_enabled(aliases.find_version(source.text)):
            source = aliases.expand_aliases(source)
        rendered = template.render(source, _template_data(inputs))
        root = parse_yaml(rendered.source)
    except DefinitionError as error:
        raise DefinitionErrors([error]) from error
    structure = read_structure(root, rendered.source, _task_schema())
    mistyped = schema_problems(structure, _task_schema())
    problems = [*structure.problems, *mistyped.values(), *checks.task_problems(structure, mistyped)]
    warnings = [*rendered.warnings, *structure.warnings]
    if not problems:
        warnings += checks.task_warnings(structure)
    if strict:
        problems += warnings
    if problems:
        raise DefinitionErrors(sorted(problems, key=_position))
    return _task(structure, source_name, tuple(sorted(warnings, key=_position)))


def load_values(text: str, source_name: str) -> dict[str, Value]:
    """The values file: a YAML map of free data. Raises DefinitionError."""
    source = SourceText(source_name, text)
    root = parse_yaml(source)
    value = parse_value(root)
    if value is None:
        return {}
    if not isinstance(root, MappingNode) or not isinstance(value, dict):
        raise DefinitionError("a values file is a map of names to values", location=source.locate(root.start))
    return value


def _template_data(inputs: Inputs) -> dict[str, Value]:
    return {
        "Run": dict(inputs.run),
        "Build": {"ID": inputs.run.get("ID")},  # its older name
        "Values": dict(inputs.values),
    }


@cache
def _task_schema() -> Schema:
    return load_schema(schema_text("task.schema.json"))


def _task(structure: Structure, source_name: str, warnings: tuple[DefinitionError, ...]) -> Task:
    data: Mapping[str, Any] = structure.data
    steps: list[dict[str, Any]] = data.get("steps", [])
    ids = checks.step_ids(steps)
    return Task(
        version=data.get("version", "").lower() or "v1.0.0",
        steps=tuple(_step(structure, index, step, ids[index]) for index, step in enumerate(steps)),
        env=tuple(data.get("env", [])),
        working_directory=data.get("workingDirectory", ""),
        step_timeout=max(0, data.get("stepTimeout", 0)),
        source_name=source_name,
        warnings=warnings,
    )


def _step(structure: Structure, index: int, step: dict[str, Any], step_id: str) -> Step:
    kind = next(kind for kind in StepKind if step.get(kind))
    return Step(
        id=step_id,
        kind=kind,
        line=structure.line(("steps", index)),
        build=step.get("build", ""),
        cmd=step.get("cmd", ""),
        push=tuple(step.get("push", [])),
        when=tuple(step["when"]) if step.get("when") else None,
        env=tuple(step.get("env", [])),
        working_directory=step.get("workingDirectory", ""),
        timeout=max(0, step.get("timeout", 0)),
        retries=step.get("retries", 0),
        retry_delay=max(0, step.get("retryDelay", 0)),
        detach=step.get("detach", False),
        ignore_errors=step.get("ignoreErrors", False),
    )


def _position(problem: DefinitionError) -> tuple[int, int]:
    location = problem.location
    return (location.line, location.column) if location is not None else (0, 0)
