"""From the text of a file to YAML: in which order, with what data, and what is refused on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from textwrap import dedent
from typing import Any

import pytest

from tasks_engine.definition.aliases import UnreadableSource
from tasks_engine.definition.expand import (
    Expanded,
    expand_text,
    registry_name,
    run_variables,
    shell_quote,
    structure_warnings,
)
from tasks_engine.definition.model import RUN_VARIABLES, Inputs
from tasks_engine.definition.nodes import parse_yaml
from tasks_engine.definition.template.secret_text import mask_tokens
from tasks_engine.errors import DefinitionErrors

NOON = datetime(2024, 1, 2, 12, 4, 5, tzinfo=UTC)
MARK = "\U000f5ec0"


def expanded(text: str, sources: dict[str, str] | None = None, **inputs: Any) -> Expanded:
    def read_source(name: str) -> str:
        if sources is None or name not in sources:
            raise UnreadableSource("gone")
        return sources[name]

    return expand_text(text, "f", Inputs(**inputs), read_source)


def text_of(text: str, **options: Any) -> str:
    return expanded(text, **options).source.text


def problem(text: str, **options: Any) -> tuple[str, str]:
    with pytest.raises(DefinitionErrors) as caught:
        expanded(text, **options)
    [only] = caught.value.problems
    return only.message, only.rule


def changes_of_structure(text: str, **values: Any) -> list[str]:
    source = expanded(dedent(text), values=values).source
    return [str(each.location) for each in structure_warnings(source, parse_yaml(source))]


def test_below_v1_1_0_nothing_is_an_alias() -> None:
    assert text_of("version: v1.0.0\nalias: {values: {a: b}}\nx: $ID $a") == (
        "version: v1.0.0\nalias: {values: {a: b}}\nx: $ID $a"
    )


def test_from_v1_1_0_aliases_are_replaced_and_their_block_is_cut_out() -> None:
    assert text_of("version: v1.1.0\nalias: {values: {a: b}}\nx: $ID $a\n", run={"ID": "r1"}) == (
        "version: v1.1.0\nx: r1 b\n"
    )


def test_aliases_are_replaced_before_the_block_too() -> None:
    assert text_of("x: $a\nversion: v1.1.0\nalias: {values: {a: b}}\n") == "x: b\nversion: v1.1.0\n"


def test_the_block_is_a_template_of_its_own() -> None:
    text = "version: v1.1.0\nalias: {values: {a: '{{.Values.a}}-{{.Run.ID}}'}}\nx: $a\n"
    assert text_of(text, run={"ID": "r1"}, values={"a": "v"}) == "version: v1.1.0\nx: v-r1\n"


def test_a_template_in_the_text_of_a_source_is_rendered_where_it_is_pasted() -> None:
    text = "version: v1.1.0\nalias: {src: [s]}\nx: $a\n"
    assert text_of(text, sources={"s": "a: '{{.Run.ID}}'"}, run={"ID": "r1"}) == "version: v1.1.0\nx: r1\n"


def test_a_value_of_a_template_holds_no_aliases() -> None:
    assert text_of("version: v1.1.0\nx: {{.Values.a}}\n", values={"a": "$ID"}) == "version: v1.1.0\nx: $ID\n"


def test_comment_lines_are_dropped_before_anything_else() -> None:
    assert text_of("# {{ nonsense\nversion: v1.1.0\n# $ID\nx: 1 # {{.Run.ID}}\n", run={"ID": "r"}) == (
        "version: v1.1.0\nx: 1 # r\n"
    )


def test_without_a_reader_no_source_is_read() -> None:
    with pytest.raises(DefinitionErrors, match="nothing outside of the task file is read here"):
        expand_text("version: v1.1.0\nalias: {src: [s]}\n", "f", Inputs())


def test_range_and_conditions_make_text() -> None:
    text = "{{range $i, $n := .Values.names}}{{if $i}}, {{end}}{{$n | upper}}{{end}}"
    assert text_of(text, values={"names": ["a", "b"]}) == "A, B"


def test_a_missing_value_is_empty_and_warned_about() -> None:
    result = expanded("x: [{{.Values.a}}]")
    assert result.source.text == "x: []"
    assert [each.message for each in result.warnings] == [".Values.a has no value and is left empty"]


def test_warnings_of_the_alias_block_are_kept() -> None:
    result = expanded("version: v1.1.0\nalias: {values: {a: '{{.Values.a}}', b: $a}, foo: 1}\nx: $a\n")
    assert [each.message for each in result.warnings] == [
        ".Values.a has no value and is left empty",
        "unknown key 'foo' is ignored",
        "'$a' in the text of alias 'b' is not replaced",
    ]


@pytest.mark.parametrize(
    ("text", "message", "rule"),
    [
        (
            "x: {{.Values.a.b}}",
            "in {{ .Values.a.b }}: .Values.a has no field 'b': it is missing",
            "template-exec",
        ),
        ("x: {{", "'{{' is never closed by '}}'", "template-parse"),
        ("{{if false}}x{{end}}", "nothing is left of the file once its template is rendered", "empty-output"),
        ('x: {{fail "no tag"}}', 'in {{ fail "no tag" }}: no tag', "template-exec"),
        ("version: v1.1.0\nalias: {src: [s]}\n", "alias source 's' cannot be read: gone", "src-unreadable"),
    ],
)
def test_a_problem_ends_it_with_its_rule(text: str, message: str, rule: str) -> None:
    assert problem(text) == (message, rule)


def test_a_block_that_is_no_yaml_has_its_own_rule() -> None:
    assert problem("version: v1.1.0\nalias: {a\nsteps: []\n")[1] == "alias-yaml"


def test_every_run_variable_is_there() -> None:
    assert list(run_variables(Inputs())) == list(RUN_VARIABLES)
    assert run_variables(Inputs(run={"ID": "r1", "GitTag": "v1"})) == {
        **dict.fromkeys(RUN_VARIABLES, ""),
        "ID": "r1",
        "GitTag": "v1",
        "Date": "19700101-000000z",
    }


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-12))]
)
def test_the_date_is_in_utc(zone: timezone) -> None:
    assert run_variables(Inputs(now=NOON.astimezone(zone)))["Date"] == "20240102-120405z"


@pytest.mark.parametrize(
    ("registry", "name"),
    [("contoso.azurecr.io", "contoso"), ("localhost:5000", "localhost:5000"), ("", ""), (".x", "")],
)
def test_the_name_of_a_registry_ends_at_its_first_dot(registry: str, name: str) -> None:
    assert registry_name(registry) == name
    assert run_variables(Inputs(run={"Registry": registry}))["RegistryName"] == name


def test_a_variable_that_is_given_is_not_derived() -> None:
    given = {"Registry": "a.b", "RegistryName": "mine", "Date": "now"}
    assert {name: run_variables(Inputs(run=given))[name] for name in given} == given


def test_the_build_id_is_the_older_name_of_the_run_id() -> None:
    assert text_of("{{.Build.ID}}", run={"ID": "r1"}) == "r1"


def test_values_and_run_are_there_as_json_for_a_shell() -> None:
    text = "{{.ValuesJSON}}|{{.RunJSON | trunc 24}}"
    assert text_of(text, values={"b": [1, "<x>"], "a": "it's"}, run={"ID": "r1"}) == (
        """'{"a":"it'"'"'s","b":[1,"\\u003cx\\u003e"]}'|'{"Architecture":"","Bra"""
    )


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "''"),
        ("a_b-c.d/e:f,g=h@i%j+k^l", "a_b-c.d/e:f,g=h@i%j+k^l"),
        ("a b", "'a b'"),
        ("'", "''\"'\"''"),
    ],
)
def test_a_text_is_quoted_for_a_shell_where_it_must(text: str, quoted: str) -> None:
    assert shell_quote(text) == quoted


def test_a_secret_is_a_token_and_its_use_is_noted() -> None:
    result = expanded('x: {{.Secrets.a}}\ny: {{index .Secrets "b-c" | upper}}\nz: {{.Secrets.a}}')
    assert mask_tokens(result.source.text) == "x: ***\ny: ***\nz: ***"
    assert {name: str(place) for name, place in result.secrets.items()} == {"a": "f:1:4", "b-c": "f:2:4"}


def test_a_secret_of_the_alias_block_is_noted_too() -> None:
    result = expanded("version: v1.1.0\nalias: {values: {a: '{{.Secrets.s}}'}}\nx: $a\n")
    assert mask_tokens(result.source.text) == "version: v1.1.0\nx: ***\n"
    assert list(result.secrets) == ["s"]


def test_a_value_given_as_a_secret_is_a_token_and_wins() -> None:
    assert mask_tokens(text_of("{{.Values.a}}", values={"a": "plain"}, secret_values=frozenset("a"))) == "***"


def test_without_secrets_the_word_is_unknown() -> None:
    assert problem("x: {{.Secrets.a}}", has_secrets=False)[1] == "template-exec"


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"run": {"Branch": MARK}}, "run variable 'Branch' holds"),
        ({"values": {"a": {"b": [MARK]}}}, "value 'a' holds"),
        ({"values": {"a": {MARK: 1}}}, "value 'a' holds"),
        ({"values": {MARK: 1}}, f"value '{MARK}' holds"),
        ({"env": (f"A={MARK}",)}, f"environment entry 'A={MARK}' holds"),
    ],
)
@pytest.mark.parametrize("text", ["steps: []", "version: v1.1.0\nsteps: []"])
def test_nothing_from_outside_holds_marks_of_secrets(text: str, inputs: dict[str, Any], what: str) -> None:
    assert problem(text, **inputs) == (
        f"{what} a character that tasks keeps for itself (U+F5EC0 or U+F5EC1)",
        "reserved-character",
    )


@pytest.mark.parametrize("mark", ["\U000f5ec0", "\U000f5ec1"])
def test_the_file_holds_no_marks_of_secrets(mark: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        expanded(f"a: b\nx: y{mark}")
    assert str(caught.value.location) == "f:2:5"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x: {{.Values.v}}", "a"),
        ("x: {{.Values.v}}", "a b"),
        ("x: {{.Values.v}}", "registry.local:5000/app@sha256:0f"),
        ("x: '{{.Values.v}}'", "a: b"),
        ('x: "{{.Values.v}}"', "[a, #b"),
        ("x: a {{.Values.v}} b", "- x"),
        ("x: |\n  {{.Values.v}}", "a: b"),
        ("x: >\n  {{.Values.v}}\n  more", "# a"),
        ("x: a # {{.Values.v}}", "b: c # d"),
        ("x: {{.Values.v}}", ""),
        ("x: {{.Values.v | toJson}}", "a: b"),
        ("{{.Values.v}}: x", "key"),
    ],
)
def test_a_value_inside_a_text_or_comment_changes_no_structure(line: str, value: str) -> None:
    assert changes_of_structure(line, v=value) == []


@pytest.mark.parametrize(
    ("line", "value", "place"),
    [
        ("x: {{.Values.v}}", "[a]", "f:1:4"),
        ("x: {{.Values.v}}", "{a: b}", "f:1:4"),
        ("x: {{.Values.v}}", "'a'\ny: b", "f:1:4"),
        ("x: {{.Values.v}}", "a # b", "f:1:4"),
        ("x: a {{.Values.v}}", "# b", "f:1:6"),
        ("x: a # {{.Values.v}}", "b\ny: c", "f:1:8"),
        ("x: [{{.Values.v}}]", "a, b", "f:1:5"),
        ("x: '{{.Values.v}}'", "a' #", "f:1:5"),
        ("{{.Values.v}}", "a: b", "f:1:1"),
    ],
)
def test_a_value_that_becomes_more_than_a_text_is_told(line: str, value: str, place: str) -> None:
    assert changes_of_structure(line, v=value) == [place]


def test_many_values_on_one_line_are_looked_at_once_each() -> None:
    count = 20_000
    text = "x: [a] # {{range until " + str(count) + "}}{{$.Values.v}}#{{end}}"
    assert changes_of_structure(text, v="a: b") == []


def test_values_that_are_too_large_beside_a_secret_are_refused() -> None:
    inputs = Inputs(values={"large": "x" * 1_500_000}, secret_values=frozenset(["token"]))
    with pytest.raises(DefinitionErrors, match="cannot be written as JSON"):
        expand_text("a: {{ .ValuesJSON }}", "task.yaml", inputs)
