from __future__ import annotations

import sys

import pytest

from tasks_engine.definition.template.lexer import TemplateError
from tasks_engine.definition.template.nodes import (
    Action,
    Call,
    Chain,
    Conditional,
    Constant,
    Dot,
    Expression,
    Field,
    Include,
    Leave,
    Node,
    Pipeline,
    Range,
    Template,
    Text,
    Variable,
)
from tasks_engine.definition.template.parser import MAX_DEPTH, parse_template

NAMES = frozenset(["f", "g", "print", "printf", "upper"])


def parse(text: str) -> Template:
    return parse_template(text, lambda: NAMES)


def drawn(text: str) -> str:
    """The nodes of a template, each as its kind with its parts in brackets."""
    return " ".join(_node(node, text) for node in parse(text).body)


def _node(node: Node, text: str) -> str:
    match node:
        case Text():
            return repr(text[node.start : node.end])
        case Action():
            return f"action[{_expression(node.pipeline)}]"
        case Conditional() | Range():
            keyword = node.keyword if isinstance(node, Conditional) else "range"
            bodies = [" ".join(_node(each, text) for each in body) for body in (node.body, node.otherwise)]
            return f"{keyword}[{_expression(node.pipeline)}; {'; '.join(body for body in bodies if body)}]"
        case Include():
            return f"template[{node.name}{'' if node.pipeline is None else ' ' + _expression(node.pipeline)}]"
        case Leave():
            return node.keyword


def _expression(node: Expression) -> str:
    match node:
        case Dot():
            return "."
        case Constant():
            return repr(node.value)
        case Field():
            return "." + ".".join(node.names)
        case Variable():
            return ".".join((f"${node.name}", *node.names))
        case Chain():
            return f"<{_expression(node.operand)}>.{'.'.join(node.names)}"
        case Call():
            return node.function
        case Pipeline():
            sets = ", ".join(f"${name}" for name in node.variables)
            commands = [" ".join(map(_expression, command.operands)) for command in node.commands]
            return f"{sets}{'' if not sets else ' = ' if node.assigns else ' := '}({' | '.join(commands)})"


def problem(text: str) -> tuple[str, str]:
    """The part of the text that is marked, and the message."""
    with pytest.raises(TemplateError) as caught:
        parse(text)
    return text[caught.value.start : caught.value.end], caught.value.message


def hint(text: str) -> str:
    with pytest.raises(TemplateError) as caught:
        parse(text)
    return caught.value.hint


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("a{{ . }}b", "'a' action[(.)] 'b'"),
        ("{{ .a.b.c }}", "action[(.a.b.c)]"),
        ("{{ .a .b }}", "action[(.a .b)]"),
        ("{{ $ }}{{ $.a.b }}", "action[($)] action[($.a.b)]"),
        ("{{ f }}", "action[(f)]"),
        ("{{ f 1 `x` .a nil true . }}", "action[(f 1 'x' .a None True .)]"),
        ("{{ .a | f 1 | g }}", "action[(.a | f 1 | g)]"),
        ("{{ (f .a).b.c }}", "action[(<(f .a)>.b.c)]"),
        ("{{ f.b }}", "action[(<f>.b)]"),
        ("{{ f (g (print)) }}", "action[(f (g (print)))]"),
        ("{{ f (.a | g) }}", "action[(f (.a | g))]"),
        ("{{ f .a.b(g) }}", None),
        ("{{ $x := .a }}{{ $x.b }}", "action[$x := (.a)] action[($x.b)]"),
        ("{{ $x:=1 }}{{ $x=2 }}", "action[$x := (1)] action[$x = (2)]"),
        ("{{ f ($x := 1) }}{{ $x }}", "action[(f $x := (1))] action[($x)]"),
        ("{{ if .a }}b{{ end }}", "if[(.a); 'b']"),
        ("{{ if .a }}b{{ else }}c{{ end }}", "if[(.a); 'b'; 'c']"),
        (
            "{{ if .a }}1{{ else if .b }}2{{ else if .c }}3{{ else }}4{{ end }}",
            "if[(.a); '1'; if[(.b); '2'; if[(.c); '3'; '4']]]",
        ),
        (
            "{{ if $x := .a }}{{ $x }}{{ else }}{{ $x }}{{ end }}",
            "if[$x := (.a); action[($x)]; action[($x)]]",
        ),
        ("{{ with .a }}b{{ else with .c }}d{{ else }}e{{ end }}", "with[(.a); 'b'; with[(.c); 'd'; 'e']]"),
        ("{{ range .a }}b{{ else }}c{{ end }}", "range[(.a); 'b'; 'c']"),
        ("{{ range $x := .a }}{{ $x }}{{ end }}", "range[$x := (.a); action[($x)]]"),
        ("{{ range $i , $x := .a }}{{ $i }}{{ end }}", "range[$i, $x := (.a); action[($i)]]"),
        ("{{ $x := 1 }}{{ range $x = .a }}b{{ end }}", "action[$x := (1)] range[$x = (.a); 'b']"),
        (
            "{{ range .a }}{{ if . }}{{ break }}{{ end }}{{continue}}{{ end }}",
            "range[(.a); if[(.); break] continue]",
        ),
        ('{{ template "t" }}{{ template `t` .a }}', "template[t] template[t (.a)]"),
        ('{{ block "t" .a }}b{{ end }}', "template[t (.a)]"),
        ('a{{ define "t" }}b{{ end }}c', "'a' 'c'"),
        ("{{ if .a -}} b {{- end }}", "if[(.a); 'b']"),
    ],
)
def test_a_template_becomes_nodes(text: str, wanted: str | None) -> None:
    if wanted is None:
        assert problem(text) == ("(", "unexpected '('")
    else:
        assert drawn(text) == wanted


def test_define_and_block_make_templates() -> None:
    text = (
        '{{ define "a" }}1{{ end }}{{ if .x }}{{ block "b" . }}2{{ block "c" . }}3{{ end }}{{ end }}{{ end }}'
    )
    named = parse(text).named
    assert {name: " ".join(_node(each, text) for each in body) for name, body in named.items()} == {
        "a": "'1'",
        "b": "'2' template[c (.)]",
        "c": "'3'",
    }


def test_a_template_that_is_blank_may_be_defined_again() -> None:
    blank, filled = '{{ define "t" }} \n{{/* c */}}{{ end }}', '{{ define "t" }}x{{ end }}'
    for text in (blank + filled, filled + blank, blank + blank + filled + blank):
        [node] = parse(text).named["t"]
        assert _node(node, text) == "'x'"


def test_offsets_of_expressions_count_from_their_action() -> None:
    text = "text {{ f .a (g .b).c }}"
    [_, action] = parse(text).body
    assert isinstance(action, Action)
    function, field, chain = action.pipeline.commands[0].operands
    written = text[action.start :]
    assert [written[each.start : each.end] for each in (function, field, chain)] == ["f", ".a", "(g .b).c"]


@pytest.mark.parametrize(
    ("text", "marked", "message"),
    [
        ("{{}}", "{{}}", "a value is missing here"),
        ("{{ }}", "{{ }}", "a value is missing here"),
        ("{{- -}}", "{{- -}}", "a value is missing here"),
        ("{{ .a | }}", "{{ .a | }}", "a value is missing here"),
        ("{{ | f }}", "|", "a value is missing here"),
        ("{{ f () }}", ")", "a value is missing here"),
        ("{{ f (.a | ) }}", ")", "a value is missing here"),
        ("{{ $x := }}{{", "{{ $x := }}", "a value is missing here"),
        ("{{ if }}a{{ end }}", "{{ if }}", "a value is missing here"),
        ("{{ if .a }}{{ else if }}a{{ end }}", "{{ else if }}", "a value is missing here"),
        ("{{ range }}a{{ end }}", "{{ range }}", "a value is missing here"),
        ('{{ block "t" }}{{ end }}', '{{ block "t" }}', "a value is missing here"),
        ('{{ .a | "b" }}', '"b"', "only a function can take the value of the command before '|'"),
        ("{{ .a | 'b' }}", "'b'", "only a function can take the value of the command before '|'"),
        ("{{ .a | . }}", ".", "only a function can take the value of the command before '|'"),
        ("{{ .a | nil 1 }}", "nil 1", "only a function can take the value of the command before '|'"),
        ("{{ 1.x }}", "1.x", "'1.x' is not a number"),
        ('{{ "a".x }}', ".x", "'.x' after a constant or a lone dot"),
        ("{{ nil.x.y }}", ".y", "'.x' after a constant or a lone dot"),
        ("{{ .a, .b }}", ",", "unexpected ','"),
        ("{{ .a = 1 }}", "=", "unexpected '=' in a template expression"),
        ('{{ f"a" }}', '"', "unexpected '\"' in a template expression"),
        ("{{ .a := 1 }}", ":=", "unexpected ':=' in a template expression"),
        ("{{ nope .a }}", "nope", "there is no function 'nope'"),
        ("{{ f nope }}", "nope", "there is no function 'nope'"),
        ("{{ $x }}", "$x", "variable '$x' is not defined"),
        ("{{ $x = 1 }}", "$x", "variable '$x' is not defined"),
        ("{{ $x := $x }}", "$x", "variable '$x' is not defined"),
        ("{{ $i := 0 }}{{ range $i, $x = .a }}{{ end }}", "$x", "variable '$x' is not defined"),
        ("{{ $a, $b := .c }}", "$a", "too many variables in command"),
        ("{{ if $a, $b := .c }}{{ end }}", "$a", "too many variables in if"),
        ("{{ range $a, $b, $c := .c }}{{ end }}", "$b", "too many variables in range"),
        ("{{ range $a, $b }}{{ end }}", "{{ range $a, $b }}", "':=' is missing after the variables"),
        ("{{ range $a, := .c }}{{ end }}", "$a", "variable '$a' is not defined"),
        ("{{ if .a }}b", "{{ if .a }}", "'if' is never closed"),
        ("{{ if .a }}b{{ else }}c", "{{ if .a }}", "'if' is never closed"),
        ("{{ if .a }}b{{ else if .c }}d", "{{ else if .c }}", "'if' is never closed"),
        ("{{ range .a }}{{ if .b }}{{ end }}", "{{ range .a }}", "'range' is never closed"),
        ('{{ define "t" }}', '{{ define "t" }}', "'define' is never closed"),
        ("{{ end }}", "{{ end }}", "'end' without an open if, range, with or block"),
        ("{{ else }}", "{{ else }}", "'else' without an open if, range, with or block"),
        ("{{ if .a }}{{ end }}{{ end -}} ", "{{ end -}}", "'end' without an open if, range, with or block"),
        ("{{ if .a }}{{ end .a }}", ".a", "unexpected '.a' in end"),
        ("{{ if .a }}{{ else .a }}{{ end }}", ".a", "unexpected '.a' in else"),
        ("{{ if .a }}{{ else }}{{ else }}{{ end }}", "{{ else }}", "a second 'else'"),
        ("{{ if .a }}{{ else with .b }}{{ end }}", "with", "unexpected 'with' in else"),
        ("{{ with .a }}{{ else if .b }}{{ end }}", "if", "unexpected 'if' in else"),
        ("{{ range .a }}{{ else if .b }}{{ end }}", "if", "unexpected 'if' in else"),
        ('{{ define "t" }}{{ else }}{{ end }}', "{{ else }}", "'else' in a define"),
        ('{{ block "t" . }}{{ else }}{{ end }}', "{{ else }}", "'else' in a block"),
        ("{{ break }}", "{{ break }}", "'break' stands outside of a range"),
        (
            "{{ range .a }}{{ else }}{{ continue }}{{ end }}",
            "{{ continue }}",
            "'continue' stands outside of a range",
        ),
        (
            '{{ range .a }}{{ block "t" . }}{{ break }}{{ end }}{{ end }}',
            "{{ break }}",
            "'break' stands outside of a range",
        ),
        ("{{ range .a }}{{ break 1 }}{{ end }}", "1", "unexpected '1' in break"),
        ("{{ template }}", "{{ template }}", "'template' needs a name in quotes"),
        ("{{ template t }}", "t", "'template' needs a name in quotes"),
        ("{{ template 't' }}", "'t'", "'template' needs a name in quotes"),
        ('{{ define "t" . }}{{ end }}', ".", "unexpected '.' in define"),
        (
            '{{ define "t" }}a{{ end }}{{ define "t" }}b{{ end }}',
            '{{ define "t" }}',
            "template 't' is defined twice",
        ),
        (
            '{{ if .a }}{{ define "t" }}{{ end }}{{ end }}',
            '{{ define "t" }}',
            "'define' must not stand inside of other actions",
        ),
        ("{{ f if }}", "if", "unexpected 'if' in a template expression"),
        ("{{ .a | if }}", "if", "unexpected 'if' in a template expression"),
    ],
)
def test_mistakes_are_found_at_their_place(text: str, marked: str, message: str) -> None:
    assert problem(text) == (marked, message)


@pytest.mark.parametrize(
    "text",
    [
        "{{ if .a }}{{ $x := 1 }}{{ end }}{{ $x }}",
        "{{ if .a }}{{ $x := 1 }}{{ else }}{{ $x }}{{ end }}",
        "{{ with $x := .a }}{{ end }}{{ $x }}",
        "{{ range $x := .a }}{{ end }}{{ $x }}",
        '{{ $x := 1 }}{{ define "t" }}{{ $x }}{{ end }}',
        '{{ $x := 1 }}{{ block "t" . }}{{ $x }}{{ end }}',
        '{{ define "t" }}{{ $x := 1 }}{{ end }}{{ $x }}',
    ],
)
def test_a_variable_is_known_in_its_own_block_only(text: str) -> None:
    assert problem(text) == ("$x", "variable '$x' is not defined")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{{ uper .a }}", "did you mean 'upper'?"),
        ("{{ name }}", "a field begins with a dot: {{ .Values.name }}"),
        ("{{name}}", "a field begins with a dot: {{ .Values.name }}"),
        ("{{ name .a }}", ""),
        ("{{ $image := 1 }}{{ $imgae }}", "did you mean '$image'?"),
        ("{{ $x }}", "define it with {{ $x := … }}"),
        ("{{ if .a }}", "close it with {{ end }}"),
    ],
)
def test_hints_say_what_may_be_meant(text: str, wanted: str) -> None:
    assert hint(text) == wanted


def nested(levels: int, opening: str, closing: str) -> str:
    return opening * levels + "x" + closing * levels


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("{{ if .a }}", "{{ end }}"),
        ("{{ with .a }}", "{{ end }}"),
        ("{{ range .a }}", "{{ end }}"),
        ('{{ block "a" . }}', "{{ end }}"),
        ("{{ if .a }}{{ else }}", "{{ end }}"),
    ],
)
def test_blocks_nest_so_deep_and_no_deeper(opening: str, closing: str) -> None:
    if "block" not in opening:
        parse(nested(MAX_DEPTH, opening, closing))
    for levels in (MAX_DEPTH + 1, 100_000):
        assert problem(nested(levels, opening, closing))[1] == f"nested more than {MAX_DEPTH} levels deep"


def test_else_if_does_not_nest() -> None:
    text = "{{ if .a }}" + "{{ else if .b }}c" * 20_000 + "{{ end }}"
    [node] = parse(text).body
    count = 0
    while isinstance(node, Conditional) and node.otherwise:
        [node] = node.otherwise
        count += 1
    assert count == 20_000


def test_parentheses_nest_so_deep_and_no_deeper() -> None:
    parse("{{ " + nested(MAX_DEPTH, "(", ")").replace("x", ".x") + " }}")
    for levels in (MAX_DEPTH + 1, 100_000):
        text = "{{ " + nested(levels, "(", ")").replace("x", ".x") + " }}"
        assert problem(text) == ("(", f"nested more than {MAX_DEPTH} levels deep")


def test_the_deepest_template_is_read() -> None:
    expression = "{{ if " + "(" * MAX_DEPTH + ".x" + ")" * MAX_DEPTH + " }}"
    parse(expression * MAX_DEPTH + "{{ end }}" * MAX_DEPTH)


@pytest.mark.parametrize("left", [20, 40, 80, 160, 320])
def test_a_deep_stack_is_a_problem_of_the_text(left: int) -> None:
    text = "{{ if (((((((((( .x )))))))))) }}" * MAX_DEPTH + "{{ end }}" * MAX_DEPTH

    def at_depth(levels: int) -> str:
        if levels:
            return at_depth(levels - 1)
        try:
            parse(text)
        except TemplateError as error:
            return error.message
        return ""

    used = len(_frames())
    assert at_depth(sys.getrecursionlimit() - used - left - 5) in ("", "what stands here is nested too deep")


def _frames() -> list[object]:
    frames, frame = [], sys._getframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return frames


def test_many_variables_are_found_fast() -> None:
    count = 10_000
    chain = "".join(f"{{{{ $v{index} := $v{index - 1} }}}}" for index in range(1, count))
    assert len(parse("{{ $v0 := 1 }}" + chain).body) == count


def test_a_name_as_long_as_a_file_has_no_hint_and_takes_no_time() -> None:
    names = "".join(f"{{{{ $a{'b' * 30_000}{index} := 1 }}}}" for index in range(50))
    assert hint(f"{names}{{{{ $a{'bc' * 15_000} }}}}").startswith("define it with")
