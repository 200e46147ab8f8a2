"""Cutting out, reading, merging and replacing aliases. How they meet templates and YAML stands in test_expand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tasks_engine.definition.aliases import (
    Aliases,
    UnreadableSource,
    aliases_enabled,
    drop_comment_lines,
    expand,
    find_version,
    merge,
    nested_references,
    read_block,
    split_blocks,
)
from tasks_engine.definition.expand import task_schema
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.structure import Structure

TEXTS = {"ID": "{{.Run.ID}}", "IDX": "longer", "repo": "app"}


def expanded(text: str, directive: str = "$", texts: Mapping[str, str] = TEXTS) -> str:
    return expand(SourceText("f", text), Aliases(texts, directive)).text.removesuffix("\n")


def drop(text: str) -> str:
    return drop_comment_lines(SourceText("f", text)).text


def block(text: str) -> Structure:
    structure, problems = read_block(SourceText("f", text), task_schema())
    assert not problems
    return structure


def merged(*blocks: str, images: Mapping[str, str] | None = None, **sources: str) -> Aliases:
    aliases, problems = merge([block(text) for text in blocks], images or {}, sources.__getitem__)
    assert not problems
    return aliases


def problems(text: str, **sources: str) -> list[tuple[str, str, str]]:
    """Place, message and rule of what is wrong with a block."""

    def read_source(name: str) -> str:
        if name not in sources:
            raise UnreadableSource("gone")
        return sources[name]

    structure, found = read_block(SourceText("f", text), task_schema())
    if not found:
        _, found = merge([structure], {}, read_source)
    return [(str(each.location), each.message, each.rule) for each in found]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$ID", "{{.Run.ID}}"),
        ("$repo/a:$ID-x", "app/a:{{.Run.ID}}-x"),
        ("$IDX $IDs", "longer $IDs"),
        ("$id $HOME $_ID $", "$id $HOME $_ID $"),
        ("$ID_x $ID.x $IDé", "{{.Run.ID}}_x {{.Run.ID}}.x {{.Run.ID}}é"),
        ("$ID$repo", "{{.Run.ID}}app"),
        ("$unknown$ID", "$unknown{{.Run.ID}}"),
        ("${ID}", "${ID}"),
        ("$$ID $$ $$$ID", "$ID $ ${{.Run.ID}}"),
        ("", ""),
    ],
)
def test_a_reference_is_the_directive_and_the_longest_name(text: str, result: str) -> None:
    assert expanded(text) == result


@pytest.mark.parametrize("directive", ["@", "&", ".", "\\", "^", "é", " "])
def test_any_character_may_be_the_directive(directive: str) -> None:
    text = f"<{directive}ID> $ID <{directive}{directive}ID>"
    assert expanded(text, directive) == f"<{{{{.Run.ID}}}}> $ID <{directive}ID>"


def test_what_is_pasted_is_not_looked_at_again() -> None:
    assert expanded("$a", texts={"a": "$b", "b": "c"}) == "$b"


def test_replaced_text_ends_with_a_plain_line_break() -> None:
    assert expand(SourceText("f", "a\r\nb"), Aliases({})).text == "a\nb\n"


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


@pytest.mark.parametrize(
    ("text", "rest", "blocks"),
    [
        ("alias:\n  values: {a: b}\nsteps: []\n", "steps: []\n", ["alias:\n  values: {a: b}\n"]),
        ("a: b\nalias : {}\n", "a: b\n", ["alias : {}\n"]),
        ("alias:\n- x: y\n", "- x: y\n", ["alias:\n"]),
        ("alias:\n---\nsteps:\n", "steps:\n", ["alias:\n---\n"]),
        (" alias: {}\n", " alias: {}\n", []),
        ("'alias': {}\n", "'alias': {}\n", []),
        ("aliases: {}\n", "aliases: {}\n", []),
        ("alias: {}\nx: y\nalias: {a: b}\n", "x: y\n", ["alias: {}\n", "alias: {a: b}\n"]),
        ("alias:\n\n  values:\n    a: b\n\nx: y", "x: y", ["alias:\n\n  values:\n    a: b\n\n"]),
    ],
)
def test_a_block_goes_from_its_key_to_the_next_one(text: str, rest: str, blocks: list[str]) -> None:
    found_rest, found = split_blocks(SourceText("f", text))
    assert (found_rest.text, [each.text for each in found]) == (rest, blocks)


def test_run_aliases_stand_for_template_actions() -> None:
    aliases = merged()
    assert (aliases.text_by_name["ID"], aliases.directive) == ("{{.Run.ID}}", "$")
    assert sorted(aliases.text_by_name) == [
        *("Architecture", "Branch", "Commit", "Date", "ID", "OS", "Registry", "RegistryName", "SharedVolume")
    ]


def test_values_keep_their_spelling_and_null_is_empty() -> None:
    texts = merged("alias: {values: {a: 010, b: yes, c: null, d: 1.10, e: ' x '}}").text_by_name
    assert [texts[name] for name in "abcde"] == ["010", "yes", "", "1.10", " x "]


def test_the_nearest_definition_wins() -> None:
    aliases = merged(
        "alias: {src: [one, two], values: {inline: here}}",
        images={"image": "built in", "both": "built in"},
        one="inline: one\nfirst: one\nlater: one\nboth: one\n",
        two="inline: two\nlater: two\nID: two\n",
    )
    texts = aliases.text_by_name
    assert [texts[name] for name in ("inline", "later", "first", "both", "image", "ID")] == [
        *("here", "two", "one", "one", "built in", "two")
    ]


def test_several_blocks_are_merged_and_the_last_directive_counts() -> None:
    aliases = merged(
        "alias: {values: {a: 1, b: 1}, directive: '@'}", "alias: {values: {b: 2}, directive: '&'}", "alias:"
    )
    assert (aliases.text_by_name["a"], aliases.text_by_name["b"], aliases.directive) == ("1", "2", "&")


def test_only_image_aliases_and_own_ones_stand_for_a_bare_first_word() -> None:
    aliases = merged(
        "alias: {values: {tool: registry.local/tool, bash: ''}}", images={"bash": "b", "az": "a"}
    )
    assert aliases.image_by_name == {"tool": "registry.local/tool", "az": "a"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "~"])
def test_an_empty_source_has_no_aliases(text: str) -> None:
    assert merged("alias: {src: [one]}", one=text) == merged()


def test_an_alias_of_a_source_keeps_its_spelling_and_null_is_empty() -> None:
    texts = merged("alias: {src: [one]}", one="a: 010\nb:\n").text_by_name
    assert (texts["a"], texts["b"]) == ("010", "")


@pytest.mark.parametrize(
    ("text", "place", "message", "rule"),
    [
        (
            "alias: {values: {a-b: c}}",
            "f:1:18",
            "alias name 'a-b' has other characters than letters and digits",
            "alias-name",
        ),
        ("alias: {directive: $$}", "f:1:20", "directive '$$' must be one character", "directive-length"),
        (
            "alias: {directive: x}",
            "f:1:20",
            "directive 'x' must be neither a letter nor a digit",
            "directive-alphanumeric",
        ),
        ("alias: {src: [no]}", "f:1:15", "alias source 'no' cannot be read: gone", "src-unreadable"),
        ("alias: {src: x}", "f:1:14", "'src' must be a list, not 'x'", "alias-yaml"),
        (
            "alias: {values: [a]}",
            "f:1:17",
            "'values' must be a map of keys to values, not a list",
            "alias-yaml",
        ),
        ("alias: {values: {a: [b]}}", "f:1:21", "'a' must be text, not a list", "alias-yaml"),
        ("alias: text", "f:1:8", "'alias' must be a map of keys to values, not 'text'", "alias-yaml"),
    ],
)
def test_what_is_wrong_with_a_block_is_told_at_its_place(
    text: str, place: str, message: str, rule: str
) -> None:
    assert problems(text) == [(place, message, rule)]


@pytest.mark.parametrize(
    ("source", "place", "message", "rule"),
    [
        ("[a]", "one:1:1", "an alias source is a map of names to text", "src-yaml"),
        ("text", "one:1:1", "an alias source is a map of names to text", "src-yaml"),
        ("a: {b: c}", "one:1:4", "alias 'a' must stand for text, not for a list or a map", "src-yaml"),
        ("a_b: c", "one:1:1", "alias name 'a_b' has other characters than letters and digits", "alias-name"),
        (
            'a: "\\U000F5EC0"',
            "one:1:4",
            "alias 'a' holds a character that tasks keeps for itself",
            "reserved-character",
        ),
        (
            "a: \U000f5ec1",
            "one:1:4",
            "alias 'a' holds a character that tasks keeps for itself",
            "reserved-character",
        ),
    ],
)
def test_what_is_wrong_with_a_source_is_told_at_its_place_there(
    source: str, place: str, message: str, rule: str
) -> None:
    assert problems("alias: {src: [one]}", one=source) == [(place, message, rule)]


def test_a_source_that_is_no_yaml_is_told_of() -> None:
    [(place, message, rule)] = problems("alias: {src: [one]}", one="a: [b")
    assert (place, message[:14], rule) == ("one:1:6", "not valid YAML", "src-yaml")


def test_all_problems_of_a_block_are_told() -> None:
    found = problems("alias: {values: {a_b: c, d_e: f}, src: [x, y], directive: ab}")
    assert [rule for *_, rule in found] == [
        *("src-unreadable", "src-unreadable", "alias-name", "alias-name", "directive-length")
    ]


def test_aliases_in_the_text_of_an_alias_are_warned_about() -> None:
    structure = block("alias: {values: {a: x, b: $a/y, c: $unknown $$}}")
    aliases, _ = merge([structure], {}, lambda name: "")
    [warning] = nested_references([structure], aliases)
    assert (str(warning.location), warning.message) == (
        "f:1:27",
        "'$a' in the text of alias 'b' is not replaced",
    )


def test_unknown_keys_of_a_block_are_warned_about() -> None:
    structure, found = read_block(SourceText("f", "alias: {value: {a: b}}"), task_schema())
    assert not found
    assert [each.hint for each in structure.warnings] == ["did you mean 'values'?"]
