from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import Int64, Value

MOMENT = datetime(2024, 1, 2, 3, 4, 5, 60_000, tzinfo=UTC)
TABLE = function_table(MOMENT, "seed")


@pytest.mark.parametrize(
    ("value", "text"),
    [("hi", "aGk="), ("", ""), (None, ""), (5, "NQ=="), (["a"], "W2Fd"), ("é", "w6k="), ("\udcff", "/w==")],
)
def test_base64_of_any_value(value: Value, text: str) -> None:
    assert TABLE["b64enc"](value) == text


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("aGk=", "hi"),
        ("aG\r\nk=\n", "hi"),
        ("", ""),
        ("/w==", "\udcff"),
        ("aGl=", "hi"),
        ("x", "illegal base64 data at input byte 0"),
        ("aGk", "illegal base64 data at input byte 0"),
        ("aGk==", "illegal base64 data at input byte 4"),
        ("a=k=", "illegal base64 data at input byte 1"),
        ("aGkxaGk*", "illegal base64 data at input byte 7"),
        ("aGkx-_", "illegal base64 data at input byte 4"),
        ("YQ=", "illegal base64 data at input byte 3"),
        ("YQ=x", "illegal base64 data at input byte 2"),
        ("aGk=x", "illegal base64 data at input byte 4"),
    ],
)
def test_base64_decoded(text: str, result: str) -> None:
    assert TABLE["b64dec"](text) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("NBUQ====", "hi"),
        ("NBUQ\n====", "hi"),
        ("", ""),
        ("x", "illegal base32 data at input byte 0"),
        ("NBUQ", "illegal base32 data at input byte 0"),
        ("NBUQ===", "illegal base32 data at input byte 7"),
        ("N=======", "illegal base32 data at input byte 1"),
        ("NBU=====", "illegal base32 data at input byte 3"),
        ("NBUQ===x", "illegal base32 data at input byte 6"),
    ],
)
def test_base32_decoded(text: str, result: str) -> None:
    assert TABLE["b32dec"](text) == result


def test_base32_encoded() -> None:
    assert TABLE["b32enc"]("hi") == "NBUQ===="


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (Int64(5), "5"),
        (1.0, "1"),
        (1.5, "1.5"),
        (100000000.0, "100000000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-10, "1.5e-10"),
        (-0.0, "-0"),
        ({"b": "x", "a": [1, 2]}, '{"a":[1,2],"b":"x"}'),
        ("<a> & 'b' \"c\"\\", '"\\u003ca\\u003e \\u0026 \'b\' \\"c\\"\\\\"'),
        ("\n\r\t\b\f\x01\x7f\u2028é", '"\\n\\r\\t\\b\\f\\u0001\x7f\\u2028é"'),
        ("\udcff", '"\\ufffd"'),
        (MOMENT, '"2024-01-02T03:04:05.06Z"'),
        ([], "[]"),
        ({}, "{}"),
        # JSON has no form for them
        ([float("nan")], ""),
        (float("inf"), ""),
    ],
)
def test_json(value: Value, text: str) -> None:
    assert TABLE["toJson"](value) == text


def test_a_version_is_text_in_json() -> None:
    assert TABLE["toJson"](TABLE["semver"]("v1.2")) == '"1.2.0"'


def test_pretty_json() -> None:
    value = {"b": [], "a": {}, "c": [1, {"x": None}]}
    assert TABLE["toPrettyJson"](value) == (
        '{\n  "a": {},\n  "b": [],\n  "c": [\n    1,\n    {\n      "x": null\n    }\n  ]\n}'
    )


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("html", ("<a href=\"x\">'&'</a>\0",), "&lt;a href=&#34;x&#34;&gt;&#39;&amp;&#39;&lt;/a&gt;\ufffd"),
        ("html", (1, 2, "<"), "1 2&lt;"),
        ("html", (None,), "&lt;no value&gt;"),
        ("js", ('it\'s "<&=>"\n\\é\u200b',), 'it\\\'s \\"\\u003C\\u0026\\u003D\\u003E\\"\\u000A\\\\é\\u200B'),
        ("js", ([1],), "[1]"),
        ("urlquery", ("a b&é~/",), "a+b%26%C3%A9~%2F"),
        ("urlquery", ("\udcff",), "%FF"),
    ],
)
def test_escaping(name: str, arguments: tuple[Value, ...], text: str) -> None:
    assert TABLE[name](*arguments) == text
