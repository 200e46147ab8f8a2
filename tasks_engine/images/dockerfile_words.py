"""Expands the variables of a Dockerfile word and drops its quotes, as Docker's build does.

Source of the rules: Dockerfile reference, "Environment replacement", and the shell words of BuildKit's frontend.
Values that grow from line to line cannot get out of hand: one Expander does only so much work in its life.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks_engine.images.dockerfile_patterns import (
    InvalidPattern,
    Pattern,
    parse_pattern,
    replace,
    trim_prefix,
    trim_suffix,
)

#: characters inserted, plus steps of pattern matching; a real file needs some thousands
_WORK_LIMIT = 2_000_000
_DEPTH_LIMIT = 50

_ORDINARY = re.compile(r"[^$'\"\\`/}]+")
_NAME = re.compile(r"\d+|[@*#?$!-]|[^\W\d]\w*")


class ExpansionError(ValueError):
    """A word that cannot be expanded; the message says why."""


@dataclass(frozen=True)
class Expansion:
    text: str
    #: names whose place stayed empty, in the order of the word
    empty: tuple[str, ...] = ()


class Expander:
    """Expands word after word of one file. `escape` is the file's escape character."""

    def __init__(self, escape: str = "\\", work_limit: int = _WORK_LIMIT) -> None:
        self.escape = escape
        self._work_left = work_limit

    def expand(self, word: str, variables: Mapping[str, str]) -> Expansion:
        """Raises ExpansionError, once the work limit is reached for every variable that has a value."""
        reader = _Reader(word, variables, self)
        text = reader.read_until("", raw=False)
        return Expansion(text, tuple(dict.fromkeys(reader.empty)))

    def spend(self, steps: int) -> None:
        self._work_left -= steps
        if self._work_left < 0:
            raise ExpansionError("the variables of this file grow too large")


class _Reader:
    """One pass over a word. `raw` keeps the escape character, which patterns need."""

    def __init__(self, word: str, variables: Mapping[str, str], expander: Expander) -> None:
        self.empty: list[str] = []
        self._word = word
        self._variables = variables
        self._expander = expander
        self._escape = expander.escape
        self._at = 0
        self._depth = 0

    def read_until(self, stop: str, *, raw: bool) -> str:
        """The expanded text before an unquoted `stop`, which is passed; before the end if `stop` is empty."""
        pieces: list[str] = []
        while self._at < len(self._word):
            character = self._word[self._at]
            ordinary = _ORDINARY.match(self._word, self._at)
            if ordinary is not None:
                pieces.append(ordinary[0])
                self._at = ordinary.end()
            elif character == stop:
                self._at += 1
                return "".join(pieces)
            elif character == "$":
                pieces.append(self._variable())
            elif character == "'":
                pieces.append(self._single_quoted())
            elif character == '"':
                pieces.append(self._double_quoted(raw))
            elif character == self._escape:
                pieces.append(self._word[self._at + (0 if raw else 1) : self._at + 2])
                self._at += 2
            else:
                pieces.append(character)
                self._at += 1
        if stop:
            raise ExpansionError(f"'{stop}' is missing")
        return "".join(pieces)

    def _single_quoted(self) -> str:
        end = self._word.find("'", self._at + 1)
        if end < 0:
            raise ExpansionError("quote ' is never closed")
        text = self._word[self._at + 1 : end]
        self._at = end + 1
        return text

    def _double_quoted(self, raw: bool) -> str:
        pieces: list[str] = []
        self._at += 1
        while self._at < len(self._word):
            character = self._word[self._at]
            if character == '"':
                self._at += 1
                return "".join(pieces)
            if character == "$":
                pieces.append(self._variable())
            elif character == self._escape and self._word[self._at + 1 : self._at + 2] in (
                '"',
                "$",
                self._escape,
            ):
                pieces.append(self._word[self._at + (0 if raw else 1) : self._at + 2])
                self._at += 2
            else:
                # in a pattern, an escape character that escapes nothing stands for itself
                pieces.append(character * (2 if raw and character == self._escape else 1))
                self._at += 1
        raise ExpansionError('quote " is never closed')

    def _variable(self) -> str:
        self._at += 1
        if self._word.startswith("{", self._at):
            self._at += 1
            self._depth += 1
            if self._depth > _DEPTH_LIMIT:
                raise ExpansionError(f"variables are nested more than {_DEPTH_LIMIT} deep")
            name, text = self._in_braces()
            self._depth -= 1
        else:
            name = self._name()
            if not name:
                return "$"
            text = self._variables.get(name, "")
        if not text:
            self.empty.append(name)
        self._expander.spend(len(text))
        return text

    def _in_braces(self) -> tuple[str, str]:
        """Name and text of the variable whose opening brace was passed."""
        if self._word[self._at : self._at + 1] in ("{", "}", ":"):
            raise ExpansionError("'${' needs a name behind it")
        name = self._name()
        operator = self._take()
        value = self._variables.get(name)
        if operator == "}":
            return name, value or ""
        absent = value is None
        if operator == ":":
            absent = not value
            operator = self._take()
            if operator in ("#", "%", "/"):
                raise ExpansionError(f"':{operator}' is no operator of '${{{name}}}'")
        if operator in ("#", "%"):
            return name, self._trimmed(value or "", operator)
        if operator == "/":
            return name, self._replaced(value or "")
        if operator not in ("-", "+", "?"):
            raise ExpansionError(
                f"'{operator}' is no operator of '${{{name}}}'" if operator else "'}' is missing"
            )
        word = self.read_until("}", raw=False)
        if operator == "+":
            return name, "" if absent else word
        if operator == "?" and absent:
            raise ExpansionError(
                f"{name}: {word or ('must be set' if value is None else 'must not be empty')}"
            )
        return name, word if absent else value or ""

    def _trimmed(self, value: str, operator: str) -> str:
        pattern = self.read_until("}", raw=True)
        longest = pattern.startswith(operator)
        trim = trim_prefix if operator == "#" else trim_suffix
        return trim(value, self._pattern(pattern[longest:], value), longest=longest)

    def _replaced(self, value: str) -> str:
        every = self._word.startswith("/", self._at)
        self._at += every
        pattern = self._pattern(self.read_until("/", raw=True), value)
        replacement = self.read_until("}", raw=True)
        self._expander.spend((len(value) + 1) * len(replacement))
        return replace(value, pattern, replacement, every=every)

    def _pattern(self, text: str, value: str) -> Pattern:
        self._expander.spend((len(value) + 1) * (len(text) + 1))
        try:
            return parse_pattern(text)
        except InvalidPattern as error:
            raise ExpansionError(str(error)) from error

    def _name(self) -> str:
        name = _NAME.match(self._word, self._at)
        if name is None:
            return ""
        self._at = name.end()
        return name[0]

    def _take(self) -> str:
        self._at += 1
        return self._word[self._at - 1 : self._at]
