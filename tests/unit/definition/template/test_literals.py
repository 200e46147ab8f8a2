from __future__ import annotations

import pytest

from tasks_engine.definition.template.literals import read_number, unquote


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('""', ""),
        ('"plain"', "plain"),
        (r'"\a\b\f\n\r\t\v\\\""', '\a\b\f\n\r\t\v\\"'),
        (r'"\101\x41\u0041\U00000041"', "AAAA"),
        (r'"\xe2\x82\xac \342\202\254"', "€ €"),
        (r'"\U0001F600"', "😀"),
        ('"größe 日本"', "größe 日本"),
        (r'"\\n"', "\\n"),
        (r"'a'", "a"),
        (r"'\''", "'"),
        (r"""'"'""", '"'),
        (r"'\\'", "\\"),
        (r"'\377'", "ÿ"),
        (r"'\u20ac'", "€"),
    ],
)
def test_quoted_text_is_read_as_in_go(written: str, text: str) -> None:
    assert unquote(written) == text


def test_bytes_that_are_no_text_stay_bytes() -> None:
    assert unquote(r'"a\xff"').encode("utf-8", "surrogateescape") == b"a\xff"
    assert unquote('"\ud800"') == "\ud800"


@pytest.mark.parametrize(
    "written",
    [
        r'"\q"',
        r'"\'"',
        r"""'\"'""",
        r'"\400"',
        r'"\12"',
        r'"\x4"',
        r'"\u004"',
        r'"\ud800"',
        r'"\U00110000"',
        "''",
        "'ab'",
        r"'\n\n'",
    ],
)
def test_what_go_does_not_know_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"escape|character"):
        unquote(written)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("12", 12),
        ("-12", -12),
        ("+12", 12),
        ("1_000", 1000),
        ("0x1F", 31),
        ("-0x1f", -31),
        ("0X_1f", 31),
        ("0b101", 5),
        ("0o17", 15),
        ("017", 15),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1.5", 1.5),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("1_0.5", 10.5),
        ("08.5", 8.5),
        ("0e0", 0.0),
    ],
)
def test_numbers_are_read_as_in_go(text: str, number: float) -> None:
    found = read_number(text)
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize(
    "text",
    [
        *("08", "0b2", "0o8", "0xg", "0x", "1__0", "1_", "_1", "1x", "1.2.3", "1e", "e3", ".", "+", "-"),
        *("9223372036854775808", "0x8000000000000000", "1e400", "-1e400", "1i", "٣", "9" * 200),
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        read_number(text)
