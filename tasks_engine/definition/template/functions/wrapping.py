"""Sprig's functions that make text fit: `wrap`, `wrapWith`, `abbrev`, `abbrevboth`. They count bytes, as there."""

from __future__ import annotations

from tasks_engine.definition.template.functions.bounds import check_text_length
from tasks_engine.definition.template.functions.octets import byte_length, cut, from_bytes, to_bytes
from tasks_engine.definition.template.functions.signatures import TEXT, WHOLE, Takes

_MARK = "..."


def wrap(width: int, text: str) -> str:
    """The text in lines of at most this width; longer words stay whole."""
    return _wrapped(text, width, b"\n", breaks_words=False)


def wrap_with(width: int, separator: str, text: str) -> str:
    """The text in pieces of at most this width with a separator between them; longer words are cut."""
    return _wrapped(text, width, to_bytes(separator) or b"\n", breaks_words=True)


def abbreviate(width: int, text: str) -> str:
    """The text, or its beginning and three points, in this width; a width below 4 changes nothing."""
    return text if width < 4 else _abbreviated(text, 0, width)


def abbreviate_both(left: int, right: int, text: str) -> str:
    """The text from about `left` on, with three points for what is missing, in the width `right`."""
    if right < 4 or (left > 0 and right < 7):
        return text
    return _abbreviated(text, left, right)


def _wrapped(text: str, width: int, separator: bytes, *, breaks_words: bool) -> str:
    octets = to_bytes(text)
    width = max(width, 1)
    pieces: list[bytes] = []
    at = length = 0
    while len(octets) - at > width:
        if octets[at : at + 1] == b" ":
            at += 1
            continue
        end = octets.rfind(b" ", at, at + width + 1)
        behind = end + 1
        if end < 0 and breaks_words:
            end = behind = at + width
        elif end < 0:
            end = octets.find(b" ", at + width)
            behind = end + 1
            if end < 0:
                break
        pieces.append(octets[at:end])
        length += end - at + len(separator)
        check_text_length(length)
        at = behind
    pieces.append(octets[at:])
    return from_bytes(separator.join(pieces))


def _abbreviated(text: str, start: int, width: int) -> str:
    length = byte_length(text)
    if length <= width:
        return text
    kept = width - len(_MARK)
    start = min(start, length - kept)
    if start <= 4:
        return cut(text, 0, kept) + _MARK
    if start + kept < length:
        return _MARK + _abbreviated(cut(text, start, length), 0, kept)
    return _MARK + cut(text, length - kept, length)


SIGNATURES = {
    "wrap": Takes(wrap, WHOLE, TEXT),
    "wrapWith": Takes(wrap_with, WHOLE, TEXT, TEXT),
    "abbrev": Takes(abbreviate, WHOLE, TEXT),
    "abbrevboth": Takes(abbreviate_both, WHOLE, WHOLE, TEXT),
}
