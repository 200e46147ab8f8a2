"""Floats as Go's strconv writes them, for each of its formats; a sign stands only before negative ones."""

from __future__ import annotations

import math
from decimal import Decimal

from tasks_engine.definition.template.values import format_float

_FRACTION_BITS = 52
_SMALLEST_EXPONENT = -1074


def write_float(value: float, form: str, precision: int | None) -> str:
    """A float by one of Go's formats `b e E f g G x X`; without precision, what reads back the same.

    Infinities are `+Inf` and `-Inf`.
    """
    if not math.isfinite(value):
        return format_float(value)
    if form == "b":
        return _binary(value)
    if form in "xX":
        text = _hexadecimal(value, precision)
        return text.upper() if form == "X" else text
    if precision is not None:
        return format(value, f".{precision}{form}")
    if form in "gG":
        text = format_float(value)
        return text.upper() if form == "G" else text
    return _shortest(value, form)


def json_float(value: float) -> str:
    """A finite float as Go's encoding/json writes it."""
    if value and not 1e-6 <= abs(value) < 1e21:
        # one figure is enough for a negative exponent
        return _shortest(value, "e").replace("e-0", "e-")
    return _shortest(value, "f")


def _shortest(value: float, form: str) -> str:
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)  # only infinities and NaN have a letter there
    if form == "f":
        return f"{Decimal(repr(value)):f}".removesuffix(".0")
    figures = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) + exponent - 1 if value else 0
    mantissa = figures[0] + ("." + figures[1:] if figures[1:] else "")
    return f"{'-' if sign else ''}{mantissa}{form}{'-' if power < 0 else '+'}{abs(power):02d}"


def _binary(value: float) -> str:
    """The mantissa as a whole number, and the power of two it is multiplied with."""
    exponent = _SMALLEST_EXPONENT
    if value:
        exponent = max(math.frexp(value)[1] - _FRACTION_BITS - 1, exponent)
    sign = "-" if math.copysign(1, value) < 0 else ""
    return f"{sign}{int(math.ldexp(abs(value), -exponent)) if value else 0}p{exponent:+d}"


def _hexadecimal(value: float, precision: int | None) -> str:
    """`0x1.8p+01`: one binary digit before the point, hexadecimal ones behind it, rounded half to even."""
    sign = "-" if math.copysign(1, value) < 0 else ""
    fraction, exponent = math.frexp(abs(value))
    mantissa = int(math.ldexp(fraction, _FRACTION_BITS + 1))
    power = exponent - 1 if value else 0
    if precision is not None and precision < _FRACTION_BITS // 4:
        dropped = _FRACTION_BITS - 4 * precision
        rest = mantissa & ((1 << dropped) - 1)
        half = 1 << (dropped - 1)
        mantissa >>= dropped
        if rest > half or (rest == half and mantissa & 1):
            mantissa += 1
        if mantissa >> (4 * precision + 1):
            mantissa >>= 1
            power += 1
        mantissa <<= dropped
    figures = f"{mantissa & ((1 << _FRACTION_BITS) - 1):013x}"
    figures = figures.rstrip("0") if precision is None else figures[:precision].ljust(precision, "0")
    lead = mantissa >> _FRACTION_BITS
    return f"{sign}0x{lead}{'.' + figures if figures else ''}p{'-' if power < 0 else '+'}{abs(power):02d}"
