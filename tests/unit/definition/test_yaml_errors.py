"""What is said of text that is not YAML."""

from __future__ import annotations

import pytest

from tasks_engine.definition.expand import expand_text
from tasks_engine.definition.model import Inputs
from tasks_engine.definition.nodes import parse_yaml
from tasks_engine.definition.source import SourceText
from tasks_engine.errors import DefinitionError

COLUMN = "its keys begin in the same column"


def problem(source: SourceText) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        parse_yaml(source)
    assert caught.value.rule == "yaml-syntax"
    return caught.value


@pytest.mark.parametrize(
    ("text", "place", "reason", "hint"),
    [
        ('a: b\nc: "d\ne: f\n', "2:4", 'quote " is never closed', ""),
        ("a: 'b", "1:4", "quote ' is never closed", ""),
        ("a: [b\nc: d\n", "2:2", "',' or ']' is missing", "the '[' stands in line 1"),
        ("a: {b: c\nd: e", "2:2", "',' or '}' is missing", "the '{' stands in line 1"),
        (
            "a: b: c",
            "1:5",
            "mapping values are not allowed in this context",
            "put text that contains ': ' in quotes, and check the indentation",
        ),
        ("a:\n\t- b\n", "2:1", "a tab begins the line", "YAML is indented with blanks, never with tabs"),
        (
            "{a: b, c:}",
            "1:9",
            "a ':' ends a key here",
            "put a blank behind it, or the text in quotes",
        ),
        ("a: @b", "1:4", "no text begins with '@'", "put it in quotes"),
        ("a: `b`", "1:4", "no text begins with '`'", "put it in quotes"),
        ("a: %b", "1:4", "no text begins with '%'", "put it in quotes"),
        ("a: &", "1:5", "'&' begins a name of YAML's", "put text that begins with &, * or ! in quotes"),
        ("a: * b", "1:5", "'*' begins a name of YAML's", "put text that begins with &, * or ! in quotes"),
        ("a: !x!y z", "1:4", "'!' begins a name of YAML's", "put text that begins with &, * or ! in quotes"),
        (
            'a: "\\q"',
            "1:5",
            "found unknown escape character",
            "write the backslash twice, or use single quotes",
        ),
        (
            "- a: b\n  c: d\n e: f\n",
            "3:2",
            "this line does not continue the list that begins in line 1",
            "each entry begins with '- ', in the same column",
        ),
        ("a:\n  - b\n c\n", "3:2", "this line does not continue the map that begins in line 1", COLUMN),
        (
            'a: "b" c',
            "1:8",
            "this stands behind a value that has ended",
            "put the whole value in quotes, or a line break before it",
        ),
        ("a: b\nc: \x07", "2:4", "character '\\x07' is not allowed", ""),
        ("a: \ud800", "1:4", "character '\\ud800' is not allowed", ""),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_do(
    text: str, place: str, reason: str, hint: str
) -> None:
    found = problem(SourceText("f", text))
    assert (str(found.location), found.message, found.hint) == (
        f"f:{place}",
        f"not valid YAML: {reason}",
        hint,
    )


def test_a_value_of_the_template_that_breaks_the_yaml_is_named_as_the_cause() -> None:
    source = expand_text("a: b\nc: d {{.Values.x}}", "f", Inputs(values={"x": "e: f"})).source
    found = problem(source)
    assert str(found.location) == "f:2:6"
    assert found.hint.startswith("a value of the template is read as YAML here")


@pytest.mark.parametrize("text", ['a: "\\ud800"', 'a: "\\UFFFFFFFF"', 'a: "b', "a: [b", "a: \x00", "a: b: c"])
def test_the_parser_of_python_alone_gives_errors_of_the_same_kind(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("yaml.CSafeLoader")
    assert problem(SourceText("f", text)).message.startswith("not valid YAML: ")
