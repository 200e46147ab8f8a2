"""Sprig's functions of lists. None changes the list it is given."""

from __future__ import annotations

from tasks_engine.definition.template.functions.bounds import Steps, check_list_length
from tasks_engine.definition.template.functions.equality import equality_key
from tasks_engine.definition.template.functions.signatures import ANY, LIST, Takes, describe
from tasks_engine.definition.template.values import FunctionError, Value, is_true


def concatenate(*lists: list[Value]) -> list[Value]:
    check_list_length(sum(map(len, lists)))
    return [value for values in lists for value in values]


def has(wanted: Value, values: Value) -> bool:
    """Whether a list has a value; nil has none."""
    if values is None:
        return False
    if not isinstance(values, list):
        raise FunctionError(f"argument 2 must be a list, not {describe(values)}")
    steps = Steps()
    key = equality_key(wanted, steps)
    return any(equality_key(value, steps) == key for value in values)


def unique(values: list[Value]) -> list[Value]:
    """The values without those that an earlier one equals."""
    steps = Steps()
    first_by_key: dict[object, Value] = {}
    for value in values:
        first_by_key.setdefault(equality_key(value, steps), value)
    return list(first_by_key.values())


def without(values: list[Value], *unwanted: Value) -> list[Value]:
    steps = Steps()
    keys = {equality_key(value, steps) for value in unwanted}
    return [value for value in values if equality_key(value, steps) not in keys]


_LIST = Takes(lambda *values: list(values), rest=ANY)
_PUSH = Takes(lambda values, value: [*values, value], LIST, ANY)

SIGNATURES = {
    "list": _LIST,
    "tuple": _LIST,
    "push": _PUSH,
    "append": _PUSH,
    "prepend": Takes(lambda values, value: [value, *values], LIST, ANY),
    "concat": Takes(concatenate, rest=LIST),
    "first": Takes(lambda values: values[0] if values else None, LIST),
    "last": Takes(lambda values: values[-1] if values else None, LIST),
    "rest": Takes(lambda values: values[1:], LIST),
    "initial": Takes(lambda values: values[:-1], LIST),
    "reverse": Takes(lambda values: values[::-1], LIST),
    "compact": Takes(lambda values: [value for value in values if is_true(value)], LIST),
    "has": Takes(has, ANY, ANY),
    "uniq": Takes(unique, LIST),
    "without": Takes(without, LIST, rest=ANY),
}
