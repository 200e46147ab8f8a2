"""`printf`: Go's format strings, with its marks for what does not fit.

A verb without an argument gives `%!d(MISSING)`, an argument without a verb `%!(EXTRA int=3)`; a format is
never an error.
"""

from __future__ import annotations

import re

from tasks_engine.definition.template.functions.bounds import check_text_length
from tasks_engine.definition.template.functions.printing import Printer
from tasks_engine.definition.template.functions.printing_numbers import Flags
from tasks_engine.definition.template.functions.signatures import ANY, TEXT, Takes
from tasks_engine.definition.template.values import Value, type_of

_FLAGS = re.compile(r"[#0+\- ]*")
_DIGITS = re.compile(r"[0-9]*")
#: widths and precisions beyond it are mistakes to Go
_TOO_LARGE = 1_000_000


def print_formatted(template: str, *arguments: Value) -> str:
    """The arguments in the places that the format names."""
    return _Format(template, arguments).text()


class _Format:
    def __init__(self, template: str, arguments: tuple[Value, ...]) -> None:
        self._template = template
        self._arguments = arguments
        self._printer = Printer()
        self._at = 0
        #: the argument that the next verb prints
        self._next = 0
        #: an argument was named by its number somewhere, so that some may be left out on purpose
        self._reordered = False
        #: the number of the current verb's argument makes sense
        self._good_number = True
        #: the number of an argument stands right before
        self._after_number = False
        #: behind it there is no closing bracket
        self._last_bracket = template.rfind("]")

    def text(self) -> str:
        while True:
            start = self._template.find("%", self._at)
            end = start if start >= 0 else len(self._template)
            self._printer.write(self._template[self._at : end])
            if start < 0:
                break
            self._at = start + 1
            self._directive()
        if not self._reordered:
            self._print_extra(self._arguments[self._next :])
        return self._printer.text

    def _directive(self) -> None:
        """Reads and prints what a `%` begins."""
        self._good_number, self._after_number = True, False
        marks = _FLAGS.match(self._template, self._at)
        assert marks is not None  # it matches nothing, too
        self._at = marks.end()
        signs = marks[0]
        self._read_number()
        width, minus = self._read_width()
        precision = self._read_precision()
        if not self._after_number:
            self._read_number()
        if self._at >= len(self._template):
            self._printer.write("%!(NOVERB)")
            return
        verb = self._template[self._at]
        self._at += 1
        minus = minus or "-" in signs
        is_v = verb == "v"
        self._print_verb(
            verb,
            Flags(
                plus="+" in signs and not is_v,
                minus=minus,
                sharp="#" in signs and not is_v,
                space=" " in signs,
                zero="0" in signs and not minus,
                width=width,
                precision=precision,
                plus_v="+" in signs and is_v,
                sharp_v="#" in signs and is_v,
            ),
        )

    def _print_verb(self, verb: str, flags: Flags) -> None:
        if verb == "%":
            self._printer.write("%")
        elif not self._good_number:
            self._printer.write(f"%!{verb}(BADINDEX)")
        elif self._next >= len(self._arguments):
            self._printer.write(f"%!{verb}(MISSING)")
        else:
            self._printer.print_value(self._arguments[self._next], verb, flags)
            self._next += 1

    def _print_extra(self, values: tuple[Value, ...]) -> None:
        if not values:
            return
        self._printer.write("%!(EXTRA ")
        for index, value in enumerate(values):
            self._printer.write((", " if index else "") + type_of(value))
            if value is not None:
                self._printer.write("=")
                self._printer.print_value(value)
        self._printer.write(")")

    def _read_number(self) -> None:
        """The number of an argument in brackets, which counts from one."""
        self._after_number = False
        if not self._template.startswith("[", self._at):
            return
        self._reordered = True
        start = self._at + 1
        end = self._template.find("]", start) if start <= self._last_bracket else -1
        if end < 0:
            self._good_number = False
            self._at = start
            return
        self._at = end + 1
        number, behind = self._digits(start, end)
        if number is None or behind != end:
            self._good_number = False
            return
        self._after_number = True
        if 1 <= number <= len(self._arguments):
            self._next = number - 1
        else:
            self._good_number = False

    def _read_width(self) -> tuple[int | None, bool]:
        """The width, and whether it asks for padding behind."""
        if self._template.startswith("*", self._at):
            self._at += 1
            width = self._argument_number()
            if width is None:
                self._printer.write("%!(BADWIDTH)")
            self._after_number = False
            return (None, False) if width is None else (abs(width), width < 0)
        width, self._at = self._digits(self._at, len(self._template))
        if self._after_number and width is not None:
            self._good_number = False
        return width, False

    def _read_precision(self) -> int | None:
        # a point at the very end is no precision but a verb
        if not self._template.startswith(".", self._at) or self._at + 1 >= len(self._template):
            return None
        self._at += 1
        if self._after_number:
            self._good_number = False
        self._read_number()
        if self._template.startswith("*", self._at):
            self._at += 1
            precision = self._argument_number()
            if precision is not None and precision < 0:
                precision = None
            if precision is None:
                self._printer.write("%!(BADPREC)")
            self._after_number = False
            return precision
        precision, self._at = self._digits(self._at, len(self._template))
        return precision or 0

    def _argument_number(self) -> int | None:
        """The next argument as a width or precision."""
        if self._next >= len(self._arguments):
            return None
        value = self._arguments[self._next]
        self._next += 1
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _TOO_LARGE:
            return None
        return int(value)

    def _digits(self, start: int, end: int) -> tuple[int | None, int]:
        """A number and the offset behind it; far too many digits swallow all the rest."""
        match = _DIGITS.match(self._template, start, end)
        assert match is not None  # it matches nothing, too
        figures = match[0].lstrip("0")
        if len(figures) > 8 or (len(figures) > 7 and int(figures) // 10 > _TOO_LARGE):
            return None, end
        number = int(match[0]) if match[0] else None
        check_text_length(number or 0)
        return number, match.end()


SIGNATURES = {"printf": Takes(print_formatted, TEXT, rest=ANY)}
