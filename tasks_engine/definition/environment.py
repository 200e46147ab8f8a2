"""Entries `name=value` of environments: how they are written, and which of several wins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tasks_engine.definition.misplaced import origin
from tasks_engine.definition.template.secret_text import has_token
from tasks_engine.definition.words import WordError, split_words


def inherited_entries(entries: Iterable[str]) -> Iterator[str]:
    """Entries of a task's or a command line's environment.

    One may hold several with commas between them; a comma that is followed by something else is part of the value.
    """
    for entry in entries:
        parts = entry.split(",") if "," in entry else [entry]
        if all("=" in part for part in parts):
            yield from parts
        else:
            yield entry


def merge(own: Iterable[str], *inherited: Iterable[str]) -> Mapping[str, str]:
    """name -> value: own entries first, then what they lack of each inherited list; of a name twice the last.

    An entry without `=` is left out: no container inherits variables of the machine.
    """
    return merge_own(own, merge_inherited(*inherited))


def merge_inherited(*environments: Iterable[str]) -> Mapping[str, str]:
    """name -> value of what all steps inherit, the nearest environment first."""
    merged: dict[str, str] = {}
    for entries in environments:
        merged = {**merged, **_lacking(merged, _values(inherited_entries(entries)))}
    return merged


def merge_own(own: Iterable[str], inherited: Mapping[str, str]) -> Mapping[str, str]:
    """name -> value of a step: its own entries, then what they lack; shared with `inherited` when it has none."""
    values = _values(own)
    return {**values, **_lacking(values, inherited)} if values else inherited


def fault_of_name(entry: str) -> str:
    """What is wrong with the name of an entry, as the end of a sentence; empty when nothing is."""
    name, equals, _ = entry.partition("=")
    if has_token(name):
        return f"takes its name from {origin(name)}"
    return "has no name before '='" if equals and not name else ""


def unquoted(value: str) -> str:
    """The value without the quotes that protected it from the original's shell: `'1 2'` is `1 2`.

    A value that a shell would split is taken whole, and so is JSON, whose quotes are its own.
    """
    if ("'" not in value and '"' not in value) or value.startswith(("{", "[")):
        return value
    try:
        words = split_words(value)
    except WordError:
        return value
    return words[0] if len(words) == 1 else value


def _values(entries: Iterable[str]) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in entries)
    return {name: unquoted(value) for name, equals, value in pairs if equals}


def _lacking(values: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in others.items() if name not in values}
