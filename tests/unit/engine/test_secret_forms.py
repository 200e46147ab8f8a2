from __future__ import annotations

import base64
import json
import shlex
import subprocess
from urllib.parse import quote, quote_plus

import pytest

from tasks_engine.engine.secret_forms import MAX_LENGTH, MIN_LENGTH, forms_of

SECRET = b'p@ss "w\'rd"/1<\xc3\xa9>'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        base64.b64encode(SECRET),
        base64.b64encode(SECRET).rstrip(b"="),
        base64.urlsafe_b64encode(SECRET),
        quote(SECRET, safe="").encode(),
        quote(SECRET).encode(),
        quote_plus(SECRET).encode(),
        quote(SECRET, safe="").encode().replace(b"%C3%A9", b"%c3%a9").replace(b"%2F", b"%2f")[:10],
        json.dumps(SECRET.decode())[1:-1].encode(),
        json.dumps(SECRET.decode(), ensure_ascii=False)[1:-1].encode(),
        json.dumps(SECRET.decode())[1:-1].replace("<", "\\u003c").replace(">", "\\u003e").encode(),
        shlex.quote(SECRET.decode())[1:-1].encode(),
    ],
)
def test_a_value_is_known_in_every_form(form: bytes) -> None:
    assert any(each in form or each.startswith(form) for each in forms_of(SECRET))


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("behind", range(4))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_a_longer_text_holds_a_form(before: int, behind: int, encode) -> None:
    encoded = encode(b"u" * before + SECRET + b"x" * behind)
    longest = max((each for each in forms_of(SECRET) if each in encoded), key=len)
    assert len(longest) >= len(SECRET) * 4 // 3 - 2


def test_broken_lines_of_base64_are_forms() -> None:
    value = bytes(range(33, 233))
    encoded = subprocess.run(["base64"], input=value, capture_output=True, check=True).stdout
    assert set(encoded.splitlines()) <= forms_of(value)


def test_lines_are_forms_and_short_ones_are_not() -> None:
    forms = forms_of(b"{\n  first line,\n  }\nsecond line\n")
    assert {b"first line,", b"second line"} <= forms
    assert min(map(len, forms)) >= MIN_LENGTH


@pytest.mark.parametrize("value", [b"", b"abc", b"\n\n\n\n", b" a  ", b"  \t \n abc\n"])
def test_what_is_too_short_has_no_forms(value: bytes) -> None:
    assert forms_of(value) == set()


def test_a_long_value_is_known_in_pieces() -> None:
    value = bytes(range(33, 127)) * 500
    forms = forms_of(value)
    assert max(map(len, forms)) <= MAX_LENGTH
    assert value[:1000] in max((each for each in forms if value.startswith(each)), key=len)
