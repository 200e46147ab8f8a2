"""Sprig's functions of maps. `set`, `unset` and the merges change the map they are given, as there.

Go has no order of keys; here they come in the order of their text.
"""

from __future__ import annotations

from tasks_engine.definition.template.functions.bounds import Steps, check_depth, check_list_length
from tasks_engine.definition.template.functions.printing import printed
from tasks_engine.definition.template.functions.signatures import ANY, MAP, MAP_OR_NIL, TEXT, Takes
from tasks_engine.definition.template.values import Record, Value, is_true


def make_map(*pairs: Value) -> dict[str, Value]:
    """Keys and values by turns; a last key without a value gets empty text."""
    values = [*pairs[1::2], ""]
    return {printed(key): value for key, value in zip(pairs[::2], values, strict=False)}


def put(values: dict[str, Value], key: str, value: Value) -> dict[str, Value]:
    values[key] = value
    return values


def remove(values: dict[str, Value], key: str) -> dict[str, Value]:
    values.pop(key, None)
    return values


def pluck(key: str, *maps: dict[str, Value]) -> list[Value]:
    """What the maps have under a key; those without it are left out."""
    return [values[key] for values in maps if key in values]


def keys(*maps: dict[str, Value]) -> list[str]:
    check_list_length(sum(map(len, maps)))
    return [key for values in maps for key in sorted(values)]


def pick(values: dict[str, Value], *wanted: str) -> dict[str, Value]:
    return {key: values[key] for key in wanted if key in values}


def omit(values: dict[str, Value], *unwanted: str) -> dict[str, Value]:
    left_out = set(unwanted)
    return {key: value for key, value in values.items() if key not in left_out}


def merge(target: dict[str, Value], *sources: dict[str, Value]) -> dict[str, Value]:
    """Fills what is missing or empty in a map from the others, maps within it too."""
    return _merged(target, sources, overwrites=False)


def merge_overwrite(target: dict[str, Value], *sources: dict[str, Value]) -> dict[str, Value]:
    """Puts what the other maps have into a map, maps within it too; a map never replaces another value."""
    return _merged(target, sources, overwrites=True)


def deep_copy(value: Value) -> Value:
    """The value with copies of all lists and maps in it."""
    return _copied(value, Steps(), 0)


def _merged(
    target: dict[str, Value], sources: tuple[dict[str, Value], ...], *, overwrites: bool
) -> dict[str, Value]:
    steps = Steps()
    for source in sources:
        _merge_into(target, source, steps, 0, overwrites)
    return target


def _merge_into(
    target: dict[str, Value], source: dict[str, Value], steps: Steps, depth: int, overwrites: bool
) -> None:
    check_depth(depth)
    steps.take(source)
    for key, value in list(source.items()):
        present = target.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge_into(present, value, steps, depth + 1, overwrites)
            present = target[key]
        filled = _is_filled(present)
        if value is None:
            if overwrites:
                target[key] = None
        elif not filled or (overwrites and not isinstance(value, dict)):
            target[key] = value


def _is_filled(value: Value) -> bool:
    return isinstance(value, Record) or is_true(value)


def _copied(value: Value, steps: Steps, depth: int) -> Value:
    check_depth(depth)
    if isinstance(value, list):
        steps.take(value)
        return [_copied(each, steps, depth + 1) for each in value]
    if isinstance(value, dict):
        steps.take(value)
        return {key: _copied(each, steps, depth + 1) for key, each in value.items()}
    return value


SIGNATURES = {
    "dict": Takes(make_map, rest=ANY),
    "set": Takes(put, MAP, TEXT, ANY),
    "unset": Takes(remove, MAP_OR_NIL, TEXT),
    "hasKey": Takes(lambda values, key: key in values, MAP_OR_NIL, TEXT),
    "pluck": Takes(pluck, TEXT, rest=MAP_OR_NIL),
    "keys": Takes(keys, rest=MAP_OR_NIL),
    "values": Takes(lambda values: [values[key] for key in sorted(values)], MAP_OR_NIL),
    "pick": Takes(pick, MAP_OR_NIL, rest=TEXT),
    "omit": Takes(omit, MAP_OR_NIL, rest=TEXT),
    "merge": Takes(merge, MAP_OR_NIL, rest=MAP_OR_NIL),
    "mergeOverwrite": Takes(merge_overwrite, MAP_OR_NIL, rest=MAP_OR_NIL),
    "deepCopy": Takes(deep_copy, ANY),
}
