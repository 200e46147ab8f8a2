from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tasks_engine.definition.template.values import (
    Int32,
    Int64,
    Record,
    Uint8,
    Value,
    checked_int,
    format_value,
    is_true,
    kind_of,
    print_value,
    type_of,
)

MOMENT = datetime(2024, 1, 2, 3, 4, 5, 60_000, tzinfo=UTC)
VERSION = Record("*semver.Version", "1.2.3", {"Major": Int64(1)})


@pytest.mark.parametrize(
    ("value", "kind", "type_name"),
    [
        (None, "invalid", "<nil>"),
        ("", "string", "string"),
        (True, "bool", "bool"),
        (1, "int", "int"),
        (Int64(1), "int64", "int64"),
        (Int32(1), "int32", "int32"),
        (Uint8(1), "uint8", "uint8"),
        (1.0, "float64", "float64"),
        ([], "slice", "[]interface {}"),
        ({}, "map", "map[string]interface {}"),
        (MOMENT, "struct", "time.Time"),
        (VERSION, "struct", "*semver.Version"),
    ],
)
def test_python_values_stand_for_go_values(value: Value, kind: str, type_name: str) -> None:
    assert (kind_of(value), type_of(value)) == (kind, type_name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "<nil>"),
        ("a b", "a b"),
        (True, "true"),
        (False, "false"),
        (-5, "-5"),
        (Uint8(200), "200"),
        ([], "[]"),
        (["a", 1, None, [True]], "[a 1 <nil> [true]]"),
        ({}, "map[]"),
        ({"b": 1, "a": {"x": "y"}}, "map[a:map[x:y] b:1]"),
        (MOMENT, "2024-01-02 03:04:05.06 +0000 UTC"),
        (MOMENT.replace(microsecond=0), "2024-01-02 03:04:05 +0000 UTC"),
        (VERSION, "1.2.3"),
    ],
)
def test_values_print_as_with_percent_v(value: Value, text: str) -> None:
    assert format_value(value) == text


def test_a_moment_in_a_zone_prints_with_it() -> None:
    zone = timezone(timedelta(hours=-5), "EST")
    assert format_value(MOMENT.astimezone(zone)) == "2024-01-01 22:04:05.06 -0500 EST"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (-0.0, "-0"), (1.0, "1"), (-1.5, "-1.5"), (0.1, "0.1"), (100000.0, "100000")),
        *(
            (999999.0, "999999"),
            (1000000.0, "1e+06"),
            (1234567.0, "1.234567e+06"),
            (123456789.5, "1.234567895e+08"),
        ),
        *(
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-0.000012, "-1.2e-05"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
        ),
        *(
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (1 / 3, "0.3333333333333333"),
        ),
        *((float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN")),
    ],
)
def test_floats_print_with_the_fewest_digits_that_read_back(value: float, text: str) -> None:
    assert format_value(value) == text


def test_a_missing_value_prints_nothing() -> None:
    assert (print_value(None), print_value([None]), print_value("")) == ("", "[<nil>]", "")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        *((None, False), (False, False), (True, True), (0, False), (Int64(0), False), (Uint8(1), True)),
        *((0.0, False), (-0.0, False), (float("nan"), True), ("", False), ("0", True), ("false", True)),
        *(([], False), ([None], True), ({}, False), ({"": None}, True), (MOMENT, True), (VERSION, True)),
    ],
)
def test_empty_values_are_false(value: Value, wanted: bool) -> None:
    assert is_true(value) is wanted


@pytest.mark.parametrize(
    ("number", "kind", "wanted"),
    [
        (5, int, 5),
        (2**63 - 1, int, 2**63 - 1),
        (2**63, int, -(2**63)),
        (-(2**63) - 1, Int64, 2**63 - 1),
        (2**64 + 7, Int64, 7),
        (2**31, Int32, -(2**31)),
        (256, Uint8, 0),
        (-1, Uint8, 255),
        (10**400, int, (10**400) % 2**64),
    ],
)
def test_numbers_wrap_around_as_in_go(number: int, kind: type[int], wanted: int) -> None:
    result = checked_int(number, kind)
    assert type(result) is kind
    assert (result - wanted) % 2**64 == 0
    assert -(2**63) <= result < 2**63


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (-5, "-5"),
        ("text", "text"),
        (1.1, "1.1"),
        (2.0, "2"),
        (-0.0, "-0"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (100000.0, "100000"),
        (1000000.0, "1e+06"),
        (1234567.0, "1.234567e+06"),
        (123456789.5, "1.234567895e+08"),
        (1e22, "1e+22"),
        (1e100, "1e+100"),
        (-1.5e-7, "-1.5e-07"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        ([], "[]"),
        (["a", 1, None, [True]], "[a 1 <nil> [true]]"),
        ({}, "map[]"),
        ({"b": 1.5, "a": {"x": None}}, "map[a:map[x:<nil>] b:1.5]"),
    ],
)
def test_an_action_prints_values_as_go_does(value: Value, printed: str) -> None:
    assert print_value(value) == printed
