"""What a scalar means where a number, a truth value or a free value is expected.

YAML 1.1 as Go's yaml.v2 reads it, which is what existing task files were written against.
"""

from __future__ import annotations

import math
import re

from tasks_engine.definition import nodes

_TRUE = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
_FALSE = frozenset(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?\Z")

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]


def parse_bool(scalar: nodes.Scalar) -> bool | None:
    """The truth value a plain scalar spells, or None."""
    if not scalar.plain:
        return None
    if scalar.text in _TRUE:
        return True
    return False if scalar.text in _FALSE else None


def parse_int(scalar: nodes.Scalar) -> int | None:
    """The 64-bit integer a plain scalar spells (a fraction is cut off), or None. `010` is eight."""
    if not scalar.plain:
        return None
    whole = _integer(scalar.text)
    if whole is not None:
        return whole if whole < 2**63 else None
    fraction = _float(scalar.text)
    return int(fraction) if fraction is not None and abs(fraction) < 2**63 else None


def parse_value(node: nodes.Node) -> Value:
    """A node as free data: the values file and `--set` have no fields that say what is meant."""
    if isinstance(node, nodes.Mapping):
        return {key.text: parse_value(value) for key, value in node.pairs}
    if isinstance(node, nodes.Sequence):
        return [parse_value(item) for item in node.items]
    if node.is_null:
        return None
    for parse in (parse_bool, _plain_integer, _plain_float):
        value = parse(node)
        if value is not None:
            return value
    return node.text


def _plain_integer(scalar: nodes.Scalar) -> int | None:
    return _integer(scalar.text) if scalar.plain else None


def _plain_float(scalar: nodes.Scalar) -> float | None:
    return _float(scalar.text) if scalar.plain else None


def _integer(text: str) -> int | None:
    """An integer that fits 64 bits, with or without a sign; larger ones are floats."""
    if not _INTEGER.match(text):
        return None
    digits = text.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2], 8 if len(digits) > 1 and digits[0] == "0" else 10)
    if base == 10 and len(digits) > 20:
        return None
    try:
        value = sign * int(digits, base)
    except ValueError:
        return None
    return value if -(2**63) <= value < 2**64 else None


def _float(text: str) -> float | None:
    if text.lower() in (".inf", "+.inf", "-.inf"):
        return -math.inf if text.startswith("-") else math.inf
    if text.lower() == ".nan":
        return math.nan
    if not _FLOAT.match(text):
        return None
    value = float(text.replace("_", ""))
    return value if math.isfinite(value) else None
