"""What the context of a build is, and its parts."""

from __future__ import annotations

from typing import Any

from tasks_engine.definition.build_context import ContextKind, parse_build_context
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    context = parse_build_context(vector.input["context"])
    outcome: dict[str, Any] = {"kind": context.kind.value}
    if context.kind is ContextKind.GIT:
        outcome |= {
            "repo": context.address,
            "ref": context.ref,
            "subdir": context.subdir,
            "build_subdir": context.build_subdir,
        }
    elif context.kind is ContextKind.OCI:
        outcome["artifact"] = context.address
    return outcome
