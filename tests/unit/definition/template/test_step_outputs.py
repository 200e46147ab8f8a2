"""`.Steps`: what a template makes of outputs that steps will write."""

from __future__ import annotations

import json

import pytest

from tasks_engine.definition.template.secret_text import (
    END,
    START,
    StepPart,
    call,
    has_secret,
    mask_tokens,
    places_of_tokens,
    secret,
    step_output,
    tokens_in,
)
from tests.unit.definition.template.rendering import (
    FUNCTIONS,
    error_of,
    problem_of,
    rendered,
    reveal,
    text_of,
)

STEPS = {"Steps": StepPart()}


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What templates here see has `.Steps` as well."""
    from tests.unit.definition.template import rendering

    data = rendering.data
    monkeypatch.setattr(rendering, "data", lambda **values: data(**values) | STEPS)


def outputs(kind: str, *names: str) -> str:
    return f"<{kind} {' '.join(names)}>"


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ .Steps.a.Outputs.b }}", "<output a b>"),
        ('{{ (index .Steps "a-1").Outputs.b }}', "<output a-1 b>"),
        ('{{ index (index .Steps "a-1").Outputs "b" }}', "<output a-1 b>"),
        ("{{ $s := .Steps.a }}x{{ $s.Outputs.b }}y", "x<output a b>y"),
        ("{{ with .Values.map }}{{ $.Steps.a.Outputs.b }}{{ end }}", "<output a b>"),
        ("{{ .Steps.a.Outputs.b | upper | trunc 4 }}", "<OUT"),
        ('{{ printf "%s-%s" .Steps.a.Outputs.b .Steps.a.Outputs.c }}', "<output a b>-<output a c>"),
        ("{{ .Steps.a.Outputs.b | quote }}", '"<output a b>"'),
        ('{{ default "x" .Steps.a.Outputs.b }}', "<output a b>"),
        ("{{ list .Steps.a.Outputs.b .Secrets.pw | join `,` }}", "<output a b>,<secret pw>"),
    ],
)
def test_an_output_takes_its_place_when_it_is_there(template: str, value: str) -> None:
    text = text_of(template)
    assert START in text
    assert reveal(text, outputs, FUNCTIONS) == value


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ if .Steps.a.Outputs.b }}{{ end }}", "1:7-18: the task would depend on an output of a step"),
        ("{{ if .Steps.a }}{{ end }}", "1:7-8: the task would depend on an output of a step"),
        ("{{ range .Steps }}{{ end }}", "1:10-6: the task would depend on an output of a step"),
        ("{{ len .Steps.a.Outputs.b }}", "1:4-3: len would make the task depend on an output of a step"),
        (
            "{{ eq .Steps.a.Outputs.b .Secrets.pw }}",
            "1:4-2: eq would make the task depend on the value of a secret",
        ),
        ("{{ dict .Steps.a.Outputs.b 1 }}", "1:4-4: dict would make the task depend on an output of a step"),
        ("{{ .Steps }}", "1:4-6: '.Steps' cannot be printed as a whole"),
        ("{{ .Steps.a.Outputs }}", "1:4-16: '.Steps.a.Outputs' cannot be printed as a whole"),
        ("{{ .Steps.a.Status }}", "1:4-15: a step has no field 'Status', only 'Outputs'"),
        (
            "{{ .Steps.a.Outputs.b.c }}",
            "1:4-20: .Steps.a.Outputs.b has no field 'c': it is an output of a step",
        ),
        (
            "{{ index .Steps .Secrets.pw }}",
            "1:4-5: the names of a step and of its outputs must be text that is known",
        ),
        (
            "{{ keys .Steps }}",
            "1:4-4: '.Steps' only gives single outputs: (index .Steps \"id\").Outputs.name",
        ),
        (
            '{{ index .Steps "a" "Outputs" "b" }}',
            "1:4-5: '.Steps' only gives single outputs: (index .Steps \"id\").Outputs.name",
        ),
        (
            "{{ range $x := (list now) }}{{ cat $x $.Steps.a.Outputs.b }}{{ end }}",
            "1:32-3: beside an output of a step, times and versions must be text: use date or toString",
        ),
    ],
)
def test_what_would_need_an_output_before_the_run_is_refused(template: str, problem: str) -> None:
    assert problem_of(template) == problem


def test_an_id_that_a_template_cannot_spell_is_hinted_at() -> None:
    hint = 'an id with other characters than letters stands in quotes: (index .Steps "my-…").Outputs'
    assert error_of("{{ .Steps.my-build.Outputs.digest }}").hint == hint
    assert "operators" in error_of("{{ 3-build }}").hint


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("a{{.Steps.a.Outputs.b}}c", "a{{.Steps.a.Outputs.b}}c"),
        ('{{ (index .Steps "a-1").Outputs.b }}', "{{(index .Steps `a-1`).Outputs.b}}"),
        (
            '{{ printf "%s.%s" (.Steps.a.Outputs.b | upper) "x" | trunc 3 }}',
            "{{trunc 3 (printf `%s.%s` (upper .Steps.a.Outputs.b) `x`)}}",
        ),
        ("{{ join `,` (list .Steps.a.Outputs.b) }}", "{{join `,` …}}"),
        ("{{ cat .Steps.a.Outputs.b .Secrets.pw }}", "***"),
    ],
)
def test_people_see_the_expression_unless_a_secret_is_in_it(template: str, shown: str) -> None:
    assert mask_tokens(text_of(template)) == shown


@pytest.mark.parametrize("step_id", ['a"b', "a`b", "a\\b", "a\nb", "ä b"])
def test_what_is_shown_stays_within_a_text_of_json(step_id: str) -> None:
    written = json.dumps({"x": step_output(step_id, "b").token}, ensure_ascii=False)
    assert json.loads(mask_tokens(written))["x"].endswith("`).Outputs.b}}")


def test_only_a_token_that_holds_outputs_alone_is_no_secret() -> None:
    output = step_output("a", "b")
    assert not has_secret("text")
    assert not has_secret(f"x{output.token}")
    assert not has_secret(call("upper", [output]).token)
    assert has_secret(output.token + secret("s").token)
    assert has_secret(call("cat", [output, secret("s")]).token)
    assert has_secret(f"{START}abc{END}")
    assert has_secret(START)


def test_every_token_of_a_text_is_found_at_its_place() -> None:
    first, second = step_output("a", "b"), secret("s")
    text = f"x{first.token}yz{second.token}"
    assert [(text[at : at + length], token) for at, length, token in places_of_tokens(text)] == [
        (first.token, first),
        (second.token, second),
    ]
    (token,) = tokens_in(call("cat", [first, [second]]).token)
    assert token.names == {("output", "a", "b"), ("secret", "s")}


def test_outputs_are_no_secrets_of_the_task() -> None:
    assert not rendered("{{ .Steps.a.Outputs.b }}").secrets
