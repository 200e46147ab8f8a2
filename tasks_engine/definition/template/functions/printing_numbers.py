"""Numbers as Go's fmt prints them by a verb and its flags."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tasks_engine.definition.template.functions.bounds import check_text_length
from tasks_engine.definition.template.functions.floats import write_float
from tasks_engine.definition.template.functions.quoting import is_printable, quote_character

_BASES = {"b": 2, "o": 8, "O": 8, "x": 16, "X": 16}
_MAX_RUNE = 0x10FFFF
_NO_RUNE = "\ufffd"
#: precision of a float where the format names none; the other verbs write what reads back the same
_PRECISIONS = {"e": 6, "E": 6, "f": 6, "F": 6}
#: significant digits that the flag `#` restores
_SIGNIFICANT = 6


@dataclass(frozen=True)
class Flags:
    plus: bool = False
    minus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    width: int | None = None
    precision: int | None = None
    #: `%+v` and `%#v`, where plus and sharp mean something else
    plus_v: bool = False
    sharp_v: bool = False


def padded(text: str, flags: Flags, fill: str | None = None) -> str:
    """The text with as much before or behind it as the width asks for."""
    missing = (flags.width or 0) - len(text)
    if missing <= 0:
        return text
    check_text_length(len(text) + missing)
    if fill is None:
        fill = "0" if flags.zero else " "
    return text + fill * missing if flags.minus else fill * missing + text


def integer_text(number: int, verb: str, flags: Flags, *, signed: bool) -> str | None:
    """An integer by a verb; None for a verb that integers do not have."""
    if verb == "c":
        return padded(_rune(number), flags)
    if verb == "q":
        return padded(quote_character(_rune(number), only_ascii=flags.plus), flags)
    if verb == "U":
        return padded(_code_point(number, flags), flags, " ")
    if verb == "v" and flags.sharp_v and not signed:
        return _digits(number, "x", replace(flags, sharp=True))
    if verb in ("v", "d", *_BASES):
        return _digits(number, verb, flags)
    return None


def float_text(number: float, verb: str, flags: Flags) -> str | None:
    """A float by a verb; None for a verb that floats do not have."""
    if verb not in "vbgGxXfFeE":
        return None
    form = {"v": "g", "F": "f"}.get(verb, verb)
    precision = flags.precision if flags.precision is not None else _PRECISIONS.get(verb)
    check_text_length(precision or 0)
    text = write_float(number, form, precision)
    sign, text = (text[0], text[1:]) if text[0] in "+-" else ("+", text)
    if sign == "+" and flags.space and not flags.plus:
        sign = " "
    if not text[0].isdigit():
        bare = text == "NaN" and not (flags.space or flags.plus)
        return padded(text if bare else sign + text, flags, " ")
    if flags.sharp and form != "b":
        text = _with_point(text, form, precision)
    if sign == "+" and not flags.plus:
        return padded(text, flags)
    if flags.zero and flags.width is not None and flags.width > len(text) + 1:
        return sign + text.rjust(flags.width - 1, "0")
    return padded(sign + text, flags)


def _digits(number: int, verb: str, flags: Flags) -> str:
    base = _BASES.get(verb, 10)
    if flags.precision == 0 and number == 0:
        return padded("", flags, " ")
    sign = "-" if number < 0 else "+" if flags.plus else " " if flags.space else ""
    figures = _in_base(abs(number), base)
    fewest = flags.precision or 0
    if flags.precision is None and flags.zero and flags.width is not None:
        fewest = flags.width - len(sign)
    check_text_length(fewest)
    figures = figures.rjust(fewest, "0")
    if flags.sharp:
        # an octal number is marked by a zero in front, which it may have already
        mark = {2: "0b", 16: "0x", 8: "" if figures[0] == "0" else "0"}.get(base, "")
        figures = mark + figures
    if verb == "O":
        figures = "0o" + figures
    return padded(sign + (figures.upper() if verb == "X" else figures), flags, " ")


def _in_base(number: int, base: int) -> str:
    return format(number, {2: "b", 8: "o", 16: "x"}.get(base, "d"))


def _rune(number: int) -> str:
    valid = 0 <= number <= _MAX_RUNE and not 0xD800 <= number <= 0xDFFF
    return chr(number) if valid else _NO_RUNE


def _code_point(number: int, flags: Flags) -> str:
    """`U+0041`, and with `#` the character behind it."""
    fewest = max(flags.precision or 0, 4)
    check_text_length(fewest)
    # Go sees the bits of a negative number
    text = f"U+{number % 2**64:0{fewest}X}"
    if flags.sharp and 0 <= number <= _MAX_RUNE and is_printable(chr(number)):
        text += f" '{chr(number)}'"
    return text


def _with_point(text: str, form: str, precision: int | None) -> str:
    """The flag `#`: a point in any case, and the zeros behind it that were dropped."""
    exponent_mark = "p" if form in "xX" else "e"
    at = text.lower().find(exponent_mark)
    number, tail = (text, "") if at < 0 else (text[:at], text[at:])
    wanted = 0
    if form in "gGx":
        wanted = _SIGNIFICANT if precision is None else precision
    figures = number.replace(".", "").lstrip("0")
    missing = wanted - len(figures)
    if "." not in number:
        # a single zero counts as a digit
        missing -= number == "0"
        number += "."
    return number + "0" * max(missing, 0) + tail
