"""Sprig's functions that choose a value, ask for its type, or give up."""

from __future__ import annotations

from tasks_engine.definition.template.functions.equality import deep_equal
from tasks_engine.definition.template.functions.signatures import ANY, BOOL, TEXT, Takes
from tasks_engine.definition.template.values import FunctionError, Record, Value, is_true, kind_of, type_of


def default(fallback: Value, *given: Value) -> Value:
    """The given value, or the fallback where it is empty or missing."""
    return given[0] if given and is_true(given[0]) else fallback


def coalesce(*values: Value) -> Value:
    """The first value that is not empty; nil when all are."""
    return next((value for value in values if is_true(value)), None)


def kind(value: Value) -> str:
    """Go's kind of a value."""
    return "ptr" if isinstance(value, Record) and value.type_name.startswith("*") else kind_of(value)


def fail(message: str) -> Value:
    """Ends the rendering with the author's own message."""
    raise FunctionError(message or "fail gives no reason")


SIGNATURES = {
    "default": Takes(default, ANY, rest=ANY),
    "coalesce": Takes(coalesce, rest=ANY),
    "empty": Takes(lambda value: not is_true(value), ANY),
    "ternary": Takes(lambda yes, no, which: yes if which else no, ANY, ANY, BOOL),
    "deepEqual": Takes(deep_equal, ANY, ANY),
    "typeOf": Takes(type_of, ANY),
    "typeIs": Takes(lambda name, value: type_of(value) == name, TEXT, ANY),
    "typeIsLike": Takes(lambda name, value: type_of(value) in (name, f"*{name}"), TEXT, ANY),
    "kindOf": Takes(kind, ANY),
    "kindIs": Takes(lambda name, value: kind(value) == name, TEXT, ANY),
    "fail": Takes(fail, TEXT, bare=True),
}
