"""Values that are deeply equal in Go have the same key here, so that many can be compared in one pass.

Types count: an int never equals an int64. NaN equals nothing, not even itself.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime

from tasks_engine.definition.template.functions.bounds import Steps, check_depth
from tasks_engine.definition.template.values import Record, Value, type_of


def deep_equal(first: Value, second: Value) -> bool:
    if isinstance(first, (list, dict)) and first is second:
        return True
    return equality_key(first) == equality_key(second)


def equality_key(value: Value, steps: Steps | None = None) -> Hashable:
    """Something to compare and hash in place of the value. Raises FunctionError for a value that is too large."""
    if not isinstance(value, (list, dict)):
        return _scalar_key(value)
    parts: list[Hashable] = []
    _add_parts(value, parts, steps or Steps(), 0)
    # flat, since Python would compare and hash what is nested by calling itself
    return tuple(parts)


def _add_parts(value: Value, parts: list[Hashable], steps: Steps, depth: int) -> None:
    check_depth(depth)
    steps.take()
    if isinstance(value, list):
        parts.append(("list", len(value)))
        for each in value:
            _add_parts(each, parts, steps, depth + 1)
    elif isinstance(value, dict):
        parts.append(("map", len(value)))
        for key in sorted(value):
            parts.append(key)
            _add_parts(value[key], parts, steps, depth + 1)
    else:
        parts.append(_scalar_key(value))


def _scalar_key(value: Value) -> Hashable:
    if isinstance(value, float) and value != value:
        return object()
    if isinstance(value, Record):
        return type_of(value), value.printed
    if isinstance(value, datetime):
        return type_of(value), value, value.tzname()
    return type_of(value), value
