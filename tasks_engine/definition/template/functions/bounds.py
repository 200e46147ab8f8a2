"""How large a function's result and how deep a value may be: what a template asks for may be anybody's.

A value may hold another one many times over, or itself (`set` can do that), so whatever walks through values
counts its steps and its depth.
"""

from __future__ import annotations

from collections.abc import Sized

from tasks_engine.definition.template.values import FunctionError

#: characters of a text
MAX_TEXT = 1 << 20
#: items of a list
MAX_ITEMS = 100_000
#: levels of lists and maps in each other
MAX_DEPTH = 200
#: values that one call looks at
MAX_STEPS = 1_000_000


def check_text_length(length: int) -> None:
    """Raises FunctionError for a text that is too long."""
    if length > MAX_TEXT:
        raise FunctionError(f"the result is longer than {MAX_TEXT} characters")


def check_list_length(length: int) -> None:
    """Raises FunctionError for a list that is too long."""
    if length > MAX_ITEMS:
        raise FunctionError(f"the result has more than {MAX_ITEMS} items")


def check_depth(depth: int) -> None:
    """Raises FunctionError for a value that is too deep, or holds itself."""
    if depth > MAX_DEPTH:
        raise FunctionError(f"the value is nested more than {MAX_DEPTH} levels deep")


class Steps:
    """Counts the values that a call looks at."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def take(self, values: Sized | int = 1) -> None:
        """Raises FunctionError when there were too many."""
        self._left -= values if isinstance(values, int) else len(values)
        if self._left < 0:
            raise FunctionError(f"the value has more than {MAX_STEPS} parts")


class TextWriter:
    """Gathers a text piece by piece; raises FunctionError when it grows too long."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def write(self, piece: str) -> None:
        self._length += len(piece)
        check_text_length(self._length)
        self._pieces.append(piece)

    @property
    def text(self) -> str:
        return "".join(self._pieces)
