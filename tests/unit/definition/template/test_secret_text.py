from __future__ import annotations

import base64
import json
import sys
from typing import Any

import pytest
import yaml

from tasks_engine.definition.nodes import Mapping, Scalar, parse_yaml
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.template.secret_text import (
    DEFERRED_FUNCTIONS,
    END,
    PASSING_FUNCTIONS,
    START,
    SecretText,
    call,
    contains_secret,
    find_mark,
    has_token,
    mask_tokens,
    reveal,
    secret,
    secret_value,
    tokens_in,
)
from tasks_engine.definition.template.values import FunctionError
from tests.unit.definition.template.rendering import FUNCTIONS, problem_of, rendered, revealed, text_of

PW = "p@ss 'w'"


def token_of(expression: object) -> str:
    packed = base64.urlsafe_b64encode(json.dumps(expression).encode()).rstrip(b"=").decode()
    return f"{START}{packed}{END}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ .Secrets.pw }}", PW),
        ("{{ $.Secrets.pw }}", PW),
        ("{{ $s := .Secrets }}{{ $s.pw }}", PW),
        ('{{ index .Secrets "a-b" }}', "dashed"),
        ('{{ .Secrets.pw }}-{{ index .Secrets "a-b" }}', f"{PW}-dashed"),
        ("a{{ .Secrets.pw }}{{ .Secrets.pw }}b", f"a{PW}{PW}b"),
        ("{{ .Values.token }}", "given"),
        ("{{ .Secrets.nope }}", ""),
        ("{{ .Secrets.pw | upper }}", PW.upper()),
        ("{{ .Secrets.pw | b64enc }}", "cEBzcyAndyc="),
        ("{{ .Secrets.pw | b64enc | b64dec | upper | lower }}", PW),
        ("{{ .Secrets.pw | quote }}", f'"{PW}"'),
        ("{{ .Secrets.pw | squote }}", f"'{PW}'"),
        ('{{ printf "%s:%d:%s" .Values.text 7 .Secrets.pw }}', f"x:7:{PW}"),
        ('{{ print "a" .Secrets.pw }}', f"a{PW}"),
        ('{{ cat "a" .Secrets.pw }}', f"a {PW}"),
        ('{{ replace "@" "a" .Secrets.pw }}', "pass 'w'"),
        ('{{ replace "x" .Secrets.pw "x-x" }}', f"{PW}-{PW}"),
        ('{{ regexReplaceAll "[^a-z]+" .Secrets.pw "_" }}', "p_ss_w_"),
        ("{{ .Secrets.pw | trunc 3 }}", "p@s"),
        ("{{ .Secrets.pw | sha256sum }}", "5bf3d38a03b14e9f"),
        ("{{ .Secrets.pw | toJson }}", json.dumps(PW)),
        ("{{ toJson .Values.nested.pair }}", None),
        ('{{ list "a" .Secrets.pw | join "," }}', f"a,{PW}"),
        ('{{ list "a" .Secrets.pw }}', f"[a {PW}]"),
        ('{{ list "a" .Secrets.pw | toJson }}', json.dumps(["a", PW], separators=(",", ":"))),
        ('{{ dict "k" .Secrets.pw | toJson }}', json.dumps({"k": PW}, separators=(",", ":"))),
        ('{{ dict "k" (list 1 .Secrets.pw) }}', f"map[k:[1 {PW}]]"),
        ('{{ (dict "k" .Secrets.pw).k }}', PW),
        ('{{ list "a" .Secrets.pw | last | upper }}', PW.upper()),
        ('{{ index (list "a" .Secrets.pw) 1 }}', PW),
        ("{{ range list .Secrets.pw 2 }}{{ . }};{{ end }}", f"{PW};2;"),
        ('{{ default "d" .Secrets.pw }}', PW),
        ('{{ default "d" .Secrets.empty }}', "d"),
        ('{{ default "d" .Secrets.nope }}', "d"),
        ("{{ default .Secrets.pw .Values.text }}", "x"),
        ("{{ default .Secrets.pw .Values.nope }}", PW),
        ("{{ coalesce .Secrets.empty .Secrets.pw }}", PW),
        ("{{ ternary .Secrets.pw `b` .Values.yes }}{{ ternary .Secrets.pw `b` .Values.no }}", f"{PW}b"),
        ("{{ or .Values.nope .Secrets.pw }}{{ and .Values.text .Secrets.pw }}", PW + PW),
        ("{{ if default .Secrets.pw .Values.text }}y{{ end }}", "y"),
        ('{{ define "t" }}{{ .s }}{{ end }}{{ template "t" dict "s" .Secrets.pw }}', PW),
        ('{{ define "t" }}{{ .all.Secrets.pw }}{{ end }}{{ template "t" dict "all" . }}', PW),
        ('{{ define "t" }}{{ .pw }}{{ end }}{{ template "t" .Secrets }}', PW),
        ("{{ index .Values `text` }}{{ hasKey .Values `token` }}{{ len .Values.list }}", "xtrue3"),
        ("{{ (merge (dict `a` 1) .Values).token }}", "given"),
        ("{{ .Values.text }}{{ .Secrets.pw | indent 2 }}", f"x  {PW}"),
        ("{{ repeat 2 .Secrets.pw }}", PW + PW),
    ],
)
def test_a_token_gives_what_the_value_would_have_given(template: str, text: str | None) -> None:
    values = {"nested": {"pair": [secret("pw"), 1]}}
    result = text_of(template, **values)
    assert PW not in result
    found = revealed(result)
    if text is None:
        assert found == json.dumps([PW, 1], separators=(",", ":"))
    elif "sha256sum" in template:
        assert len(found) == 64
    else:
        assert found == text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ if .Secrets.pw }}{{ end }}", "1:7-11: the task would depend on the value of a secret"),
        (
            "{{ if not .Secrets.pw }}{{ end }}",
            "1:7-3: not would make the task depend on the value of a secret",
        ),
        ("{{ with .Secrets.pw }}{{ end }}", "1:9-11: the task would depend on the value of a secret"),
        ("{{ with .Secrets }}{{ end }}", "1:9-8: the task would depend on the value of a secret"),
        ("{{ if .Secrets }}{{ end }}", "1:7-8: the task would depend on the value of a secret"),
        ("{{ range .Secrets.pw }}{{ end }}", "1:10-11: the task would depend on the value of a secret"),
        (
            "{{ range $k, $v := .Secrets }}{{ end }}",
            "1:10-18: the task would depend on the value of a secret",
        ),
        ("{{ if .Values.token }}{{ end }}", "1:7-13: the task would depend on the value of a secret"),
        ("{{ if upper .Secrets.pw }}{{ end }}", "1:7-17: the task would depend on the value of a secret"),
        ("{{ and .Secrets.pw 1 }}", "1:8-11: the task would depend on the value of a secret"),
        ("{{ 1 | or .Secrets.pw }}", "1:11-11: the task would depend on the value of a secret"),
        ('{{ eq .Secrets.pw "x" }}', "1:4-2: eq would make the task depend on the value of a secret"),
        ("{{ len .Secrets.pw }}", "1:4-3: len would make the task depend on the value of a secret"),
        (
            '{{ contains "a" .Secrets.pw }}',
            "1:4-8: contains would make the task depend on the value of a secret",
        ),
        ("{{ empty .Secrets.pw }}", "1:4-5: empty would make the task depend on the value of a secret"),
        ("{{ kindOf .Secrets.pw }}", "1:4-6: kindOf would make the task depend on the value of a secret"),
        (
            "{{ ternary 1 2 .Secrets.pw }}",
            "1:4-7: ternary would make the task depend on the value of a secret",
        ),
        ("{{ dict .Secrets.pw 1 }}", "1:4-4: dict would make the task depend on the value of a secret"),
        (
            "{{ index .Values .Secrets.pw }}",
            "1:4-5: index would make the task depend on the value of a secret",
        ),
        ("{{ index .Secrets.pw 0 }}", "1:4-5: index would make the task depend on the value of a secret"),
        ("{{ index .Secrets .Secrets.pw }}", "1:4-5: the name of a secret must be text that is no secret"),
        ("{{ has 1 (list .Secrets.pw) }}", "1:4-3: has would make the task depend on the value of a secret"),
        ("{{ list .Secrets.pw | uniq }}", "1:23-4: uniq would make the task depend on the value of a secret"),
        ('{{ split "," .Secrets.pw }}', "1:4-5: split would make the task depend on the value of a secret"),
        ("{{ fail .Secrets.pw }}", "1:4-4: fail would make the task depend on the value of a secret"),
        (
            "{{ merge (dict `a` .Secrets.pw) (dict `a` 1) }}",
            "1:4-5: merge: the task would depend on the value of a secret",
        ),
        ("{{ dict .Values 1 }}", "1:4-4: dict: the task would depend on the value of a secret"),
        ("{{ dict (list .Secrets) 1 }}", "1:4-4: dict: the task would depend on the value of a secret"),
        ("{{ .Secrets.pw.x }}", "1:4-13: .Secrets.pw has no field 'x': it is a secret"),
        ("{{ .Secrets }}", "1:4-8: '.Secrets' cannot be printed as a whole"),
        ("{{ . }}", "1:4-1: '.Secrets' only gives single secrets: .Secrets.name, or index .Secrets \"name\""),
        (
            "{{ toJson . }}",
            "1:4-6: '.Secrets' only gives single secrets: .Secrets.name, or index .Secrets \"name\"",
        ),
        (
            "{{ keys .Secrets }}",
            "1:4-4: '.Secrets' only gives single secrets: .Secrets.name, or index .Secrets \"name\"",
        ),
        (
            "{{ len .Secrets }}",
            "1:4-3: '.Secrets' only gives single secrets: .Secrets.name, or index .Secrets \"name\"",
        ),
        (
            "{{ index .Secrets }}",
            "1:4-5: '.Secrets' only gives single secrets: .Secrets.name, or index .Secrets \"name\"",
        ),
        ("{{ index .Secrets 0 }}", "1:4-5: the name of a secret must be text that is no secret"),
        ("{{ .Secrets.pw 1 }}", "1:4-11: '.Secrets.pw' is no function and takes no arguments"),
        (
            "{{ cat .Secrets.pw now }}",
            "1:4-3: beside a secret, times and versions must be text: use date or toString",
        ),
        (
            '{{ print .Secrets.pw (semver "1.2.3") }}',
            "1:4-5: beside a secret, times and versions must be text: use date or toString",
        ),
        ('{{ "' + secret("pw").token + '" }}', None),
    ],
)
def test_what_would_tell_of_a_secret_is_refused(template: str, problem: str | None) -> None:
    found = problem_of(template)
    if problem is None:
        assert found.endswith("a secret stands inside of a text in a template expression")
    else:
        assert found == problem


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ $x := index .Secrets (repeat 600000 `a`) }}{{ cat $x $x }}", "longer than 1048576 characters"),
        (
            "{{ $x := .Secrets.pw }}{{ range 90 }}{{ $x = cat $x $x }}{{ end }}",
            "longer than 1048576 characters",
        ),
        (
            "{{ $x := .Secrets.pw }}{{ range 5000 }}{{ $x = upper $x }}{{ end }}",
            "nested more than 100 levels deep",
        ),
        (
            "{{ $x := .Secrets.pw }}{{ range 150 }}{{ $x = list $x }}{{ end }}{{ $x }}",
            "nested more than 100 levels deep",
        ),
        (
            "{{ $x := repeat 1000000 `a` }}{{ join `` (list $x $x .Secrets.pw) }}",
            "longer than 1048576 characters",
        ),
        (
            "{{ $x := repeat 100000 `a` }}{{ $y := cat $x .Secrets.pw }}{{ range 1000 }}{{ $z := upper $y }}{{ end }}",
            "does not come to an end",
        ),
        (
            "{{ $x := list .Secrets.pw }}{{ range 9 }}{{ $x = concat $x $x $x }}{{ end }}{{ join `` $x }}",
            "longer than 1048576 characters",
        ),
    ],
)
def test_what_is_made_of_a_secret_is_bounded(template: str, message: str) -> None:
    assert message in problem_of(template)


def test_a_template_sees_no_value_of_a_secret() -> None:
    result = rendered("{{ .Secrets.pw }} {{ .Values.token | upper }}")
    assert [sorted(token.names) for token in tokens_in(result.source.text)] == [
        [("secret", "pw")],
        [("value", "token")],
    ]


def test_a_template_cannot_write_a_token() -> None:
    message = "this prints a character that tasks keeps for itself"
    assert problem_of(r'{{ "\U000f5ec0" }}') == f"1:4-12: {message}"
    assert problem_of("{{ .Values.v }}", v=[END]) == f"1:4-9: {message}"


def test_a_token_names_all_it_is_made_of() -> None:
    made = call("printf", ["%s", [secret("a"), {"x": secret_value("b")}], call("upper", [secret("c")])])
    assert made.names == {("secret", "a"), ("value", "b"), ("secret", "c")}
    assert tokens_in(f"x{made.token}y") == [made]


def test_equal_expressions_have_equal_tokens() -> None:
    assert call("upper", [secret("a")]).token == call("upper", [secret("a")]).token
    assert SecretText({"b": 1, "a": 2}).token == SecretText({"a": 2, "b": 1}).token


@pytest.mark.parametrize(
    ("value", "found"),
    [
        *((1, False), ("x", False), (None, False), ([1, [2]], False), ({"a": {"b": []}}, False)),
        *((secret("a"), True), ([1, [secret("a")]], True), ({"a": {"b": [secret("a")]}}, True)),
    ],
)
def test_secrets_are_found_in_lists_and_maps(value: object, found: bool) -> None:
    assert contains_secret(value) is found


def test_a_map_that_holds_itself_is_searched_once() -> None:
    value: dict[str, Any] = {}
    value["a"] = [value, value]
    assert not contains_secret(value)
    value["b"] = secret("a")
    assert contains_secret(value)


@pytest.mark.parametrize(
    "template",
    [
        "a: {0}\n",
        "a: x{0}y {0}\n",
        "a: '{0}'\n",
        'a: "{0} x"\n',
        "a: [{0}, x{0}]\n",
        "a: {{b: {0}}}\n",
        "a: |\n  x\n  {0}\n",
        "a: >\n  x\n  {0}\n  y\n",
        "{0}: x\n",
        "- {0}\n- '{0}'\n",
    ],
)
def test_yaml_reads_a_token_as_it_is(template: str) -> None:
    token = call("printf", ["%s: #'\"{}\n", secret("a'b\"c: {d}")]).token
    text = template.format(token)
    tree = parse_yaml(SourceText("f", text))
    found: list[str] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, Scalar):
            found.append(node.text)
        elif isinstance(node, Mapping):
            stack += [part for pair in node.pairs for part in pair]
        else:
            stack += node.items
    assert sum(each.count(token) for each in found) == text.count(token)
    assert token in json.dumps(yaml.safe_load(text), ensure_ascii=False)


def test_masking_hides_every_token() -> None:
    one, two = secret("a").token, call("upper", [secret_value("b")]).token
    assert mask_tokens(f"x{one}y{two}{two}") == "x***y******"
    assert mask_tokens("plain ***") == "plain ***"
    assert not has_token(mask_tokens(one + two))


def test_marks_are_found_wherever_they_stand() -> None:
    assert find_mark("plain") == -1
    assert find_mark(f"ab{END}{START}") == 2
    assert has_token(secret("a").token)
    assert not has_token("plain")


def test_text_without_tokens_is_not_looked_at() -> None:
    assert reveal("plain", lambda _kind, _name: None, {}) == "plain"


@pytest.mark.parametrize(
    "token",
    [
        *(f"{START}{packed}{END}" for packed in ("a", "AAAA", "____", "e30x", "bnVsbA", "W10", "MTIz")),
        token_of({}),
        token_of({"secret": 1}),
        token_of({"call": "upper"}),
        token_of({"call": "upper", "args": {}}),
        token_of({"call": "env", "args": [{"is": "HOME"}]}),
        token_of({"call": "fail", "args": [{"secret": "a"}]}),
        token_of({"call": "__class__", "args": []}),
        token_of({"call": "upper", "args": [1]}),
        token_of({"list": [[]]}),
        token_of({"map": {"a": 1}}),
        token_of({"list": {}}),
        START + base64.urlsafe_b64encode(b'{"a":' * 100_000).decode().rstrip("=") + END,
        START + base64.urlsafe_b64encode(b"\xff\xfe").decode().rstrip("=") + END,
    ],
)
def test_a_damaged_token_is_an_error_of_its_own(token: str) -> None:
    with pytest.raises(FunctionError):
        revealed(f"x{token}y")


def test_a_damaged_token_in_a_deep_stack_too() -> None:
    token = START + base64.urlsafe_b64encode(b'{"list":[' * 200 + b"]}" * 200).decode().rstrip("=") + END

    def at_depth(levels: int) -> None:
        if levels:
            at_depth(levels - 1)
            return
        with pytest.raises(FunctionError, match="damaged"):
            revealed(token)

    frame, used = sys._getframe(), 0
    while frame is not None:
        frame, used = frame.f_back, used + 1  # type: ignore[assignment]
    at_depth(sys.getrecursionlimit() - used - 60)


def test_marks_without_a_token_stay() -> None:
    text = f"{START}{END} {START}a b{END} {END}x"
    assert revealed(text) == text


def test_a_function_that_refuses_the_value_is_an_error() -> None:
    with pytest.raises(FunctionError, match="toJson takes"):
        revealed(call("toJson", [secret("pw"), 1]).token)


@pytest.mark.parametrize("function", sorted(DEFERRED_FUNCTIONS - {"shellQuote"} | PASSING_FUNCTIONS.keys()))
def test_functions_for_secrets_exist(function: str) -> None:
    assert function in FUNCTIONS


def test_no_function_that_knows_more_than_its_arguments_is_deferred() -> None:
    bound = {"now", "ago", "date", "env", "expandenv", "randAlpha", "uuidv4", "shuffle", "fail", "htmlDate"}
    assert not bound & (DEFERRED_FUNCTIONS | PASSING_FUNCTIONS.keys())


@pytest.mark.parametrize(("function", "mark"), [("quote", '"'), ("squote", "'")])
def test_quotes_around_a_secret_stand_outside_of_its_token(function: str, mark: str) -> None:
    """A command line and YAML drop them; in the token they would reach the container."""
    quoted = call(function, [secret("pw")])
    assert quoted.written == f"{mark}{secret('pw').token}{mark}"
    assert call("b64enc", [quoted]).written == call("b64enc", [quoted]).token
