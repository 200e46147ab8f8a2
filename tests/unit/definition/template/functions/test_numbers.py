from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Int64, Uint8, Value

TABLE = function_table(datetime(2024, 1, 2, tzinfo=UTC), "seed")
LARGEST, SMALLEST = 2**63 - 1, -(2**63)
NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5),
        (Uint8(200), 200),
        (1.9, 1),
        (-1.9, -1),
        (True, 1),
        (False, 0),
        (None, 0),
        ([1], 0),
        ({}, 0),
        ("42", 42),
        ("-42", -42),
        ("+5", 5),
        ("007", 7),
        ("", 0),
        (" 5", 0),
        ("1.5", 0),
        ("1e3", 0),
        ("1_000", 0),
        ("0x10", 0),
        ("٣", 0),
        ("9223372036854775808", 0),
        ("9" * 5000, 0),
        # what the processor makes of them
        (1e300, SMALLEST),
        (NAN, SMALLEST),
        (-math.inf, SMALLEST),
    ],
)
def test_everything_is_some_integer(value: Value, number: int) -> None:
    assert (TABLE["int64"](value), TABLE["int"](value)) == (number, number)
    assert (type(TABLE["int64"](value)), type(TABLE["int"](value))) == (Int64, int)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5.0),
        (True, 1.0),
        (None, 0.0),
        ([], 0.0),
        ("1.5", 1.5),
        ("-1.5e3", -1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        (".", 0.0),
        ("1_000", 1000.0),
        ("1__0", 0.0),
        ("0x1p4", 16.0),
        ("0x_1p4", 16.0),
        (" 1", 0.0),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("-nan", 0.0),
        ("1e999", 0.0),
        ("0x1p9999", 0.0),
        ("", 0.0),
    ],
)
def test_everything_is_some_float(value: Value, number: float) -> None:
    assert TABLE["float64"](value) == number
    assert type(TABLE["float64"](value)) is float


@pytest.mark.parametrize(
    ("text", "number"),
    [("5", 5), ("x", 0), ("", 0), ("99999999999999999999", LARGEST), ("-" + "9" * 500, SMALLEST)],
)
def test_atoi(text: str, number: int) -> None:
    assert TABLE["atoi"](text) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [("777", 511), (644, 420), ("0644", 420), (8, 0), ("x", 0), (1.5, 0), (None, 0), ("-10", -8)],
)
def test_to_decimal_reads_octal(value: Value, number: int) -> None:
    assert TABLE["toDecimal"](value) == number


@pytest.mark.parametrize(
    ("name", "arguments", "number"),
    [
        ("add", (1, "2", 3.9, True, None), 7),
        ("add", (), 0),
        ("add", (LARGEST, 1), SMALLEST),
        ("add1", ("4",), 5),
        ("add1", (LARGEST,), SMALLEST),
        ("sub", (5, 10), -5),
        ("mul", (5, 10), 50),
        ("mul", (7,), 7),
        ("mul", (LARGEST, 2), -2),
        ("div", (7, 2), 3),
        ("div", (-7, 2), -3),
        ("div", (7, -2), -3),
        ("div", (SMALLEST, -1), SMALLEST),
        ("mod", (7, 2), 1),
        ("mod", (-7, 2), -1),
        ("mod", (7, -2), 1),
        ("max", (1, "5", 3), 5),
        ("biggest", (1,), 1),
        ("min", (4, 2, 3), 2),
    ],
)
def test_arithmetic_is_in_int64(name: str, arguments: tuple[Value, ...], number: int) -> None:
    result = TABLE[name](*arguments)
    assert (result, type(result)) == (number, Int64)


@pytest.mark.parametrize("name", ["div", "mod"])
@pytest.mark.parametrize("divisor", [0, "x", None, 0.5])
def test_division_by_zero(name: str, divisor: Value) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE[name](1, divisor)
    assert str(caught.value) == f"{name}: division by zero"


@pytest.mark.parametrize(
    ("name", "arguments", "number"),
    [
        ("floor", (1.9,), 1.0),
        ("floor", ("-1.1",), -2.0),
        ("ceil", (1.1,), 2.0),
        ("ceil", (math.inf,), math.inf),
        ("round", (123.555555, 3), 123.556),
        ("round", (123.555555, 3, 0.9), 123.555),
        ("round", ("2.5", 0), 3.0),
        ("round", (1234, -2), 1200.0),
        # so it is there: a negative fraction never reaches the threshold
        ("round", (-2.4, 0), -3.0),
    ],
)
def test_rounding(name: str, arguments: tuple[Value, ...], number: float) -> None:
    assert TABLE[name](*arguments) == number


@pytest.mark.parametrize("arguments", [(1e300, 400), (5, -400), (NAN, 2), (math.inf, 2)])
def test_rounding_beyond_all_measure_is_no_number(arguments: tuple[Value, ...]) -> None:
    assert math.isnan(TABLE["round"](*arguments)) or math.isinf(TABLE["round"](*arguments))


@pytest.mark.parametrize(
    ("name", "arguments", "numbers"),
    [
        ("until", (3,), [0, 1, 2]),
        ("until", (-3,), [0, -1, -2]),
        ("until", (0,), []),
        ("untilStep", (3, 6, 2), [3, 5]),
        ("untilStep", (5, 0, -2), [5, 3, 1]),
        ("untilStep", (0, 5, 0), []),
        ("untilStep", (0, 5, -1), []),
        ("untilStep", (5, 0, 1), []),
    ],
)
def test_counting(name: str, arguments: tuple[Value, ...], numbers: list[int]) -> None:
    assert TABLE[name](*arguments) == numbers


@pytest.mark.parametrize(("name", "arguments"), [("until", (2**62,)), ("untilStep", (0, -(2**62), -1))])
def test_counting_is_bounded(name: str, arguments: tuple[Value, ...]) -> None:
    with pytest.raises(FunctionError, match="more than 100000 items"):
        TABLE[name](*arguments)
