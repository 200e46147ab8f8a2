from __future__ import annotations

import pytest

from tasks_engine.definition.environment import (
    fault_of_name,
    inherited_entries,
    merge,
    merge_inherited,
    merge_own,
    unquoted,
)
from tasks_engine.definition.template.secret_text import secret

TOKEN = secret("s").token


@pytest.mark.parametrize(
    ("entry", "entries"),
    [
        ("A=1", ["A=1"]),
        ("A=1,B=2", ["A=1", "B=2"]),
        ("A=1,B=2,=,C=", ["A=1", "B=2", "=", "C="]),
        ("A=1,2", ["A=1,2"]),
        ("A=1,2,B=3", ["A=1,2,B=3"]),
        ("A", ["A"]),
        ("A,B", ["A,B"]),
        ("A=1,", ["A=1,"]),
        ("", [""]),
        (f"A={TOKEN},B=2", [f"A={TOKEN}", "B=2"]),
    ],
)
def test_an_inherited_entry_holds_several_where_each_part_is_one(entry: str, entries: list[str]) -> None:
    assert list(inherited_entries([entry])) == entries


def test_own_entries_are_not_split() -> None:
    assert merge(["A=1,B=2"]) == {"A": "1,B=2"}


def test_the_nearest_environment_wins() -> None:
    assert merge(["A=own"], ["A=task", "B=task"], ["A=run", "B=run", "C=run"]) == {
        "A": "own",
        "B": "task",
        "C": "run",
    }


def test_of_a_name_twice_the_last_counts() -> None:
    assert merge(["A=1", "A=2"], ["B=1", "B=2"]) == {"A": "2", "B": "2"}


def test_own_entries_come_first() -> None:
    assert list(merge(["Z=1"], ["A=1", "Z=2"], ["B=1"])) == ["Z", "A", "B"]


def test_only_the_first_equals_sign_parts_an_entry() -> None:
    assert merge(["A=b=c=", "B="]) == {"A": "b=c=", "B": ""}


def test_an_entry_without_a_value_is_left_out_and_lets_the_inherited_one_through() -> None:
    assert merge(["A", "B"], ["A=1"]) == {"A": "1"}


def test_a_step_without_entries_shares_what_it_inherits() -> None:
    inherited = merge_inherited(["A=1"], ["B=2"])
    assert merge_own([], inherited) is inherited
    assert merge_own(["A=2"], inherited) == {"A": "2", "B": "2"}
    assert inherited == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("plain", "plain"),
        ("'1 2'", "1 2"),
        ('"1 2"', "1 2"),
        ("a'b c'd", "ab cd"),
        ("''", ""),
        ("1 2", "1 2"),
        ("'1' '2'", "'1' '2'"),
        ("it's", "it's"),
        ('{"a": "b"}', '{"a": "b"}'),
        ('["a"]', '["a"]'),
        ("'$HOME'", "$HOME"),
        (f"'{TOKEN}'", TOKEN),
        (f'"x {TOKEN} y"', f"x {TOKEN} y"),
        ("'a'|b", "'a'|b"),
    ],
)
def test_quotes_for_the_shell_of_the_original_are_taken_off(value: str, meant: str) -> None:
    assert unquoted(value) == meant


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("A=1", ""),
        ("A", ""),
        ("", ""),
        ("=1", "has no name before '='"),
        (f"A={TOKEN}", ""),
        (f"{TOKEN}=1", "takes its name from a secret"),
        (f"A{TOKEN}=1", "takes its name from a secret"),
        (TOKEN, "takes its name from a secret"),
    ],
)
def test_a_variable_needs_a_name_that_is_known(entry: str, fault: str) -> None:
    assert fault_of_name(entry) == fault
