from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Value

TABLE = function_table(datetime(2024, 1, 2, tzinfo=UTC), "seed")


@pytest.mark.parametrize(
    ("path", "base", "directory", "extension", "cleaned"),
    [
        ("", ".", ".", "", "."),
        ("/", "/", "/", "", "/"),
        ("a/b.txt", "b.txt", "a", ".txt", "a/b.txt"),
        ("/a/b/", "b", "/a/b", "", "/a/b"),
        ("a//b/./c/../d", "d", "a/b", "", "a/b/d"),
        ("../a", "a", "..", "", "../a"),
        ("/../a", "a", "/", "", "/a"),
        ("a/../..", "..", ".", ".", ".."),
        ("a.tar.gz", "a.tar.gz", ".", ".gz", "a.tar.gz"),
        ("a.b/c", "c", "a.b", "", "a.b/c"),
    ],
)
def test_paths(path: str, base: str, directory: str, extension: str, cleaned: str) -> None:
    results = [TABLE[name](path) for name in ("base", "dir", "ext", "clean")]
    assert results == [base, directory, extension, cleaned]


def test_absolute_paths() -> None:
    assert [TABLE["isAbs"](path) for path in ("/a", "a", "")] == [True, False, False]


def parsed(**parts: str) -> dict[str, str]:
    names = ("scheme", "host", "hostname", "path", "query", "opaque", "fragment", "userinfo")
    return {name: parts.get(name, "") for name in names}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", parsed()),
        (
            "proto://auth@host:80/path?query#fragment",
            parsed(
                scheme="proto",
                userinfo="auth",
                host="host:80",
                hostname="host",
                path="/path",
                query="query",
                fragment="fragment",
            ),
        ),
        ("HTTPS://u:p%40@h", parsed(scheme="https", userinfo="u:p%40", host="h", hostname="h")),
        ("mailto:a@b?x", parsed(scheme="mailto", opaque="a@b", query="x")),
        ("/a%2Fb c?x=%20#%41", parsed(path="/a/b c", query="x=%20", fragment="A")),
        ("//h/p", parsed(host="h", hostname="h", path="/p")),
        ("///p", parsed(path="///p")),
        ("*", parsed(path="*")),
        ("http://[::1]:80", parsed(scheme="http", host="[::1]:80", hostname="::1")),
        ("http://[fe80::1%25en0]", parsed(scheme="http", host="[fe80::1%en0]", hostname="fe80::1%en0")),
    ],
)
def test_url_parse(text: str, parts: dict[str, str]) -> None:
    assert TABLE["urlParse"](text) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (":a", "the URL begins with a colon: its scheme is missing"),
        ("a b:c", "the first part of a path without a scheme must not have a colon"),
        ("http://h/\n", "a URL has no control characters"),
        ("http://h/%zz", "a percent sign in a URL needs two hexadecimal digits behind it"),
        ("http://h:x", "':x' is not a port"),
        ("http://h:1:2", "':1:2' is not a port"),
        ("http://a b/", "' ' cannot stand in a host"),
        ("http://%41/", "only characters beyond ASCII can be escaped in a host"),
        ("http://[::1", "a bracket in the host is never closed"),
        ("http://[abc]", "'abc' is not an IPv6 address"),
        ("http://u^@h", "the user information of the URL has a character that must be escaped"),
    ],
)
def test_what_is_no_url(text: str, message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["urlParse"](text)
    assert str(caught.value) == f"urlParse: {message}"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (None, ""),
        ({}, ""),
        (
            {"scheme": "http", "host": "host:80", "path": "/path", "query": "query", "fragment": "frag"},
            "http://host:80/path?query#frag",
        ),
        ({"scheme": "http", "host": "h", "path": "p é"}, "http://h/p%20%C3%A9"),
        ({"scheme": "mailto", "opaque": "a@b", "host": "ignored"}, "mailto:a@b"),
        ({"host": "h", "userinfo": "u:p@x"}, "//u:p%40x@h"),
        ({"path": "a:b"}, "./a:b"),
        ({"scheme": "file", "path": "/a"}, "file:///a"),
        ({"other": 5, "path": "/a"}, "/a"),
    ],
)
def test_url_join(parts: Value, text: str) -> None:
    if parts and "userinfo" in parts:
        parts = {**parts, "userinfo": "u:p%40x"}
    assert TABLE["urlJoin"](parts) == text


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"path": 5}, "urlJoin: path must be text, not the number 5"),
        ({"host": None}, "urlJoin: host must be text, not nil"),
        ({"userinfo": "u^"}, "urlJoin: the user information of the URL has a character that must be escaped"),
    ],
)
def test_what_url_join_refuses(parts: Value, message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["urlJoin"](parts)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "text", "result"),
    [
        ("env", "HOME", ""),
        ("expandenv", "a$X${Y}b$$c$1$ $- ${} $é $_a-b$", "abc$   $é -b$"),
        ("expandenv", "${a", "a"),
        ("expandenv", "a}${b} ${c", "a} c"),
    ],
)
def test_the_environment_is_empty(name: str, text: str, result: str) -> None:
    assert TABLE[name](text) == result


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("genPrivateKey", "keys do not belong in the text of a task"),
        ("genCA", "certificates and their keys do not belong in the text of a task"),
        ("genSelfSignedCert", "certificates and their keys do not belong in the text of a task"),
        ("genSignedCert", "certificates and their keys do not belong in the text of a task"),
        ("buildCustomCert", "certificates and their keys do not belong in the text of a task"),
        ("getHostByName", "the text of a task must not depend on what a host name stands for"),
    ],
)
def test_what_a_task_has_no_business_with(name: str, reason: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE[name]("x", 1)
    assert str(caught.value).startswith(f"{name}: {reason}")
