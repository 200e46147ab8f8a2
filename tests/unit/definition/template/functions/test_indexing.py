from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Int64, Uint8, Value

TABLE = function_table(datetime(2024, 1, 2, tzinfo=UTC), "seed")
MAP = {"a": {"b": [10, 20]}, "n": None}


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ((MAP,), MAP),
        ((MAP, "a", "b", 1), 20),
        ((MAP, "nope"), None),
        ((MAP, "n"), None),
        (([1, 2], Int64(0)), 1),
        (("abc", 1), 98),
        (("é", 0), 0xC3),
    ],
)
def test_index(arguments: tuple[Value, ...], result: Value) -> None:
    assert TABLE["index"](*arguments) == result


def test_a_byte_of_text_is_a_uint8() -> None:
    assert type(TABLE["index"]("abc", 0)) is Uint8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 1), "index: there is nothing in nil"),
        ((None,), "index: there is nothing in nil"),
        ((MAP, "nope", "c"), "index: there is nothing in nil"),
        ((MAP, 1), "index: a key of a map must be text, not the number 1"),
        ((MAP, None), "index: a key of a map must be text, not nil"),
        (([1], "a"), "index: a place in a list must be a whole number, not text"),
        (([1], True), "index: a place in a list must be a whole number, not true"),
        (([1], None), "index: a place in a list must be a whole number, not nil"),
        (([1], 1), "index: a list of 1 has no item 1; the first one is 0"),
        (([1], -1), "index: a list of 1 has no item -1; the first one is 0"),
        (("abc", 3), "index: text of 3 has no item 3; the first one is 0"),
        ((5, 1), "index: the number 5 has no items"),
    ],
)
def test_what_index_does_not_find(arguments: tuple[Value, ...], message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["index"](*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(("value", "result"), [("", 0), ("é", 2), ([1, 2], 2), ({"a": 1}, 1)])
def test_len(value: Value, result: int) -> None:
    assert TABLE["len"](value) == result


@pytest.mark.parametrize("value", [None, 3, 1.5, True])
def test_what_has_no_length(value: Value) -> None:
    with pytest.raises(FunctionError, match="has no length"):
        TABLE["len"](value)


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (([1, 2, 3],), [1, 2, 3]),
        (([1, 2, 3], 1), [2, 3]),
        (([1, 2, 3], 1, 2), [2]),
        (([1, 2, 3], 1, "2"), [2]),
        (([1, 2, 3], 3), []),
        (([], 5), None),
    ],
)
def test_slice_is_the_one_of_sprig(arguments: tuple[Value, ...], result: Value) -> None:
    assert TABLE["slice"](*arguments) == result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2, 3], 2, 1), "slice: a list of 3 has no items from 2 to 1"),
        (([1, 2, 3], 0, 4), "slice: a list of 3 has no items from 0 to 4"),
        (([1, 2, 3], -1), "slice: a list of 3 has no items from -1 to 3"),
        (("abc", 1), "slice: argument 1 must be a list, not text"),
    ],
)
def test_what_slice_does_not_cut(arguments: tuple[Value, ...], message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["slice"](*arguments)
    assert str(caught.value) == message
