"""Go's text is a row of bytes; ours is of characters, where a byte that is no UTF-8 is a lone surrogate.

Functions that count or cut bytes in Go do so here too: existing files rely on it for plain text, and a
character that is cut apart stays what it is there, bytes that no YAML file may hold.
"""

from __future__ import annotations

import re

from tasks_engine.definition.template.functions.bounds import check_text_length

#: what no encoder takes: surrogates that stand for no byte
_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def to_bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _NO_BYTES.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def from_bytes(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def byte_length(text: str) -> int:
    return len(text) if text.isascii() else len(to_bytes(text))


def cut(text: str, start: int, end: int) -> str:
    """The text between two offsets in bytes, both within it."""
    return text[start:end] if text.isascii() else from_bytes(to_bytes(text)[start:end])


def joined(text: str) -> str:
    """The text after bytes that came together have become characters."""
    if text.isascii() or not _SURROGATES.search(text):
        return text
    return from_bytes(to_bytes(text))


class OctetWriter:
    """Gathers a text as bytes; raises FunctionError when it grows too long."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def write(self, piece: bytes) -> None:
        self._length += len(piece)
        check_text_length(self._length)
        self._pieces.append(piece)

    @property
    def text(self) -> str:
        return from_bytes(b"".join(self._pieces))
