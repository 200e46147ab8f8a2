"""Sprig's arithmetic. It takes anything for a number: text is read, what cannot be read is 0, fractions are cut."""

from __future__ import annotations

import math
import re

from tasks_engine.definition.template.functions.bounds import check_list_length
from tasks_engine.definition.template.functions.printing import printed
from tasks_engine.definition.template.functions.signatures import ANY, NUMBER, TEXT, WHOLE, Takes
from tasks_engine.definition.template.values import FunctionError, Int64, Value, checked_int

_INTEGER = re.compile(r"[+-]?[0-9]+")
_OCTAL = re.compile(r"[+-]?[0-7]+")
_DECIMAL_FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:_[0-9]+)*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?")
_HEX_FLOAT = re.compile(r"[+-]?0[xX]_?(?:[0-9a-fA-F_]+\.?[0-9a-fA-F_]*|\.[0-9a-fA-F_]+)[pP][+-]?[0-9]+")
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9a-fA-FxX])_(?=[0-9a-fA-F])")
_NAMED_FLOAT = re.compile(r"[+-]?inf(?:inity)?|nan", re.IGNORECASE)
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
#: more digits than any number that fits, leading zeros aside
_MOST_DIGITS = 400


def to_int64(value: Value) -> Int64:
    if isinstance(value, str):
        return Int64(_parsed(value, _INTEGER, 10))
    if isinstance(value, float):
        # the processor's answer to a float that does not fit
        return Int64(value) if _SMALLEST <= value < -_SMALLEST else Int64(_SMALLEST)
    return checked_int(int(value), Int64) if isinstance(value, int) else Int64(0)


def to_float(value: Value) -> float:
    if isinstance(value, str):
        return _parsed_float(value)
    if isinstance(value, float):
        return value
    return float(to_int64(value)) if isinstance(value, int) else 0.0


def text_to_int(text: str) -> int:
    """The integer a text is, the nearest one when it does not fit; 0 for any other text."""
    number = _integer(text, _INTEGER, 10)
    return 0 if number is None else min(max(number, _SMALLEST), _LARGEST)


def divide(first: Value, second: Value) -> Int64:
    """The quotient, cut towards zero."""
    dividend, divisor = _operands(first, second)
    quotient = abs(dividend) // abs(divisor)
    return checked_int(quotient if (dividend < 0) == (divisor < 0) else -quotient, Int64)


def remainder(first: Value, second: Value) -> Int64:
    """What a division leaves; it has the sign of the dividend."""
    dividend, divisor = _operands(first, second)
    rest = abs(dividend) % abs(divisor)
    return Int64(-rest if dividend < 0 else rest)


def multiply(first: Value, *others: Value) -> Int64:
    product = to_int64(first)
    for other in others:
        product = checked_int(product * to_int64(other), Int64)
    return product


def round_to(value: Value, places: int, *threshold: float) -> float:
    """The number with so many places behind the point; from the threshold on, 0.5, a fraction goes up."""
    power = _power_of_ten(places)
    shifted = power * to_float(value)
    fraction = math.modf(shifted)[0] if math.isfinite(shifted) else math.nan
    up = fraction >= (threshold[0] if threshold else 0.5)
    rounded = _ceil(shifted) if up else _floor(shifted)
    return rounded / power if power else math.nan


def count_up_to(end: int) -> list[int]:
    """The integers from 0 up to the end, or down to it, without it."""
    return count_in_steps(0, end, -1 if end < 0 else 1)


def count_in_steps(start: int, end: int, step: int) -> list[int]:
    """The integers from the start to the end, without it; none when the step leads away from it."""
    if step == 0:
        return []
    numbers = range(start, end, step)
    check_list_length(max(0, (end - start) // step))
    return list(numbers)


def _parsed(text: str, pattern: re.Pattern[str], base: int) -> int:
    """A number in a text; 0 for any other text and for a number that does not fit."""
    number = _integer(text, pattern, base)
    return 0 if number is None or not _SMALLEST <= number <= _LARGEST else number


def _integer(text: str, pattern: re.Pattern[str], base: int) -> int | None:
    if not pattern.fullmatch(text):
        return None
    figures = text.lstrip("+-0")
    if len(figures) > _MOST_DIGITS:
        return -(2**64) if text[0] == "-" else 2**64
    return int(figures or "0", base) * (-1 if text[0] == "-" else 1)


def _parsed_float(text: str) -> float:
    if _NAMED_FLOAT.fullmatch(text):
        return float(text)
    plain = _BETWEEN_DIGITS.sub("", text)
    if "_" in plain:
        return 0.0
    try:
        if _HEX_FLOAT.fullmatch(plain):
            return float.fromhex(plain)
        number = float(plain) if _DECIMAL_FLOAT.fullmatch(plain) else 0.0
    except (OverflowError, ValueError):
        return 0.0
    # Sprig gives up on what is too large
    return number if math.isfinite(number) else 0.0


def _operands(first: Value, second: Value) -> tuple[int, int]:
    divisor = to_int64(second)
    if divisor == 0:
        raise FunctionError("division by zero")
    return to_int64(first), divisor


def _power_of_ten(exponent: int) -> float:
    if exponent > 308:
        return math.inf
    return 10.0**exponent if exponent >= -323 else 0.0


def _floor(value: float) -> float:
    return math.copysign(math.floor(value), value) if math.isfinite(value) else value


def _ceil(value: float) -> float:
    return math.copysign(math.ceil(value), value) if math.isfinite(value) else value


_MAX = Takes(lambda first, *others: max(map(to_int64, (first, *others))), ANY, rest=ANY)

SIGNATURES = {
    "int": Takes(lambda value: int(to_int64(value)), ANY),
    "int64": Takes(to_int64, ANY),
    "float64": Takes(to_float, ANY),
    "atoi": Takes(text_to_int, TEXT),
    "toDecimal": Takes(lambda value: Int64(_parsed(printed(value), _OCTAL, 8)), ANY),
    "add": Takes(lambda *values: checked_int(sum(map(to_int64, values)), Int64), rest=ANY),
    "add1": Takes(lambda value: checked_int(to_int64(value) + 1, Int64), ANY),
    "sub": Takes(lambda first, second: checked_int(to_int64(first) - to_int64(second), Int64), ANY, ANY),
    "mul": Takes(multiply, ANY, rest=ANY),
    "div": Takes(divide, ANY, ANY),
    "mod": Takes(remainder, ANY, ANY),
    "max": _MAX,
    "biggest": _MAX,
    "min": Takes(lambda first, *others: min(map(to_int64, (first, *others))), ANY, rest=ANY),
    "floor": Takes(lambda value: _floor(to_float(value)), ANY),
    "ceil": Takes(lambda value: _ceil(to_float(value)), ANY),
    "round": Takes(round_to, ANY, WHOLE, rest=NUMBER),
    "until": Takes(count_up_to, WHOLE),
    "untilStep": Takes(count_in_steps, WHOLE, WHOLE, WHOLE),
}
