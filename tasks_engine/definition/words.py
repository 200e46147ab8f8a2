"""Splits a command line into words as a POSIX shell would; a shell is never started.

Blanks separate words; single quotes keep everything; inside double quotes a backslash escapes only
`$`, backquote, `"`, `\\` and a line break; outside quotes it escapes any character. `$` and glob characters
stay literal. What only a shell could do (pipes, lists, redirections, substitution) is refused with its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPERATORS = "|&;<>()\n"
#: characters that always stand for themselves
_ORDINARY = re.compile(r"[^ \t\r\n|&;<>()'\"\\`$#]+")


@dataclass(frozen=True)
class WordError(Exception):
    """`offset` counts characters in the command line."""

    message: str
    offset: int
    hint: str = ""


def split_words(line: str, *, line_breaks_separate: bool = False) -> list[str]:
    """The words of a command line. Raises WordError for an open quote or a shell operator.

    A line break between words is a shell operator too, unless `line_breaks_separate` makes it a blank.
    """
    blanks = " \t\r\n" if line_breaks_separate else " \t\r"
    words: list[str] = []
    word: list[str] = []
    end = len(line.rstrip(" \t\r\n"))
    at = 0
    while at < len(line):
        character = line[at]
        outside = at >= end or not (words or word)
        ordinary = _ORDINARY.match(line, at)
        if ordinary is not None:
            word.append(ordinary[0])
            at = ordinary.end()
        elif character in blanks or (character == "\n" and outside):
            if word:
                words.append("".join(word))
                word = []
            at += 1
        elif character == "#" and not word:
            at += len(line[at:].partition("\n")[0])
        elif character in _OPERATORS or character == "`" or line.startswith("$(", at):
            raise _refused(line, at)
        elif character in "'\"":
            text, at = _quoted(line, at)
            word.append(text)
        elif character == "\\":
            if line[at + 1 : at + 2] != "\n":
                word.append(line[at + 1 : at + 2] or "\\")
            at += 2
        else:
            word.append(character)
            at += 1
    if word:
        words.append("".join(word))
    return words


def _quoted(line: str, start: int) -> tuple[str, int]:
    """The text of the quotes that open at `start`, and the offset behind them."""
    quote = line[start]
    text: list[str] = []
    at = start + 1
    while at < len(line):
        character = line[at]
        if character == quote:
            return "".join(text), at + 1
        if quote == '"' and (character == "`" or line.startswith("$(", at)):
            raise _refused(line, at)
        if quote == '"' and character == "\\" and line[at + 1 : at + 2] in ("$", "`", '"', "\\", "\n"):
            if line[at + 1] != "\n":
                text.append(line[at + 1])
            at += 2
            continue
        text.append(character)
        at += 1
    raise WordError(f"quote {quote} is never closed", start)


def _refused(line: str, at: int) -> WordError:
    operator = next((each for each in ("&&", "||", "$(", ">>", "<<") if line.startswith(each, at)), line[at])
    shown = "a line break" if operator == "\n" else f"'{operator}'"
    return WordError(
        f"{shown} needs a shell, and tasks never starts one on the host",
        at,
        hint="put the whole line inside the container's own shell: cmd: IMAGE sh -c '…'",
    )
