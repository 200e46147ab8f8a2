"""Go's layouts: a moment is written, or read, as the one layout writes `Mon Jan 2 15:04:05 MST 2006`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from tasks_engine.definition.template.functions.bounds import TextWriter

# English in any locale
MONTHS = [
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
#: a moment as Go prints it
PRINTED = "2006-01-02 15:04:05.999999999 -0700 MST"
RFC3339_NANO = "2006-01-02T15:04:05.999999999Z07:00"

#: at one place the first one that fits counts
_ELEMENT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|0[1-6]|002|15|1|2006|2|_2(?!006)|__2|3|4|5|PM|pm"
    r"|[-Z](?:070000|07:00:00|0700|07:00|07)|[.,](?:0+|9+)(?![0-9])"
)


def split_layout(layout: str) -> Iterator[tuple[str, str]]:
    """The elements of a layout, each with the plain text before it; the last one is empty."""
    end = 0
    for match in _ELEMENT.finditer(layout):
        yield layout[end : match.start()], match[0]
        end = match.end()
    yield layout[end:], ""


def write_time(moment: datetime, layout: str) -> str:
    """A moment in a layout. Raises FunctionError when the result is too long."""
    writer = TextWriter()
    for plain, element in split_layout(layout):
        writer.write(plain)
        if element in _WRITERS:
            writer.write(_WRITERS[element](moment))
        elif element and element[0] in ".,":
            writer.write(_fraction(moment, element))
        elif element:
            writer.write(_offset(moment, element))
    return writer.text


def _hour12(moment: datetime) -> int:
    return moment.hour % 12 or 12


def _year_day(moment: datetime) -> int:
    return moment.timetuple().tm_yday


def _offset_s(moment: datetime) -> int:
    return int((moment.utcoffset() or timedelta()).total_seconds())


def _zone(moment: datetime) -> str:
    return moment.tzname() or _offset(moment, "-0700")


def _offset(moment: datetime, element: str) -> str:
    """A zone as a distance from UTC; the elements with Z have a short form for none."""
    seconds = _offset_s(moment)
    if seconds == 0 and element[0] == "Z":
        return "Z"
    sign = "-" if seconds < 0 else "+"
    minutes, seconds = divmod(abs(seconds), 60)
    parts = [minutes // 60, minutes % 60, seconds][: len(element.replace(":", "")) // 2]
    return sign + (":" if ":" in element else "").join(f"{part:02d}" for part in parts)


def _fraction(moment: datetime, element: str) -> str:
    figures = f"{moment.microsecond * 1000:09d}"[: len(element) - 1]
    if element[1] == "9":
        figures = figures.rstrip("0")
    return element[0] + figures if figures else ""


_WRITERS: dict[str, Callable[[datetime], str]] = {
    "2006": lambda moment: f"{moment.year:04d}",
    "06": lambda moment: f"{moment.year % 100:02d}",
    "January": lambda moment: MONTHS[moment.month - 1],
    "Jan": lambda moment: MONTHS[moment.month - 1][:3],
    "01": lambda moment: f"{moment.month:02d}",
    "1": lambda moment: str(moment.month),
    "Monday": lambda moment: WEEKDAYS[moment.weekday()],
    "Mon": lambda moment: WEEKDAYS[moment.weekday()][:3],
    "02": lambda moment: f"{moment.day:02d}",
    "_2": lambda moment: f"{moment.day:2d}",
    "2": lambda moment: str(moment.day),
    "002": lambda moment: f"{_year_day(moment):03d}",
    "__2": lambda moment: f"{_year_day(moment):3d}",
    "15": lambda moment: f"{moment.hour:02d}",
    "03": lambda moment: f"{_hour12(moment):02d}",
    "3": lambda moment: str(_hour12(moment)),
    "04": lambda moment: f"{moment.minute:02d}",
    "4": lambda moment: str(moment.minute),
    "05": lambda moment: f"{moment.second:02d}",
    "5": lambda moment: str(moment.second),
    "PM": lambda moment: "PM" if moment.hour >= 12 else "AM",
    "pm": lambda moment: "pm" if moment.hour >= 12 else "am",
    "MST": _zone,
    "": lambda _: "",
}
