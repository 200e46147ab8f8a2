"""Reads moments in Go's layouts, and durations such as `1h30m`.

What a layout leaves out is the first of its kind; the zone is UTC unless the text names another one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise

from tasks_engine.definition.template.functions.date_layouts import MONTHS, WEEKDAYS, split_layout

#: in nanoseconds
_UNITS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^.0-9]+)")
_MAX_DURATION_NS = 2**63 - 1
#: more figures of a fraction change nothing
_FRACTION_FIGURES = 18

_NUMBER = re.compile(r"[0-9]{1,2}")
_TWO_FIGURES = re.compile(r"[0-9]{2}")
_FRACTION = re.compile(r"[.,]([0-9]+)")
_ZONE_NAME = re.compile(
    r"ChST|MeST|GMT(?:[+-][0-9]+)?|[+-][0-9]+|[A-Z]{4}T(?![A-Z])|(?:[A-Z]{3}T|WITA)(?![A-Z])|[A-Z]{3}(?![A-Z])"
)
_OFFSETS = {
    "07": re.compile(r"([+-])([0-9]{2})()()"),
    "0700": re.compile(r"([+-])([0-9]{2})([0-9]{2})()"),
    "07:00": re.compile(r"([+-])([0-9]{2}):([0-9]{2})()"),
    "070000": re.compile(r"([+-])([0-9]{2})([0-9]{2})([0-9]{2})"),
    "07:00:00": re.compile(r"([+-])([0-9]{2}):([0-9]{2}):([0-9]{2})"),
}
_BLANKS = re.compile(" +")


class TimeMismatch(Exception):
    """The text is no moment in this layout."""


def parse_time(layout: str, text: str) -> datetime:
    """The moment a text stands for. Raises TimeMismatch; OverflowError for one before the year 1."""
    reader = _Reader(text)
    for (plain, element), (_, following) in pairwise((*split_layout(layout), ("", ""))):
        reader.skip(plain)
        if element:
            reader.read(element)
        # right after the seconds a fraction is welcome, even where the layout has none
        if element in ("05", "5") and following[:1] not in (".", ","):
            reader.take_fraction()
    return reader.moment()


def parse_duration(text: str) -> timedelta | None:
    """How long `-1h30m` is; None for what is no duration."""
    sign, rest = (text[0], text[1:]) if text[:1] in ("+", "-") else ("+", text)
    if rest == "0":
        return timedelta()
    total = at = 0
    while at < len(rest):
        match = _DURATION_PART.match(rest, at)
        if (
            match is None
            or not (match[1] or match[2])
            or match[3] not in _UNITS
            or len(match[1].lstrip("0")) > 19
        ):
            return None
        unit, fraction = _UNITS[match[3]], (match[2] or "")[:_FRACTION_FIGURES]
        total += int(match[1] or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        at = match.end()
    if not rest or total > _MAX_DURATION_NS:
        return None
    return timedelta(microseconds=total // 1000 * (-1 if sign == "-" else 1))


class _Reader:
    """Reads a text element by element and remembers what it said."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._year = 0
        self._month: int | None = None
        self._day: int | None = None
        self._year_day: int | None = None
        self._hour = self._minute = self._second = self._nanosecond = 0
        #: hours of the afternoon, or of the morning
        self._half = ""
        self._zone: tzinfo | None = None
        self._offset_s: int | None = None
        self._zone_name = ""

    def skip(self, plain: str) -> None:
        """Passes plain text of the layout; blanks in a row count as one."""
        for index, piece in enumerate(_BLANKS.split(plain)):
            if index:
                self._skip_blanks()
            self._skip_exactly(piece)

    def read(self, element: str) -> None:
        if element[0] in ".,":
            self._read_fraction(element)
        elif element in ("2006", "06"):
            self._read_year(element)
        elif element in ("January", "Jan"):
            self._month = self._name(MONTHS, element == "Jan") + 1
        elif element in ("Monday", "Mon"):
            self._name(WEEKDAYS, element == "Mon")
        elif element in ("01", "1"):
            self._month = self._number(element == "01", 1, 12)
        elif element in ("02", "2", "_2"):
            self._skip_one_blank(element.count("_"))
            self._day = self._number(element == "02", 0, 99)
        elif element in ("002", "__2"):
            self._skip_one_blank(element.count("_"))
            self._year_day = int(self._match(re.compile("[0-9]{3}" if element == "002" else "[0-9]{1,3}"))[0])
        elif element in ("15", "03", "3"):
            self._hour = self._number(element == "03", 0, 23 if element == "15" else 12)
        elif element in ("04", "4"):
            self._minute = self._number(element == "04", 0, 59)
        elif element in ("05", "5"):
            self._second = self._number(element == "05", 0, 59)
        elif element in ("PM", "pm"):
            self._read_half(element)
        elif element == "MST":
            self._read_zone_name()
        else:
            self._read_offset(element)

    def take_fraction(self) -> None:
        """A fraction of the second with all its figures, if there is one."""
        match = _FRACTION.match(self._text, self._at)
        if match is not None:
            self._nanosecond = int(match[1][:9].ljust(9, "0"))
            self._at = match.end()

    def moment(self) -> datetime:
        """What was read, when it makes sense together."""
        if self._at != len(self._text):
            raise TimeMismatch
        if self._half == "pm" and self._hour < 12:
            self._hour += 12
        elif self._half == "am" and self._hour == 12:
            self._hour = 0
        month, day = self._date()
        if self._year < 1:
            raise OverflowError
        try:
            moment = datetime(self._year, month, day, self._hour, self._minute, self._second)
        except ValueError as error:
            raise TimeMismatch from error
        return moment.replace(microsecond=self._nanosecond // 1000, tzinfo=self._found_zone())

    def _date(self) -> tuple[int, int]:
        """Month and day, which the day of the year may stand for."""
        if self._year_day is None:
            return self._month or 1, 1 if self._day is None else self._day
        if not 1 <= self._year_day <= 365 + _is_leap(self._year):
            raise TimeMismatch
        # the year 4 is as long as any leap year, the year 1 as any other
        found = datetime(4 if _is_leap(self._year) else 1, 1, 1) + timedelta(days=self._year_day - 1)
        if self._month not in (None, found.month) or self._day not in (None, found.day):
            raise TimeMismatch
        return found.month, found.day

    def _found_zone(self) -> tzinfo:
        if self._zone is not None:
            return self._zone
        if self._offset_s is None and not self._zone_name:
            return UTC
        if self._offset_s is None:
            hours = self._zone_name.removeprefix("GMT") if self._zone_name.startswith("GMT") else ""
            return timezone(timedelta(hours=int(hours or 0)), self._zone_name)
        if self._offset_s == 0 and self._zone_name in ("", "UTC"):
            return UTC
        if abs(self._offset_s) >= 86400:
            raise TimeMismatch
        minutes = abs(self._offset_s) // 60
        number = f"{'-' if self._offset_s < 0 else '+'}{minutes // 60:02d}{minutes % 60:02d}"
        return timezone(timedelta(seconds=self._offset_s), self._zone_name or number)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise TimeMismatch
        self._at = match.end()
        return match

    def _number(self, fixed: bool, lowest: int, highest: int) -> int:
        number = int(self._match(_TWO_FIGURES if fixed else _NUMBER)[0])
        if not lowest <= number <= highest:
            raise TimeMismatch
        return number

    def _name(self, names: list[str], short: bool) -> int:
        for index, name in enumerate(names):
            wanted = name[:3] if short else name
            if self._text[self._at : self._at + len(wanted)].lower() == wanted.lower():
                self._at += len(wanted)
                return index
        raise TimeMismatch

    def _read_year(self, element: str) -> None:
        if element == "2006":
            self._year = int(self._match(re.compile("[0-9]{4}"))[0])
            return
        year = int(self._match(_TWO_FIGURES)[0])
        self._year = year + (1900 if year >= 69 else 2000)

    def _read_half(self, element: str) -> None:
        half = self._text[self._at : self._at + 2]
        if half not in (("AM", "PM") if element == "PM" else ("am", "pm")):
            raise TimeMismatch
        self._half = half.lower()
        self._at += 2

    def _read_fraction(self, element: str) -> None:
        match = _FRACTION.match(self._text, self._at)
        if element[1] == "9" and match is None:
            return
        if match is None or (element[1] == "0" and len(match[1]) < len(element) - 1):
            raise TimeMismatch
        figures = match[1][: len(element) - 1] if element[1] == "0" else match[1][:9]
        self._nanosecond = int(figures[:9].ljust(9, "0"))
        self._at += 1 + len(figures)

    def _read_zone_name(self) -> None:
        if self._text.startswith("UTC", self._at):
            self._at += 3
            self._zone = UTC
            return
        name = self._match(_ZONE_NAME)[0]
        digits = name.lstrip("GMT+-")
        if name[0] in "+-G" and digits and int(digits[:4]) > 23:
            raise TimeMismatch
        self._zone_name = name

    def _read_offset(self, element: str) -> None:
        if element in ("Z0700", "Z07", "Z07:00") and self._text.startswith("Z", self._at):
            self._at += 1
            self._zone = UTC
            return
        sign, hours, minutes, seconds = self._match(_OFFSETS[element[1:]]).groups()
        numbers = [int(part or 0) for part in (hours, minutes, seconds)]
        if numbers[0] > 24 or numbers[1] > 60 or numbers[2] > 60:
            raise TimeMismatch
        offset = (numbers[0] * 60 + numbers[1]) * 60 + numbers[2]
        self._offset_s = -offset if sign == "-" else offset

    def _skip_exactly(self, plain: str) -> None:
        if not self._text.startswith(plain, self._at):
            raise TimeMismatch
        self._at += len(plain)

    def _skip_blanks(self) -> None:
        if self._at < len(self._text) and self._text[self._at] != " ":
            raise TimeMismatch
        while self._text.startswith(" ", self._at):
            self._at += 1

    def _skip_one_blank(self, at_most: int) -> None:
        for _ in range(at_most):
            if self._text.startswith(" ", self._at):
                self._at += 1


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
