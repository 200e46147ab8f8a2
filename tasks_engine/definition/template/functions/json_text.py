"""Values as JSON, as Go's encoding/json writes it: keys sorted, and `<`, `>`, `&` escaped."""

from __future__ import annotations

import math
import re
from datetime import datetime

from tasks_engine.definition.template.functions.bounds import TextWriter, check_depth
from tasks_engine.definition.template.functions.date_layouts import RFC3339_NANO, write_time
from tasks_engine.definition.template.functions.floats import json_float
from tasks_engine.definition.template.functions.octets import joined, to_bytes
from tasks_engine.definition.template.functions.signatures import ANY, Takes
from tasks_engine.definition.template.values import Value, format_value

_ESCAPED = re.compile('["\\\\\x00-\x1f<>&\u2028\u2029\ud800-\udfff]')
_SHORT = {'"': r"\"", "\\": r"\\", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


class _NotJson(Exception):
    """A value that JSON has no form for."""


def to_json(value: Value) -> str:
    """JSON in one line; nothing for infinities and NaN, as in Sprig."""
    return _written(value, "")


def to_pretty_json(value: Value) -> str:
    """JSON in lines, indented by two blanks."""
    return _written(value, "  ")


def _written(value: Value, indent: str) -> str:
    encoder = _Encoder(indent)
    try:
        encoder.write_value(value, 0)
    except _NotJson:
        return ""
    return encoder.text


class _Encoder(TextWriter):
    def __init__(self, indent: str) -> None:
        super().__init__()
        self._indent = indent
        self._colon = ": " if indent else ":"

    def write_value(self, value: Value, depth: int) -> None:
        check_depth(depth)
        if isinstance(value, dict):
            self._write_map(value, depth)
        elif isinstance(value, list):
            self._write_list(value, depth)
        else:
            self.write(_scalar(value))

    def _write_map(self, values: dict[str, Value], depth: int) -> None:
        self.write("{")
        for index, key in enumerate(sorted(values, key=to_bytes)):
            self.write("," if index else "")
            self._break_line(depth + 1)
            self.write(_quoted(key))
            self.write(self._colon)
            self.write_value(values[key], depth + 1)
        if values:
            self._break_line(depth)
        self.write("}")

    def _write_list(self, values: list[Value], depth: int) -> None:
        self.write("[")
        for index, value in enumerate(values):
            self.write("," if index else "")
            self._break_line(depth + 1)
            self.write_value(value, depth + 1)
        if values:
            self._break_line(depth)
        self.write("]")

    def _break_line(self, depth: int) -> None:
        if self._indent:
            self.write("\n" + self._indent * depth)


def _scalar(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _NotJson
        return json_float(value)
    if isinstance(value, datetime):
        return f'"{write_time(value, RFC3339_NANO)}"'
    if isinstance(value, int):
        return format_value(value)
    return _quoted(format_value(value))


def _quoted(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, joined(text))}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if "\ud800" <= character <= "\udfff":
        # a byte that is no UTF-8
        return r"\ufffd"
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


SIGNATURES = {
    "toJson": Takes(to_json, ANY),
    "toPrettyJson": Takes(to_pretty_json, ANY),
}
