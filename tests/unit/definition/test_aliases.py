from __future__ import annotations

import pytest

from tasks_engine.definition.aliases import aliases_enabled, drop_comment_lines, expand_aliases, find_version
from tasks_engine.definition.source import SourceText


def expand(text: str) -> str:
    return expand_aliases(SourceText("f", text)).text


def drop(text: str) -> str:
    return drop_comment_lines(SourceText("f", text)).text


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$ID", "{{.Run.ID}}"),
        ("$Registry/app:$ID-x", "{{.Run.Registry}}/app:{{.Run.ID}}-x"),
        ("$RegistryName", "{{.Run.RegistryName}}"),
        ("$IDX $id $HOME $_ID $", "$IDX $id $HOME $_ID $"),
        ("$$ID $$", "$ID $"),
        ("$ID$Date", "{{.Run.ID}}{{.Run.Date}}"),
        ("${ID}", "${ID}"),
    ],
)
def test_run_aliases_become_template_actions(text: str, expanded: str) -> None:
    assert expand(text) == expanded


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("# a\nb\n", "b\n"),
        ("a\n  \t# b\nc\n", "a\nc\n"),
        ("a # b\n", "a # b\n"),
        ("a\n# b", "a"),
        ("a\n# b\n #c", "a"),
        ("a\n# b\n", "a\n"),
        ("a\n# b\n\n# c\n\n", "a\n\n\n"),
        ("# only", ""),
        ("a\r\n# b\r\nc\r\n", "a\r\nc\r\n"),
        ("|\n  text\n  # not in a block either\n", "|\n  text\n"),
        ("a\u2028# the same line\n", "a\u2028# the same line\n"),
        ("", ""),
    ],
)
def test_comment_lines_are_dropped(text: str, kept: str) -> None:
    assert drop(text) == kept


def test_many_comment_lines_take_no_more_than_one_look_each() -> None:
    assert drop("#\n" * 50_000 + "a") == "a"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("version: v1.1.0\n", "v1.1.0"),
        ("steps: []\nversion: 'v1.1.0'\n", "v1.1.0"),
        ('"version" : v1\nversion: v2\n', "v1"),
        ("version: v1.1.0 # why\n", "v1.1.0 # why"),
        ("  version: v1\n", ""),
        ("versions: v1\n", ""),
        ("version\n", ""),
        ("version: v1.1.0\r\n", "v1.1.0"),
        ("", ""),
    ],
)
def test_the_version_is_found_in_the_text(text: str, version: str) -> None:
    assert find_version(text) == version


@pytest.mark.parametrize("version", ["v1.1.0", "V1.1.0", "v1.1.0 # x", "v2", "{{.Values.version}}"])
def test_versions_with_aliases(version: str) -> None:
    assert aliases_enabled(version)


@pytest.mark.parametrize("version", ["", "v1.0.0", "1.0-preview-1", "1.1.0"])
def test_versions_without_aliases(version: str) -> None:
    assert not aliases_enabled(version)
