from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Int32, Int64, Uint8, Value

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
TABLE = function_table(NOW, "seed")
NAN = float("nan")


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ((1, 1), True),
        ((1, 2), False),
        (("a", "b", "a"), True),
        ((1, 2, 3), False),
        # integers of all types are of one kind
        ((1, Int64(1)), True),
        ((Uint8(97), Int32(97)), True),
        ((1.5, 1.5), True),
        ((NAN, NAN), False),
        ((True, True), True),
        ((None, None), True),
        ((None, "a"), False),
        ((None, 0), False),
        (({}, None), False),
        (([], None), False),
        ((NOW, NOW), True),
        # the rest is not looked at
        ((1, 1, "a"), True),
    ],
)
def test_eq(arguments: tuple[Value, ...], result: bool) -> None:
    assert TABLE["eq"](*arguments) is result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1.0), "eq: an int and a float64 are of incompatible types"),
        ((1, "1"), "eq: an int and text are of incompatible types"),
        ((1, 2, "a"), "eq: an int and text are of incompatible types"),
        ((True, 1), "eq: a bool and an int are of incompatible types"),
        (({}, []), "eq: a map and a list are of incompatible types"),
        (({}, "a"), "eq: a map and text are of incompatible types"),
        (({}, {}), "eq: a map can only be compared with nil; deepEqual compares two of them"),
        (([1], [1]), "eq: a list can only be compared with nil; deepEqual compares two of them"),
        ((1,), "eq: there is nothing to compare with"),
    ],
)
def test_what_eq_does_not_compare(arguments: tuple[Value, ...], message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["eq"](*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("first", "second", "lower", "equal"),
    [
        (1, 2, True, False),
        (2, 1, False, False),
        (2, 2, False, True),
        (Int64(1), 2, True, False),
        ("a", "b", True, False),
        ("b", "a", False, False),
        (1.5, 2.5, True, False),
    ],
)
def test_order(first: Value, second: Value, lower: bool, equal: bool) -> None:
    results = {name: TABLE[name](first, second) for name in ("lt", "le", "gt", "ge", "ne")}
    assert results == {
        "lt": lower,
        "le": lower or equal,
        "gt": not lower and not equal,
        "ge": not lower,
        "ne": not equal,
    }


def test_the_opposite_of_a_comparison_with_nan_is_true() -> None:
    assert [TABLE[name](NAN, 1.0) for name in ("lt", "le", "gt", "ge")] == [False, False, True, True]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (None, 1, "lt: nil has no order"),
        (1, None, "lt: nil has no order"),
        (True, False, "lt: true has no order"),
        ([], [], "lt: a list has no order"),
        (1, 1.5, "lt: an int and a float64 are of incompatible types"),
        (1, "a", "lt: an int and text are of incompatible types"),
    ],
)
def test_what_has_no_order(first: Value, second: Value, message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["lt"](first, second)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("and", (1, 0, 2), 0),
        ("and", (1, "a"), "a"),
        ("and", ("",), ""),
        ("and", (NOW, 5), 5),
        ("or", (0, "", 2, 3), 2),
        ("or", (0, ""), ""),
        ("or", (None,), None),
        ("not", ([],), True),
        ("not", (None,), True),
        ("not", ("a",), False),
    ],
)
def test_and_or_not(name: str, arguments: tuple[Value, ...], result: Value) -> None:
    assert TABLE[name](*arguments) == result
