"""The forms in which the value of a secret may turn up in output. Pure.

A value is looked for as a whole and line by line, each as it is, in Base64, and with URL, JSON or shell escapes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

#: shorter texts would mask half of what people write
MIN_LENGTH = 4
#: a longer form is looked for in pieces, so that the end of output which is held back stays small
MAX_LENGTH = 4096
#: lines of Base64 as `base64` and `openssl base64` break them
_BASE64_LINES = (76, 64)
_ESCAPED_BYTE = re.compile(rb"%[0-9A-F]{2}")
#: signs that Go escapes in JSON besides those that everybody does
_GO_ESCAPES = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))
#: what shells put for a single quote inside of single quotes
_SHELL_QUOTES = (b"'\\''", b"'\"'\"'")


def forms_of(value: bytes) -> set[bytes]:
    """All forms of a value, each of MIN_LENGTH to MAX_LENGTH bytes.

    White space around a value and its lines is nothing to hide, so that forms go without it. In Base64 of a text that
    holds the value, up to six bits of its first and last byte may stay visible.
    """
    stripped = value.strip()
    parts = {stripped, *(line.strip() for line in stripped.splitlines())}
    found: set[bytes] = set()
    for part in parts:
        if len(part) >= MIN_LENGTH:
            for form in _forms_of_part(part):
                found.update(_pieces(form))
    return found


def _forms_of_part(part: bytes) -> Iterator[bytes]:
    yield part
    yield from _in_base64(part)
    yield from _url_escaped(part)
    yield from _json_escaped(part)
    yield from (part.replace(b"'", quoted) for quoted in _SHELL_QUOTES)


def _in_base64(part: bytes) -> Iterator[bytes]:
    for before in range(3):
        for form in _base64_behind(before, part):
            yield from _both_alphabets(form)
    for form in _base64_behind(0, part):
        for width in _BASE64_LINES:
            for at in range(0, len(form), width):
                yield from _both_alphabets(form[at : at + width])


def _base64_behind(before: int, part: bytes) -> Iterable[bytes]:
    """Base64 of a text that holds `part` behind `before` bytes (modulo 3), and at its end or not."""
    padded = base64.b64encode(b"\0" * before + part)
    first = -(-before * 8 // 6)
    certain = (before + len(part)) * 8 // 6
    return padded[first:], padded[first:].rstrip(b"="), padded[first:certain]


def _both_alphabets(form: bytes) -> Iterable[bytes]:
    return form, form.replace(b"+", b"-").replace(b"/", b"_")


def _url_escaped(part: bytes) -> Iterator[bytes]:
    for escaped in (quote(part, safe=""), quote(part), quote(part, safe="!'()*"), quote_plus(part)):
        form = escaped.encode()
        yield form
        yield _ESCAPED_BYTE.sub(lambda match: match[0].lower(), form)


def _json_escaped(part: bytes) -> Iterator[bytes]:
    text = part.decode("utf-8", "surrogateescape")
    for ascii_only in (True, False):
        form = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "surrogateescape")
        yield form
        for sign, escape in _GO_ESCAPES:
            form = form.replace(sign, escape)
        yield form


def _pieces(form: bytes) -> Iterator[bytes]:
    """A form in pieces of about one size, in their order; those that are too short are left out."""
    count = max(1, -(-len(form) // MAX_LENGTH))
    size = -(-len(form) // count)
    for at in range(0, len(form), size or 1):
        if len(piece := form[at : at + size]) >= MIN_LENGTH:
            yield piece
