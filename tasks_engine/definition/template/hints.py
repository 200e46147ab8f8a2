"""What the author of a template may have meant, and values in the words of a message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice

from tasks_engine.definition.template.secret_text import Untold
from tasks_engine.definition.template.values import Record, Value, type_of

#: comparing takes time: neither longer names nor those behind that many are looked at
_LONGEST_NAME = 60
_MOST_NAMES = 1000


def closest(wanted: str, known: Iterable[str]) -> str:
    """The most similar of the known names; empty when none is."""
    if len(wanted) > _LONGEST_NAME:
        return ""
    short = list(islice((each for each in known if len(each) <= _LONGEST_NAME), _MOST_NAMES))
    same_letters = [each for each in short if each.lower() == wanted.lower()]
    return next(iter(same_letters or difflib.get_close_matches(wanted, short, n=1)), "")


def did_you_mean(wanted: str, known: Iterable[str], prefix: str = "", otherwise: str = "") -> str:
    """A question for the most similar name; `otherwise` when none is similar."""
    guess = closest(wanted, known)
    return f"did you mean '{prefix}{guess}'?" if guess else otherwise


def missing_field(start: Value, names: Sequence[str], prefix: str, *, is_whole: bool) -> str:
    """How to give what a chain of fields from `start` on names, or what may be meant.

    `prefix` is what stands before the first dot; `is_whole` says that `start` is all the template is given.
    """
    parent = start
    for name in names[:-1]:
        parent = parent.get(name) if isinstance(parent, dict) else None
    way_to_give = ""
    if is_whole and len(names) == 2 and names[0] == "Values":
        way_to_give = f"give it with --set {names[1]}=… or in a file with --values"
    if not isinstance(parent, dict) or names[-1] in parent:
        return way_to_give
    return did_you_mean(
        names[-1], parent, prefix + "".join(f".{name}" for name in names[:-1]) + ".", way_to_give
    )


def instead_of(value: Untold) -> str:
    """What a template can do that would decide by a value that is not known yet."""
    if value.noun == "a secret":
        return "decide by a value instead: --set name=…, {{ if .Values.name }}"
    return "a template is read before the run: let the command of the step decide, sh -c 'if …'"


def described(value: Value) -> str:
    """A value in the words of a message."""
    if isinstance(value, Untold):
        return value.noun
    for python_type, words in _WORDS:
        if isinstance(value, python_type):
            return words
    return f"a {value.type_name}" if isinstance(value, Record) else f"a number ({type_of(value)})"


_WORDS: tuple[tuple[type, str], ...] = (
    (str, "text"),
    (bool, "true or false"),
    (list, "a list"),
    (dict, "a map"),
    (datetime, "a time"),
)
