from __future__ import annotations

import pytest

from tasks_engine.definition import nodes
from tasks_engine.definition.load import load_values
from tasks_engine.definition.nodes import Mapping, Scalar, parse_yaml, scalar_spans
from tasks_engine.definition.scalars import parse_value
from tasks_engine.definition.source import SourceText
from tasks_engine.errors import DefinitionError


def parse(text: str) -> nodes.Node:
    return parse_yaml(SourceText("f", text))


def plain(text: str) -> object:
    return parse_value(parse(text))


def problem(text: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        parse(text)
    location = caught.value.location
    assert location is not None
    return f"{location.line}:{location.column}: {caught.value.message}"


def test_scalars_keep_their_spelling() -> None:
    root = parse("a: 010\nb: '1'\n")
    assert isinstance(root, Mapping)
    assert [
        (key.text, value.text, value.plain) for key, value in root.pairs if isinstance(value, Scalar)
    ] == [
        ("a", "010", True),
        ("b", "1", False),
    ]


def test_scalars_know_their_place() -> None:
    root = parse("ä: b\n")
    assert isinstance(root, Mapping)
    [(key, value)] = root.pairs
    assert (key.start, key.end, value.start, value.end) == (0, 1, 3, 4)


def test_places_count_characters_not_bytes() -> None:
    assert problem("'日本語': 1\n'日本語': *x\n") == (
        "2:8: not valid YAML: '*x' refers to an anchor that no earlier line defines"
    )


def test_an_empty_text_is_a_null() -> None:
    root = parse("")
    assert isinstance(root, Scalar)
    assert root.is_null


def test_only_the_first_document_counts() -> None:
    assert plain("a: 1\n---\n[broken") == {"a": 1}


def test_a_document_mark_at_the_start_is_fine() -> None:
    assert plain("---\na: 1\n...\n") == {"a": 1}


def test_nesting_up_to_the_limit_is_read() -> None:
    assert plain("[" * nodes.MAX_DEPTH + "]" * nodes.MAX_DEPTH)


def test_nesting_beyond_the_limit_is_refused_where_it_happens() -> None:
    assert (
        problem("\n" + "[" * 200 + "]" * 200) == f"2:{nodes.MAX_DEPTH + 2}: nested more than 100 levels deep"
    )


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "? " * 100_000, "- " * 100_000])
def test_absurd_nesting_does_not_end_the_process(text: str) -> None:
    problem(text)


def test_nesting_by_anchors_counts_too() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200))]
    assert problem("\n".join(lines)) == "100:12: nested more than 100 levels deep"


def test_growth_by_anchors_is_bounded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "the file grows beyond 2000000 nodes" in problem("\n".join(lines))


def test_growth_by_merged_maps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_NODES", 50)
    lines = ["a: &a {k: v, l: w}", *(f"b{n}: {{<<: *a}}" for n in range(20))]
    assert "the file grows beyond 50 nodes" in problem("\n".join(lines))


def test_an_anchor_inside_itself_is_unknown() -> None:
    assert (
        problem("a: &a [*a]") == "1:8: not valid YAML: '*a' refers to an anchor that no earlier line defines"
    )


def test_an_anchor_may_be_defined_again() -> None:
    assert plain("a: &x 1\nb: *x\nc: &x 2\nd: *x\n") == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_a_merged_key_yields_to_an_own_one() -> None:
    assert plain("a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}\n") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}


def test_of_several_merged_maps_the_first_wins() -> None:
    assert plain("{<<: [{x: 1}, {x: 2, y: 3}]}") == {"x": 1, "y": 3}


def test_a_quoted_merge_key_is_a_key() -> None:
    assert plain("{'<<': 1}") == {"<<": 1}


@pytest.mark.parametrize(("text", "column"), [("<<: 1", 5), ("<<: [{a: 1}, 2]", 14)])
def test_only_maps_are_merged(text: str, column: int) -> None:
    assert problem(text) == f"1:{column}: '<<' takes a map or a list of maps"


def test_a_repeated_key_is_kept_and_the_last_counts() -> None:
    root = parse("a: 1\na: 2\n")
    assert isinstance(root, Mapping)
    assert len(root.pairs) == 2
    assert parse_value(root) == {"a": 2}


def test_a_key_is_text() -> None:
    assert problem("[a]: 1") == "1:1: a key must be text, not a list or a map"


def test_a_character_yaml_forbids_is_shown() -> None:
    assert problem("a: b\nc: \x00") == "2:4: not valid YAML: character '\\x00' is not allowed"


def test_half_a_surrogate_pair_is_refused() -> None:
    assert problem("a: \ud800") == "1:4: not valid YAML: character '\\ud800' is not allowed"


def test_a_long_text_that_anchors_repeat_is_bounded() -> None:
    lines = [f"a: &a {'x ' * 500_000}", "b: [" + "*a, " * 200 + "]"]
    assert "the file grows beyond 2000000 nodes" in problem("\n".join(lines))


def test_every_scalar_has_a_span() -> None:
    text = "a: [b, {c: 'd'}]\ne: *x\n".replace("*x", "f")
    assert sorted(text[start:end] for start, end in scalar_spans(parse(text))) == ["'d'", *"abcef"]


def test_works_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("yaml.CSafeLoader")
    assert plain("a: [1, 'x']\n") == {"a": [1, "x"]}


@pytest.mark.parametrize(
    ("text", "values"),
    [("", {}), ("# nothing\n", {}), ("a: 1\nb: [x, {c: null}]", {"a": 1, "b": ["x", {"c": None}]})],
)
def test_a_values_file_is_a_map(text: str, values: object) -> None:
    assert load_values(text, "values.yaml") == values


@pytest.mark.parametrize(
    ("text", "place"), [("a: .inf", "v:1:4"), ("a: [b, {c: -.Inf}]", "v:1:12"), ("a: .nan", "v:1:4")]
)
def test_values_are_finite(text: str, place: str) -> None:
    with pytest.raises(DefinitionError, match="is no finite number, and values must be") as caught:
        load_values(text, "v")
    assert (str(caught.value.location), caught.value.rule) == (place, "values-not-serialisable")


@pytest.mark.parametrize("text", ["[a]", "text", "1"])
def test_a_values_file_that_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match="a values file is a map of names to values"):
        load_values(text, "values.yaml")
