"""`schemas/plan.schema.json`, drawn from the classes of the plan; run as a module it prints it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from tasks_engine.plan.model import PLAN_VERSION, BuildWork, CmdWork, Plan, PlannedStep, PushWork

_FIELD_COMMENT = re.compile(r"((?: +#: .*\n)+) +(\w+):")
_PLAIN_TYPES: Mapping[Any, str] = {str: "string", int: "integer", bool: "boolean"}
_UNITS = {"_s": ", in seconds", "_bytes": ", in bytes"}
#: the kinds of steps, and where what they do stands
_WORK = {"build": BuildWork, "cmd": CmdWork, "push": PushWork}
#: what a field is whose name alone does not say it, where its class has no comment for it
_DESCRIPTIONS = {
    "Annotation.key": "the name of the annotation",
    "Annotation.value": "its text",
    "BuildSecret.id": "as the Dockerfile names it",
    "CmdWork.image": "what the container is made of",
    "HostEntry.name": "the host",
    "Network.name": "as steps name it",
    "PlannedCommand.args": "what stands behind the image or the builtin",
    "PlannedStep.kind": "what the step does, and the name of the property that says how",
    "Redirect.stream": "what is redirected",
    "Redirect.target": "where it goes from here on",
    "SshForward.id": "as the Dockerfile names it",
    "Ulimit.hard": "the limit that a process cannot raise; -1: none",
    "Ulimit.name": "what is limited, such as nofile",
    "Ulimit.soft": "the limit a process begins with; -1: none",
}
_WARNING = {
    "title": "Warning",
    "description": "Something that cannot be meant, but is let pass.",
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"title": "Code", "description": "The kind of message.", "type": "string"},
        "message": {"title": "Message", "description": "What is told, in one sentence.", "type": "string"},
        "hint": {"title": "Hint", "description": "What to do about it.", "type": "string"},
        "rule": {"title": "Rule", "description": "What it is about, for programs.", "type": "string"},
        "location": {
            "title": "Place",
            "description": "Where in the author's files it is; lines and columns count from 1.",
            "type": "object",
            "required": ["source", "line", "column", "text"],
            "properties": {
                "source": {"title": "File", "description": "Its name.", "type": "string"},
                "line": {"title": "Line", "description": "From 1.", "type": "integer"},
                "column": {"title": "Column", "description": "In characters, from 1.", "type": "integer"},
                "text": {"title": "Text", "description": "The whole line.", "type": "string"},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def plan_schema() -> dict[str, Any]:
    """The JSON schema of a plan as `Plan.to_json` writes it."""
    definitions: dict[str, Any] = {}
    plan = _object(Plan, definitions)
    version = {
        "title": "Version of this format",
        "description": "It changes when programs that read plans must change.",
        "const": PLAN_VERSION,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://tasks-engine.dev/schemas/plan.schema.json",
        **plan,
        "description": "What a task file means: every step with all defaults filled in. `tasks plan --json` prints it.",
        "required": ["version", *plan["required"]],
        "properties": {"version": version, **plan["properties"]},
        "$defs": {"Warning": _WARNING, **dict(sorted(definitions.items()))},
    }


def plan_schema_text() -> str:
    return json.dumps(plan_schema(), indent=2) + "\n"


def _object(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    comments = _field_comments(kind)
    properties: dict[str, Any] = {}
    for name in (field.name for field in dataclasses.fields(kind) if field.name != "work"):
        what = comments.get(name) or _DESCRIPTIONS[f"{kind.__name__}.{name}"]
        described = {"title": _title(name), "description": f"{what[0].upper()}{what[1:]}."}
        properties[name] = described | _value(hints[name], definitions)
    documentation = inspect.cleandoc(kind.__doc__ or "")
    if documentation.startswith(f"{kind.__name__}("):  # what dataclass writes when there is none
        documentation = f"{_words(kind.__name__)} of a build."
    schema = {
        "title": _words(kind.__name__),
        "description": documentation,
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }
    return schema if kind is not PlannedStep else _with_work(schema, definitions)


def _with_work(step: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """What a step does stands under the name of its kind, and no other kind's name stands there."""
    work = {name: {"title": name.capitalize()} | _value(kind, definitions) for name, kind in _WORK.items()}
    alternatives = [
        {
            "required": [name],
            "properties": {"kind": {"const": name}, **{each: False for each in _WORK if each != name}},
        }
        for name in _WORK
    ]
    return step | {"properties": {**step["properties"], **work}, "oneOf": alternatives}


def _value(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field's type; classes go into `definitions`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN_TYPES:
        return {"type": _PLAIN_TYPES[hint]}
    if origin is tuple:
        return {"type": "array", "items": _value(arguments[0], definitions)}
    if origin is Mapping:
        if arguments[1] is Any:
            return {"$ref": "#/$defs/Warning"}
        return {"type": "object", "additionalProperties": _value(arguments[1], definitions)}
    if issubclass(hint, Enum):
        return {"enum": [each.value for each in hint]}
    if hint.__name__ not in definitions:
        definitions[hint.__name__] = {}  # so that it is drawn once
        definitions[hint.__name__] = _object(hint, definitions)
    return {"$ref": f"#/$defs/{hint.__name__}"}


def _field_comments(kind: type[Any]) -> dict[str, str]:
    """Field -> the text of its `#:` lines."""
    found = _FIELD_COMMENT.findall(inspect.getsource(kind))
    return {name: " ".join(line.strip(" #:") for line in text.splitlines()) for text, name in found}


def _title(name: str) -> str:
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return _words(name.removesuffix(suffix)) + unit
    return _words(name)


def _words(name: str) -> str:
    """`Retry delay` of `retry_delay`, `Build work` of `BuildWork`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()
    return f"{spaced[0].upper()}{spaced[1:]}"


if __name__ == "__main__":
    sys.stdout.write(plan_schema_text())
