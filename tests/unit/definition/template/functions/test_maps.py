from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Value

TABLE = function_table(datetime(2024, 1, 2, tzinfo=UTC), "seed")


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("dict", ("a", 1, "b", 2), {"a": 1, "b": 2}),
        ("dict", ("a", 1, "b"), {"a": 1, "b": ""}),
        ("dict", (1, 2, None, 3), {"1": 2, "<nil>": 3}),
        ("dict", (), {}),
        ("hasKey", ({"a": None}, "a"), True),
        ("hasKey", ({}, "a"), False),
        ("hasKey", (None, "a"), False),
        ("pluck", ("a", {"a": 1}, {"b": 2}, {"a": 3}), [1, 3]),
        ("pluck", ("a",), []),
        ("keys", ({"b": 1, "a": 2}, {"c": 3}), ["a", "b", "c"]),
        ("keys", (None,), []),
        ("keys", (), []),
        ("values", ({"b": 1, "a": 2},), [2, 1]),
        ("pick", ({"a": 1, "b": 2}, "a", "z"), {"a": 1}),
        ("omit", ({"a": 1, "b": 2}, "a", "z"), {"b": 2}),
        ("unset", ({"a": 1}, "z"), {"a": 1}),
        ("unset", (None, "z"), {}),
    ],
)
def test_functions_of_maps(name: str, arguments: tuple[Value, ...], result: Value) -> None:
    assert TABLE[name](*arguments) == result


def test_set_and_unset_change_the_map_itself() -> None:
    values: dict[str, Any] = {"a": 1}
    assert TABLE["set"](values, "b", 2) is values
    assert values == {"a": 1, "b": 2}
    assert TABLE["unset"](values, "a") is values
    assert values == {"b": 2}


# what is kept when a key of the target meets the same key of the source
FILLED: list[Value] = [1, "x", [1], {"p": 1}]
EMPTY: list[Value] = [None, "", 0, False, [], {}]


@pytest.mark.parametrize("present", FILLED)
@pytest.mark.parametrize("value", [2, "y", [2], None, ""])
def test_merge_keeps_what_is_there(present: Value, value: Value) -> None:
    assert TABLE["merge"]({"k": present}, {"k": value}) == {"k": present}


@pytest.mark.parametrize("present", EMPTY)
@pytest.mark.parametrize("value", FILLED)
def test_merge_fills_what_is_empty(present: Value, value: Value) -> None:
    assert TABLE["merge"]({"k": deepcopy(present)}, {"k": value}) == {"k": value}


@pytest.mark.parametrize("present", [1, "x", [1], {"p": 1}, None, {}])
@pytest.mark.parametrize("value", [2, "", [2], [], None])
def test_merge_overwrite_takes_what_is_new(present: Value, value: Value) -> None:
    assert TABLE["mergeOverwrite"]({"k": deepcopy(present)}, {"k": value}) == {"k": value}


@pytest.mark.parametrize("present", [1, "x", [1]])
def test_a_map_never_overwrites_another_value(present: Value) -> None:
    assert TABLE["mergeOverwrite"]({"k": present}, {"k": {"p": 2}}) == {"k": present}


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("merge", {"a": 1, "m": {"x": 1, "y": 2, "z": {"q": 3}}, "n": 4}),
        ("mergeOverwrite", {"a": 9, "m": {"x": 8, "y": 2, "z": {"q": 3}}, "n": 4}),
    ],
)
def test_maps_within_maps_are_merged(name: str, result: Value) -> None:
    target = {"a": 1, "m": {"x": 1, "z": {}}}
    sources = [{"a": 9, "m": {"x": 8, "y": 2}}, {"m": {"z": {"q": 3}}, "n": 4}, None]
    assert TABLE[name](target, *sources) is target
    assert target == result


def test_merging_into_nothing_makes_a_map() -> None:
    assert TABLE["merge"](None, {"a": None, "b": 1}) == {"b": 1}


def test_a_copy_shares_nothing() -> None:
    original = {"a": [{"b": 1}], "c": None}
    copy = TABLE["deepCopy"](original)
    copy["a"][0]["b"] = 2
    assert original == {"a": [{"b": 1}], "c": None}
    assert TABLE["deepCopy"]("a") == "a"


def test_merging_a_map_that_holds_itself_is_refused() -> None:
    target: dict[str, Any] = {}
    target["a"] = target
    source: dict[str, Any] = {}
    source["a"] = source
    with pytest.raises(FunctionError):
        TABLE["merge"](target, source)
