from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.functions.printing import printed
from tasks_engine.definition.template.values import FunctionError, Int64, Record, Uint8, Value

TABLE = function_table(datetime(2024, 1, 2, tzinfo=UTC), "seed")
MOMENT = datetime(2024, 1, 2, 3, 4, 5, 60_000, tzinfo=UTC)
VERSION = Record("*semver.Version", "1.2.0", {})
INFINITE, NAN = float("inf"), float("nan")


def print_as(template: str, *arguments: Value) -> Value:
    return TABLE["printf"](template, *arguments)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "<nil>"),
        (True, "true"),
        (5, "5"),
        (1.0, "1"),
        (123456789.5, "1.234567895e+08"),
        (1e-5, "1e-05"),
        (INFINITE, "+Inf"),
        ("a", "a"),
        ([1, None, "a", [True]], "[1 <nil> a [true]]"),
        ({"b": 1, "a": {"c": None}}, "map[a:map[c:<nil>] b:1]"),
        (MOMENT, "2024-01-02 03:04:05.06 +0000 UTC"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01 00:00:00 +0000 UTC"),
        (datetime(2024, 1, 2, tzinfo=timezone(-timedelta(hours=3), "BRT")), "2024-01-02 00:00:00 -0300 BRT"),
        ([VERSION, MOMENT], "[1.2.0 2024-01-02 03:04:05.06 +0000 UTC]"),
    ],
)
def test_a_value_is_printed_as_go_does(value: Value, text: str) -> None:
    assert printed(value) == text
    assert print_as("%v", value) == text


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("print", (), ""),
        ("print", ("a", "b", 1, 2, "c", None, True), "ab1 2c<nil> true"),
        ("print", ([1], {}), "[1] map[]"),
        ("println", (), "\n"),
        ("println", ("a", 1, None), "a 1 <nil>\n"),
    ],
)
def test_print_and_println(name: str, arguments: tuple[Value, ...], text: str) -> None:
    assert TABLE[name](*arguments) == text


@pytest.mark.parametrize(
    ("template", "arguments", "text"),
    [
        ("%s-%d", ("cb7", 3), "cb7-3"),
        ("100%%", (), "100%"),
        ("%5d|%-5d|%05d|%+d|% d", (7, 7, 7, 7, 7), "    7|7    |00007|+7| 7"),
        ("%.3d|%8.3d|%08.3d", (7, 7, 7), "007|     007|     007"),
        ("%.0d|%5.0d", (0, 0), "|     "),
        (
            "%b %o %O %x %X %#x %#o %#b",
            (10, 10, 10, 255, 255, 255, 8, 5),
            "1010 12 0o12 ff FF 0xff 010 0b101",
        ),
        ("%x %#x", (-255, Int64(-255)), "-ff -0xff"),
        ("%c %q %U %#U", (8364, 8364, 8364, 8364), "€ '€' U+20AC U+20AC '€'"),
        ("%c%q%+q", (-1, 0x10FFFF + 1, 8364), "\ufffd'\ufffd''\\u20ac'"),
        ("%t %5t|%-7t|", (True, False, True), "true false|true   |"),
        ("%v %#v", (Uint8(97), Uint8(97)), "97 0x61"),
    ],
)
def test_integers_and_booleans(template: str, arguments: tuple[Value, ...], text: str) -> None:
    assert print_as(template, *arguments) == text


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("%f", 1.5, "1.500000"),
        ("%F", 1.5, "1.500000"),
        ("%.2f", 2.675, "2.67"),
        ("%8.2f|", -1.5, "   -1.50|"),
        ("%-8.2f|", 1.5, "1.50    |"),
        ("%08.2f", -1.5, "-0001.50"),
        ("%+.1f", 1.0, "+1.0"),
        ("% .1f", 1.0, " 1.0"),
        ("%.f", 2.5, "2"),
        ("%#.f", 2.0, "2."),
        ("%e", 123456.789, "1.234568e+05"),
        ("%E", 1e-10, "1.000000E-10"),
        ("%g", 1e21, "1e+21"),
        ("%g", 100000.0, "100000"),
        ("%G", 1e-7, "1E-07"),
        ("%.3g", 123456.0, "1.23e+05"),
        ("%#g", 1.0, "1.00000"),
        ("%b", 1.5, "6755399441055744p-52"),
        ("%b", 5e-324, "1p-1074"),
        ("%x", 3.0, "0x1.8p+01"),
        ("%X", -0.1, "-0X1.999999999999AP-04"),
        ("%.1x", 1.96875, "0x1.0p+01"),
        ("%x", 0.0, "0x0p+00"),
        ("%x", 5e-324, "0x1p-1074"),
        ("%5v|", NAN, "  NaN|"),
        ("%+v", NAN, "NaN"),
        ("%+f", NAN, "+NaN"),
        ("%06f", INFINITE, "  +Inf"),
        ("% f", -INFINITE, "-Inf"),
    ],
)
def test_floats(template: str, value: float, text: str) -> None:
    assert print_as(template, value) == text


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("%s", "hi", "hi"),
        ("%5s|", "hi", "   hi|"),
        ("%-5s|", "hi", "hi   |"),
        ("%05s", "hi", "000hi"),
        ("%.2s", "€uro", "€u"),
        ("%5s", "€", "    €"),
        ("%q", 'a"b\\\n\x07é\u200b', '"a\\"b\\\\\\n\\aé\\u200b"'),
        ("%+q", "é😀", '"\\u00e9\\U0001f600"'),
        ("%#q", "a\\b", "`a\\b`"),
        ("%#q", "a`b", '"a`b"'),
        ("%q", "\udcff\x7f\x00", '"\\xff\\x7f\\x00"'),
        ("%x", "hé", "68c3a9"),
        ("% X", "hi", "68 69"),
        ("%# x", "hi", "0x68 0x69"),
        ("%#x", "", ""),
        ("%.1x", "hi", "68"),
        ("%#v", 'a"', '"a\\""'),
    ],
)
def test_text(template: str, value: str, text: str) -> None:
    assert print_as(template, value) == text


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("%d", [1, "a", None], "[1 %!d(string=a) <nil>]"),
        ("%q", ["a", 98], "[\"a\" 'b']"),
        ("%3d", {"a": 1}, "map[%!d(string=  a):  1]"),
        ("%#v", [1, "a", None], '[]interface {}{1, "a", interface {}(nil)}'),
        ("%#v", {"a": []}, 'map[string]interface {}{"a":[]interface {}{}}'),
        ("%w", [1], "%!w([]interface {}=[1])"),
        ("%T", [], "[]interface {}"),
        ("%T", {}, "map[string]interface {}"),
        ("%T", MOMENT, "time.Time"),
        ("%T", None, "<nil>"),
        ("%12T|", Int64(1), "       int64|"),
        ("%s", MOMENT, "2024-01-02 03:04:05.06 +0000 UTC"),
        ("%.4s", MOMENT, "2024"),
        ("%#v", MOMENT, "time.Date(2024, time.January, 2, 3, 4, 5, 60000000, time.UTC)"),
        ("%s", VERSION, "1.2.0"),
    ],
)
def test_other_values(template: str, value: Value, text: str) -> None:
    assert print_as(template, value) == text


@pytest.mark.parametrize(
    ("template", "arguments", "text"),
    [
        ("%d", ("hi",), "%!d(string=hi)"),
        ("%z", (3,), "%!z(int=3)"),
        ("%s", (3,), "%!s(int=3)"),
        ("%t", (1.5,), "%!t(float64=1.5)"),
        ("%d", (True,), "%!d(bool=true)"),
        ("%d", (None,), "%!d(<nil>)"),
        ("%p", (3,), "%!p(int=3)"),
        ("%p", (None,), "%!p(<nil>)"),
        ("%s", (), "%!s(MISSING)"),
        ("%d %d", (1,), "1 %!d(MISSING)"),
        ("hi", (1, "a", None), "hi%!(EXTRA int=1, string=a, <nil>)"),
        ("%", (), "%!(NOVERB)"),
        ("%5", (1,), "%!(NOVERB)%!(EXTRA int=1)"),
        ("%.", (1,), "%!.(int=1)"),
        ("%!", (), "%!!(MISSING)"),
        ("%-", (1,), "%!(NOVERB)%!(EXTRA int=1)"),
        # a width beyond all measure swallows the rest of the format
        ("%99999999d", (1,), "%!(NOVERB)%!(EXTRA int=1)"),
    ],
)
def test_what_does_not_fit_is_marked(template: str, arguments: tuple[Value, ...], text: str) -> None:
    assert print_as(template, *arguments) == text


@pytest.mark.parametrize(
    ("template", "arguments", "text"),
    [
        ("%[2]d %[1]d", (1, 2), "2 1"),
        ("%[2]d %d", (1, 2), "2 %!d(MISSING)"),
        ("%[1]d %d", (1, 2), "1 2"),
        ("%[3]d", (1,), "%!d(BADINDEX)"),
        ("%[0]d", (1,), "%!d(BADINDEX)"),
        ("%[x]d", (1,), "%!d(BADINDEX)"),
        ("%[1", (1,), "%!(NOVERB)"),
        ("%*d|%-*d|", (4, 7, 4, 7), "   7|7   |"),
        ("%*d|", (-4, 7), "7   |"),
        ("%.*f", (2, 1.5), "1.50"),
        ("%[2]*[1]d", (7, 4), "   7"),
        ("%[3]*.[2]*[1]f", (12.0, 2, 6), " 12.00"),
        ("%*d", ("x", 7), "%!(BADWIDTH)7"),
        ("%.*d", (-1, 7), "%!(BADPREC)7"),
        ("%*d", (10_000_000, 7), "%!(BADWIDTH)7"),
        ("%[1]2d", (7,), "%!d(BADINDEX)"),
    ],
)
def test_numbers_of_arguments_and_stars(template: str, arguments: tuple[Value, ...], text: str) -> None:
    assert print_as(template, *arguments) == text


def test_an_address_in_memory_is_never_printed() -> None:
    with pytest.raises(FunctionError) as caught:
        print_as("%p", [])
    assert str(caught.value) == "printf: %p prints an address in memory, which differs in every run"


@pytest.mark.parametrize("template", ["%1000000d%1000000d", "%.1000000f%1000000d", "%1000000s%.1000000d"])
def test_a_format_cannot_blow_up(template: str) -> None:
    with pytest.raises(FunctionError, match="longer than 1048576 characters"):
        print_as(template, 1, 1)


def test_a_row_of_open_brackets_takes_no_longer_than_its_length() -> None:
    assert print_as("%[" * 200_000) == "%[" * 100_000
