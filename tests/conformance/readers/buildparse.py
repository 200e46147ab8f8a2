"""The parts of the text of a build. Which words run after a context was fetched is left out: there are none here."""

from __future__ import annotations

from typing import Any

from tasks_engine.definition.build_context import ContextKind
from tasks_engine.definition.build_string import BuildStringError, parse_build_string
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    try:
        arguments = parse_build_string(vector.input["build"], env={})
    except BuildStringError:
        return {"error": "build-syntax"}
    return {
        "dockerfile": arguments.dockerfile,
        "target": arguments.target,
        "context": arguments.context,
        "tags": list(arguments.tags),
        "build_args": [
            name if value is None else f"{name}={value}" for name, value in arguments.build_args.items()
        ],
        "context_is_local": arguments.source.kind is ContextKind.LOCAL,
        "source_control": arguments.source.kind is ContextKind.GIT,
    }


def wanted(vector: Vector) -> dict[str, Any]:
    return {key: value for key, value in vector.wanted.items() if key != "build_after_fetch"}
