"""Foreign text on a terminal; times and sizes in words."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.cli.render.text import (
    cut,
    duration,
    last_overwrite,
    pad,
    safe_line,
    safe_name,
    size,
    split_before_escape,
    width_of,
)

HOSTILE = [
    ("\x1b[2J\x1b[Hcleared", "cleared"),
    ("\x1b]0;title\x07after", "after"),
    ("\x1b]52;c;ZXZpbA==\x1b\\after", "after"),
    ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x1bP1$r0m\x1b\\after", "after"),
    ("\x9b31mred\x9d0;t\x9c", "red"),
    ("\x1b(0\x1bcreset", "reset"),
    ("\x1b[?1049h\x1b[6n\x07\x08\x00\x7fx", "x"),
    ("\x1b]0;never closed", "0;never closed"),
    ("end \x1b", "end "),
    ("tab\tstays é 漢", "tab\tstays é 漢"),
]


@pytest.mark.parametrize(("line", "shown"), HOSTILE)
def test_terminal_control_is_taken_out(line: str, shown: str) -> None:
    assert safe_line(line) == shown
    assert safe_line(line, color=True) == shown


def test_colours_pass_only_when_asked_for_and_end_with_the_line() -> None:
    assert safe_line("\x1b[1;31mred\x1b[K") == "red"
    assert safe_line("\x1b[1;31mred\x1b[K", color=True) == "\x1b[1;31mred\x1b[0m"


@given(st.text(alphabet=st.sampled_from("\x1b[]0;1m\x07\\\x9b\x9d\x9cP(aé\r\n\x08")))
def test_no_control_character_survives(line: str) -> None:
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", safe_line(line))
    rest = re.sub(r"\x1b\[[0-9;:]*m", "", safe_line(line, color=True))
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", rest)


@pytest.mark.parametrize("part", ["\x1b]", "\x9d", "\x1b[", "\x1b[1", "\x1b", "\x1b]\x1b[1;"])
def test_long_hostile_lines_take_no_long_time(part: str) -> None:
    began = time.process_time()
    safe_line(part * (64 * 1024 // len(part)) + "1" * 64 * 1024, color=True)
    assert time.process_time() - began < 2


def test_name_is_one_visible_line() -> None:
    assert safe_name("a\x1b[31m\nb\u202e") == "a b"
    assert safe_name("\x1b[2J") == "?"
    assert safe_name("x" * 30, 10) == "x" * 9 + "…"


def test_overwritten_part_of_a_line_is_gone() -> None:
    assert last_overwrite("10%\r50%\rdone") == "done"
    assert last_overwrite("text\r") == "text"
    assert last_overwrite("10%\rdone\r\r") == "done"


def test_line_is_not_cut_inside_of_an_escape() -> None:
    assert split_before_escape("ab\x1b[31mcd", 5) == ("ab", "\x1b[31mcd")
    assert split_before_escape("ab\x1b[31mcd", 8) == ("ab\x1b[31mc", "d")


def test_width_counts_columns() -> None:
    assert width_of("漢é") == 3
    assert cut("漢字漢字", 5) == "漢字…"
    assert pad("漢", 4) == "漢  "


@given(st.text(), st.integers(0, 30))
def test_cut_text_is_never_too_wide(text: str, width: int) -> None:
    assert width_of(cut(text, width)) <= width


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (123, "2 min 03 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (50_300_000, "50.3 MB"),
        (999_999, "1.0 MB"),
        (2e12, "2.0 TB"),
    ],
)
def test_sizes_in_words(size_bytes: float, words: str) -> None:
    assert size(size_bytes) == words
