from __future__ import annotations

import pytest

from tasks_engine.definition.words import Operator, Word, WordError, read_tokens, split_words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  \t ", []),
        ("img a  b\tc", ["img", "a", "b", "c"]),
        ("'two words' \"two words\"", ["two words", "two words"]),
        ("a'b c'\"d e\"f", ["ab cd ef"]),
        ("'' \"\"", ["", ""]),
        ("'a\\b' '$x' '`'", ["a\\b", "$x", "`"]),
        (r'"a\b \$ \" \\ \`"', ['a\\b $ " \\ `']),
        (r"a\ b \' \| \\", ["a b", "'", "|", "\\"]),
        ("a\\ ", ["a "]),
        ("a \\", ["a", "\\"]),
        ("$HOME ${X} *.txt ~ [a] ? {a,b} !", ["$HOME", "${X}", "*.txt", "~", "[a]", "?", "{a,b}", "!"]),
        ("img # a comment", ["img"]),
        ("img a#b '#' \\#", ["img", "a#b", "#", "#"]),
        ("img a \\\n  b", ["img", "a", "b"]),
        ("img a\\\nb", ["img", "ab"]),
        ('img "a\\\nb" "c\nd"', ["img", "ab", "c\nd"]),
        ("\n  img a\n\n", ["img", "a"]),
        ("img # a comment\n", ["img"]),
        ("img größe 日本", ["img", "größe", "日本"]),
        ("img\u00a0x\u2003", ["img\u00a0x\u2003"]),
    ],
)
def test_words_are_split_as_by_a_shell(line: str, words: list[str]) -> None:
    assert split_words(line) == words


@pytest.mark.parametrize(
    ("line", "operator", "offset"),
    [
        ("a | b", "'|'", 2),
        ("a || b", "'||'", 2),
        ("a && b", "'&&'", 2),
        ("a &", "'&'", 2),
        ("a; b", "';'", 1),
        ("a < b", "'<'", 2),
        ("a >> b", "'>>'", 2),
        ("a 2>&1", "'>&'", 3),
        ("a ;; b", "';;'", 2),
        ("a &> b", "'&>'", 2),
        ("(a)", "'('", 0),
        ("a $(b)", "'$('", 2),
        ("a $((1))", "'$(('", 2),
        ('a "$(b)"', "'$('", 3),
        ("a `b`", "'`'", 2),
        ('a "`b`"', "'`'", 3),
        ("a\nb", "a line break", 1),
        ("a # comment\nb", "a line break", 11),
    ],
)
def test_what_needs_a_shell_is_refused_with_its_place(line: str, operator: str, offset: int) -> None:
    length = 1 if operator == "a line break" else len(operator) - 2
    with pytest.raises(WordError) as caught:
        split_words(line)
    assert caught.value.message == f"{operator} needs a shell, and tasks never starts one on the host"
    assert (caught.value.offset, caught.value.length) == (offset, length)


@pytest.mark.parametrize("line", ["a 'b", 'a "b', "a 'b \" ", 'a "b\\"'])
def test_an_open_quote_is_refused_where_it_opens(line: str) -> None:
    with pytest.raises(WordError, match="is never closed") as caught:
        split_words(line)
    assert caught.value.offset == 2


def test_line_breaks_may_separate_words() -> None:
    assert split_words("-t a\n-f D # no\n.\n", line_breaks_separate=True) == ["-t", "a", "-f", "D", "."]


def test_line_breaks_and_comments_around_the_only_command_are_no_operators() -> None:
    assert split_words("\n# first\n img a # b\n\n  # last \n") == ["img", "a"]


def test_tokens_say_where_they_stand() -> None:
    assert list(read_tokens("a 'b'  2>&1 \n\n c")) == [
        Word(("a",), 0, 1, bare=True),
        Word(("b",), 2, 5, bare=False),
        Operator(">&", 7, 10, descriptor="2"),
        Word(("1",), 10, 11, bare=True),
        Operator("\n", 12, 13, descriptor=""),
        Word(("c",), 15, 16, bare=True),
    ]


def test_plain_words_behind_two_others_come_as_one() -> None:
    assert list(read_tokens("a b c\td -e f")) == [
        Word(("a",), 0, 1, bare=True),
        Word(("b",), 2, 3, bare=True),
        Word(("c", "d"), 4, 7, bare=False),
        Word(("-e",), 8, 10, bare=True),
        Word(("f",), 11, 12, bare=True),
    ]


@pytest.mark.parametrize(
    "unit",
    ["a ", "a", "'a' ", '"a" ', "''", "\\a", "\\\n", "#\n", "\n", "$", "~", "1", "a'b'", '"\\$"', '"\\a"'],
)
def test_a_long_line_is_split_at_once(unit: str) -> None:
    split_words("img " + unit * (400_000 // len(unit)))
