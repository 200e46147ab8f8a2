"""Go's `index` and `len`, and Sprig's `slice`, which takes the place of Go's."""

from __future__ import annotations

from tasks_engine.definition.template.functions.numbers import to_int64
from tasks_engine.definition.template.functions.octets import byte_length, to_bytes
from tasks_engine.definition.template.functions.signatures import ANY, LIST, Takes, describe
from tasks_engine.definition.template.values import FunctionError, Uint8, Value


def index(item: Value, *keys: Value) -> Value:
    """What stands in a value under a key or at a place, and in that again; nil for a missing key."""
    if item is None:
        raise FunctionError("there is nothing in nil")
    for key in keys:
        item = _entry(item, key)
    return item


def length(value: Value) -> int:
    """Items of a list, keys of a map, bytes of a text."""
    if isinstance(value, str):
        return byte_length(value)
    if isinstance(value, (list, dict)):
        return len(value)
    raise FunctionError(f"{describe(value)} has no length")


def part_of_list(values: list[Value], *bounds: Value) -> list[Value] | None:
    """The items from the first bound up to the second one, without it; nil of an empty list."""
    if not values:
        return None
    start = to_int64(bounds[0]) if bounds else 0
    end = to_int64(bounds[1]) if len(bounds) > 1 else len(values)
    if not 0 <= start <= end <= len(values):
        raise FunctionError(f"a list of {len(values)} has no items from {int(start)} to {int(end)}")
    return values[start:end]


def _entry(item: Value, key: Value) -> Value:
    if isinstance(item, dict):
        if not isinstance(key, str):
            raise FunctionError(f"a key of a map must be text, not {describe(key)}")
        return item.get(key)
    if item is None:
        raise FunctionError("there is nothing in nil")
    if not isinstance(item, (list, str)):
        raise FunctionError(f"{describe(item)} has no items")
    if not isinstance(key, int) or isinstance(key, bool):
        raise FunctionError(f"a place in {describe(item)} must be a whole number, not {describe(key)}")
    items = to_bytes(item) if isinstance(item, str) else item
    if not 0 <= key < len(items):
        raise FunctionError(f"{describe(item)} of {len(items)} has no item {int(key)}; the first one is 0")
    return Uint8(items[key]) if isinstance(item, str) else items[key]


SIGNATURES = {
    "index": Takes(index, ANY, rest=ANY),
    "len": Takes(length, ANY),
    "slice": Takes(part_of_list, LIST, rest=ANY),
}
