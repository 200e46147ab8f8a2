"""The version as found in the text, and whether it switches aliases on."""

from __future__ import annotations

from typing import Any

from tasks_engine.definition.aliases import aliases_enabled, drop_comment_lines, find_version
from tasks_engine.definition.source import SourceText
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    text = drop_comment_lines(SourceText("task.yaml", vector.input["yaml"])).text
    detected = find_version(text)
    return {"detected": detected, "aliases_enabled": aliases_enabled(detected)}
