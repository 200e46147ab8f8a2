"""`schemas/run-event.schema.json`, drawn from the classes of events.py; run as a module it prints it."""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from datetime import datetime
from enum import Enum
from typing import Any

from tasks_engine.events import EVENT_TYPES, RunEvent

_NAMED = ("run_id", "seq", "at")
_FIELD_COMMENT = re.compile(r"((?: +#: .*\n)+) +(\w+):")
_PLAIN_TYPES: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def event_schema() -> dict[str, Any]:
    """The JSON schema of one event as `to_json` writes it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://tasks-engine.dev/schemas/run-event.schema.json",
        "title": "Run event",
        "description": "One line of a run's events. Fields that hold nothing are left out.",
        "type": "object",
        "required": ["type"],
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in EVENT_TYPES],
        "$defs": {name: _event(kind) for name, kind in EVENT_TYPES.items()},
    }


def event_schema_text() -> str:
    return json.dumps(event_schema(), indent=2) + "\n"


def _event(kind: type[RunEvent]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    comments = {**_field_comments(RunEvent), **_field_comments(kind)}
    properties: dict[str, Any] = {"type": {"const": kind.type}, "version": {"const": kind.version}}
    for each in fields(kind):
        properties[each.name] = _value(hints[each.name])
        if each.name in comments:
            properties[each.name]["description"] = comments[each.name]
    required = [each.name for each in fields(kind) if each.name in _NAMED or _is_required(each)]
    schema: dict[str, Any] = {"title": kind.__name__}
    documentation = inspect.cleandoc(kind.__doc__ or "")
    if not documentation.startswith(f"{kind.__name__}("):  # what dataclass writes when there is none
        schema["description"] = documentation
    return schema | {
        "type": "object",
        "properties": properties,
        "required": ["type", "version", *required],
        "additionalProperties": False,
    }


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _value(hint: Any) -> dict[str, Any]:
    """The schema of a field's type; None never occurs in JSON, since fields that hold it are left out."""
    if isinstance(hint, types.UnionType):
        return _value(next(each for each in typing.get_args(hint) if each is not types.NoneType))
    if hint in _PLAIN_TYPES:
        return {"type": _PLAIN_TYPES[hint]}
    if hint is datetime:
        return {"type": "string", "format": "date-time"}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [each.value for each in hint]}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _value(typing.get_args(hint)[0])}
    return {"type": "object"}


def _field_comments(kind: type[RunEvent]) -> dict[str, str]:
    """Field -> the text of its `#:` lines."""
    found = _FIELD_COMMENT.findall(inspect.getsource(kind))
    return {name: " ".join(line.strip(" #:") for line in text.splitlines()) for text, name in found}


if __name__ == "__main__":
    sys.stdout.write(event_schema_text())
