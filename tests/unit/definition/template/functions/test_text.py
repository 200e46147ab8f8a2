from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Value

TABLE = function_table(datetime(2024, 1, 2, tzinfo=UTC), "seed")


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("hello", (), "Hello!"),
        ("trim", (" \n a b\t\u2003",), "a b"),
        ("trim", ("\x1fa",), "\x1fa"),
        ("trimAll", ("$-", "-$5.00$"), "5.00"),
        ("trimall", ("", " a "), " a "),
        ("trimPrefix", ("-", "--a"), "-a"),
        ("trimSuffix", ("-", "a--"), "a-"),
        ("trimSuffix", ("", "a"), "a"),
        ("nospace", (" h e\tl\nl o é ",), "helloé"),
        ("trunc", (5, "hello world"), "hello"),
        ("trunc", (5, "hi"), "hi"),
        ("trunc", (0, "hi"), ""),
        ("trunc", (1, "é"), "\udcc3"),
        ("substr", (0, 5, "hello world"), "hello"),
        ("substr", (6, -1, "hello world"), "world"),
        ("substr", (-1, 5, "hello world"), "hello"),
        ("substr", (6, 99, "hello world"), "world"),
        ("repeat", (3, "ab"), "ababab"),
        ("repeat", (0, "ab"), ""),
        ("replace", (" ", "-", "a b c"), "a-b-c"),
        ("replace", ("", "-", "ab"), "-a-b-"),
        ("contains", ("ell", "hello"), True),
        ("hasPrefix", ("he", "hello"), True),
        ("hasSuffix", ("he", "hello"), False),
        ("plural", ("one", "many", 1), "one"),
        ("plural", ("one", "many", 0), "many"),
        ("indent", (2, "a\nb"), "  a\n  b"),
        ("indent", (2, ""), "  "),
        ("nindent", (1, "a\nb"), "\n a\n b"),
        ("split", ("$", "foo$bar"), {"_0": "foo", "_1": "bar"}),
        ("splitn", ("$", 2, "foo$bar$baz"), {"_0": "foo", "_1": "bar$baz"}),
        ("splitn", ("$", 0, "foo"), {}),
        ("splitn", ("$", -1, "a$b$c"), {"_0": "a", "_1": "b", "_2": "c"}),
        ("splitn", ("", 2, "abc"), {"_0": "a", "_1": "bc"}),
        ("splitList", (",", "a,b"), ["a", "b"]),
        ("splitList", (",", ""), [""]),
        ("splitList", ("", "aé"), ["a", "é"]),
        ("splitList", ("", ""), []),
        ("join", ("-", ["a", 1, None, True]), "a-1-true"),
        ("join", ("-", "a"), "a"),
        ("join", ("-", None), ""),
        ("toString", (None,), "<nil>"),
        ("toString", ([1, "a"],), "[1 a]"),
        ("toStrings", ([1, None, "a"],), ["1", "a"]),
        ("toStrings", (1.5,), ["1.5"]),
        ("toStrings", (None,), []),
        ("sortAlpha", (["b", "B", "a", 10, 9, None],), ["10", "9", "B", "a", "b"]),
        ("sortAlpha", (5,), ["5"]),
        ("quote", ("a", 1, None, 'x"y\n'), '"a" "1" "x\\"y\\n"'),
        ("quote", (), ""),
        ("quote", (None,), ""),
        ("squote", ("a", 1, None, "it's"), "'a' '1' 'it's'"),
        ("cat", ("a", None, 1, ["b"]), "a 1 [b]"),
        ("cat", (), ""),
        ("cat", ("", "a"), " a"),
    ],
)
def test_functions_of_text(name: str, arguments: tuple[Value, ...], result: Value) -> None:
    assert TABLE[name](*arguments) == result


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("trunc", (-1, "abc"), "trunc: a text cannot have -1 bytes"),
        ("substr", (5, 6, "abc"), "substr: a text of 3 bytes has no part from 5 to 3"),
        ("substr", (5, -1, "abc"), "substr: a text of 3 bytes has no part from 5 to 3"),
        ("substr", (-1, 9, "abc"), "substr: a text of 3 bytes has no part from 0 to 9"),
        ("substr", (2, 1, "abc"), "substr: a text of 3 bytes has no part from 2 to 1"),
        ("repeat", (-1, "a"), "repeat: a text cannot be repeated -1 times"),
        ("indent", (-1, "a"), "indent: a line cannot be indented by -1 blanks"),
        ("repeat", (2**40, "a"), "repeat: the result is longer than 1048576 characters"),
        ("indent", (2**40, "a"), "indent: the result is longer than 1048576 characters"),
        ("nindent", (1000, "\n" * 5000), "nindent: the result is longer than 1048576 characters"),
        ("replace", ("a", "b" * 5000, "a" * 5000), "replace: the result is longer than 1048576 characters"),
        ("replace", ("", "b" * 5000, "a" * 5000), "replace: the result is longer than 1048576 characters"),
        ("join", ("b" * 5000, ["a"] * 5000), "join: the result is longer than 1048576 characters"),
        ("split", (",", "," * 200_000), "split: the result has more than 100000 items"),
        ("splitList", ("", "a" * 200_000), "splitList: the result has more than 100000 items"),
    ],
)
def test_what_they_refuse(name: str, arguments: tuple[Value, ...], message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE[name](*arguments)
    assert str(caught.value) == message


def test_bytes_that_come_together_become_a_character_again() -> None:
    first, second = TABLE["trunc"](1, "é"), TABLE["substr"](1, 2, "é")
    assert TABLE["print"](first, second) == "é"


@pytest.mark.parametrize(
    ("name", "text", "result"),
    [
        ("upper", "straße ᾳ ǆ ŉ", "STRAßE ᾼ Ǆ ŉ"),
        ("lower", "ÀΣİ", "àσi"),
        ("title", "hello o'neil a_b 1st x-y éa—b", "Hello O'Neil A_b 1st X-Y Éa—b"),
        ("untitle", "Hello Big World", "hello big world"),
        ("swapcase", "This Is a.Test ǅ", "tHIS iS A.tEST ǆ"),
        ("initials", "First Try  of mine", "FTom"),
        ("camelcase", "http_server", "HttpServer"),
        ("camelcase", "some words-here", "SomeWordsHere"),
        ("camelcase", "no_https", "NoHttps"),
        ("camelcase", "_complex__case_", "_Complex_Case_"),
        ("camelcase", "_", "__"),
        ("camelcase", "a", "A"),
        ("camelcase", "", ""),
        ("snakecase", "FirstName", "first_name"),
        ("snakecase", "HTTPServer", "http_server"),
        ("snakecase", "NoHTTPS", "no_https"),
        ("snakecase", "GO_PATH", "go_path"),
        ("snakecase", "GO PATH", "go_path"),
        ("snakecase", "http2xx", "http_2xx"),
        ("snakecase", "HTTP20xOK", "http_20x_ok"),
        ("snakecase", "Duration2m3s", "duration_2m3s"),
        ("snakecase", "Bld4Floor3rd", "bld4_floor_3rd"),
        ("snakecase", "", ""),
        ("snakecase", "a.B-c", "a.b_c"),
        ("kebabcase", "FirstName", "first-name"),
        ("kebabcase", "GO_PATH", "go-path"),
    ],
)
def test_case(name: str, text: str, result: str) -> None:
    assert TABLE[name](text) == result


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("wrap", (5, "Hello World"), "Hello\nWorld"),
        ("wrap", (5, "a verylongword b"), "a\nverylongword\nb"),
        ("wrap", (0, "ab cd"), "ab\ncd"),
        ("wrap", (80, ""), ""),
        ("wrapWith", (5, "\t", "Hello World"), "Hello\tWorld"),
        ("wrapWith", (5, "\t", "HelloWorld"), "Hello\tWorld"),
        ("wrapWith", (5, "", "Hello World"), "Hello\nWorld"),
        ("abbrev", (5, "hello world"), "he..."),
        ("abbrev", (3, "hello"), "hello"),
        ("abbrev", (5, "hello"), "hello"),
        ("abbrevboth", (5, 10, "1234 5678 9123"), "...5678..."),
        ("abbrevboth", (0, 10, "1234 5678 9123"), "1234 56..."),
        ("abbrevboth", (99, 10, "1234 5678 9123"), "...78 9123"),
        ("abbrevboth", (5, 6, "1234 5678 9123"), "1234 5678 9123"),
    ],
)
def test_fitting_text(name: str, arguments: tuple[Value, ...], result: str) -> None:
    assert TABLE[name](*arguments) == result


def test_wrapping_is_bounded() -> None:
    with pytest.raises(FunctionError, match="longer than"):
        TABLE["wrapWith"](1, "x" * 1000, "a" * 10_000)
