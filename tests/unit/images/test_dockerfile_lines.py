from __future__ import annotations

import pytest

from tasks_engine.images.dockerfile_lines import Directive, Instruction, read_dockerfile, split_words


def keywords(text: str) -> list[str]:
    return [instruction.keyword for instruction in read_dockerfile(text).instructions]


def test_an_instruction_has_keyword_flags_arguments_and_line() -> None:
    assert read_dockerfile("\n# a\n  copy  --from=a --link  x y \n").instructions == (
        Instruction("COPY", ("--from=a", "--link"), "x y", 3),
    )


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("RUN a \\\n b", "a  b"),
        ("RUN a \\  \n b", "a  b"),
        ("RUN a\\\nb", "ab"),
        ("RUN a \\\r\n b\r\n", "a  b"),
        ("RUN a \\\n# comment \\\n\n  \t\n b", "a  b"),
        ("RUN \\\n\\\na", "a"),
        ("RUN a \\", "a"),
        ("RUN a \\\n", "a"),
        ("RUN a \\\\\n", "a \\\\"),
        ("RUN a # b", "a # b"),
        ("RUN a `\n", "a `"),
        ("# escape=`\nRUN a `\n b", "a  b"),
        ("# escape=`\nRUN a \\\n", "a \\"),
        ("RUN\ta", "a"),
        ("RUN", ""),
        ("\ufeffRUN a", "a"),
    ],
)
def test_lines_are_joined(text: str, arguments: str) -> None:
    assert [each.arguments for each in read_dockerfile(text).instructions] == [arguments]


def test_the_line_is_that_of_the_keyword() -> None:
    instructions = read_dockerfile("FROM a \\\n\n AS b\nRUN <<E\n\nE\nRUN x").instructions
    assert [each.line for each in instructions] == [1, 4, 7]


@pytest.mark.parametrize(
    ("text", "flags", "arguments"),
    [
        ("COPY --from='a b' --x=\"y\" . .", ("--from=a b", "--x=y"), ". ."),
        (
            "RUN --mount=type=bind,from=a\t--network=none  b --c",
            ("--mount=type=bind,from=a", "--network=none"),
            "b --c",
        ),
        ("RUN --x=a\\ b c", ("--x=a b",), "c"),
        ("RUN -- --x", (), "--x"),
        ("RUN -x --y", (), "-x --y"),
        ('RUN --x="a', ("--x=a",), ""),
    ],
)
def test_flags_lead(text: str, flags: tuple[str, ...], arguments: str) -> None:
    (instruction,) = read_dockerfile(text).instructions
    assert (instruction.flags, instruction.arguments) == (flags, arguments)


@pytest.mark.parametrize(
    "head",
    [
        "RUN <<E",
        "RUN <<'E'",
        'RUN <<"E" cat',
        "RUN cat <<E >/x && cat",
        "RUN 3<<E cat",
        "RUN << E",
        "RUN \\\n  <<E",
        "COPY <<E /x",
        "add <<E /x",
        "ONBUILD RUN <<E",
        "RUN --mount=type=tmpfs,target=/x <<E",
        "RUN <<\\E",
        "RUN cat 'x y' <<E",
    ],
)
def test_bodies_of_heredocs_are_no_instructions(head: str) -> None:
    text = f"{head}\nfrom x import y\n E\n# comment\nE \nE\nUSER a"
    assert keywords(text) == [head.split()[0].upper(), "USER"]


def test_tabs_may_stand_before_the_end_of_a_heredoc_with_a_dash() -> None:
    assert keywords("RUN <<-E\n\tFROM a\n\t\tE\nUSER a") == ["RUN", "USER"]
    assert keywords("RUN <<-'E'\n FROM a\nE\nUSER a") == ["RUN", "USER"]


def test_several_heredocs_follow_one_another() -> None:
    assert keywords("RUN <<A <<-B\nB\nA\nA\n\tB\nUSER a") == ["RUN", "USER"]


def test_a_heredoc_may_end_in_a_windows_line() -> None:
    assert keywords("RUN <<E\r\nFROM a\r\nE\r\nUSER a\r\n") == ["RUN", "USER"]


@pytest.mark.parametrize(
    "head",
    [
        "ENV a=<<E",
        "LABEL a <<E",
        'RUN ["a", "<<E"]',
        "RUN '<<E'",
        "RUN a<<E",
        "RUN <<<E",
        "RUN <<''",
        "RUN it's <<E",
        'RUN "it <<E',
    ],
)
def test_what_opens_no_heredoc(head: str) -> None:
    assert keywords(f"{head}\nUSER a\nE")[1:] == ["USER", "E"]


def test_a_heredoc_that_is_never_closed_hides_nothing() -> None:
    instructions = read_dockerfile("RUN <<A <<B\nA\nUSER x\nA").instructions
    assert [(each.keyword, each.open_heredoc) for each in instructions] == [
        ("RUN", "B"),
        ("USER", ""),
        ("A", ""),
    ]


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("# syntax=docker/dockerfile:1\nFROM a", Directive("docker/dockerfile:1", 1)),
        ("#SYNTAX = a b \r\nFROM a", Directive("a b", 1)),
        ("# escape=`\n  # syntax=a", Directive("a", 2)),
        ("\ufeff# check=skip=all\n# syntax=a", Directive("a", 2)),
        ("#!/usr/bin/x\n# syntax=a", Directive("a", 2)),
        ("# a comment\n# syntax=a", None),
        ("\n# syntax=a", None),
        ("FROM a\n# syntax=a", None),
        ("# other=b\n# syntax=a", None),
        ("# syntax=\nFROM a", None),
    ],
)
def test_the_syntax_directive(text: str, syntax: Directive | None) -> None:
    assert read_dockerfile(text).syntax == syntax


@pytest.mark.parametrize(
    ("text", "escape"),
    [
        ("# escape=`", "`"),
        ("#ESCAPE = `  ", "`"),
        ("# escape=\\", "\\"),
        ("# escape=x", "\\"),
        ("# escape=`\n# escape=\\", "`"),
        ("#!x\n# escape=`", "\\"),
        ("# comment\n# escape=`", "\\"),
    ],
)
def test_the_escape_directive(text: str, escape: str) -> None:
    assert read_dockerfile(text).escape == escape


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("a b\t c", ["a", "b", "c"]),
        ("a='x y' b=\"x y\"z", ["a='x y'", 'b="x y"z']),
        (r"a=x\ y b", [r"a=x\ y", "b"]),
        (r'a="x\" y" b', [r'a="x\" y"', "b"]),
        (r"a='x\' b", [r"a='x\'", "b"]),
        ("a='x y", ["a='x y"]),
        ('a="x y\\', ['a="x y\\']),
        ("a\\", ["a\\"]),
    ],
)
def test_words_keep_their_quotes(text: str, words: list[str]) -> None:
    assert split_words(text, "\\") == words
