from __future__ import annotations

import pytest

from tasks_engine.definition.source import SourceText
from tasks_engine.definition.template import render
from tasks_engine.errors import DefinitionError

DATA = {
    "Run": {"ID": "r1", "Registry": ""},
    "Values": {"a": {"b": [1, "x"]}, "n": 1.10, "none": None, "t": "{{.Run.ID}}"},
}


def text_of(template: str) -> str:
    return render(SourceText("f", template), DATA).source.text  # type: ignore[arg-type]


def problem(template: str) -> tuple[int, int, str]:
    with pytest.raises(DefinitionError) as caught:
        text_of(template)
    location = caught.value.location
    assert location is not None
    return location.column, location.width, caught.value.message


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("no actions {x} }}", "no actions {x} }}"),
        ("{{.Run.ID}}", "r1"),
        ("<{{ .Run.ID }}{{\n.Run.ID\t}}>", "<r1r1>"),
        ("{{.Values.a}} {{.Values.a.b}} {{.Values.n}}", "map[b:[1 x]] [1 x] 1.1"),
        ("[{{.Run.Registry}}]", "[]"),
        ("{{.Values.t}}", "{{.Run.ID}}"),
        ("a<no value>b", "ab"),
    ],
)
def test_actions_are_replaced_by_values(template: str, text: str) -> None:
    assert text_of(template) == text


def test_a_missing_value_is_left_empty_and_warned_about() -> None:
    rendered = render(SourceText("f", "a: {{.Values.nope}}\n"), DATA)  # type: ignore[arg-type]
    [warning] = rendered.warnings
    assert rendered.source.text == "a: \n"
    assert warning.message == ".Values.nope has no value and is left empty"
    assert warning.location is not None
    assert (warning.location.column, warning.location.width) == (4, 16)
    assert warning.hint == "give it with --set nope=… or in a file with --values"


def test_a_null_value_counts_as_missing() -> None:
    assert len(render(SourceText("f", "{{.Values.none}}"), DATA).warnings) == 1  # type: ignore[arg-type]


def test_going_below_a_missing_value_is_an_error() -> None:
    assert problem("x {{.Values.no.b}}") == (3, 16, ".Values.no has no field 'b': it is missing")


def test_going_below_a_text_is_an_error() -> None:
    assert problem("{{.Run.ID.x}}") == (1, 13, ".Run.ID has no field 'x': it is not a map")


@pytest.mark.parametrize(
    "action",
    [
        "{{ .Run.ID | upper }}",
        "{{ if true }}",
        "{{- .Run.ID }}",
        "{{}}",
        "{{.}}",
        "{{.Values.a-b}}",
        '{{ "x" }}',
        "{{/* c */}}",
    ],
)
def test_other_constructs_are_refused_by_name(action: str) -> None:
    inner = action[2:-2].strip()
    assert problem(f"a {action}") == (
        3,
        len(action),
        f"template expression '{inner}' is not supported by this version of tasks",
    )


def test_an_action_must_be_closed() -> None:
    assert problem("a {{.Run.ID }") == (3, 2, "'{{' is never closed by '}}'")
