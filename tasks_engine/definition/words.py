"""Splits a command line into words and operators as a POSIX shell would; a shell is never started.

Blanks separate words; single quotes keep everything; inside double quotes a backslash escapes only
`$`, backquote, `"`, `\\` and a line break; outside quotes it escapes any character; a backslash before a line break
joins lines; `#` where a word could begin starts a comment. Glob characters and braces stay literal. Substitution of
commands is refused with its place. `split_words` keeps `$` and refuses operators, `read_tokens` hands them on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

IN_CONTAINER = "put the whole line inside the container's own shell: cmd: IMAGE sh -c '…'"

#: characters that always stand for themselves
_ORDINARY = re.compile(r"[^ \t\r\n|&;<>()'\"\\`$]++")
#: a word that is plain or quoted as a whole, with the blanks before it
_SIMPLE_WORD = re.compile(
    r"""[ \t\r]*+(?:([^ \t\r\n|&;<>()'"\\`$#~][^ \t\r\n|&;<>()'"\\`$]*+)|'([^']*+)'|"([^"\\`$]*+)")(?=[ \t\r\n]|\Z)"""
)
#: several plain words that do not begin with a dash
_PLAIN_WORDS = re.compile(
    r"""(?:[ \t\r]++[^ \t\r\n|&;<>()'"\\`$#~-][^ \t\r\n|&;<>()'"\\`$]*+(?=[ \t\r\n]|\Z))++"""
)
_BETWEEN_BLANKS = re.compile(r"[^ \t\r]++")
_BEFORE_WORD = re.compile(r"(?:[ \t\r]|\\\n)*+(?:#[^\n]*+)?+")
_OPERATOR = re.compile(
    r"([0-9]*+)(?:\\\n)*+(>>|>&|>\||>|<<<|<<|<&|<>|<)|(&&|&>>|&>|&|\|\||\||;;|;|\(|\))|\n(?:[ \t\r\n]|\\\n|#[^\n]*+)*+"
)
_TILDE = re.compile(r"~(?=[/ \t\r\n|&;<>()]|\Z)")
_BEFORE_DOUBLE_QUOTE = re.compile(r'[^"\\`$]++')
#: where a shell splits what an unquoted expansion gave
_FIELD_BREAK = re.compile(r"[ \t\n]+")


@dataclass(eq=False)
class WordError(Exception):
    """A line that is refused. `offset` and `length` count characters in it and say where a mark belongs."""

    message: str
    offset: int
    hint: str = ""
    length: int = 1

    def __str__(self) -> str:
        return self.message


class Word(NamedTuple):
    """A word as written, from `offset` to `end`; expansion can make it several fields, or none.

    Plain words behind two others come as one with several fields, so that long lines are cheap.
    """

    fields: tuple[str, ...]
    offset: int
    end: int
    #: one word, written without quotes, escapes or expansions
    bare: bool


class Operator(NamedTuple):
    text: str
    offset: int
    end: int
    #: the digits before a redirection
    descriptor: str


class Expand(Protocol):
    """What stands for `~` and for the `$…` at an offset."""

    def tilde(self, at: int) -> str: ...

    def dollar(self, line: str, at: int) -> tuple[str | None, int]:
        """The text, and the offset behind the expansion; None is no word, even inside quotes."""
        ...


def split_words(line: str, *, line_breaks_separate: bool = False) -> list[str]:
    """The words of a command line. Raises WordError for an open quote or a shell operator.

    A line break between words is a shell operator too, unless `line_breaks_separate` makes it a blank.
    """
    words: list[str] = []
    line_break: Operator | None = None
    for token in read_tokens(line):
        if isinstance(token, Operator):
            if token.text != "\n":
                raise refuse_operator(token)
            line_break = line_break or (token if words else None)
        elif line_break is not None and not line_breaks_separate:
            raise refuse_operator(line_break)
        else:
            words += token.fields
    return words


def read_tokens(line: str, expand: Expand | None = None) -> Iterator[Word | Operator]:
    """The words and operators of a line, in order. Raises WordError where it comes to what is refused.

    Without `expand`, `$` and `~` stay literal.
    """
    at = 0
    plain_in_a_row = 0
    while True:
        simple = _SIMPLE_WORD.match(line, at)
        if simple is not None:
            kind = simple.lastindex or 1
            text = simple[kind]
            at = simple.end()
            yield Word((text,), simple.start(kind) - (kind > 1), at, kind == 1)
            plain_in_a_row = 0 if kind > 1 or text[0] == "-" else plain_in_a_row + 1
            if plain_in_a_row > 1 and (plain := _PLAIN_WORDS.match(line, at)):
                at = plain.end()
                yield Word(tuple(_BETWEEN_BLANKS.findall(plain[0])), plain.start() + 1, at, False)
            continue
        before = _BEFORE_WORD.match(line, at)
        at = before.end() if before else at
        if at >= len(line):
            return
        plain_in_a_row = 0
        operator = _OPERATOR.match(line, at)
        if operator is None:
            word = _read_word(line, at, expand)
            yield word
            at = word.end
        else:
            text = operator[2] or operator[3] or "\n"
            yield Operator(text, at, at + 1 if text == "\n" else operator.end(), operator[1] or "")
            at = operator.end()


def refuse_operator(operator: Operator) -> WordError:
    """The error for an operator that only a shell could carry out."""
    shown = "a line break" if operator.text == "\n" else f"'{operator.text}'"
    offset = operator.offset + len(operator.descriptor)
    return needs_shell(shown, offset, operator.end - offset)


def needs_shell(what: str, offset: int, length: int) -> WordError:
    return WordError(
        f"{what} needs a shell, and tasks never starts one on the host", offset, IN_CONTAINER, length
    )


def shorten(text: str) -> str:
    """The text as a message may quote it."""
    return text if len(text) <= 60 else f"{text[:59]}…"


class _Fields:
    """Collects the pieces of a word."""

    __slots__ = ("_pieces", "done")

    def __init__(self) -> None:
        self.done: list[str] = []
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        self._pieces.append(text)

    def add_split(self, text: str) -> None:
        """Adds what an unquoted expansion gave: it ends fields at blanks, and alone it makes none when empty."""
        first, *others = _FIELD_BREAK.split(text)
        if first:
            self.add(first)
        for each in others:
            self.close()
            if each:
                self.add(each)

    def close(self) -> None:
        if self._pieces:
            self.done.append("".join(self._pieces))
            self._pieces = []


def _read_word(line: str, start: int, expand: Expand | None) -> Word:
    fields = _Fields()
    at = start
    if expand is not None and _TILDE.match(line, at):
        fields.add(expand.tilde(at))
        at += 1
    while at < len(line):
        match line[at]:
            case "'":
                end = line.find("'", at + 1)
                if end < 0:
                    raise WordError("quote ' is never closed", at)
                fields.add(line[at + 1 : end])
                at = end + 1
            case '"':
                text, at = _read_double_quotes(line, at, expand)
                if text is not None:
                    fields.add(text)
            case "$" | "`":
                text, at = _read_dollar(line, at, expand)
                fields.add_split(text or "")
            case "\\":
                if line[at + 1 : at + 2] != "\n":
                    fields.add(line[at + 1 : at + 2] or "\\")
                at = min(at + 2, len(line))
            case _:
                ordinary = _ORDINARY.match(line, at)
                if ordinary is None:
                    break
                fields.add(ordinary[0])
                at = ordinary.end()
    fields.close()
    return Word(tuple(fields.done), start, at, fields.done == [line[start:at]])


def _read_double_quotes(line: str, start: int, expand: Expand | None) -> tuple[str | None, int]:
    """The text of the quotes that open at `start`, None for no word, and the offset behind them."""
    pieces: list[str] = []
    nothing = False
    at = start + 1
    while at < len(line):
        ordinary = _BEFORE_DOUBLE_QUOTE.match(line, at)
        if ordinary is not None:
            pieces.append(ordinary[0])
            at = ordinary.end()
            continue
        match line[at]:
            case '"':
                return None if nothing and not pieces else "".join(pieces), at + 1
            case "\\":
                following = line[at + 1 : at + 2]
                if following != "\n":
                    pieces.append(following if following in ("$", "`", '"', "\\") else "\\" + following)
                at += 2
            case _:
                text, at = _read_dollar(line, at, expand)
                if text is None:
                    nothing = True
                else:
                    pieces.append(text)
    raise WordError('quote " is never closed', start)


def _read_dollar(line: str, at: int, expand: Expand | None) -> tuple[str | None, int]:
    if line[at] == "`" or line.startswith("$(", at):
        operator = "$((" if line.startswith("$((", at) else "$(" if line[at] == "$" else "`"
        raise needs_shell(f"'{operator}'", at, len(operator))
    return ("$", at + 1) if expand is None else expand.dollar(line, at)
