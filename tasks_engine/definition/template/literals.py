"""Constants of a template as Go writes them: quoted text and numbers."""

from __future__ import annotations

import math
import re

_MAX_NUMBER_LENGTH = 100
_ESCAPE = re.compile(
    r"\\(?:(?P<letter>[abfnrtv\\'\"])|(?P<octal>[0-7]{3})|x(?P<byte>[0-9a-fA-F]{2})|u(?P<short>[0-9a-fA-F]{4})"
    r"|U(?P<long>[0-9a-fA-F]{8})|(?P<bad>.?))",
    re.DOTALL,
)
#: what \\x and octal escapes give, which are bytes of UTF-8
_BYTES = re.compile("[\udc80-\udcff]+")
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<prefix>0[xXoObB])(?P<digits>_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*)"
    r"|(?P<whole>\d+(?:_\d+)*)|(?P<float>(?:\d+(?:_\d+)*)?\.?(?:\d+(?:_\d+)*)?(?:[eE][+-]?\d+)?))\Z",
    re.ASCII,
)


def unquote(text: str) -> str:
    """The content of `"…"` or `'…'`. Raises ValueError for an escape that Go does not know."""
    quote, content = text[0], text[1:-1]
    parts: list[str] = []
    at = 0
    while (start := content.find("\\", at)) >= 0:
        parts.append(content[at:start])
        match = _ESCAPE.match(content, start)
        assert match is not None  # the last alternative takes anything
        if match["bad"] is not None or match["letter"] == ("'" if quote == '"' else '"'):
            raise ValueError(f"unknown escape '{match[0]}'")
        parts.append(_escaped(match, text))
        at = match.end()
    parts.append(content[at:])
    result = "".join(parts)
    if quote == "'" and len(result) != 1:
        raise ValueError("single quotes hold one character; text stands in double quotes")
    return _BYTES.sub(_joined, result) if quote == '"' else result


def read_number(text: str) -> int | float:
    """The int or float64 a number spells. Raises ValueError."""
    if len(text) > _MAX_NUMBER_LENGTH:
        raise ValueError(f"'{text[:20]}…' is too large a number")
    match = _NUMBER.match(text)
    if match is None or text.endswith(("i", "p", "P")):
        raise ValueError(f"'{text}' is not a number")
    sign = -1 if match["sign"] == "-" else 1
    if match["prefix"]:
        return _in_range(sign * _digits(match["digits"], match["prefix"][1].lower(), text), text)
    if match["whole"]:
        digits = match["whole"].replace("_", "")
        octal = len(digits) > 1 and digits[0] == "0"
        return _in_range(sign * _digits(digits, "o" if octal else "d", text), text)
    try:
        value = float(match["float"].replace("_", ""))
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if math.isinf(value):
        raise ValueError(f"'{text}' is too large a number")
    return sign * value


def _escaped(match: re.Match[str], text: str) -> str:
    if match["letter"] is not None:
        return _LETTERS.get(match["letter"], match["letter"])
    if match["octal"] is not None or match["byte"] is not None:
        code = int(match["octal"], 8) if match["octal"] is not None else int(match["byte"], 16)
        if code > 255:
            raise ValueError(f"unknown escape '{match[0]}'")
        if text[0] == "'" or code < 128:
            return chr(code)
        return bytes([code]).decode("utf-8", "surrogateescape")
    code = int(match["short"] or match["long"], 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError(f"'{match[0]}' is no character")
    return chr(code)


def _joined(octets: re.Match[str]) -> str:
    """The characters that bytes are; a byte that is no part of one stays."""
    return octets[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _digits(digits: str, base: str, text: str) -> int:
    try:
        return int(digits.replace("_", ""), {"x": 16, "o": 8, "b": 2, "d": 10}[base])
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None


def _in_range(number: int, text: str) -> int:
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"'{text}' is too large a number")
    return number
