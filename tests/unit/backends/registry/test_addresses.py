from __future__ import annotations

import pytest

from tasks_engine.backends.registry.addresses import (
    Host,
    PlainHosts,
    api_host,
    parse_host,
    parse_url,
    resolve,
)


@pytest.mark.parametrize(
    ("registry", "host"),
    [
        ("docker.io", "registry-1.docker.io"),
        ("Example.com", "example.com"),
        ("localhost:5000", "localhost:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_the_host_of_a_registry(registry: str, host: str) -> None:
    assert str(api_host(registry)) == host


@pytest.mark.parametrize("text", ["", "a b", "a:0", "a:65536", "a:x", "::1", "a/b", "ä.de", "a@b"])
def test_what_is_no_host(text: str) -> None:
    assert parse_host(text) is None


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("localhost", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("10.0.0.5:5000", True),
        ("10.0.0.5", False),
        ("localhost.example.com", False),
        ("0.0.0.0:5000", False),
    ],
)
def test_plain_http_is_for_this_machine_and_what_was_named(name: str, plain: bool) -> None:
    host = parse_host(name)
    assert host is not None
    assert PlainHosts.of({"10.0.0.5:5000"}).holds(host) is plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a", "https://a/"),
        ("HTTPS://A:443/x?y=1", "https://a/x?y=1"),
        ("http://a:443/", "http://a:443/"),
        ("https://[::1]:8/x", "https://[::1]:8/x"),
    ],
)
def test_addresses_are_read(text: str, shown: str) -> None:
    assert str(parse_url(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "ftp://a/",
        "https:///",
        "https://u@a/",
        "https://a/#x",
        "https://a/ b",
        "https://a/\r\nb",
        "https://ä/",
    ],
)
def test_other_addresses_are_none(text: str) -> None:
    assert parse_url(text) is None


def test_locations_are_resolved() -> None:
    url = parse_url("https://a/v2/x/blobs/uploads/")
    assert url is not None
    assert str(resolve(url, "../y?z=1")) == "https://a/v2/x/blobs/y?z=1"
    assert str(resolve(url, "//b/c")) == "https://b/c"
    assert resolve(url, "") is None
    assert resolve(url, "http://[") is None


def test_an_origin_has_the_port_of_its_scheme() -> None:
    url = parse_url("https://a/")
    assert url is not None
    assert url.origin == ("https", "a", 443)
    assert url.host == Host("a")
