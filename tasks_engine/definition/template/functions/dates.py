"""Sprig's functions of moments. Where Sprig means the host's zone, it is UTC here, on whichever host."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from tasks_engine.definition.template.functions.date_layouts import write_time
from tasks_engine.definition.template.functions.date_parsing import TimeMismatch, parse_duration, parse_time
from tasks_engine.definition.template.functions.signatures import ANY, TEXT, TIME, Takes, callables
from tasks_engine.definition.template.values import Function, FunctionError, Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: what Sprig makes of a text that is no moment
_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)
_SECOND = 10**9
_MAX_DURATION_NS = 2**63 - 1
_OUT_OF_RANGE = "the moment is before the year 1 or after the year 9999"
_HTML_DATE = "2006-01-02"


def clock_functions(now: datetime) -> dict[str, Function]:
    """The functions that know what time it is."""

    def date_in_zone(layout: str, moment: Value, zone: str) -> str:
        return write_time(_in_zone(_moment(moment, now), _zone(zone)), layout)

    def ago(moment: Value) -> str:
        return _duration_text(_nanoseconds(now) - _nanoseconds_of(moment, now))

    in_zone = Takes(date_in_zone, TEXT, ANY, TEXT)
    return callables(
        {
            "now": Takes(lambda: now),
            "ago": Takes(ago, ANY),
            "date": Takes(lambda layout, moment: date_in_zone(layout, moment, "UTC"), TEXT, ANY),
            "dateInZone": in_zone,
            "date_in_zone": in_zone,
            "htmlDate": Takes(lambda moment: date_in_zone(_HTML_DATE, moment, "UTC"), ANY),
            "htmlDateInZone": Takes(lambda moment, zone: date_in_zone(_HTML_DATE, moment, zone), ANY, TEXT),
        }
    )


def modify(change: str, moment: datetime) -> datetime:
    """The moment a duration later; the same one for what is no duration."""
    duration = parse_duration(change)
    try:
        return moment if duration is None else moment + duration
    except OverflowError as error:
        raise FunctionError(_OUT_OF_RANGE) from error


def to_date(layout: str, text: str) -> datetime:
    """The moment a text stands for; the first moment of the year 1 for what is none."""
    try:
        return parse_time(layout, text)
    except TimeMismatch:
        return _ZERO_TIME
    except OverflowError as error:
        raise FunctionError("the text does not name a year") from error


def unix_epoch(moment: datetime) -> str:
    return str(_nanoseconds(moment) // _SECOND)


def _moment(value: Value, now: datetime) -> datetime:
    """A moment, or what an integer of seconds means; now for anything else, as in Sprig."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        return now
    try:
        return _EPOCH + timedelta(seconds=value)
    except OverflowError as error:
        raise FunctionError(_OUT_OF_RANGE) from error


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    try:
        return moment.astimezone(zone)
    except (OverflowError, ValueError) as error:
        raise FunctionError(_OUT_OF_RANGE) from error


def _zone(name: str) -> tzinfo:
    """A time zone by its name; UTC for one that nobody knows, as in Sprig."""
    if name in ("", "UTC", "Local"):
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _nanoseconds_of(value: Value, now: datetime) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value * _SECOND
    return _nanoseconds(value if isinstance(value, datetime) else now)


def _duration_text(duration_ns: int) -> str:
    """A duration to the second, as Go prints it: `1h2m3s`."""
    if abs(duration_ns) > _MAX_DURATION_NS:
        return "2562047h47m16.854775807s" if duration_ns > 0 else "-2562047h47m16.854775808s"
    seconds = (abs(duration_ns) + _SECOND // 2) // _SECOND
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{seconds}s"
    if minutes or hours:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return f"-{text}" if duration_ns < 0 and text != "0s" else text


_MODIFY = Takes(modify, TEXT, TIME)

SIGNATURES = {
    "dateModify": _MODIFY,
    "date_modify": _MODIFY,
    "toDate": Takes(to_date, TEXT, TEXT),
    "unixEpoch": Takes(unix_epoch, TIME),
}
