from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Int64, Value

NOW = datetime(2024, 1, 2, tzinfo=UTC)
TABLE = function_table(NOW, "seed")
NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("list", (1, None, "a"), [1, None, "a"]),
        ("tuple", (), []),
        ("push", ([1], 2), [1, 2]),
        ("append", ([1], [2]), [1, [2]]),
        ("prepend", ([1], 0), [0, 1]),
        ("concat", ([1], [], [2, 3]), [1, 2, 3]),
        ("concat", (), []),
        ("first", ([1, 2],), 1),
        ("first", ([],), None),
        ("last", ([1, 2],), 2),
        ("last", ([],), None),
        ("rest", ([1, 2, 3],), [2, 3]),
        ("rest", ([],), []),
        ("initial", ([1, 2, 3],), [1, 2]),
        ("reverse", ([1, 2, 3],), [3, 2, 1]),
        ("compact", ([1, 0, "", "a", None, [], {}, False, NOW],), [1, "a", NOW]),
        ("has", (1, [1, 2]), True),
        ("has", ({"a": [1]}, [{"a": [1]}]), True),
        ("has", (3, [1, 2]), False),
        ("has", (1, None), False),
        # an int is no int64, and no float
        ("has", (Int64(1), [1, 1.0, True]), False),
        ("has", (NAN, [NAN]), False),
        ("uniq", ([1, 2, 1, "1", 1.0, [1], [1]],), [1, 2, "1", 1.0, [1]]),
        ("without", ([1, 2, 3, [4]], 2, [4]), [1, 3]),
        ("without", ([1],), [1]),
    ],
)
def test_functions_of_lists(name: str, arguments: tuple[Value, ...], result: Value) -> None:
    assert TABLE[name](*arguments) == result


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("push", ([1], 2)),
        ("append", ([1], 2)),
        ("prepend", ([1], 2)),
        ("concat", ([1], [2])),
        ("reverse", ([2, 1],)),
        ("uniq", ([1, 1],)),
        ("compact", ([0, 1],)),
        ("slice", ([1, 2], 1)),
    ],
)
def test_the_given_list_stays_as_it_is(name: str, arguments: tuple[Value, ...]) -> None:
    values = list(arguments[0])
    before = list(values)
    result = TABLE[name](values, *arguments[1:])
    assert result is not values
    assert values == before


@pytest.mark.parametrize("value", [None, "abc", 1, {}])
@pytest.mark.parametrize(
    "name", ["first", "last", "rest", "initial", "reverse", "compact", "uniq", "concat", "without"]
)
def test_only_lists_are_taken(name: str, value: Value) -> None:
    with pytest.raises(FunctionError, match="argument 1 must be a list, not"):
        TABLE[name](value)


def test_has_looks_only_into_lists() -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["has"]("a", "abc")
    assert str(caught.value) == "has: argument 2 must be a list, not text"


def test_a_long_list_is_made_unique_in_one_pass() -> None:
    values = list(range(100_000))
    assert TABLE["uniq"](values) == values


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (1, 1, True),
        (1, Int64(1), False),
        (1, True, False),
        (1.0, 1, False),
        ("a", "a", True),
        (None, None, True),
        (None, [], False),
        ([], {}, False),
        ([1, [2]], [1, [2]], True),
        ([[1], 2], [1, [2]], False),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({"a": 1}, {"a": Int64(1)}, False),
        ({"a": None}, {}, False),
        (NAN, NAN, False),
        (NOW, NOW, True),
    ],
)
def test_deep_equality_looks_at_types(first: Value, second: Value, result: bool) -> None:
    assert TABLE["deepEqual"](first, second) is result
