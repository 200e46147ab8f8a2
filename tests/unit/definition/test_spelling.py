from __future__ import annotations

import pytest

from tasks_engine.definition.nodes import Scalar, parse_yaml
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.spelling import span_in_spelling


def marked(yaml: str, wanted: str, times: int = 1) -> str:
    """The YAML with the characters between arrows that hold the `times`-th occurrence of `wanted` in its text."""
    node = parse_yaml(SourceText("f", yaml))
    assert isinstance(node, Scalar)
    offset = -1
    for _ in range(times):
        offset = node.text.index(wanted, offset + 1)
    span = span_in_spelling(yaml[node.start : node.end], node.text, offset, len(wanted))
    assert span is not None
    start, end = (node.start + each for each in span)
    return f"{yaml[:start]}→{yaml[start:end]}←{yaml[end:]}"


@pytest.mark.parametrize(
    ("yaml", "wanted", "times", "expected"),
    [
        ("a | b", "|", 1, "a →|← b"),
        ("'a | b'", "|", 1, "'a →|← b'"),
        ('"a | b"', "b", 1, '"a | →b←"'),
        ("&a a b", "a", 1, "&a →a← b"),
        ('!!str "x | y"', "|", 1, '!!str "x →|← y"'),
        ("|\n  a\n  a | b\n", "|", 1, "|\n  a\n  a →|← b\n"),
        ("|\n  a\n  a\n", "a", 2, "|\n  a\n  →a←\n"),
        ("|2-\n     a\n   b\n", "b", 1, "|2-\n     a\n   →b←\n"),
        ("|\n\n\n  a |\n", "|", 1, "|\n\n\n  a →|←\n"),
        (">\n  a b\n  c | d\n", "|", 1, ">\n  a b\n  c →|← d\n"),
        (">-\n  a\n\n  b\n    more & more\n", "&", 1, ">-\n  a\n\n  b\n    more →&← more\n"),
        ("a\n b\n c & d", "&", 1, "a\n b\n c →&← d"),
        ("'a\n\n  b | c'", "|", 1, "'a\n\n  b →|← c'"),
        ("'it''s | x'", "|", 1, "'it''s →|← x'"),
        ("'it''s | x'", "'s", 1, "'it'→'s← | x'"),
        ('"a \\"b\\" | c"', "|", 1, '"a \\"b\\" →|← c"'),
        ('"a \\\\ | c"', "|", 1, '"a \\\\ →|← c"'),
        ('"a\\n\\tb | c"', "|", 1, '"a\\n\\tb →|← c"'),
        ('"a \\\n  b | c"', "|", 1, '"a \\\n  b →|← c"'),
        ("a && b", "&&", 1, "a →&&← b"),
        (">\n  one two\n  three four\n", "two three", 1, ">\n  one →two\n  three← four\n"),
    ],
)
def test_characters_of_a_text_are_found_as_they_are_written(
    yaml: str, wanted: str, times: int, expected: str
) -> None:
    assert marked(yaml, wanted, times) == expected


@pytest.mark.parametrize(
    ("written", "text", "offset"),
    [
        ('"a \\x7c b"', "a | b", 2),
        ('"a \\u007c b"', "a | b", 2),
        ("|\n  a\n  b\n", "a\nb\n", 1),
        ("a", "something else", 3),
    ],
)
def test_what_is_spelled_otherwise_or_blank_has_no_place(written: str, text: str, offset: int) -> None:
    assert span_in_spelling(written, text, offset, 1) is None


def test_an_empty_place_is_one_character_wide() -> None:
    assert span_in_spelling("'a b'", "a b", 2, 0) == (3, 4)
