"""Text and characters in quotes, as Go's strconv writes them."""

from __future__ import annotations

import re

from tasks_engine.definition.template.functions.octets import joined

#: what may need an escape; most of a text does not
_SUSPECT = re.compile(r"[^ !#-\[\]-~]")
_SHORT = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
}


def quote(text: str, *, only_ascii: bool = False) -> str:
    """The text as a Go literal in double quotes."""
    escaped = _SUSPECT.sub(lambda match: _escape(match[0], '"', only_ascii), joined(text))
    return f'"{escaped}"'


def quote_character(character: str, *, only_ascii: bool = False) -> str:
    """One character as a Go literal in single quotes."""
    return f"'{_escape(character, chr(39), only_ascii)}'"


def can_stand_in_backquotes(text: str) -> bool:
    """Whether a Go literal in backquotes can hold the text."""
    return not any(
        (each < " " and each != "\t") or each in "`\x7f\ufeff" or "\ud800" <= each <= "\udfff"
        for each in text
    )


def is_printable(character: str) -> bool:
    """Go's IsPrint: letters, marks, numbers, punctuation, symbols and the blank."""
    return character.isprintable()


def _escape(character: str, mark: str, only_ascii: bool) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character == mark:
        return f"\\{mark}"
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if is_printable(character) and (code < 0x80 or not only_ascii):
        return character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
