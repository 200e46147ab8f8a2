"""Go's comparisons and its `and`, `or`, `not`.

Values are compared within their basic kind: all integers are of one, a float is of another, so `eq 1 1.0` is
a mistake. A map or a list can only be compared with nil.
"""

from __future__ import annotations

from tasks_engine.definition.template.functions.signatures import ANY, Takes, describe
from tasks_engine.definition.template.values import FunctionError, Record, Value, is_true, type_of


def equal(first: Value, *others: Value) -> bool:
    """Whether the first value equals any of the others."""
    if not others:
        raise FunctionError("there is nothing to compare with")
    return any(_equal(first, other) for other in others)


def less(first: Value, second: Value) -> bool:
    kinds = [_basic_kind(value) for value in (first, second)]
    for kind, value in zip(kinds, (first, second), strict=True):
        if kind in ("", "bool"):
            raise FunctionError(f"{describe(value)} has no order")
    if kinds[0] != kinds[1]:
        raise _incompatible(first, second)
    return bool(first < second)


def less_or_equal(first: Value, second: Value) -> bool:
    return less(first, second) or equal(first, second)


def all_of(first: Value, *others: Value) -> Value:
    """The first value that is not true, or the last one."""
    for value in (first, *others[:-1]):
        if not is_true(value):
            return value
    return others[-1] if others else first


def any_of(first: Value, *others: Value) -> Value:
    """The first value that is true, or the last one."""
    for value in (first, *others[:-1]):
        if is_true(value):
            return value
    return others[-1] if others else first


def _equal(first: Value, second: Value) -> bool:
    kinds = _basic_kind(first), _basic_kind(second)
    if first is None or second is None:
        return first is second
    if kinds[0] != kinds[1] or (not kinds[0] and type_of(first) != type_of(second)):
        raise _incompatible(first, second)
    if isinstance(first, (list, dict)):
        raise FunctionError(
            f"{describe(first)} can only be compared with nil; deepEqual compares two of them"
        )
    if isinstance(first, Record):
        return first is second
    return bool(first == second)


def _basic_kind(value: Value) -> str:
    """The kind within which values can be compared; empty for lists, maps, structs and nil."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "float"
    return "text" if isinstance(value, str) else ""


def _incompatible(first: Value, second: Value) -> FunctionError:
    return FunctionError(f"{_type_word(first)} and {_type_word(second)} are of incompatible types")


def _type_word(value: Value) -> str:
    """A value's type in words; for numbers Go's name, which makes the difference."""
    if isinstance(value, (int, float)):
        name = type_of(value)
        return f"an {name}" if name.startswith("i") else f"a {name}"
    return describe(value)


SIGNATURES = {
    "and": Takes(all_of, ANY, rest=ANY),
    "or": Takes(any_of, ANY, rest=ANY),
    "not": Takes(lambda value: not is_true(value), ANY),
    "eq": Takes(equal, ANY, rest=ANY),
    "ne": Takes(lambda first, second: not equal(first, second), ANY, ANY),
    "lt": Takes(less, ANY, ANY),
    "le": Takes(less_or_equal, ANY, ANY),
    # the inverse of the two above, which for NaN makes a difference
    "gt": Takes(lambda first, second: not less_or_equal(first, second), ANY, ANY),
    "ge": Takes(lambda first, second: not less(first, second), ANY, ANY),
}
