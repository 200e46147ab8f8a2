from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.functions.randomness import RandomStream
from tasks_engine.definition.template.values import FunctionError, Value

NOW = datetime(2024, 1, 2, tzinfo=UTC)
CALLS: list[tuple[str, tuple[Value, ...]]] = [
    ("randAlpha", (20,)),
    ("randAlphaNum", (20,)),
    ("randNumeric", (20,)),
    ("randAscii", (20,)),
    ("shuffle", ("abcdefghijklmnopqrst",)),
    ("uuidv4", ()),
    ("encryptAES", ("p", "text")),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_the_same_seed_gives_the_same(name: str, arguments: tuple[Value, ...]) -> None:
    first, second = function_table(NOW, "seed"), function_table(NOW, "seed")
    assert [first[name](*arguments) for _ in range(3)] == [second[name](*arguments) for _ in range(3)]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_another_seed_and_another_call_give_something_else(name: str, arguments: tuple[Value, ...]) -> None:
    table, other = function_table(NOW, "seed"), function_table(NOW, "seed2")
    results = [table[name](*arguments), table[name](*arguments), other[name](*arguments)]
    assert len(set(results)) == 3


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("randAlpha", r"[A-Za-z]{1000}"),
        ("randAlphaNum", r"[A-Za-z0-9]{1000}"),
        ("randNumeric", r"[0-9]{1000}"),
        ("randAscii", r"[ -~]{1000}"),
    ],
)
def test_characters_are_of_their_class(name: str, pattern: str) -> None:
    assert re.fullmatch(pattern, function_table(NOW, "seed")[name](1000))


def test_every_digit_comes_about_as_often() -> None:
    digits = function_table(NOW, "seed")["randNumeric"](100_000)
    assert all(9_500 < digits.count(digit) < 10_500 for digit in "0123456789")


@pytest.mark.parametrize("count", [0, -5])
def test_no_characters(count: int) -> None:
    assert function_table(NOW, "seed")["randAlpha"](count) == ""


def test_too_many_characters() -> None:
    with pytest.raises(FunctionError, match="longer than"):
        function_table(NOW, "seed")["randAlpha"](2**40)


def test_a_shuffled_text_keeps_its_characters() -> None:
    assert sorted(function_table(NOW, "seed")["shuffle"]("hello wörld")) == sorted("hello wörld")


def test_a_uuid_is_of_version_4() -> None:
    identifier = function_table(NOW, "seed")["uuidv4"]()
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", identifier)


def test_bytes_do_not_depend_on_how_they_are_taken() -> None:
    whole, parts = RandomStream("seed"), RandomStream("seed")
    assert whole.take(100) == b"".join(parts.take(count) for count in (1, 0, 40, 59))
