from __future__ import annotations

import time

import pytest

from tasks_engine.images.dockerfile_words import Expander, Expansion, ExpansionError

VARIABLES = {"A": "one", "B": "", "DIR": "/a/b/c.txt", "V": "1.2.3-alpine3.18", "S": "a*b?c"}


def expand(word: str, escape: str = "\\") -> str:
    return Expander(escape).expand(word, VARIABLES).text


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain:1.0", "plain:1.0"),
        ("x$A-y", "xone-y"),
        ("x${A}y", "xoney"),
        ("$A$A", "oneone"),
        ("$AB|$NONE|${NONE}|$B", "|||"),
        ("$", "$"),
        ("$.x", "$.x"),
        ("a$1b$12c$$d$@e", "abcde"),
        ("größe:$A", "größe:one"),
    ],
)
def test_variables_are_filled_in(word: str, text: str) -> None:
    assert expand(word) == text


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("${A:-d} ${B:-d} ${N:-d}", "one d d"),
        ("${A-d} ${B-d} ${N-d}", "one  d"),
        ("${A:+d} ${B:+d} ${N:+d}", "d  "),
        ("${A+d} ${B+d} ${N+d}", "d d "),
        ("${A:?m} ${A?m} ${B?m}", "one one "),
        ("${N:-}", ""),
        ("${N:-$A}", "one"),
        ("${N:-${M:-x$A}}", "xone"),
        ("${N:-'a}b'}", "a}b"),
        ('${N:-"$A}"}', "one}"),
        (r"${N:-a\}b}", "a}b"),
        ("${N:-a b/c}", "a b/c"),
    ],
)
def test_defaults_and_alternatives(word: str, text: str) -> None:
    assert expand(word) == text


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("${V#1.}", "2.3-alpine3.18"),
        ("${V#2}", "1.2.3-alpine3.18"),
        ("${V#*.}", "2.3-alpine3.18"),
        ("${V##*.}", "18"),
        ("${V##*-alpine}", "3.18"),
        ("${V%.*}", "1.2.3-alpine3"),
        ("${V%%.*}", "1"),
        ("${V%%-*}", "1.2.3"),
        ("${V%-alpine*.*}", "1.2.3"),
        ("${V#???}", ".3-alpine3.18"),
        ("${V%?8}", "1.2.3-alpine3."),
        ("${V#*}", "1.2.3-alpine3.18"),
        ("${V##*}", ""),
        ("${V#}", "1.2.3-alpine3.18"),
        ("${V#**.}", "2.3-alpine3.18"),
        ("${V#[0-9]}", "1.2.3-alpine3.18"),
        (r"${S#a\*}", "b?c"),
        (r"${S%\?c}", "a*b"),
        ("${V%${N:-.18}}", "1.2.3-alpine3"),
        ("${N#x}", ""),
    ],
)
def test_beginnings_and_ends_are_cut_off(word: str, text: str) -> None:
    assert expand(word) == text


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("${V/./_}", "1_2.3-alpine3.18"),
        ("${V//./_}", "1_2_3-alpine3_18"),
        ("${V//./}", "123-alpine318"),
        ("${V/.*./x}", "1x18"),
        ("${V/*-/x}", "xalpine3.18"),
        ("${V//?.?/x}", "x.3-alpinex8"),
        ("${V//*/x}", "x"),
        ("${V/nothing*/x}", "1.2.3-alpine3.18"),
        (r"${DIR//\//-}", "-a-b-c.txt"),
        ("${DIR/b/$A}", "/a/one/c.txt"),
        ("${A//?/xx}", "xxxxxx"),
        ("${N//*/x}", "x"),
    ],
)
def test_matches_are_replaced(word: str, text: str) -> None:
    assert expand(word) == text


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("'$A'", "$A"),
        ('"$A"', "one"),
        ("a'b c'\"d e\"f", "ab cd ef"),
        (r"\$A", "$A"),
        (r"a\:b", "a:b"),
        ("a\\", "a"),
        (r"'a\b'", r"a\b"),
        (r'"\$A \" \\ \a"', r'$A " \ \a'),
        ('"\'"', "'"),
    ],
)
def test_quotes_and_escapes_are_dropped(word: str, text: str) -> None:
    assert expand(word) == text


def test_the_escape_character_may_be_a_backquote() -> None:
    assert expand('a\\b`$A"`$A"', escape="`") == "a\\b$A$A"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("'a", "quote ' is never closed"),
        ('"a\\"', 'quote " is never closed'),
        ("${A", "'}' is missing"),
        ("${A:-x", "'}' is missing"),
        ("${A/x}", "'/' is missing"),
        ("${", "'}' is missing"),
        ("${}", "'${' needs a name behind it"),
        ("${{A}}", "'${' needs a name behind it"),
        ("${:-x}", "'${' needs a name behind it"),
        ("${A=x}", "'=' is no operator of '${A}'"),
        ("${A:0:2}", "'0' is no operator of '${A}'"),
        ("${A:#x}", "':#' is no operator of '${A}'"),
        ("${N?}", "N: must be set"),
        ("${B:?}", "B: must not be empty"),
        ("${N:?give a version, such as $V}", "N: give a version, such as 1.2.3-alpine3.18"),
        (r"${A#\a}", r"'\a' has no meaning in a pattern"),
        ("${N:-" * 51 + "}" * 51, "variables are nested more than 50 deep"),
    ],
)
def test_what_cannot_be_expanded(word: str, message: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(word)
    assert str(caught.value) == message


def test_names_whose_place_stayed_empty_are_told() -> None:
    expansion = Expander().expand("$A$B${N}${A#one}${M:-x}$B", VARIABLES)
    assert expansion == Expansion("onex", ("B", "N", "A"))


def test_doubling_values_end_in_an_error_and_not_in_memory() -> None:
    expander, value = Expander(), "x"
    with pytest.raises(ExpansionError, match="grow too large"):
        for _ in range(60):
            value = expander.expand("$x$x", {"x": value}).text


@pytest.mark.parametrize(
    "word", ["${x##" + "*a" * 300 + "*b}", "${x//" + "?a" * 300 + "/y}", "${x%%" + "a*" * 300 + "b}"]
)
def test_patterns_that_make_others_backtrack_take_no_time(word: str) -> None:
    started = time.process_time()
    assert Expander().expand(word, {"x": "a" * 1000}).text
    assert time.process_time() - started < 1
