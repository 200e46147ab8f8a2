"""Go's values in Python: their kinds, which of them are true, and how `fmt` prints them.

Existing task files were written against Go's text/template, so a template sees Go's types. They stand for:

    nil (untyped)            None
    bool, string, float64    bool, str, float
    int                      int
    int64, int32, uint8      Int64, Int32, Uint8 (what Sprig's arithmetic, runes and indexed text yield)
    slices                   list
    maps with text keys      dict
    time.Time                datetime with a time zone
    structs                  Record

Numbers wrap around as in Go; `checked_int` makes an integer of a type from any Python one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

#: what a template may hold; containers hold Values again
Value = Any


class FunctionError(Exception):
    """A call that Go or Sprig refuses; the message says why, for the author."""


class Int64(int):
    """Go's int64; a plain `int` is Go's int."""


class Int32(int):
    """Go's int32, which a rune is."""


class Uint8(int):
    """Go's uint8, which a byte of text is."""


class Record:
    """A Go struct: named fields, and methods without arguments that read like fields."""

    def __init__(self, type_name: str, printed: str, fields: Mapping[str, Value]) -> None:
        self.type_name = type_name
        self.printed = printed
        self.fields = fields


Function = Callable[..., Value]
Integer = TypeVar("Integer", bound=int)

_BITS: dict[type[int], tuple[int, bool]] = {
    int: (64, True),
    Int64: (64, True),
    Int32: (32, True),
    Uint8: (8, False),
}


def checked_int(number: int, kind: type[Integer]) -> Integer:
    """The number as an integer of a Go type, wrapped around where it does not fit."""
    bits, signed = _BITS[kind]
    wrapped = number & ((1 << bits) - 1)
    if signed and wrapped >> (bits - 1):
        wrapped -= 1 << bits
    return kind(wrapped)


def kind_of(value: Value) -> str:
    """Go's reflect.Kind as text: `string`, `int`, `slice`, …; `invalid` for nil."""
    if value is None:
        return "invalid"
    for python_type, kind in _KINDS:
        if isinstance(value, python_type):
            return kind
    return "struct"


def type_of(value: Value) -> str:
    """The name of a value's type, as `%T` prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, list):
        return "[]interface {}"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, datetime):
        return "time.Time"
    return value.type_name if isinstance(value, Record) else kind_of(value)


def is_true(value: Value) -> bool:
    """Whether `if` takes a value for true: not zero, not empty, not nil. A struct always is."""
    return bool(value) if not isinstance(value, (datetime, Record)) else True


def print_value(value: Value) -> str:
    """A value as `{{ }}` prints it: as `%v`, but for a missing one, which prints nothing."""
    return "" if value is None else format_value(value)


def format_value(value: Value) -> str:
    """A value as `fmt` prints it with `%v`."""
    if value is None:
        return "<nil>"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, list):
        return f"[{' '.join(map(format_value, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{format_value(value[key])}' for key in sorted(value))}]"
    if isinstance(value, datetime):
        return format_time(value)
    return str(value.printed)


def format_float(value: float) -> str:
    """`%v` of a float64: the shortest digits that read back; an exponent below 1e-4 and from 1e6 on."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)  # only infinities and NaN have a letter there
    power = len(digits) + exponent - 1
    if value == 0 or -4 <= power < 6:
        return f"{Decimal(repr(value)):f}".removesuffix(".0")
    figures = "".join(map(str, digits)).rstrip("0") or "0"
    mantissa = figures[0] + ("." + figures[1:] if figures[1:] else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def format_time(value: datetime) -> str:
    """A moment as Go prints it: `2024-01-02 03:04:05.06 +0000 UTC`."""
    fraction = f".{value.microsecond:06d}".rstrip("0") if value.microsecond else ""
    offset = value.strftime("%z") or "+0000"
    return f"{value.year:04d}-{value:%m-%d %H:%M:%S}{fraction} {offset} {value.tzname() or 'UTC'}"


_KINDS: tuple[tuple[type, str], ...] = (
    (str, "string"),
    (bool, "bool"),
    (Int64, "int64"),
    (Int32, "int32"),
    (Uint8, "uint8"),
    (int, "int"),
    (float, "float64"),
    (list, "slice"),
    (dict, "map"),
)
