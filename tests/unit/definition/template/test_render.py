from __future__ import annotations

import pytest

from tasks_engine.definition.source import Edit, SourceText
from tasks_engine.definition.template import Rendered, render
from tasks_engine.errors import DefinitionError
from tests.unit.definition.template.rendering import FUNCTIONS, data, error_of, rendered, text_of


def place(result: Rendered, part: str) -> tuple[int, int, int]:
    """Line, column and width in the author's file of a part of the result."""
    start = result.source.text.index(part)
    location = result.source.locate(start, start + len(part))
    return location.line, location.column, location.width


def without_lines(text: str, *lines: str) -> SourceText:
    source = SourceText("f", text)
    for line in lines:
        start = source.text.index(line)
        source = source.rewrite([Edit(start, start + len(line), "")])
    return source


@pytest.mark.parametrize("text", ["", "no actions {x} }}", "# {a}\n", "\ufeffa\r\n\tb\x00", "a" * 100_000])
def test_text_without_actions_is_not_touched(text: str) -> None:
    source = SourceText("f", text)
    result = render(source, data(), lambda: FUNCTIONS)
    assert result.source is source
    assert (result.warnings, result.secrets) == ((), {})


def test_values_are_not_templates_again() -> None:
    assert text_of("{{ .Values.t }}", t="{{ .Run.ID }}") == "{{ .Run.ID }}"


def test_functions_are_asked_for_only_when_the_template_calls_one() -> None:
    def never() -> dict[str, object]:
        raise AssertionError

    source = SourceText("f", "{{ if .Run.ID }}{{ range .Values.list }}{{ . }}{{ end }}{{ end }}")
    assert render(source, data(), never).source.text == "abc"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a<no value>b", "ab"),
        ("{{ `<no value>` }}x<no value>", "x"),
        ("<no {{ `value>` }}x", "x"),
        ("<no value", "<no value"),
        ("{{ .Values.nope }}<no value >", "<no value >"),
        ("<no <no value>value>", "<no value>"),
    ],
)
def test_what_go_prints_for_a_missing_value_is_removed_wherever_it_comes_from(
    template: str, text: str
) -> None:
    assert text_of(template) == text


def test_text_behind_a_removed_no_value_keeps_its_place() -> None:
    result = rendered("a {{ .Run.ID }} <no value> b {{ .Values.text }}c")
    assert result.source.text == "a r1  b xc"
    assert place(result, "b ") == (1, 28, 2)
    assert place(result, "x") == (1, 30, 18)


@pytest.mark.parametrize(
    "template", ["{{ .Values.nope }}", "<no value>", "{{/* c */}}", "{{ if false }}a{{ end }}"]
)
def test_an_empty_result_is_a_problem(template: str) -> None:
    error = error_of(template)
    assert error.message == "nothing is left of the file once its template is rendered"
    assert error.rule == "empty-output"
    assert error.location is not None
    assert (error.location.line, error.location.column) == (1, 1)


def test_white_space_is_a_result() -> None:
    assert text_of("{{ .Values.nope }} ") == " "


@pytest.mark.parametrize(
    ("template", "rule"),
    [("{{ if }}", "template-parse"), ("{{ nope }}", "template-parse"), ("{{ .Run.x.y }}", "template-exec")],
)
def test_reading_and_evaluating_break_different_rules(template: str, rule: str) -> None:
    assert error_of(template).rule == rule


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("x {{ .Run.x.y }}", "in {{ .Run.x.y }}: .Run.x has no field 'y': it is missing"),
        (
            "{{- \n.Run.x.y   |  print\n-}}",
            "in {{ .Run.x.y | print }}: .Run.x has no field 'y': it is missing",
        ),
        ("{{ end }}", "in {{ end }}: 'end' without an open if, range, with or block"),
        ("{{ .a", "'{{' is never closed by '}}'"),
        (
            "{{ print .Run.x.y " + "1 " * 100 + "}}",
            "in {{ print .Run.x.y " + "1 " * 22 + "…" + " }}: .Run.x has no field 'y': it is missing",
        ),
        ("{{ .a } {{ .b }}", "in {{ .a } {{ .b }}: unexpected '}' in a template expression"),
    ],
)
def test_a_message_begins_with_its_action(template: str, message: str) -> None:
    assert error_of(template).message == message


def test_a_problem_shows_the_place_in_the_author_s_file() -> None:
    error = error_of("steps:\n  - cmd: {{ .Values.image.name }} test\n", image="x")
    assert str(error) == (
        "f:2:13: in {{ .Values.image.name }}: .Values.image has no field 'name': it is text\n"
        "  2 |   - cmd: {{ .Values.image.name }} test\n"
        "    |             ^^^^^^^^^^^^^^^^^^"
    )


def test_places_are_those_before_lines_were_removed() -> None:
    source = without_lines("# one\na: {{ .Run.ID }}\n# two\nb: {{ .Run.x.y }}\n", "# one\n", "# two\n")
    with pytest.raises(DefinitionError) as caught:
        render(source, data(), lambda: FUNCTIONS)
    assert caught.value.location is not None
    assert (caught.value.location.line, caught.value.location.column) == (4, 7)


def test_a_problem_in_pasted_text_stands_at_what_it_was_pasted_for() -> None:
    source = SourceText("f", "a: $ID\nb: $X\n").rewrite(
        [Edit(3, 6, "{{ .Run.ID }}"), Edit(10, 12, "{{ .Run.x.y }}")]
    )
    with pytest.raises(DefinitionError) as caught:
        render(source, data(), lambda: FUNCTIONS)
    location = caught.value.location
    assert location is not None
    assert (location.line, location.column, location.width, location.text) == (2, 4, 2, "b: $X")


def test_every_part_of_the_result_knows_its_place() -> None:
    result = rendered(
        "one: {{ .Run.ID }} # c\n{{ range .Values.list }}\n- item {{ . }} end\n{{- end }}\nlast {{/* c */}}line\n"
    )
    assert result.source.text == "one: r1 # c\n\n- item a end\n- item b end\n- item c end\nlast line\n"
    assert place(result, "r1") == (1, 6, 13)
    assert place(result, "# c") == (1, 20, 3)
    assert place(result, "item a") == (3, 3, 12)
    assert place(result, "b end") == (3, 8, 11)
    assert place(result, "last line") == (5, 1, 20)


def test_text_of_a_template_stands_where_it_is_defined() -> None:
    result = rendered('{{ define "t" }}hey {{ . }}{{ end }}\n\n{{ template "t" 7 }}!')
    assert result.source.text == "\n\nhey 7!"
    assert place(result, "hey") == (1, 17, 3)
    assert place(result, "7") == (1, 21, 7)
    assert place(result, "!") == (3, 21, 1)


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("{{ .Run.ID }} and {{ .Values.text }}", ["r1", "x"]),
        ("{{ toJson .Values.list }}{{ .Values.map | toPrettyJson }}", []),
        ("{{ .Values.text | indent 2 }}{{ nindent 2 .Values.text }}", []),
        ("{{ .Values.text | quote }}", ['"x"']),
        ("{{ range .Values.list }}{{ . }}{{ end }}", ["a", "b", "c"]),
        ("{{ if true }}text{{ end }}", []),
    ],
)
def test_what_comes_out_of_actions_is_known_as_values(template: str, values: list[str]) -> None:
    source = rendered(template).source
    assert [source.text[start:end] for start, end in source.values()] == values


def test_the_first_use_of_each_secret_is_known() -> None:
    secrets = rendered('a: {{ .Secrets.pw }}\nb: {{ index .Secrets "a-b" }} {{ .Secrets.pw }}\n').secrets
    assert {name: (place.line, place.column, place.width) for name, place in secrets.items()} == {
        "pw": (1, 4, 17),
        "a-b": (2, 4, 26),
    }


def test_a_long_file_takes_little_time() -> None:
    line = "- cmd: image {{ .Values.text }} {{ .Values.text | upper }} {{ if .Values.yes }}a{{ else }}b{{ end }}\n"
    result = rendered(line * 5000)
    assert result.source.text == "- cmd: image x X a\n" * 5000
    assert result.source.locate(len(result.source.text) - 2).line == 5000
