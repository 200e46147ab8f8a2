from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Int64, Value

NOW = datetime(2024, 1, 2, 15, 4, 5, 678_900, tzinfo=UTC)
TABLE = function_table(NOW, "seed")


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("2006-01-02T15:04:05Z07:00", "2024-01-02T15:04:05Z"),
        ("Mon Jan _2 15:04:05 MST 2006", "Tue Jan  2 15:04:05 UTC 2024"),
        ("Monday, 02-Jan-06", "Tuesday, 02-Jan-24"),
        ("January 2, 2006", "January 2, 2024"),
        ("3:04PM 03pm", "3:04PM 03pm"),
        ("1/2/06 4 5", "1/2/24 4 5"),
        ("15h04m05.000s", "15h04m05.678s"),
        ("05.999999999 05,99 05.0", "05.6789 05,67 05.6"),
        ("002 __2", "002   2"),
        ("-0700 -07 -07:00 -070000 -07:00:00", "+0000 +00 +00:00 +000000 +00:00:00"),
        ("Z0700 Z07 Z07:00 Z070000 Z07:00:00", "Z Z Z Z Z"),
        ("_2006", "_2024"),
        ("Month Janus 20 8", "Month Janus 20 8"),
        ("", ""),
    ],
)
def test_layouts(layout: str, text: str) -> None:
    assert TABLE["date"](layout, NOW) == text


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2023-11-14 22:13:20 +0000 UTC"),
        ("Local", "2023-11-14 22:13:20 +0000 UTC"),
        ("", "2023-11-14 22:13:20 +0000 UTC"),
        ("Europe/Paris", "2023-11-14 23:13:20 +0100 CET"),
        ("America/New_York", "2023-11-14 17:13:20 -0500 EST"),
        ("Asia/Kolkata", "2023-11-15 03:43:20 +0530 IST"),
        ("America/Sao_Paulo", "2023-11-14 19:13:20 -0300 -03"),
        # nobody knows them
        ("Nowhere/Town", "2023-11-14 22:13:20 +0000 UTC"),
        ("America", "2023-11-14 22:13:20 +0000 UTC"),
        ("../../etc/passwd", "2023-11-14 22:13:20 +0000 UTC"),
        ("/etc/localtime", "2023-11-14 22:13:20 +0000 UTC"),
        ("\udcff", "2023-11-14 22:13:20 +0000 UTC"),
        ("a\x00b", "2023-11-14 22:13:20 +0000 UTC"),
        ("a" * 5000, "2023-11-14 22:13:20 +0000 UTC"),
    ],
)
@pytest.mark.parametrize("name", ["dateInZone", "date_in_zone"])
def test_zones(name: str, zone: str, text: str) -> None:
    assert TABLE[name]("2006-01-02 15:04:05 -0700 MST", 1_700_000_000, zone) == text


def test_seconds_and_dates_for_html() -> None:
    assert TABLE["date"]("2006", Int64(0)) == "1970"
    assert TABLE["htmlDate"](NOW) == "2024-01-02"
    assert TABLE["htmlDateInZone"](NOW, "Pacific/Auckland") == "2024-01-03"


@pytest.mark.parametrize("value", ["2020-01-01", None, 1.5, True, []])
def test_anything_else_is_now(value: Value) -> None:
    assert TABLE["date"]("2006-01-02", value) == "2024-01-02"


def test_now_is_the_moment_of_the_table() -> None:
    assert TABLE["now"]() == NOW
    assert TABLE["unixEpoch"](NOW) == "1704207845"


@pytest.mark.parametrize("seconds", [10**12, -(10**12), 2**62])
def test_moments_out_of_range_are_refused(seconds: int) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["date"]("2006", seconds)
    assert str(caught.value) == "date: the moment is before the year 1 or after the year 9999"


def test_moments_that_a_zone_moves_out_of_range_are_refused() -> None:
    with pytest.raises(FunctionError):
        TABLE["dateInZone"]("2006", datetime(1, 1, 1, tzinfo=UTC), "America/New_York")
    with pytest.raises(FunctionError):
        TABLE["dateModify"]("9999h", datetime(9999, 12, 31, tzinfo=UTC))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("1h30m", "2024-01-01 01:30:00"),
        ("-1.5h", "2023-12-31 22:30:00"),
        ("+90s", "2024-01-01 00:01:30"),
        ("1h1m1s1ms1us", "2024-01-01 01:01:01.001001"),
        ("2µs", "2024-01-01 00:00:00.000002"),
        (".5s", "2024-01-01 00:00:00.5"),
        ("0", "2024-01-01 00:00:00"),
        # no durations
        ("1d", "2024-01-01 00:00:00"),
        ("", "2024-01-01 00:00:00"),
        ("5", "2024-01-01 00:00:00"),
        (".s", "2024-01-01 00:00:00"),
        ("1h 2m", "2024-01-01 00:00:00"),
        ("9999999h", "2024-01-01 00:00:00"),
        ("9" * 5000 + "s", "2024-01-01 00:00:00"),
    ],
)
@pytest.mark.parametrize("name", ["dateModify", "date_modify"])
def test_durations(name: str, change: str, text: str) -> None:
    moment = TABLE[name](change, datetime(2024, 1, 1, tzinfo=UTC))
    assert TABLE["date"]("2006-01-02 15:04:05.999999999", moment) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW, "0s"),
        (NOW - timedelta(seconds=59), "59s"),
        (NOW - timedelta(minutes=2, seconds=3), "2m3s"),
        (NOW - timedelta(hours=1), "1h0m0s"),
        (NOW - timedelta(days=3, milliseconds=600), "72h0m1s"),
        (NOW + timedelta(hours=2), "-2h0m0s"),
        (1_704_207_845 - 60, "1m1s"),
        (0, "473391h4m6s"),
        (-(2**62), "2562047h47m16.854775807s"),
        (2**62, "-2562047h47m16.854775808s"),
        ("yesterday", "0s"),
        (None, "0s"),
    ],
)
def test_ago(moment: Value, text: str) -> None:
    assert TABLE["ago"](moment) == text


@pytest.mark.parametrize(
    ("layout", "text", "moment"),
    [
        ("2006-01-02", "2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("06-1-2", "69-2-3", datetime(1969, 2, 3, tzinfo=UTC)),
        ("06", "68", datetime(2068, 1, 1, tzinfo=UTC)),
        ("Monday Jan 2 2006", "friday feb 3 2024", datetime(2024, 2, 3, tzinfo=UTC)),
        ("January _2 2006", "February  3 2024", datetime(2024, 2, 3, tzinfo=UTC)),
        ("2006 3:04PM", "2024 12:30AM", datetime(2024, 1, 1, 0, 30, tzinfo=UTC)),
        ("2006 3:04pm", "2024 1:30pm", datetime(2024, 1, 1, 13, 30, tzinfo=UTC)),
        ("2006 002", "2024 060", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2006 __2", "2023  60", datetime(2023, 3, 1, tzinfo=UTC)),
        # a fraction may follow the seconds without being asked for
        ("2006 15:04:05", "2024 01:02:03.5", datetime(2024, 1, 1, 1, 2, 3, 500_000, tzinfo=UTC)),
        ("2006 15:04:05.000", "2024 01:02:03.123", datetime(2024, 1, 1, 1, 2, 3, 123_000, tzinfo=UTC)),
        ("2006 15:04:05.999", "2024 01:02:03", datetime(2024, 1, 1, 1, 2, 3, tzinfo=UTC)),
        ("2006 Z07:00", "2024 Z", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2006 MST", "2024 UTC", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2006   01", "2024 02", datetime(2024, 2, 1, tzinfo=UTC)),
    ],
)
def test_to_date(layout: str, text: str, moment: datetime) -> None:
    assert TABLE["toDate"](layout, text) == moment


@pytest.mark.parametrize(
    ("layout", "text", "offset_s", "name"),
    [
        ("2006 -0700", "2024 +0530", 19800, "+0530"),
        ("2006 -07:00:00", "2024 -01:02:03", -3723, "-0102"),
        ("2006 Z07", "2024 +02", 7200, "+0200"),
        ("2006 -0700 MST", "2024 +0100 CET", 3600, "CET"),
        # nothing tells how far such a zone is from UTC
        ("2006 MST", "2024 EST", 0, "EST"),
        ("2006 MST", "2024 GMT+3", 10800, "GMT+3"),
    ],
)
def test_zones_in_a_text(layout: str, text: str, offset_s: int, name: str) -> None:
    moment = TABLE["toDate"](layout, text)
    assert (moment.utcoffset(), moment.tzname()) == (timedelta(seconds=offset_s), name)


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("2006-01-02", "2024-13-01"),
        ("2006-01-02", "2023-02-29"),
        ("2006-01-02", "2024-1-2"),
        ("2006-01-02", "2024-01-02 "),
        ("2006-01-02", "24-01-02"),
        ("2006 15:04", "2024 25:00"),
        ("2006 3PM", "2024 13PM"),
        ("2006 05", "2024 60"),
        ("2006 002", "2023 366"),
        ("2006 002 01", "2024 060 01"),
        ("2006 Jan", "2024 Foo"),
        ("2006 -0700", "2024 +9900"),
        ("2006 MST", "2024 abc"),
        ("2006 15:04:05.000", "2024 01:02:03.1"),
        ("2006 PM", "2024 pm"),
    ],
)
def test_a_text_that_is_no_moment_is_the_first_of_the_year_1(layout: str, text: str) -> None:
    assert TABLE["toDate"](layout, text) == datetime(1, 1, 1, tzinfo=UTC)


def test_a_moment_needs_a_year() -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["toDate"]("15:04", "10:30")
    assert str(caught.value) == "toDate: the text does not name a year"
