"""Arbitrary templates: what is refused, where things come from, and secrets that are not there yet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tasks_engine.definition.source import SourceText
from tasks_engine.definition.template import Rendered, render
from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.secret_text import (
    START,
    Secrets,
    find_mark,
    mask_tokens,
    reveal,
    secret_value,
)
from tasks_engine.definition.template.values import FunctionError
from tasks_engine.errors import DefinitionError

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
FUNCTIONS = function_table(NOW, "seed")

plain_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\U000f5ec0\U000f5ec1"))
fragments = st.lists(
    st.sampled_from(
        [
            *("{{", "}}", "{{- ", " -}}", "{{/*", "*/}}", "\n", " ", "\t", "text ", "é", "<no value>", "-"),
            *(
                "{{.Run.ID}}",
                "{{ .Values.a }}",
                "{{ .Secrets.s }}",
                "{{ .Values.nope }}",
                "{{ end }}",
                "{{else}}",
            ),
            *(
                "{{ if .Values.a }}",
                "{{ with .Values.m }}",
                "{{ range .Values.l }}",
                "{{ range $i, $x := .Values.m }}",
            ),
            *(
                "{{ else if .Values.l }}",
                "{{ else with .Values.a }}",
                "{{ break }}",
                "{{ continue }}",
                "{{ range 3 }}",
            ),
            *(
                '{{ define "t" }}',
                '{{ template "t" . }}',
                '{{ block "b" .Values }}',
                "{{ $x := 1 }}",
                "{{ $x = . }}",
            ),
            *("{{ $x }}", "{{ $x := .Values.l }}", "{{ $.Run.ID }}", "{{ . }}", '{{ template "b" 1 }}'),
            *(
                ".a",
                ".Values",
                ".Secrets",
                "$x",
                "$",
                ".",
                "nil",
                "true",
                "1",
                "-1.5",
                "0x1F",
                "'a'",
                '"s"',
                "`r`",
            ),
            *(" | ", "(", ")", " := ", " = ", ", ", "if ", "range ", "print ", "printf ", "upper ", "index "),
            *(
                "list ",
                "dict ",
                "toJson ",
                "default ",
                "and ",
                "or ",
                "eq ",
                "len ",
                "add ",
                "set ",
                "until ",
                "fail ",
            ),
        ]
    ),
    max_size=25,
).map("".join)
templates = fragments | st.text() | st.text().map("{{ {} }}".format) | fragments.map("{{{{ {} }}}}".format)


def data(value: Any = "x") -> dict[str, Any]:
    return {
        "Run": {"ID": "r1"},
        "Values": {
            "a": value,
            "l": [1, "b", {"c": None}],
            "m": {"a": "A", "b": 2.5},
            "token": secret_value("v"),
        },
        "Secrets": Secrets(),
    }


def rendered(template: str, value: Any = "x") -> Rendered:
    return render(SourceText("f", template), data(value), lambda: function_table(NOW, "seed"))


@given(templates)
@settings(max_examples=1000)
@example("{{ print (list .)}}")
@example("{{ range $i, $x = .Values.l }}{{ end }}")
@example("{{ or 1 ($x := 2) }}{{ $x }}")
def test_any_text_is_rendered_or_refused_at_a_place_in_it(template: str) -> None:
    try:
        result = rendered(template)
    except DefinitionError as error:
        assert error.message
        problems = [error]
    else:
        problems = list(result.warnings)
        assert find_mark(mask_tokens(result.source.text)) == find_mark(template)
    lines = template.split("\n")
    for problem in problems:
        place = problem.location
        assert place is not None
        assert 1 <= place.line <= len(lines)
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1
        assert place.width >= 1
        assert str(problem)


@given(templates)
def test_rendering_twice_gives_the_same(template: str) -> None:
    outcomes = []
    for _ in range(2):
        try:
            outcomes.append(rendered(template).source.text)
        except DefinitionError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@given(st.text() | st.text(alphabet="{}-/* \n<>no value"))
def test_text_without_actions_comes_back(text: str) -> None:
    assume("{{" not in text and "<no value>" not in text)
    assert rendered(text).source.text == text


@given(templates)
@settings(max_examples=500)
def test_every_character_knows_its_place(template: str) -> None:
    """It stands there as it is, or there begins the action that it comes out of."""
    try:
        source = rendered(template).source
    except DefinitionError:
        return
    starts = [0, *(index + 1 for index, character in enumerate(template) if character == "\n")]
    values = [False] * len(source.text)
    for start, end in source.values():
        values[start:end] = [True] * (end - start)
    for position, character in enumerate(source.text):
        place = source.locate(position)
        origin = starts[place.line - 1] + place.column - 1
        if place.width > 1 or values[position]:
            assert template.startswith("{{", origin)
        else:
            assert template[origin] == character


@given(st.lists(st.tuples(plain_text, st.sampled_from(["a", "b"])), max_size=6), plain_text)
def test_what_is_printed_is_the_text_with_the_values(parts: list[tuple[str, str]], end: str) -> None:
    assume("{" not in "".join(text for text, _ in parts) + end)
    template = "".join(f"{text}x{{{{ .Values.m.{name} }}}}" for text, name in parts) + f"{end}x"
    wanted = "".join(f"{text}x{'A' if name == 'a' else '2.5'}" for text, name in parts) + f"{end}x"
    assume("<no value>" not in wanted)
    assert rendered(template).source.text == wanted


#: each with the value it is applied to in the place of §
CALLS = """
    upper § ; lower § ; title § ; untitle § ; trim § ; nospace § ; quote § | upper ; squote § | lower ; toString §
    toJson § ; toPrettyJson § ; b64enc § ; b64dec § ; b32enc § ; b32dec § ; sha1sum § ; sha256sum § ; adler32sum §
    html §
    js § ; urlquery § ; print § ; println § ; snakecase § ; camelcase § ; kebabcase § ; swapcase § ; initials §
    base § ; dir § ; ext § ; clean § ; trunc 3 § ; trunc -3 § ; abbrev 5 § ; abbrevboth 3 8 § ; indent 2 § ; nindent 2 §
    repeat 2 § ; replace "a" "bb" § ; replace "x" § "axa" ; trimAll "a" § ; trimPrefix "a" § ; trimSuffix "a" §
    substr 1 3 § ; wrap 5 § ; wrapWith 5 "-" § ; default "d" § ; cat "x" § 1 ; coalesce "" § ; default § nil
    default § "y" ; ternary § 1 true ; ternary § 1 false ; printf "%s|%5s|%q|%v|%d" § § § 1.5 7 ; print 1 § 2 "a" §
    list "a" § | join "," ; list § 1.5 ; list 1 § nil | toJson ; dict "k" § | toJson ; (dict "k" §).k ; list § | first
    index (list §) 0 ; regexReplaceAll "[aeiou]+" § "<${0}>" ; regexReplaceAllLiteral "a" § "$0" ; or nil § ; and 1 §
    append (list "a") § | last ; concat (list §) (list 2) ; pick (dict "k" §) "k" | toJson ; reverse (list § 1)
"""
calls = st.sampled_from([call.strip() for line in CALLS.strip().splitlines() for call in line.split(" ; ")])
secret_texts = (
    plain_text
    | st.text(alphabet="abc \n'\"@Aé9=-_")
    | st.sampled_from(["", "YWJj", "a b", "x" * 300, "{{ . }}"])
)


@given(st.lists(calls, max_size=5), secret_texts, plain_text)
@settings(max_examples=1000)
def test_a_secret_gives_in_the_end_what_its_value_gives(chain: list[str], value: str, around: str) -> None:
    ending = around.replace("{", "").replace("<no value>", "")
    expression = "§"
    for each in chain:
        expression = f"({each.replace('§', expression)})"
    try:
        wanted = rendered(f"[{{{{ {expression.replace('§', '.Values.a')} }}}}]{ending}", value).source.text
    except DefinitionError:
        return
    assume("<no value>" not in value)
    for name in (".Secrets.s", ".Values.token"):
        text = rendered(f"[{{{{ {expression.replace('§', name)} }}}}]{ending}").source.text
        assume(text[2:3] != START)  # quotes that a command line or YAML drops stand outside of the token
        assert reveal(text, lambda _kind, _name: value, FUNCTIONS) == wanted


@given(st.lists(calls, max_size=5), secret_texts)
def test_a_value_that_a_function_refuses_is_refused_as_a_secret_too(chain: list[str], value: str) -> None:
    """Unless what it makes of it is not used."""
    expression = "§"
    for each in chain:
        if not each.startswith(("default §", "ternary §", "and", "or")):
            expression = f"({each.replace('§', expression)})"
    try:
        rendered(f"[{{{{ {expression.replace('§', '.Values.a')} }}}}]", value)
    except DefinitionError:
        with pytest.raises((DefinitionError, FunctionError)):
            text = rendered(f"[{{{{ {expression.replace('§', '.Secrets.s')} }}}}]").source.text
            reveal(text, lambda _kind, _name: value, FUNCTIONS)
