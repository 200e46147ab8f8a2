from __future__ import annotations

import pytest

from tasks_engine.definition.command_line import (
    MAX_COMMANDS,
    MAX_REDIRECTS,
    Command,
    CommandLine,
    RunIf,
    UnsetVariable,
    echo_output,
    parse_command_line,
)
from tasks_engine.definition.expansion import MAX_EXPANDED, MAX_EXPANSIONS
from tasks_engine.definition.redirections import Redirect, Stream
from tasks_engine.definition.run_options import RunOption
from tasks_engine.definition.words import WordError

ENV = {
    "A": "one",
    "TWO": "two words",
    "EMPTY": "",
    "SPACED": " a  b ",
    "IMG": "repo/img:1",
    "OPTS": "-p 80:80",
}
ALIASES = {
    "bash": "mcr.example.com/acr/bash:1",
    "foo": "repo/foo:1 sub",
    "opts": "-e B=2 img 'a b' $A $NOPE\n",
    "piped": "img | cat",
    "open": "img 'a",
    "nothing": "",
}


def parse(line: str) -> CommandLine:
    return parse_command_line(line, ENV, home="/acb/home", image_aliases=ALIASES)


def refused(line: str) -> WordError:
    with pytest.raises(WordError) as caught:
        parse(line)
    return caught.value


def only(line: str) -> Command:
    (command,) = parse(line).commands
    return command


def argv(line: str) -> list[str]:
    command = only(line)
    return [command.image, *command.args]


def shape(line: str) -> list[tuple[str, ...]]:
    """For each command when it runs, and what."""
    return [(each.run_if, each.builtin or each.image, *each.args) for each in parse(line).commands]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("img", ["img"]),
        ("  img   a\tb  \n", ["img", "a", "b"]),
        ("img 'a b' \"c d\" e\\ f", ["img", "a b", "c d", "e f"]),
        ("img '' \"\"", ["img", "", ""]),
        ("img --filter='a/b:.*' -p 1 --rm", ["img", "--filter=a/b:.*", "-p", "1", "--rm"]),
        ('img sh -c "echo \'a b\' \\"c d\\""', ["img", "sh", "-c", "echo 'a b' \"c d\""]),
        ("img a \\\n  b # c d", ["img", "a", "b"]),
        (
            "img *.txt [x] {a,b} ? a#b x~ ! = %",
            ["img", "*.txt", "[x]", "{a,b}", "?", "a#b", "x~", "!", "=", "%"],
        ),
        ("img if { } case A=1", ["img", "if", "{", "}", "case", "A=1"]),
        ("'img' a", ["img", "a"]),
        ("im\\\ng a", ["img", "a"]),
        ("img \U000f5ec0abc\U000f5ec1x", ["img", "\U000f5ec0abc\U000f5ec1x"]),
    ],
)
def test_words_become_an_image_and_its_arguments(line: str, words: list[str]) -> None:
    assert argv(line) == words


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("$A", ["one"]),
        ("${A}x$A", ["onexone"]),
        ("$A.$A/$A-", ["one.one/one-"]),
        ("'$A' \\$A", ["$A", "$A"]),
        ('"$A" "${A}x"', ["one", "onex"]),
        ("$TWO", ["two", "words"]),
        ("x${TWO}y", ["xtwo", "wordsy"]),
        ('"$TWO"', ["two words"]),
        ("x${SPACED}y", ["x", "a", "b", "y"]),
        ("''$SPACED''", ["", "a", "b", ""]),
        ("a $EMPTY b", ["a", "b"]),
        ('a "$EMPTY" b', ["a", "", "b"]),
        ("$EMPTY''", [""]),
        ("a $NOPE b", ["a", "b"]),
        ('"$NOPE"', [""]),
        ("$1 ${2} $9 $@ $* ${@} ${12} x", ["x"]),
        ("$10", ["0"]),
        ("$# ${#}", ["0", "0"]),
        ('"$@"', []),
        ('"$@$@" x"$@"y', ["xy"]),
        ('"$*"', [""]),
        ("$ a$ $% $/ $'x' \"$\"", ["$", "a$", "$%", "$/", "$x", "$"]),
        ("~ ~/ ~/x", ["/acb/home", "/acb/home/", "/acb/home/x"]),
        ("~user a~ '~' \\~ \"~/x\" x=~/y ~''", ["~user", "a~", "~", "~", "~/x", "x=~/y", "~"]),
        ("~>/dev/null", ["/acb/home"]),
        ("$A\\\n $A", ["one", "one"]),
    ],
)
def test_expansions_come_from_the_environment(word: str, words: list[str]) -> None:
    assert argv(f"img {word}") == ["img", *words]


def test_what_a_variable_holds_is_not_read_again() -> None:
    env = {"X": "$Y 'q' ~ > | `a` #", "Y": "no", "T": "~/x"}
    line = parse_command_line("img $X $T", env, home="/h")
    assert line.commands[0].args == ("$Y", "'q'", "~", ">", "|", "`a`", "#", "~/x")


def test_a_home_with_blanks_stays_one_word() -> None:
    assert parse_command_line("img ~/x", {}, home="/a b").commands[0].args == ("/a b/x",)


def test_unset_variables_are_reported_once_with_their_first_place() -> None:
    line = parse("img $NOPE '$QUOTED' \"${OTHER}\" $NOPE $A $1")
    assert line.unset == (UnsetVariable("NOPE", 4), UnsetVariable("OTHER", 21))


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("img a && img b", [("always", "img", "a"), ("success", "img", "b")]),
        ("img a || true", [("always", "img", "a"), ("failure", "true")]),
        ("img a ||\n\n # why\n img b", [("always", "img", "a"), ("failure", "img", "b")]),
        ("img a; img b;", [("always", "img", "a"), ("always", "img", "b")]),
        ("img a\nimg b\n", [("always", "img", "a"), ("always", "img", "b")]),
        ("\n\nimg a # x\n\n  # y\nimg b", [("always", "img", "a"), ("always", "img", "b")]),
        (
            "img a&&img b||echo 'no b';img c",
            [
                ("always", "img", "a"),
                ("success", "img", "b"),
                ("failure", "echo", "no b"),
                ("always", "img", "c"),
            ],
        ),
        ("img a && docker push x", [("always", "img", "a"), ("success", "docker", "push", "x")]),
        ('img && echo "$TWO" $A', [("always", "img"), ("success", "echo", "two words", "one")]),
    ],
)
def test_lists_become_commands_with_conditions(line: str, commands: list[tuple[str, ...]]) -> None:
    assert shape(line) == commands


def test_the_first_command_is_always_an_image() -> None:
    assert shape("true echo") == [("always", "true", "echo")]
    first, second, third = parse("true; 'true'; false a").commands
    assert (first.builtin, first.image) == ("", "true")
    assert (second.builtin, second.image) == ("true", "")
    assert (third.builtin, third.args) == ("false", ("a",))


def test_a_command_behind_options_is_an_image() -> None:
    command = parse("img; -e A=1 echo x").commands[1]
    assert (command.builtin, command.image, command.args) == ("", "echo", ("x",))


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "\n"),
        (["a", "b  c"], "a b  c\n"),
        (["-n"], ""),
        (["-n", "a", "b"], "a b"),
        (["a", "-n"], "a -n\n"),
        (["-e", "a\\n"], "-e a\\n\n"),
    ],
)
def test_echo_joins_its_arguments(args: list[str], text: str) -> None:
    assert echo_output(args) == echo_output(tuple(args)) == text


OUT_TO_NULL = Redirect(Stream.STDOUT, Stream.NULL)
ERR_TO_NULL = Redirect(Stream.STDERR, Stream.NULL)
ERR_TO_OUT = Redirect(Stream.STDERR, Stream.STDOUT)
OUT_TO_ERR = Redirect(Stream.STDOUT, Stream.STDERR)


@pytest.mark.parametrize(
    ("written", "redirects"),
    [
        *(
            (each, [OUT_TO_NULL])
            for each in (">/dev/null", "> /dev/null", "1>/dev/null", ">>/dev/null", ">'/dev/null'")
        ),
        *((each, [ERR_TO_NULL]) for each in ("2>/dev/null", "2>> /dev/null")),
        *(
            (each, [OUT_TO_NULL, ERR_TO_NULL])
            for each in ("&>/dev/null", "&>>/dev/null", ">&/dev/null", ">& /dev/null")
        ),
        ("2>&1", [ERR_TO_OUT]),
        ("2>& 1", [ERR_TO_OUT]),
        ("1>&2", [OUT_TO_ERR]),
        (">&2", [OUT_TO_ERR]),
        *((each, []) for each in (">&1", "2>&2", "</dev/null", "0< /dev/null")),
        (">/dev/null 2>&1", [OUT_TO_NULL, ERR_TO_OUT]),
        ("2>&1 >/dev/null", [ERR_TO_OUT, OUT_TO_NULL]),
    ],
)
def test_redirections_go_to_dev_null_and_to_each_other(written: str, redirects: list[Redirect]) -> None:
    for line in (f"img a {written}", f"img {written} a", f"{written} img a"):
        assert argv(line) == ["img", "a"]
        assert only(line).redirects == tuple(redirects)


@pytest.mark.parametrize(
    ("written", "outputs"),
    [
        ("", (Stream.STDOUT, Stream.STDERR)),
        (">/dev/null 2>&1", (Stream.NULL, Stream.NULL)),
        ("2>&1 >/dev/null", (Stream.NULL, Stream.STDOUT)),
        (">&2 2>/dev/null", (Stream.STDERR, Stream.NULL)),
        ("2>&1 1>&2", (Stream.STDOUT, Stream.STDOUT)),
    ],
)
def test_redirections_are_made_one_after_the_other(written: str, outputs: tuple[Stream, Stream]) -> None:
    assert only(f"img {written}").outputs == outputs


def test_only_a_single_unquoted_digit_before_a_redirection_belongs_to_it() -> None:
    assert only("img 2 >/dev/null").args == ("2",)
    assert only("img a2>/dev/null").args == ("a2",)
    assert only("img '2'>/dev/null").redirects == (OUT_TO_NULL,)


@pytest.mark.parametrize(
    ("line", "message", "marked"),
    [
        (
            "img a > out.txt",
            "'> out.txt' writes to a file of the host, which does not exist here",
            "> out.txt",
        ),
        ("img 2>>'a b'", "'2>>'a b'' writes to a file of the host, which does not exist here", "2>>'a b'"),
        ("img > $TWO", "'> $TWO' writes to a file of the host, which does not exist here", "> $TWO"),
        (
            "img > $NOPE /dev/null",
            "'> $NOPE' writes to a file of the host, which does not exist here",
            "> $NOPE",
        ),
        ("img &>x", "'&>x' writes to a file of the host, which does not exist here", "&>x"),
        ("img >&x", "'>&x' writes to a file of the host, which does not exist here", ">&x"),
        ("img < in", "'< in' reads a file of the host, which does not exist here", "< in"),
        (
            "img 3>/dev/null",
            "'3>/dev/null' is about another stream than standard output (1) and standard error (2)",
            None,
        ),
        (
            "img sleep 10>/dev/null",
            "'10>/dev/null' is about another stream than standard output (1) and standard error (2)",
            None,
        ),
        (
            "img 2>&-",
            "'2>&-' is about another stream than standard output (1) and standard error (2)",
            "2>&-",
        ),
        ("img >", "nothing stands behind '>'", ">"),
        ("img 2> && img", "nothing stands behind '>'", "2>"),
    ],
)
def test_other_redirections_are_refused(line: str, message: str, marked: str | None) -> None:
    error = refused(line)
    assert error.message == message
    if marked is not None:
        assert line[error.offset : error.offset + error.length] == marked


def test_the_hint_of_a_redirection_says_what_is_possible() -> None:
    assert refused("img > x").hint.startswith(
        "only /dev/null and the other stream are possible here; put the whole"
    )
    assert refused("img > /dev/stderr").hint == "write >&2"


def test_options_stand_before_the_image_of_every_command() -> None:
    first, second = parse("-it -p 80:80 img a; --user=me -- img").commands
    assert first.options == (
        RunOption("interactive", "true", 0),
        RunOption("tty", "true", 0),
        RunOption("publish", "80:80", 4),
    )
    assert (first.image, first.args, first.offset, first.image_offset) == ("img", ("a",), 0, 13)
    assert second.options == (RunOption("user", "me", 20),)
    assert (second.image, second.offset, second.image_offset) == ("img", 20, 33)


def test_options_and_images_may_come_from_variables() -> None:
    command = only('$OPTS -e "A=$A" $IMG x')
    assert command.options == (RunOption("publish", "80:80", 0), RunOption("env", "A=one", 6))
    assert (command.image, command.image_offset, command.args) == ("repo/img:1", 16, ("x",))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bash a b", ["mcr.example.com/acr/bash:1", "a", "b"]),
        ("bash", ["mcr.example.com/acr/bash:1"]),
        ("bash>/dev/null", ["mcr.example.com/acr/bash:1"]),
        ("> /dev/null bash a", ["mcr.example.com/acr/bash:1", "a"]),
        ("foo a foo", ["repo/foo:1", "sub", "a", "foo"]),
        ("nothing img a", ["img", "a"]),
        ("bash:3 x", ["bash:3", "x"]),
        ("'bash' x", ["bash", "x"]),
        ("\\bash x", ["bash", "x"]),
        ("bas$NOPE'h'", ["bash"]),
        ("img bash", ["img", "bash"]),
        ("-i bash", ["bash"]),
    ],
)
def test_a_bare_first_word_may_be_an_image_alias(line: str, words: list[str]) -> None:
    assert argv(line) == words


def test_an_alias_may_hold_options_quotes_and_variables() -> None:
    line = parse("img; opts x")
    command = line.commands[1]
    assert command.options == (RunOption("env", "B=2", 5),)
    assert (command.image, command.args, command.image_offset) == ("img", ("a b", "one", "x"), 5)
    assert line.unset == (UnsetVariable("NOPE", 5),)


def test_an_alias_wins_over_a_builtin() -> None:
    line = parse_command_line("img && echo a", {}, home="", image_aliases={"echo": "repo/echo:1"})
    assert (line.commands[1].builtin, line.commands[1].image) == ("", "repo/echo:1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("img; piped a", "in alias 'piped': '|' needs a shell, and tasks never starts one on the host"),
        ("img; open a", "in alias 'open': quote ' is never closed"),
    ],
)
def test_errors_of_an_alias_stand_at_its_name(line: str, message: str) -> None:
    error = refused(line)
    assert (error.message, line[error.offset : error.offset + error.length]) == (message, line.split()[1])


@pytest.mark.parametrize(
    ("line", "operator"),
    [
        ("img | cat", "|"),
        ("img &", "&"),
        ("img & img", "&"),
        ("(img)", "("),
        ("img )", ")"),
        ("f() { img; }", "("),
        ("img $(x)", "$("),
        ('img "a$(x)"', "$("),
        ("img $((1+2))", "$(("),
        ("img `x`", "`"),
        ("img << EOF", "<<"),
        ("img <<< x", "<<<"),
        ("img <&2", "<&"),
        ("img >| /dev/null", ">|"),
        ("! img", "!"),
        ("{ img; }", "{"),
        ("if true; then img; fi", "if"),
        ("img; for x in a; do img; done", "for"),
        ("img && while true; do img; done", "while"),
        ("case x in esac", "case"),
    ],
)
def test_what_needs_a_shell_is_refused_with_its_place(line: str, operator: str) -> None:
    error = refused(line)
    assert error.message == f"'{operator}' needs a shell, and tasks never starts one on the host"
    assert error.hint == "put the whole line inside the container's own shell: cmd: IMAGE sh -c '…'"
    assert line[error.offset : error.offset + error.length] == operator


@pytest.mark.parametrize("written", ["$?", "$$", "$!", "$-", "$0", "${?}", "${0}"])
def test_what_only_a_running_shell_knows_is_refused(written: str) -> None:
    error = refused(f"img a{written}b")
    assert error.message == f"'{written}' is known to a shell only, and tasks never starts one on the host"
    assert (error.offset, error.length) == (5, len(written))


@pytest.mark.parametrize(
    "written", ["${A:-x}", "${A-x}", "${A%x}", "${#A}", "${A", "${}", "${ A }", "${1:-x}"]
)
def test_operators_in_braces_are_refused(written: str) -> None:
    error = refused(f'img "{written}')
    assert error.message == f"'{written}' is more than ${{NAME}}, which is all that is expanded here"
    assert (error.offset, error.length) == (5, len(written))


@pytest.mark.parametrize("line", ["img $A\\\nB", "img $\\\nA"])
def test_a_variable_over_two_lines_is_refused(line: str) -> None:
    assert refused(line).message == "a line break stands inside a variable"


@pytest.mark.parametrize(
    ("line", "message", "offset"),
    [
        ("", "cmd names no image", 0),
        (" \n # x\n", "cmd names no image", 0),
        ("&& img", "no command stands before '&&'", 0),
        ("img && && img", "no command stands before '&&'", 7),
        ("img\n|| img", "no command stands before '||'", 4),
        ("; img", "no command stands before ';'", 0),
        ("img; ; img", "no command stands before ';'", 5),
        ("img ;; img", "no command stands between ';' and ';'", 4),
        ("img &&", "no command stands behind '&&'", 4),
        ("img ||\n # x\n", "no command stands behind '||'", 4),
        ("-i --rm", "the command names no image", 0),
        ("img; -p 80:80", "the command names no image", 5),
        ("img; > /dev/null", "the command names no image", 5),
        ("img; ''", "the command names no image", 5),
        ("img; $NOPE", "the command names no image", 5),
        ("nothing", "the command names no image", 0),
        ("A=1 img", "'A=' before the image sets nothing in the container", 0),
        ("img; B='x y' img", "'B=' before the image sets nothing in the container", 5),
        ("img 'a", "quote ' is never closed", 4),
        ('img "a', 'quote " is never closed', 4),
        ("img; --priviliged img", "docker run has no option '--priviliged'", 5),
    ],
)
def test_lines_that_name_no_command_are_refused(line: str, message: str, offset: int) -> None:
    error = refused(line)
    assert (error.message, error.offset) == (message, offset)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("A=1 img", "write -e A=… instead, or use the step's env"),
        ("$NOPE", "not set: $NOPE"),
        ("img\n&& img", "write '&&' at the end of the line before"),
    ],
)
def test_refused_lines_come_with_a_hint(line: str, hint: str) -> None:
    assert refused(line).hint == hint


def test_commands_are_limited() -> None:
    assert len(parse("img;" * MAX_COMMANDS).commands) == MAX_COMMANDS
    assert refused("img;" * (MAX_COMMANDS + 1)).message == "more than 100 commands"


def test_redirections_are_limited() -> None:
    assert refused("img" + " 2>&1" * (MAX_REDIRECTS + 1)).message == "more than 100 redirections"


def test_expansions_are_limited() -> None:
    assert refused("img " + "$A" * (MAX_EXPANSIONS + 1)).message == "more than 10000 expansions in one line"
    error = refused_with_env("img a $X$X", {"X": "x" * (MAX_EXPANDED // 2 + 1)})
    assert error.message == "the expansions of this line give more than 1048576 characters"
    assert error.offset == 8


def test_aliases_count_as_expansions() -> None:
    with pytest.raises(WordError, match="give more than 1048576 characters"):
        parse_command_line("x;x;x", {}, home="", image_aliases={"x": "img " + "a" * (MAX_EXPANDED // 2)})


def refused_with_env(line: str, env: dict[str, str]) -> WordError:
    with pytest.raises(WordError) as caught:
        parse_command_line(line, env, home="")
    return caught.value


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "a ",
            "'a' ",
            '"a" ',
            "''",
            "\\a",
            "\\\n",
            "#\n",
            "\n",
            ";",
            "a;",
            "$A ",
            "$A",
            '"$TWO" ',
            "$SPACED ",
            "$",
            "~ ",
        ),
        *("1", "1 ", "1>", ">/dev/null ", "2>&1 ", "-e A ", "-i ", "i", "|", "&", "(", "${", '"', "a\\\n"),
    ],
)
def test_a_long_line_is_planned_or_refused_at_once(unit: str) -> None:
    for start in ("img ", "-"):
        try:
            parse(start + unit * (200_000 // len(unit)))
        except WordError as error:
            assert len(error.message) < 300


def test_run_if_says_when_a_command_runs() -> None:
    assert [each.run_if for each in parse("a; b && c || d").commands] == [
        RunIf.ALWAYS,
        RunIf.ALWAYS,
        RunIf.SUCCESS,
        RunIf.FAILURE,
    ]
