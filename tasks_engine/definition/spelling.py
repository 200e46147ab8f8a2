"""Where characters of a YAML scalar's text stand in the way it is written: quoted, folded, indented or plain."""

from __future__ import annotations

import re

_WORD = re.compile(r"\S+")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def span_in_spelling(written: str, text: str, offset: int, length: int) -> tuple[int, int] | None:
    """Start and end in `written` of `length` characters of `text` from `offset` on; of its last one behind its end.

    None when an escape spells them otherwise, or when they are blanks. Folding and indentation change blanks
    only: without blanks both end alike. What `written` begins with, such as an anchor, does not matter.
    """
    length = max(1, length)
    offset = min(offset, max(0, len(text) - 1))
    at = written.rfind(text)
    if at >= 0:
        return at + offset, at + offset + length
    spelled = _without_quotes(written)
    content = "".join(spelled.split())
    wanted = len("".join(text[offset : offset + length].split()))
    if not wanted or not content.endswith("".join(text.split())):
        return None
    first = len(content) - len("".join(text[offset:].split()))
    start, last = _nth_characters(spelled, first, first + wanted - 1)
    return start, last + 1


def _without_quotes(written: str) -> str:
    """Blanks stand for what quotes and escapes add, so that every character keeps its place."""
    if written.startswith("'"):
        return " " + written[1:-1].replace("''", " '")
    if written.startswith('"'):
        return " " + _ESCAPE.sub(_spelled, written[1:-1])
    return written


def _spelled(escape: re.Match[str]) -> str:
    if escape[1] in "nt \n":
        return "  "
    return f" {escape[1]}" if escape[1] in '"\\/' else escape[0]


def _nth_characters(text: str, *numbers: int) -> list[int]:
    """Where the characters with these numbers stand, blanks not counted; numbers are in order."""
    found: list[int] = []
    passed = 0
    for word in _WORD.finditer(text):
        length = word.end() - word.start()
        while len(found) < len(numbers) and numbers[len(found)] < passed + length:
            found.append(word.start() + numbers[len(found)] - passed)
        if len(found) == len(numbers):
            break
        passed += length
    return found
