from __future__ import annotations

import pytest

from tasks_engine.definition.template.lexer import ActionPart, TemplateError, TextPart, split_template
from tasks_engine.definition.template.secret_text import secret


def parts(text: str) -> list[str]:
    """Text as it is, actions as their tokens in angle brackets."""
    return [
        text[part.start : part.end]
        if isinstance(part, TextPart)
        else "<" + "|".join(token.text for token in part.tokens if token.kind != "space") + ">"
        for part in split_template(text)
    ]


def tokens(action: str) -> list[tuple[str, object]]:
    """Kind and value, or text, of the tokens of an action."""
    [part] = split_template(action)
    assert isinstance(part, ActionPart)
    return [
        (token.kind, token.value if token.kind == "constant" else token.text)
        for token in part.tokens
        if token.kind != "space"
    ]


def problem(text: str) -> tuple[int, int, str]:
    with pytest.raises(TemplateError) as caught:
        list(split_template(text))
    return caught.value.start, caught.value.end, caught.value.message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        ("plain } }} { text", ["plain } }} { text"]),
        ("a{{.b}}c", ["a", "<.b>", "c"]),
        ("{{.a}}{{.b}}", ["<.a>", "<.b>"]),
        ("{{{.a}}}", None),
        ("a {{- .b}} c", ["a", "<.b>", " c"]),
        ("a {{.b -}} c", ["a ", "<.b>", "c"]),
        ("a\n\t {{- .b -}}\r\n c", ["a", "<.b>", "c"]),
        ("a \u00a0{{- .b}}", ["a \u00a0", "<.b>"]),
        ("{{.a -}} \n {{- .b}}", ["<.a>", "<.b>"]),
        ("a {{-3}} b", ["a ", "<-3>", " b"]),
        ("a {{-\n3\n-}} b", ["a", "<3>", "b"]),
        ("{{ .a\n | .b }}", ["<.a|||.b>"]),
        ("a{{/* {{ }} */}}b", ["a", "b"]),
        ("a {{- /* c */ -}} b", ["a", "b"]),
        ("a {{/*\n*/ -}}\n\n b", ["a ", "b"]),
        ('{{ "}}" }}{{ `}}\n` }}', ['<"}}">', "<`}}\n`>"]),
        ("{{.x}} {{.x}}", ["<.x>", " ", "<.x>"]),
    ],
)
def test_text_and_actions_are_told_apart(text: str, wanted: list[str] | None) -> None:
    if wanted is None:
        problem(text)
    else:
        assert parts(text) == wanted


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        ("{{}}", []),
        ("{{ . }}", [(".", ".")]),
        ("{{ .a.B_1 }}", [("field", ".a"), ("field", ".B_1")]),
        ("{{.größe}}", [("field", ".größe")]),
        ("{{ $ $x $.a }}", [("variable", "$"), ("variable", "$x"), ("variable", "$"), ("field", ".a")]),
        ("{{ true false nil }}", [("constant", True), ("constant", False), ("nil", "nil")]),
        ("{{ if trueish }}", [("keyword", "if"), ("word", "trueish")]),
        ("{{ $x:=1 }}", [("variable", "$x"), (":=", ":="), ("constant", 1)]),
        ("{{ $x=1 }}", [("variable", "$x"), ("=", "="), ("constant", 1)]),
        ("{{ range $i,$x:=.l }}", None),
        ("{{ (f .x)|g }}", None),
        (r'{{ "a\n\"b\"" }}', [("constant", 'a\n"b"')]),
        ("{{ `a\\n\r\n` }}", [("constant", "a\\n\n")]),
        ("{{ 'a' '\\n' '\\'' '\\x41' '世' }}", [("constant", each) for each in (97, 10, 39, 65, 0x4E16)]),
        (
            "{{ 1 -2 +3 .5 1e3 0x1F 1_000 }}",
            [("constant", each) for each in (1, -2, 3, 0.5, 1000.0, 31, 1000)],
        ),
    ],
)
def test_an_action_becomes_tokens(action: str, wanted: list[tuple[str, object]] | None) -> None:
    found = tokens(action)
    if wanted is not None:
        assert found == wanted
    else:
        assert "".join(str(text) for _, text in found) == action[2:-2].replace(" ", "")


def test_offsets_of_tokens_count_from_their_action() -> None:
    text = "text {{ .a }}"
    part = list(split_template(text))[1]
    assert isinstance(part, ActionPart)
    field = part.tokens[1]
    assert text[part.start : part.end] == "{{ .a }}"
    assert (field.start, field.end) == (3, 5)


def test_equal_actions_share_their_tokens() -> None:
    first, _, second = (part for part in split_template("{{ .a }}x{{ .a }}"))
    assert isinstance(first, ActionPart)
    assert isinstance(second, ActionPart)
    assert first.tokens is second.tokens


@pytest.mark.parametrize(
    ("text", "start", "end", "message"),
    [
        ("a {{ .b", 2, 4, "'{{' is never closed by '}}'"),
        ("a {{", 2, 4, "'{{' is never closed by '}}'"),
        ("{{ .b }", 6, 7, "unexpected '}' in a template expression"),
        ('{{ "abc }}', 3, 10, 'quote " is never closed'),
        ('{{ "a\nb" }}', 3, 5, 'quote " is never closed'),
        ("{{ `abc }}\nx", 3, 10, "quote ` is never closed"),
        ("{{ 'a }}", 3, 8, "quote ' is never closed"),
        ("{{ '' }}", 3, 5, "single quotes hold one character; text stands in double quotes"),
        ("{{ 'ab' }}", 3, 7, "single quotes hold one character; text stands in double quotes"),
        (r'{{ "a\q" }}', 3, 8, r"unknown escape '\q'"),
        ("{{ 1x }}", 3, 5, "'1x' is not a number"),
        ("{{ 08 }}", 3, 5, "'08' is not a number"),
        ("{{ (.a }}", 0, 9, "'(' is never closed by ')'"),
        ("{{ .a) }}", 5, 6, "')' without '('"),
        ("{{ .a {{ .b }} }}", 6, 8, "'{{' inside of '{{'"),
        ("{{ .a + 1 }}", 6, 7, "unexpected '+' in a template expression"),
        ("{{ .a-b }}", 5, 6, "unexpected '-' in a template expression"),
        ("{{ $a-b }}", 5, 6, "unexpected '-' in a template expression"),
        ("{{ f%2 }}", 4, 5, "unexpected '%' in a template expression"),
        ("{{-.a}}", 2, 3, "unexpected '-' in a template expression"),
        ("{{ .a-}}", 5, 6, "unexpected '-' in a template expression"),
        ("{{ 3-}}", 4, 5, "unexpected '-' in a template expression"),
        ("{{ a \x00 }}", 5, 6, "unexpected '\x00' in a template expression"),
        ("{{ : }}", 3, 4, "unexpected ':' in a template expression"),
        ("{{/* a", 0, 4, "the comment is never closed by '*/}}'"),
        ("{{/* a */ }}", 7, 9, "a comment ends with '*/}}'"),
        ("{{/* a */-}}", 7, 9, "a comment ends with '*/}}'"),
        ("{{ /* a */ }}", 3, 5, "a comment stands alone in its braces: {{/* like this */}}"),
        ("{{-  /* a */}}", 5, 7, "a comment stands alone in its braces: {{/* like this */}}"),
        ("{{ .a /* b */ }}", 6, 8, "a comment stands alone in its braces: {{/* like this */}}"),
    ],
)
def test_what_is_no_template_is_refused_at_its_place(text: str, start: int, end: int, message: str) -> None:
    assert problem(text) == (start, end, message)


def test_an_operator_is_answered_by_functions() -> None:
    with pytest.raises(TemplateError) as caught:
        list(split_template("{{ .a == .b }}{{ .a * 2 }}"))
    assert caught.value.message == "unexpected '*' in a template expression"
    assert caught.value.hint.startswith("templates have functions, not operators")


def test_a_secret_inside_of_a_text_in_an_expression_is_refused() -> None:
    token = secret("a").token
    assert problem('{{ "x' + token + '" }}') == (
        3,
        6 + len(token),
        "a secret stands inside of a text in a template expression",
    )


def test_a_million_unclosed_quotes_take_no_time() -> None:
    assert problem("{{ " + '"\n' * 1_000_000)[2] == 'quote " is never closed'
