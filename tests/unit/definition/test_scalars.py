from __future__ import annotations

import math

import pytest

from tasks_engine.definition.nodes import Scalar
from tasks_engine.definition.scalars import Value, parse_bool, parse_int, parse_value


def plain(text: str) -> Scalar:
    return Scalar(0, len(text), text, plain=True)


def quoted(text: str) -> Scalar:
    return Scalar(0, len(text), text, plain=False)


@pytest.mark.parametrize("text", ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
def test_yaml_1_1_words_for_true(text: str) -> None:
    assert parse_bool(plain(text)) is True


@pytest.mark.parametrize("text", ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
def test_yaml_1_1_words_for_false(text: str) -> None:
    assert parse_bool(plain(text)) is False


@pytest.mark.parametrize("scalar", [plain("1"), plain("yEs"), plain(""), plain("t"), quoted("true")])
def test_nothing_else_is_a_truth_value(scalar: Scalar) -> None:
    assert parse_bool(scalar) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-5", -5),
        ("+5", 5),
        ("010", 8),
        ("-010", -8),
        ("08", 8),
        ("0o17", 15),
        ("0x1F", 31),
        ("-0x1f", -31),
        ("0b101", 5),
        ("1_000", 1000),
        ("60.9", 60),
        ("-1.5", -1),
        ("1e3", 1000),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_integers(text: str, value: int) -> None:
    assert parse_int(plain(text)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0x",
        "0b2",
        "1:30",
        "2001-01-01",
        ".inf",
        ".nan",
        "1e400",
        "9223372036854775808",
        "1e30",
        "9" * 5000,
        "_1",
        "--1",
    ],
)
def test_what_is_no_integer(text: str) -> None:
    assert parse_int(plain(text)) is None


def test_a_quoted_number_is_no_integer() -> None:
    assert parse_int(quoted("600")) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("~", None),
        ("yes", True),
        ("010", 8),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1.", 1.0),
        ("+.inf", math.inf),
        ("-.INF", -math.inf),
        ("2001-01-01", "2001-01-01"),
        ("1:30", "1:30"),
        ("1e400", "1e400"),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", float(2**64)),
        ("<<", "<<"),
    ],
)
def test_free_values(text: str, value: Value) -> None:
    assert parse_value(plain(text)) == value


def test_a_quoted_scalar_is_text() -> None:
    assert [parse_value(quoted(text)) for text in ("1", "true", "", "null")] == ["1", "true", "", "null"]
