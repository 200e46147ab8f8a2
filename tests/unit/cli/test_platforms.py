"""What `--platform` takes."""

from __future__ import annotations

import pytest

from tasks_engine.cli.platforms import read_platform
from tasks_engine.errors import UsageError


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux", "linux/arm64"),
        ("linux/amd64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86", "linux/386"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_a_platform_gets_its_usual_name(text: str, platform: str) -> None:
    assert read_platform(text, "arm64") == platform


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("mac", "operating systems are linux, windows"),
        ("amd64", "operating systems are linux, windows"),
        ("linux/sparc", "architectures of linux are amd64, arm64, arm,"),
        ("windows/arm", "architectures of windows are amd64, arm64"),
        ("linux/arm/v9", "variants of linux/arm are v5, v6, v7"),
        ("linux/386/v1", "variants of linux/386 do not exist"),
        ("linux/arm/v7/x", "the form is os[/architecture[/variant]]"),
        ("linux/", "the form is os[/architecture[/variant]]"),
        ("linux//v7", "the form is os[/architecture[/variant]]"),
        ("linux/amd64,linux/arm64", "architectures of linux are"),
    ],
)
def test_what_is_no_platform_is_refused_with_what_there_is(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_platform(text, "amd64")
    assert repr(text) in caught.value.message
    assert hint in caught.value.hint
