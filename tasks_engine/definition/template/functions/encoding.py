"""Base64 and Base32. What cannot be decoded gives Go's message as the result, as in Sprig."""

from __future__ import annotations

import base64
import re

from tasks_engine.definition.template.functions.octets import from_bytes, to_bytes
from tasks_engine.definition.template.functions.printing import printed
from tasks_engine.definition.template.functions.signatures import ANY, TEXT, Takes
from tasks_engine.definition.template.values import Value

_LINE_BREAKS = re.compile(rb"[\r\n]")
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/\r\n]*")
_BASE32_RUN = re.compile(rb"[A-Z2-7]*")
#: lengths of the last group of eight characters that stand for whole bytes
_BASE32_ENDS = (0, 2, 4, 5, 7)


def encode_base64(value: Value) -> str:
    """Any value, as it is printed; nil as nothing."""
    return "" if value is None else base64.b64encode(to_bytes(printed(value))).decode()


def decode_base64(text: str) -> str:
    octets = decoded_base64(text)
    if octets is None:
        return f"illegal base64 data at input byte {_find_base64_error(to_bytes(text))}"
    return from_bytes(octets)


def decoded_base64(text: str) -> bytes | None:
    """The bytes behind Base64; None where it is damaged."""
    octets = to_bytes(text)
    return base64.b64decode(octets) if _find_base64_error(octets) is None else None


def encode_base32(text: str) -> str:
    return base64.b32encode(to_bytes(text)).decode()


def decode_base32(text: str) -> str:
    octets = _LINE_BREAKS.sub(b"", to_bytes(text))
    error = _find_base32_error(octets)
    if error is not None:
        return f"illegal base32 data at input byte {error}"
    data = octets.partition(b"=")[0]
    return from_bytes(base64.b32decode(data + b"=" * (-len(data) % 8)))


def _find_base64_error(octets: bytes) -> int | None:
    """The offset that Go names where Base64 is damaged; None where it is not. Line breaks are nothing."""
    run = _BASE64_RUN.match(octets)
    assert run is not None  # it matches nothing, too
    end = run.end()
    complete = end - len(_LINE_BREAKS.findall(octets, 0, end))
    missing = -complete % 4
    if end == len(octets):
        # Go counts back from the end by the characters of the group that is not complete
        return None if not missing else end - complete % 4
    if octets[end : end + 1] != b"=" or missing not in (1, 2):
        return end
    at = _skip_line_breaks(octets, end + 1)
    if missing == 2:
        if at == len(octets):
            return at
        if octets[at : at + 1] != b"=":
            return at - 1
        at = _skip_line_breaks(octets, at + 1)
    return None if at == len(octets) else at


def _skip_line_breaks(octets: bytes, at: int) -> int:
    while octets[at : at + 1] in (b"\r", b"\n"):
        at += 1
    return at


def _find_base32_error(octets: bytes) -> int | None:
    run = _BASE32_RUN.match(octets)
    assert run is not None  # it matches nothing, too
    end, length = run.end(), len(octets)
    in_group = end % 8
    if end == length:
        return None if not in_group else end - in_group
    padding = length - end
    if octets[end : end + 1] != b"=" or in_group < 2 or padding > 8:
        return end
    if in_group + padding < 8:
        return length
    for at in range(end + 1, end + 8 - in_group):
        if octets[at : at + 1] != b"=":
            return at - 1
    if in_group not in _BASE32_ENDS:
        return end
    return None


SIGNATURES = {
    "b64enc": Takes(encode_base64, ANY),
    "b64dec": Takes(decode_base64, TEXT),
    "b32enc": Takes(encode_base32, TEXT),
    "b32dec": Takes(decode_base32, TEXT),
}
