"""Expands `{{.Run.ID}}` and `{{.Values.name}}`: fields of the data, with nothing around them.

Other template constructs are refused by name and place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks_engine.definition.scalars import Value, print_value
from tasks_engine.definition.source import Edit, SourceText
from tasks_engine.errors import DefinitionError

_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
#: what Go prints for a missing value; the original deletes it, wherever it comes from
_NO_VALUE = re.compile("<no value>")
_FIELD = re.compile(r"\s*((?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s*\Z")


@dataclass(frozen=True)
class Rendered:
    source: SourceText
    #: fields that have no value and were left empty
    warnings: tuple[DefinitionError, ...]


def render(source: SourceText, data: Mapping[str, Value]) -> Rendered:
    """The text with every action replaced. A field without a value prints nothing and is warned about.

    Raises DefinitionError for an action that is not closed, is no field, or goes below a missing one.
    """
    edits: list[Edit] = []
    warnings: list[DefinitionError] = []
    at = 0
    while (start := source.text.find("{{", at)) >= 0:
        match = _ACTION.match(source.text, start)
        if match is None:
            raise DefinitionError("'{{' is never closed by '}}'", location=source.locate(start, start + 2))
        value = _evaluate(source, match, data)
        if value is None:
            warnings.append(
                DefinitionError(
                    f"{match[1].strip()} has no value and is left empty",
                    location=source.locate(start, match.end()),
                    hint=_missing_hint(match[1].strip()),
                )
            )
        edits.append(Edit(start, match.end(), print_value(value)))
        at = match.end()
    result = source.rewrite(edits)
    result = result.rewrite([Edit(*match.span(), "") for match in _NO_VALUE.finditer(result.text)])
    return Rendered(result, tuple(warnings))


def _evaluate(source: SourceText, match: re.Match[str], data: Mapping[str, Value]) -> Value:
    field = _FIELD.match(match[1])
    if field is None:
        raise DefinitionError(
            f"template expression '{match[1].strip()}' is not supported by this version of tasks",
            location=source.locate(match.start(), match.end()),
            hint="fields such as {{.Run.ID}} and {{.Values.name}} are",
        )
    value: Value = dict(data)
    parts = field[1].split(".")[1:]
    for depth, part in enumerate(parts):
        if not isinstance(value, dict):
            parent = "." + ".".join(parts[:depth])
            raise DefinitionError(
                f"{parent} has no field '{part}': it is {'missing' if value is None else 'not a map'}",
                location=source.locate(match.start(), match.end()),
            )
        value = value.get(part)
    return value


def _missing_hint(expression: str) -> str:
    if expression.startswith(".Values."):
        name = expression.removeprefix(".Values.")
        return f"give it with --set {name}=… or in a file with --values" if "." not in name else ""
    return ""
