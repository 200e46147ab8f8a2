"""Arbitrary command lines, and lists made of random commands."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tasks_engine.definition.command_line import MAX_COMMANDS, RunIf, parse_command_line
from tasks_engine.definition.redirections import Redirect, Stream
from tasks_engine.definition.run_options import FLAGS, Meaning, Takes
from tasks_engine.definition.words import WordError

any_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
fragments = st.lists(
    st.sampled_from(
        [
            *("img", "a", "echo", "true", "-e", "--rm", "-p", "80:80", "A=1", "if", "{", "}", "!", "1", "2"),
            *(
                " ",
                " ",
                " ",
                "\t",
                "\n",
                "\r",
                "\\",
                "\\\n",
                "'",
                '"',
                "$A",
                "${B}",
                "$",
                "$NO",
                "${",
                "$@",
                "$#",
            ),
            *(
                "&&",
                "||",
                ";",
                "|",
                "&",
                "(",
                ")",
                ">",
                ">>",
                "2>&1",
                "/dev/null",
                "<",
                "#",
                "~",
                "/",
                "*",
                "`",
            ),
            *("alias", "bad", "\u00a0", "é", "\U000f5ec0x\U000f5ec1"),
        ]
    ),
    max_size=20,
).map("".join)


def joined_words(words: list[str]) -> str:
    """Every word quoted, so that no word is read as anything else."""
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


@dataclass(frozen=True)
class Wanted:
    run_if: RunIf
    options: tuple[tuple[str, str], ...]
    image: str
    args: tuple[str, ...]
    redirects: tuple[Redirect, ...]


REDIRECTS = {
    ">/dev/null": Redirect(Stream.STDOUT, Stream.NULL),
    "2> /dev/null": Redirect(Stream.STDERR, Stream.NULL),
    "2>&1": Redirect(Stream.STDERR, Stream.STDOUT),
    ">&2": Redirect(Stream.STDOUT, Stream.STDERR),
}
JOINERS = {
    "&&": RunIf.SUCCESS,
    "||": RunIf.FAILURE,
    "&&\n": RunIf.SUCCESS,
    "|| # why\n\n": RunIf.FAILURE,
    ";": RunIf.ALWAYS,
    ";\n": RunIf.ALWAYS,
    "\n": RunIf.ALWAYS,
    " # why\n": RunIf.ALWAYS,
}
images = st.from_regex(r"[a-z]{1,4}/[a-z]{1,4}(:[a-z0-9]{1,3})?", fullmatch=True)
words = any_text.map(shlex.quote) | st.sampled_from(["plain", "-x", "--", "a'b c'\"d\"", "\\$A", "'$A'"])
texts_with_values = [
    name for name, flag in FLAGS.items() if flag.meaning is not Meaning.REFUSED and flag.takes is Takes.LIST
]
options = st.tuples(st.sampled_from(texts_with_values), st.from_regex(r"[a-z][a-z=:/]{0,5}", fullmatch=True))


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[Wanted]]:
    line, wanted, run_if = draw(st.sampled_from(["", " ", "\n", "# first\n"])), [], RunIf.ALWAYS
    for index in range(draw(st.integers(1, 6))):
        if index:
            joiner = draw(st.sampled_from(sorted(JOINERS)))
            run_if = JOINERS[joiner]
            line += f"{joiner} "
        given = draw(st.lists(options, max_size=3))
        image = draw(images)
        args = draw(st.lists(words, max_size=4))
        redirects = draw(st.lists(st.sampled_from(sorted(REDIRECTS)), max_size=3))
        flags = [f"--{name}={value}" if len(value) % 2 else f"--{name} {value}" for name, value in given]
        line += " ".join([*flags, image, *args, *redirects])
        plain = [word for arg in args for word in shlex.split(arg)]
        wanted.append(
            Wanted(run_if, tuple(given), image, tuple(plain), tuple(REDIRECTS[each] for each in redirects))
        )
    return line + draw(st.sampled_from(["", ";", "\n", " # last"])), wanted


@given(command_lines())
def test_a_list_of_commands_comes_back(made: tuple[str, list[Wanted]]) -> None:
    line, wanted = made
    commands = parse_command_line(line, {"A": "unused"}, home="/h").commands
    assert [
        Wanted(
            each.run_if,
            tuple((option.name, option.value) for option in each.options),
            each.image,
            each.args,
            each.redirects,
        )
        for each in commands
    ] == wanted
    for each in commands:
        assert line.startswith(each.image, each.image_offset)
        assert line.startswith(f"--{each.options[0].name}" if each.options else each.image, each.offset)
        for option in each.options:
            assert line.startswith(f"--{option.name}", option.offset)


@given(st.lists(any_text))
def test_quoted_words_come_back_as_arguments(args: list[str]) -> None:
    for joined in (shlex.join(args), joined_words(args)):
        (command,) = parse_command_line(f"img {joined}", {}, home="/h").commands
        assert command.args == tuple(args)


@given(st.text(alphabet="ab=-/.*?[]{}!%+,:@^_é '\"\\\t", max_size=40))
def test_without_special_characters_words_are_those_of_shlex(text: str) -> None:
    line = f"img {text}"
    assume(not line.rstrip(" \t").endswith("\\"))
    try:
        expected = shlex.split(line)
    except ValueError:
        return
    (command,) = parse_command_line(line, {}, home="/h").commands
    assert [command.image, *command.args] == expected


@given(any_text, any_text)
def test_a_quoted_variable_is_one_word_and_an_unquoted_one_is_split_at_blanks(value: str, other: str) -> None:
    env = {"A": value, "B": other}
    (command,) = parse_command_line('img "$A" "${A}$B" x', env, home="/h").commands
    assert command.args == (value, value + other, "x")
    (command,) = parse_command_line("img $A", env, home="/h").commands
    assert list(command.args) == [
        each for each in value.replace("\t", " ").replace("\n", " ").split(" ") if each
    ]


@given(fragments | st.text() | st.text().map("img ".__add__) | fragments.map("img ".__add__))
@settings(max_examples=1000)
@example("img \ud800")
def test_any_line_is_planned_or_refused_at_a_place_in_it(line: str) -> None:
    aliases = {"alias": "img -x 'y' $NO $A", "bad": "img | x"}
    try:
        plan = parse_command_line(line, {"A": "x y", "B": ""}, home="/h", image_aliases=aliases)
    except WordError as error:
        assert error.message
        assert 0 <= error.offset < max(1, len(line))
        assert error.length > 0
        assert error.offset + error.length <= max(1, len(line))
        return
    assert 1 <= len(plan.commands) <= MAX_COMMANDS
    for command in plan.commands:
        assert bool(command.builtin) != bool(command.image)
        assert 0 <= command.offset <= command.image_offset < len(line)
        assert all(0 <= option.offset < len(line) for option in command.options)
    assert all(0 <= variable.offset < len(line) for variable in plan.unset)


@given(fragments)
def test_what_stands_in_single_quotes_stays_as_it_is(text: str) -> None:
    assume("'" not in text)
    (command,) = parse_command_line(f"img sh -c '{text}'", {"A": "x"}, home="/h").commands
    assert command.args == ("sh", "-c", text)
