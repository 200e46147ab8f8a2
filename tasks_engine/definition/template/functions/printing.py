"""Values as Go's fmt prints them: `print`, `println`, and one value by one verb with its flags.

`printed` is `%v`, what most functions make of a value that is no text.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tasks_engine.definition.template.functions.bounds import TextWriter, check_depth
from tasks_engine.definition.template.functions.date_layouts import MONTHS, PRINTED, write_time
from tasks_engine.definition.template.functions.octets import to_bytes
from tasks_engine.definition.template.functions.printing_numbers import (
    Flags,
    float_text,
    integer_text,
    padded,
)
from tasks_engine.definition.template.functions.quoting import can_stand_in_backquotes, quote
from tasks_engine.definition.template.functions.signatures import ANY, Takes
from tasks_engine.definition.template.values import (
    FunctionError,
    Record,
    Uint8,
    Value,
    format_value,
    type_of,
)

_PLAIN = Flags()
_TEXT_VERBS = "vsxXq"


def printed(value: Value) -> str:
    """A value as `%v` prints it; Sprig makes text of values this way. Raises FunctionError when it is too large."""
    if isinstance(value, str):
        return value
    if not isinstance(value, (list, dict, datetime)):
        return format_value(value)
    printer = Printer()
    printer.print_value(value)
    return printer.text


def print_all(*values: Value) -> str:
    """The values one after the other, with a blank between two of which neither is text."""
    printer = Printer()
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            printer.write(" ")
        printer.print_value(value)
    return printer.text


def print_line(*values: Value) -> str:
    """The values with blanks between them, and a line break."""
    printer = Printer()
    for index, value in enumerate(values):
        printer.write(" " if index else "")
        printer.print_value(value)
    printer.write("\n")
    return printer.text


class Printer(TextWriter):
    """Prints values into one text."""

    def print_value(self, value: Value, verb: str = "v", flags: Flags = _PLAIN) -> None:
        """Prints an argument by a verb; a verb that its type does not have gives Go's `%!d(string=hi)`."""
        if value is None and verb in "vT":
            self.write(padded("<nil>", flags))
        elif verb == "T":
            self.write(_string(type_of(value), "s", flags) or "")
        elif verb == "p":
            self._print_address(value)
        elif value is None:
            self.write(f"%!{verb}(<nil>)")
        elif verb == "w" and isinstance(value, (list, dict)):
            # the one verb that is not handed on to what a list holds
            self._print_misfit(value, verb, flags, 0)
        else:
            self._print(value, verb, flags, 0)

    def _print(self, value: Value, verb: str, flags: Flags, depth: int) -> None:
        check_depth(depth)
        if isinstance(value, list):
            self._print_list(value, verb, flags, depth)
        elif isinstance(value, dict):
            self._print_map(value, verb, flags, depth)
        elif value is None:
            self.write("interface {}(nil)" if flags.sharp_v else "<nil>")
        else:
            text = _scalar(value, verb, flags)
            if text is not None:
                self.write(text)
            else:
                self._print_misfit(value, verb, flags, depth)

    def _print_misfit(self, value: Value, verb: str, flags: Flags, depth: int) -> None:
        self.write(f"%!{verb}({type_of(value)}=")
        self._print(value, "v", flags, depth)
        self.write(")")

    def _print_list(self, values: list[Value], verb: str, flags: Flags, depth: int) -> None:
        start, separator, end = "[", " ", "]"
        if flags.sharp_v:
            start, separator, end = f"{type_of(values)}{{", ", ", "}"
        self.write(start)
        for index, value in enumerate(values):
            if index:
                self.write(separator)
            self._print(value, verb, flags, depth + 1)
        self.write(end)

    def _print_map(self, values: dict[str, Value], verb: str, flags: Flags, depth: int) -> None:
        start, separator, end = "map[", " ", "]"
        if flags.sharp_v:
            start, separator, end = f"{type_of(values)}{{", ", ", "}"
        self.write(start)
        for index, key in enumerate(sorted(values)):
            if index:
                self.write(separator)
            self._print(key, verb, flags, depth + 1)
            self.write(":")
            self._print(values[key], verb, flags, depth + 1)
        self.write(end)

    def _print_address(self, value: Value) -> None:
        if isinstance(value, (list, dict, Record)):
            raise FunctionError("%p prints an address in memory, which differs in every run")
        if value is None:
            self.write("%!p(<nil>)")
        else:
            self._print_misfit(value, "p", _PLAIN, 0)


def _scalar(value: Value, verb: str, flags: Flags) -> str | None:
    """A value that is no list or map, by a verb; None for a verb that its type does not have."""
    if isinstance(value, str):
        return _string(value, verb, flags)
    if isinstance(value, bool):
        return padded(format_value(value), flags) if verb in "tv" else None
    if isinstance(value, float):
        return float_text(value, verb, flags)
    if isinstance(value, int):
        return integer_text(value, verb, flags, signed=not isinstance(value, Uint8))
    if isinstance(value, datetime):
        if flags.sharp_v:
            return _string(_time_literal(value), "s", flags)
        return _string(write_time(value, PRINTED), verb, flags)
    return _string(str(value.printed), verb, replace(flags, sharp_v=False))


def _string(text: str, verb: str, flags: Flags) -> str | None:
    if verb not in _TEXT_VERBS:
        return None
    if verb in "xX":
        return _hexadecimal(text, verb, flags)
    if flags.precision is not None:
        text = text[: flags.precision]
    if verb == "q" or (verb == "v" and flags.sharp_v):
        raw = flags.sharp and can_stand_in_backquotes(text)
        text = f"`{text}`" if raw else quote(text, only_ascii=flags.plus)
    return padded(text, flags)


def _hexadecimal(text: str, verb: str, flags: Flags) -> str:
    octets = to_bytes(text)[: flags.precision]
    mark = "0x" if flags.sharp and octets else ""
    pieces = octets.hex(" ").replace(" ", f" {mark}") if flags.space else octets.hex()
    written = mark + pieces
    return padded(written.upper() if verb == "X" else written, flags)


def _time_literal(moment: datetime) -> str:
    """A moment as Go source code."""
    zone = moment.tzname() or "UTC"
    place = "time.UTC" if zone == "UTC" else f"time.Location({quote(str(moment.tzinfo))})"
    return (
        f"time.Date({moment.year}, time.{MONTHS[moment.month - 1]}, {moment.day}, {moment.hour}, "
        f"{moment.minute}, {moment.second}, {moment.microsecond * 1000}, {place})"
    )


SIGNATURES = {
    "print": Takes(print_all, rest=ANY),
    "println": Takes(print_line, rest=ANY),
}
