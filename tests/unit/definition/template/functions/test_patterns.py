from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Value

TABLE = function_table(datetime(2024, 1, 2, tzinfo=UTC), "seed")


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("regexMatch", ("^[a-z]+$", "abc"), True),
        ("regexMatch", ("^[a-z]+$", "ab1"), False),
        ("regexMatch", ("", ""), True),
        ("regexFind", ("[a-z][1-9]", "abcd1234"), "d1"),
        ("regexFind", ("x", "abc"), ""),
        ("regexFind", ("é+", "aéé"), "éé"),
        ("regexFindAll", ("[2,4,6,8]", "123456789", -1), ["2", "4", "6", "8"]),
        ("regexFindAll", ("a", "aaa", 2), ["a", "a"]),
        ("regexFindAll", ("a", "aaa", 0), []),
        ("regexFindAll", ("a*", "baac", -1), ["", "aa", ""]),
        ("regexFindAll", ("", "日", -1), ["", ""]),
        ("regexFindAll", (r"\B", "日a", -1), [""]),
        ("regexSplit", ("z+", "pizza", -1), ["pi", "a"]),
        ("regexSplit", ("a", "banana", 2), ["b", "nana"]),
        ("regexSplit", ("a", "banana", 0), []),
        ("regexSplit", ("a", "", -1), [""]),
        ("regexSplit", ("", "abc", -1), ["a", "b", "c"]),
        ("regexSplit", ("c", "abc", -1), ["ab", ""]),
        ("regexReplaceAll", ("a+", "caat", "u"), "cut"),
        ("regexReplaceAll", ("a(x*)b", "-ab-axxb-", "${1}W"), "-W-xxW-"),
        ("regexReplaceAll", ("a(x*)b", "-ab-axxb-", "$1W"), "---"),
        ("regexReplaceAll", ("(?P<first>a)(b)?", "aab", "$first$$$2$9${first}"), "a$aa$ba"),
        ("regexReplaceAll", ("a", "a", "$0$01$"), "a$"),
        ("regexReplaceAll", ("a*", "baac", "x"), "xbxcx"),
        ("regexReplaceAll", ("(?i)A", "aA", "\\1"), "\\1\\1"),
        ("regexReplaceAllLiteral", ("a(x*)b", "-ab-axxb-", "${1}"), "-${1}-${1}-"),
        ("regexReplaceAllLiteral", ("", "é", "-"), "-é-"),
    ],
)
def test_patterns(name: str, arguments: tuple[Value, ...], result: Value) -> None:
    assert TABLE[name](*arguments) == result


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing ): ("),
        ("[b-a]", "invalid character class range: b-a"),
        ("*", "no argument for repetition operator: *"),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("(?=a)", "invalid perl operator: (?="),
        ("a{1001}", "invalid repetition size: {1001}"),
    ],
)
def test_what_is_no_pattern(pattern: str, reason: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["regexFind"](pattern, "a")
    assert str(caught.value) == f"regexFind: the pattern is not valid: {reason}"


def test_a_pattern_is_of_limited_size() -> None:
    with pytest.raises(FunctionError, match="longer than 10000 characters"):
        TABLE["regexMatch"]("a" * 20_000, "a")
    with pytest.raises(FunctionError, match="pattern too large"):
        TABLE["regexMatch"](r"\pL{200}", "a")


def test_patterns_that_other_engines_despair_of() -> None:
    assert TABLE["regexMatch"]("^(a+)+$", "a" * 50_000 + "b") is False
    assert TABLE["regexMatch"]("(x+x+)+y", "x" * 50_000) is False


@pytest.mark.parametrize("name", ["regexFindAll", "regexSplit"])
def test_the_work_of_all_searches_is_limited(name: str) -> None:
    table = function_table(datetime(2024, 1, 2, tzinfo=UTC), "seed")
    with pytest.raises(FunctionError) as caught:
        table[name]("a.{0,500}b|a", "a" * 100_000, -1)
    assert str(caught.value) == (
        f"{name}: the search would take too long; use a simpler pattern or a shorter text"
    )


def test_replacements_are_bounded() -> None:
    with pytest.raises(FunctionError, match="longer than"):
        TABLE["regexReplaceAll"]("a", "a" * 2000, "b" * 2000)


def test_bytes_that_are_no_text_stay() -> None:
    assert TABLE["regexReplaceAll"]("a", "\udcffa", "b") == "\udcffb"
