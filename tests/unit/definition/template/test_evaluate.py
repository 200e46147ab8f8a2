from __future__ import annotations

import sys
import time

import pytest

from tasks_engine.definition.template import evaluate
from tasks_engine.definition.template.values import Int64
from tasks_engine.errors import DefinitionError
from tests.unit.definition.template.rendering import error_of, problem_of, rendered, text_of


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ .Run.ID }}", "r1"),
        ("<{{.Run.ID}}{{\n.Run.ID\t}}>", "<r1r1>"),
        ("{{ .Values.number }} {{ .Values.yes }}", "1.1 true"),
        ("{{ .Values.list }} {{ .Values.nested.list }}", "[a b c] [1 map[deep:d]]"),
        ("{{ .Values.map }}", "map[a:1 b:2]"),
        ("{{ $.Run.ID }}", "r1"),
        ('{{ "a" }}{{ `b` }}{{ 1 }}{{ 1.0 }}{{ 1e9 }}{{ true }}', "ab111e+09true"),
        ("{{ 'a' }}", "97"),
        ("{{ 0x1F }} {{ 010 }} {{ -3 }}", "31 8 -3"),
        ("{{ print `a\nb` }}", "a\nb"),
        ("{{/* nothing */}}x", "x"),
        ("a {{- /* c */ -}} b", "ab"),
        ("{{ (.Values.nested).list }}", "[1 map[deep:d]]"),
        ("{{ (index .Values.nested.list 1).deep }}", "d"),
        ("{{ now.none }}", None),
        ('{{ (semver "1.2.3").Minor }}', "2"),
        ("{{ .Values.text | upper }}", "X"),
        ('{{ .Values.text | printf "%s-%s" "a" | upper }}', "A-X"),
        ("{{ print (upper .Values.text) (.Values.text | upper) }}", "XX"),
        ("{{ print nil }}", "<nil>"),
        ("{{ default `d` .Values.nope }}", "d"),
        ("{{ .Values.text | default `d` }}", "x"),
        ("{{ hello }}{{ hello | upper }}", "Hello!HELLO!"),
    ],
)
def test_pipelines_are_replaced_by_their_values(template: str, text: str | None) -> None:
    if text is None:
        assert problem_of(template) == "1:4-8: the value has no field 'none': it is a time"
    else:
        assert text_of(template) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ $x := 1 }}[{{ $x }}]", "[1]"),
        ("{{ $x := 1 }}{{ $x = 2 }}[{{ $x }}]", "[2]"),
        ("{{ $x := 1 }}{{ $x := 2 }}[{{ $x }}]", "[2]"),
        ("{{ $x := .Values }}{{ $x.text }}", "x"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x }}{{ end }}{{ $x }}", "22"),
        ("{{ $x := 1 }}{{ with $x := 2 }}{{ $x }}{{ $x = 3 }}{{ end }}{{ $x }}", "21"),
        ("{{ if $x := .Values.text }}{{ $x }}{{ end }}", "x"),
        ("{{ if $x := .Values.no }}{{ else }}{{ $x }}{{ end }}", "false"),
        ("{{ $x := 1 }}{{ range .Values.list }}{{ $x = . }}{{ end }}{{ $x }}", "c"),
        ("{{ $x := 1 }}{{ range .Values.list }}{{ $x := . }}{{ end }}{{ $x }}", "1"),
        ("{{ range .Values.list }}{{ $x := . }}{{ $x }}{{ end }}", "abc"),
        ("{{ $x := 0 }}{{ range $x = .Values.list }}{{ end }}{{ $x }}", "c"),
        ("{{ $x := 0 }}{{ range $x = .Values.list }}{{ end }}{{ $x }}", "c"),
        ("{{ $i := 9 }}{{ $x := 9 }}{{ range $i, $x = .Values.list }}{{ end }}{{ $i }}{{ $x }}", "2c"),
        ("{{ $y := 5 }}{{ $x := 0 }}{{ range $x = .Values.list }}{{ $y := 1 }}{{ end }}{{ $y }}", "5"),
        ("{{ range $x := .Values.empty }}{{ else }}{{ $x }}{{ end }}", "[]"),
        ("{{ range $x := .Values.nope }}{{ else }}[{{ $x }}]{{ end }}", "[]"),
        ("{{ $x := 0 }}{{ range $x = .Values.empty }}{{ end }}{{ $x }}", "[]"),
        ("{{ print ($x := 1) $x }}{{ $x }}", "1 11"),
        (
            '{{ define "t" }}{{ $x := . }}{{ $x }}{{ $ }}{{ end }}{{ $x := 1 }}{{ template "t" 2 }}{{ $x }}',
            "221",
        ),
        ('{{ define "t" }}{{ . }}{{ end }}{{ template "t" $x := 4 }}{{ $x }}', "44"),
    ],
)
def test_variables_live_to_the_end_of_their_block(template: str, text: str) -> None:
    assert text_of(template) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ if .Values.yes }}a{{ end }}", "a"),
        ("{{ if .Values.no }}a{{ else }}b{{ end }}", "b"),
        ("{{ if .Values.no }}a{{ else if .Values.text }}b{{ else }}c{{ end }}", "b"),
        ("{{ if .Values.no }}a{{ else if .Values.none }}b{{ else }}c{{ end }}", "c"),
        ("{{ if .Values.nope }}a{{ end }}b", "b"),
        ("{{ with .Values.map }}{{ .a }}{{ $.Run.ID }}{{ end }}", "1r1"),
        ("{{ with .Values.nope }}a{{ else }}{{ .Run.ID }}{{ end }}", "r1"),
        ("{{ with .Values.no }}a{{ else with .Values.text }}{{ . }}{{ else }}c{{ end }}", "x"),
        ("{{ if and .Values.yes .Values.no }}a{{ else }}b{{ end }}", "b"),
        ("{{ if or .Values.no .Values.text }}a{{ end }}", "a"),
        ("{{ if not .Values.no }}a{{ end }}", "a"),
        ('{{ if eq .Values.text "y" "x" }}a{{ end }}', "a"),
        ("{{ and 1 0 2 }}{{ or 0 1 2 }}{{ and 1 2 }}{{ or 0 `` }}|{{ 0 | and 1 }}{{ 2 | or 0 }}", "012|02"),
        ("{{ or .Values.yes (fail `never`) }}{{ and .Values.no (fail `never`) }}", "truefalse"),
    ],
)
def test_if_and_with_choose(template: str, text: str) -> None:
    assert text_of(template) == text


@pytest.mark.parametrize(
    ("value", "is_true"),
    [
        *((1, True), (0, False), (0.0, False), (-1, True), (float("nan"), True), ("", False), ("0", True)),
        *(
            ([], False),
            ([0], True),
            ({}, False),
            ({"a": None}, True),
            (None, False),
            (True, True),
            (False, False),
        ),
    ],
)
def test_what_is_empty_is_false(value: object, is_true: bool) -> None:
    assert text_of("{{ if .Values.v }}yes{{ else }}no{{ end }}", v=value) == ("yes" if is_true else "no")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ range .Values.list }}{{ . }},{{ end }}", "a,b,c,"),
        ("{{ range $x := .Values.list }}{{ $x }}{{ . }},{{ end }}", "aa,bb,cc,"),
        ("{{ range $i, $x := .Values.list }}{{ $i }}{{ $x }},{{ end }}", "0a,1b,2c,"),
        ("{{ range .Values.map }}{{ . }},{{ end }}", "1,2,"),
        ("{{ range $k, $v := .Values.map }}{{ $k }}{{ $v }}{{ . }},{{ end }}", "a11,b22,"),
        ("{{ range $k := .Values.map }}{{ $k }},{{ end }}", "1,2,"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range $i := 3 }}{{ $i }}{{ end }}", "012"),
        ("{{ range $i := int64 2 }}{{ kindOf $i }} {{ end }}", "int64 int64 "),
        ("{{ range 0 }}a{{ else }}b{{ end }}{{ range -5 }}a{{ else }}b{{ end }}", "bb"),
        ("{{ range .Values.nope }}a{{ else }}b{{ end }}", "b"),
        ("{{ range .Values.empty }}a{{ else }}{{ .Run.ID }}{{ end }}", "r1"),
        ("{{ range .Values.list }}{{ . }}{{ else }}none{{ end }}", "abc"),
        ('{{ range .Values.list }}{{ if eq . "b" }}{{ break }}{{ end }}{{ . }}{{ end }}', "a"),
        ('{{ range .Values.list }}{{ if eq . "b" }}{{ continue }}{{ end }}{{ . }}{{ end }}', "ac"),
        ("{{ range 2 }}{{ range 5 }}{{ if eq . 2 }}{{ break }}{{ end }}{{ . }}{{ end }};{{ end }}", "01;01;"),
        ("{{ range 2 }}{{ range 0 }}{{ else }}{{ break }}{{ end }}a{{ end }}b", "b"),
        ("{{ range 9000000000 }}{{ if eq . 2 }}{{ break }}{{ end }}{{ . }}{{ end }}", "01"),
        ("{{ range until 1000 }}{{ range until 1000 }}{{ break }}{{ end }}{{ end }}x", "x"),
        ("{{ range 3 }}{{ with . }}{{ if . }}{{ continue }}{{ end }}{{ end }}{{ . }}{{ end }}", "0"),
        ("{{- range .Values.list }}\n- {{ . }}\n{{- end }}", "\n- a\n- b\n- c"),
        ("{{ range until 3 }}{{ . }}{{ end }}", "012"),
    ],
)
def test_range_goes_over_lists_maps_and_numbers(template: str, text: str) -> None:
    assert text_of(template) == text


def test_a_map_that_changes_in_its_range_is_gone_through_as_it_was() -> None:
    assert (
        text_of("{{ range $k, $v := .Values.map }}{{ $k }}{{ $_ := set $.Values.map `z` 1 }}{{ end }}")
        == "ab"
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{{ define "t" }}<{{ . }}>{{ end }}{{ template "t" .Run.ID }}{{ template "t" 2 }}', "<r1><2>"),
        ('{{ template "t" }}{{ define "t" }}<{{ . }}>{{ end }}', "<>"),
        ('{{ block "t" .Values }}<{{ .text }}>{{ end }}', "<x>"),
        ('{{ block "t" 1 }}a{{ . }}{{ end }}{{ template "t" 2 }}', "a1a2"),
        (
            '{{ define "count" }}{{ . }}{{ if . }}{{ template "count" (sub . 1 | int) }}{{ end }}{{ end }}'
            '{{ template "count" 3 }}',
            "3210",
        ),
        (
            '{{ define "t" }}{{ .a }}{{ .whole.Run.ID }}{{ end }}{{ template "t" (dict "a" 1 "whole" .) }}',
            "1r1",
        ),
    ],
)
def test_templates_see_what_they_are_given(template: str, text: str) -> None:
    assert text_of(template) == text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("x {{.Values.nope.b}}", "1:5-14: .Values.nope has no field 'b': it is missing"),
        ("{{ .Run.ID.x }}", "1:4-9: .Run.ID has no field 'x': it is text"),
        ("{{ .Values.list.x }}", "1:4-14: .Values.list has no field 'x': it is a list"),
        ("{{ .Values.yes.x }}", "1:4-13: .Values.yes has no field 'x': it is true or false"),
        ("{{ .Values.number.x }}", "1:4-16: .Values.number has no field 'x': it is a number (float64)"),
        ("{{ $x := 1 }}{{ $x.y }}", "1:17-4: $x has no field 'y': it is a number (int)"),
        ("{{ $x := .Run }}{{ $x.y.z }}", "1:20-6: $x.y has no field 'z': it is missing"),
        ("{{ (print 1).y }}", "1:4-11: the value has no field 'y': it is text"),
        ("{{ (.Run).a.y }}", "1:4-10: (…).a has no field 'y': it is missing"),
        ('{{ (semver "1.2.3").x }}', "1:4-18: the value has no field 'x': it is a *semver.Version"),
        ("{{ range .Values.list }}{{ .x }}{{ end }}", "1:28-2: the dot has no field 'x': it is text"),
        ("{{ .Values.list 1 }}", "1:4-12: '.Values.list' is no function and takes no arguments"),
        ("{{ 1 | .Values.list }}", "1:8-12: '.Values.list' is no function and takes no arguments"),
        ("{{ 1 | (print) }}", "1:8-7: '(print)' is no function and takes no arguments"),
        ("{{ 1 2 }}", "1:4-1: '1' is no function and takes no arguments"),
        ("{{ $ 1 }}", "1:4-1: '$' is no function and takes no arguments"),
        ("{{ nil }}", "1:4-3: nil alone is no value"),
        ("{{ $x := nil }}", "1:10-3: nil alone is no value"),
        ("{{ and }}", "1:4-3: and needs an argument"),
        ("{{ or }}", "1:4-2: or needs an argument"),
        ("{{ range .Values.text }}{{ end }}", "1:10-12: range cannot go over text"),
        ("{{ range .Values.yes }}{{ end }}", "1:10-11: range cannot go over true or false"),
        ("{{ range .Values.number }}{{ end }}", "1:10-14: range cannot go over a number (float64)"),
        ("{{ range $i, $x := 3 }}{{ end }}", "1:10-11: range cannot go over a number (int)"),
        ("{{ range now }}{{ end }}", "1:10-3: range cannot go over a time"),
        ('{{ template "t" }}', "1:1-18: there is no template 't'"),
        ("{{ upper 1 }}", "1:4-5: upper: argument 1 must be text, not the number 1"),
        ("{{ upper }}", "1:4-5: upper takes 1 argument, not 0"),
        ("{{ print (upper 1) }}", "1:11-5: upper: argument 1 must be text, not the number 1"),
        ("{{ .Values.nope | upper }}", "1:19-5: upper: argument 1 must be text, not nil"),
        ('{{ fail "my own message" }}', "1:4-4: my own message"),
        ("{{ or true ($x := 1) }}{{ $x }}", "1:27-2: variable '$x' is not set here"),
        ("{{ or true ($x := 1) }}{{ $x = 2 }}", "1:27-6: variable '$x' is not set here"),
        (
            "{{ and false ($x := 1) }}{{ range $x = .Values.list }}{{ end }}",
            "1:35-17: variable '$x' is not set here",
        ),
    ],
)
def test_mistakes_are_found_at_their_place(template: str, problem: str) -> None:
    assert problem_of(template) == problem


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("a\n  {{ if true }}\n{{ .Run.x.y }}{{ end }}", "3:4-8: .Run.x has no field 'y': it is missing"),
        ("a\n{{ range .Values.list }}\n {{ .x }}\n{{ end }}", "3:5-2: the dot has no field 'x': it is text"),
        (
            '{{ define "t" }}\n\n  {{ fail . }}{{ end }}\n{{ template "t" "no" }}',
            "3:6-4: no",
        ),
        (
            "{{ range .Values.list }}x{{ end }}\n{{ if .Run.x.y }}{{ end }}",
            "2:7-8: .Run.x has no field 'y': it is missing",
        ),
        ("{{ with\n  .Run.x.y }}{{ end }}", "2:3-8: .Run.x has no field 'y': it is missing"),
        ("é世 {{ .Run.x.y }}", "1:7-8: .Run.x has no field 'y': it is missing"),
        (
            '{{ template "t"\n .Run.x.y }}{{ define "t" }}{{ end }}',
            "2:2-8: .Run.x has no field 'y': it is missing",
        ),
    ],
)
def test_places_are_right_in_blocks_and_templates(template: str, problem: str) -> None:
    assert problem_of(template) == problem


@pytest.mark.parametrize(
    ("template", "hint"),
    [
        (
            "{{ range .Values.list }}{{ .Values.text }}{{ end }}",
            "inside of range, with and template the dot is something else: write $.Values.text",
        ),
        (
            "{{ with .Values.map }}{{ .Run.ID }}{{ end }}",
            "inside of range, with and template the dot is something else: write $.Run.ID",
        ),
        (
            '{{ define "t" }}{{ .Run.ID }}{{ end }}{{ template "t" 1 }}',
            'inside of a template the dot is what it was given: {{ template "…" . }}',
        ),
        ("{{ .Values.nope.x }}", ""),
        ('{{ define "image" }}{{ end }}{{ template "imgae" }}', "did you mean 'image'?"),
        ('{{ template "t" }}', "make it with {{ define }}"),
    ],
)
def test_hints_say_what_may_be_meant(template: str, hint: str) -> None:
    assert error_of(template).hint == hint


@pytest.mark.parametrize(
    ("template", "expression", "hint"),
    [
        ("x{{.Values.other}}", ".Values.other", "give it with --set other=… or in a file with --values"),
        ("x{{ $.Values.other }}", "$.Values.other", "give it with --set other=… or in a file with --values"),
        ("x{{ .Values.txet }}", ".Values.txet", "did you mean '.Values.text'?"),
        ("x{{ $.Values.txet }}", "$.Values.txet", "did you mean '$.Values.text'?"),
        ("x{{ $v := .Values }}{{ $v.txet }}", "$v.txet", "did you mean '$v.text'?"),
        ("x{{ .Run.Id }}", ".Run.Id", "did you mean '.Run.ID'?"),
        ("x{{ .Valeus }}", ".Valeus", "did you mean '.Values'?"),
        ("x{{ with .Values.nested }}{{ .lits }}{{ end }}", ".lits", "did you mean '.list'?"),
        ("x{{ with .Values }}{{ .other }}{{ end }}", ".other", ""),
        ("x{{ .Values.none }}", ".Values.none", "give it with --set none=… or in a file with --values"),
        ("x{{ index .Values `nope` }}", "index .Values `nope`", ""),
        ('x{{ define "t" }}{{ $ }}{{ end }}{{ template "t" }}', "$", ""),
    ],
)
def test_a_missing_value_prints_nothing_with_a_warning(template: str, expression: str, hint: str) -> None:
    result = rendered(template)
    [warning] = result.warnings
    assert result.source.text == "x"
    assert warning.message == f"{expression} has no value and is left empty"
    assert warning.rule == "missing-value"
    assert warning.hint == hint


def test_a_value_that_is_missing_in_every_round_is_warned_about_once() -> None:
    [warning] = rendered("{{ range 1000 }}x\n {{ $.Values.nope }}{{ end }}").warnings
    assert warning.location is not None
    assert (warning.location.line, warning.location.column, warning.location.width) == (2, 2, 19)


def test_many_missing_values_in_many_values_take_no_time() -> None:
    values = {f"name{index}": 1 for index in range(5000)}
    warnings = rendered("x{{ .Values.naem }}" * 3000, **values).warnings
    assert len(warnings) == 3000
    assert [bool(warning.hint) for warning in warnings[:51]] == [True] * 50 + [False]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            '{{ define "t" }}{{ template "t" . }}{{ end }}{{ template "t" . }}',
            "templates and blocks nest more than 100 levels deep",
        ),
        (
            '{{ define "a" }}{{ template "b" }}{{ end }}{{ define "b" }}{{ template "a" }}{{ end }}{{ template "a" }}',
            "templates and blocks nest more than 100 levels deep",
        ),
        ("{{ range 9223372036854775807 }}{{ end }}", "the template does not come to an end"),
        ("{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}", "the template does not come to an end"),
        ("{{ range 100000 }}{{ range 100000 }}x{{ end }}{{ end }}", "the template does not come to an end"),
        ("{{ range 100000 }}" + "a{{/**/}}" * 20 + "{{ end }}", "the template does not come to an end"),
        (
            '{{ define "t" }}{{ if . }}{{ $n := sub . 1 }}{{ template "t" $n }}{{ template "t" $n }}{{ end }}{{ end }}'
            '{{ template "t" 40 }}',
            "the template does not come to an end",
        ),
        (
            "{{ range until 1000 }}{{ range until 100000 }}{{ break }}{{ end }}{{ end }}",
            "the template does not come to an end",
        ),
        (
            "{{ $x := repeat 1000000 `a` }}{{ range 100 }}{{ $x }}{{ end }}",
            "the result is longer than 16 MiB",
        ),
        (
            "{{ $x := repeat 1000000 `a` }}{{ range 1000 }}{{ $y := upper $x }}{{ end }}",
            "the template does not come to an end",
        ),
        (
            "{{ $x := list }}{{ range 100000 }}{{ $x = append $x . }}{{ end }}",
            "the template does not come to an end",
        ),
        (
            "{{ $x := list 1 }}{{ range 1000 }}{{ $x = list $x }}{{ end }}{{ $x }}",
            "a value is nested more than 200 levels deep",
        ),
        (
            "{{ $x := list 1 }}{{ range 90 }}{{ $x = list $x $x }}{{ end }}{{ $x }}",
            "the template does not come to an end",
        ),
        ("{{ $x := dict }}{{ $_ := set $x `x` $x }}{{ $x }}", "a value is nested more than 200 levels deep"),
        (
            "{{ $x := dict }}{{ $_ := set $x `x` $x }}{{ toJson $x }}",
            "a value is nested more than 200 levels deep",
        ),
        (
            "{{ $x := list 1 }}{{ range 17 }}{{ $x = list $x $x }}{{ end }}"
            "{{ range 1000 }}{{ deepEqual $x $x }}{{ end }}",
            "the template does not come to an end",
        ),
        ("{{ .Values.list | repeat 2000000000 `ab` }}", None),
        (
            "{{ range 100000 }}{{ range $.Values.large }}{{ break }}{{ end }}{{ end }}",
            "the template does not come to an end",
        ),
    ],
)
def test_a_template_that_asks_for_too_much_ends_soon(template: str, message: str | None) -> None:
    started = time.process_time()
    found = problem_of(template, large={str(index): index for index in range(20_000)}).partition(": ")[2]
    assert found == message if message is not None else found
    assert time.process_time() - started < 10


def test_blocks_nest_as_deep_as_they_are_read() -> None:
    levels = 50
    assert text_of("{{ if true }}" * levels + "x" + "{{ end }}" * levels) == "x"
    assert text_of("{{ range 1 }}" * levels + "x" + "{{ end }}" * levels) == "x"
    assert text_of("{{ print " + "(" * levels + "1" + ")" * levels + " }}") == "1"


def test_there_may_be_many_of_else_if_and_else_with() -> None:
    chain = "".join(f"{{{{ else if eq .Values.text `{index}` }}}}{index}" for index in range(1000))
    assert text_of(f"{{{{ if false }}}}{chain}{{{{ end }}}}", text="998") == "998"
    assert text_of(f"{{{{ if false }}}}{chain}{{{{ else }}}}none{{{{ end }}}}", text="x") == "none"
    chain = "{{ else with .Values.nope }}a" * 1000
    assert (
        text_of(
            f"{{{{ with $x := 0 }}}}{chain}{{{{ else with .Values.text }}}}{{{{ . }}}}{{{{ $x }}}}{{{{ end }}}}"
        )
        == "x0"
    )
    assert problem_of("{{ if false }}{{ else if .Run.x.y }}{{ end }}") == (
        "1:26-8: .Run.x has no field 'y': it is missing"
    )


def test_templates_nest_with_their_blocks_and_parentheses() -> None:
    inside = "{{ if " + "(" * 40 + "." + ")" * 40 + " }}"
    assert (
        text_of(f'{{{{ define "t" }}}}{inside * 40}x{"{{ end }}" * 40}{{{{ end }}}}{{{{ template "t" 1 }}}}')
        == "x"
    )


@pytest.mark.parametrize("left", [30, 60, 120, 240, 480])
def test_a_deep_stack_is_a_problem_of_the_text(left: int) -> None:
    call = '{{ template "t" . }}'
    template = (
        f'{{{{ define "t" }}}}{{{{ if print (print (print .Run)) }}}}{call}{{{{ end }}}}{{{{ end }}}}{call}'
    )
    text_of("{{ print 1 }}")  # functions are imported here

    def at_depth(levels: int) -> str:
        if levels:
            return at_depth(levels - 1)
        try:
            return text_of(template)
        except DefinitionError as error:
            return error.message.partition("}}: ")[2]

    frame, used = sys._getframe(), 0
    while frame is not None:
        frame, used = frame.f_back, used + 1  # type: ignore[assignment]
    assert at_depth(sys.getrecursionlimit() - used - left) in (
        "what stands here is nested too deep",
        "print: the value is nested too deep",
        "what is evaluated here is nested too deep",
        "templates and blocks nest more than 100 levels deep",
    )


def test_work_is_counted_per_template() -> None:
    half = "{{ range 100000 }}{{ end }}x"
    assert evaluate.MAX_WORK < 600_000
    assert text_of(half * 2) == "xx"


def test_what_functions_only_hand_on_costs_little() -> None:
    values = [{"name": [str(index)]} for index in range(2000)]
    template = (
        '{{ define "item" }}{{ index .whole.Values.values .at | len }}{{ end }}'
        '{{ range $at, $_ := .Values.values }}{{ template "item" (dict "whole" $ "at" $at) }}{{ end }}'
    )
    assert text_of(template, values=values) == "1" * 2000
    assert text_of("{{ $x := list }}{{ range 1000 }}{{ $x = append $x . }}{{ end }}{{ len $x }}") == "1000"


def test_numbers_keep_their_kind_in_variables() -> None:
    assert text_of("{{ kindOf .Values.v }}", v=Int64(3)) == "int64"
