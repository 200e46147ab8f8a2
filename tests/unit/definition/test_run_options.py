from __future__ import annotations

import pytest

from tasks_engine.definition.run_options import (
    FLAGS,
    MAX_OPTIONS,
    Meaning,
    RunOption,
    Takes,
    read_run_options,
)
from tasks_engine.definition.words import Word, WordError, read_tokens


def read(line: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The options of a line as pairs, and the words behind them."""
    options, rest = read_at_places(line)
    return [(option.name, option.value) for option in options], rest


def read_at_places(line: str) -> tuple[tuple[RunOption, ...], list[str]]:
    words = [token for token in read_tokens(line) if isinstance(token, Word)]
    texts = [field for word in words for field in word.fields]
    options, at = read_run_options(texts, [word for word in words for _ in word.fields])
    return options, texts[at:]


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("-p 8080:80", [("publish", "8080:80")]),
        ("-p8080:80", [("publish", "8080:80")]),
        ("-p=8080:80", [("publish", "8080:80")]),
        ("--publish 8080:80", [("publish", "8080:80")]),
        ("--publish=8080:80", [("publish", "8080:80")]),
        ("-e A=1 -e=B=2 -eC --env D=", [("env", "A=1"), ("env", "B=2"), ("env", "C"), ("env", "D=")]),
        ("--entrypoint ''", [("entrypoint", "")]),
        ("--entrypoint=", [("entrypoint", "")]),
        ("--entrypoint --rm", [("entrypoint", "--rm")]),
        ("--privileged", [("privileged", "true")]),
        ("--privileged=false --init=T", [("privileged", "false"), ("init", "true")]),
        ("-it", [("interactive", "true"), ("tty", "true")]),
        ("-i=false", [("interactive", "false")]),
        ("-itp80:80", [("interactive", "true"), ("tty", "true"), ("publish", "80:80")]),
        ("-ditv /a:/b", [("detach", "true"), ("interactive", "true"), ("tty", "true"), ("volume", "/a:/b")]),
        ("-w=", [("workdir", "=")]),
        ("-P -h host -c 512", [("publish-all", "true"), ("hostname", "host"), ("cpu-shares", "512")]),
        ("--net host --net-alias a", [("network", "host"), ("network-alias", "a")]),
        ("--dns-opt=ndots:1", [("dns-option", "ndots:1")]),
        ("--memory-swap -1 --pids-limit=-1", [("memory-swap", "-1"), ("pids-limit", "-1")]),
        ("--pull always --cgroupns=private", [("pull", "always"), ("cgroupns", "private")]),
        ("--user 1000 --user 0", [("user", "1000"), ("user", "0")]),
    ],
)
def test_options_are_read_as_docker_does(line: str, options: list[tuple[str, str]]) -> None:
    assert read(f"{line} img --rm -x") == (options, ["img", "--rm", "-x"])


def test_two_dashes_end_the_options() -> None:
    assert read("--rm -- -img a") == ([("rm", "true")], ["-img", "a"])


@pytest.mark.parametrize("rest", [[], ["-"], ["", "-e"], ["img"]])
def test_options_end_at_the_first_word_that_is_none(rest: list[str]) -> None:
    assert read_run_options(rest, []) == ((), 0)


def test_options_say_where_they_stand() -> None:
    options, _ = read_at_places(" -it  --user  me img")
    assert options == (
        RunOption("interactive", "true", 1),
        RunOption("tty", "true", 1),
        RunOption("user", "me", 6),
    )


@pytest.mark.parametrize(
    ("line", "message", "marked"),
    [
        ("--capadd X img", "docker run has no option '--capadd'", "--capadd"),
        ("--capadd=X img", "docker run has no option '--capadd'", "--capadd"),
        ("-z img", "docker run has no option '-z'", "-z"),
        ("-iz img", "docker run has no option '-z' in '-iz'", "-iz"),
        ("-i= img", "docker run has no option '-=' in '-i='", "-i="),
        ("--=x img", "docker run has no option '--'", "--"),
        ("---rm img", "docker run has no option '---rm'", "---rm"),
        ("-p", "docker run option '-p' needs a value", "-p"),
        ("--rm --publish", "docker run option '--publish' needs a value", "--publish"),
        ("--pids-limit", "docker run option '--pids-limit' needs a whole number", "--pids-limit"),
        ("--rm=no img", "docker run option '--rm' takes true or false, not 'no'", "--rm"),
        ("--init= img", "docker run option '--init' takes true or false, not ''", "--init"),
        ("-c x img", "docker run option '-c' takes a whole number, not 'x'", "-c"),
        (
            "--stop-timeout=010 img",
            "docker run option '--stop-timeout' takes a whole number, not '010'",
            None,
        ),
        (
            "--pull some img",
            "docker run option '--pull' takes always or missing or never, not 'some'",
            "--pull",
        ),
        ("-e =x img", "docker run option '-e' takes name=value, not '=x'", "-e"),
        ("--label '' img", "docker run option '--label' takes name=value, not ''", "--label"),
        (
            "--cpu-count 2 img",
            "docker run option '--cpu-count' is for Windows containers only",
            "--cpu-count",
        ),
        ("--help", "docker run option '--help' starts no container", "--help"),
        (
            "--env-file=x img",
            "docker run option '--env-file' needs a file of the host, which does not exist here",
            "--env-file",
        ),
        (
            "-a stdout img",
            "docker run option '-a' has no place in a step, whose output is always kept",
            "-a",
        ),
        ("'--capadd=X' img", "docker run has no option '--capadd'", "'--capadd=X'"),
    ],
)
def test_wrong_options_are_refused_with_their_place(line: str, message: str, marked: str | None) -> None:
    with pytest.raises(WordError) as caught:
        read(line)
    assert caught.value.message == message
    if marked is not None:
        start = caught.value.offset
        assert line[start : start + caught.value.length] == marked


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("--capadd X img", "did you mean '--cap-add'?"),
        ("--volumes /a img", "did you mean '--volume'?"),
        ("-rm img", "did you mean '--rm'?"),
        ("-network=host img", "did you mean '--network=host'?"),
        ("--zzz img", "options stand before the image, arguments behind it"),
        ("--cidfile x img", "other steps reach the container under the id of the step"),
    ],
)
def test_wrong_options_come_with_a_hint(line: str, hint: str) -> None:
    with pytest.raises(WordError) as caught:
        read(line)
    assert caught.value.hint == hint


def test_the_table_has_no_short_name_twice() -> None:
    shorts = [flag.short for flag in FLAGS.values() if flag.short]
    assert sorted(shorts) == sorted("acdehilmpqtuvwP")


def test_the_table_says_what_options_mean() -> None:
    assert FLAGS["publish"].meaning is Meaning.HONOURED
    assert FLAGS["publish"].takes is Takes.LIST
    without_effect = {name for name, flag in FLAGS.items() if flag.meaning is Meaning.NO_EFFECT}
    assert without_effect == {
        *(
            "detach-keys",
            "disable-content-trust",
            "interactive",
            "kernel-memory",
            "quiet",
            "rm",
            "sig-proxy",
            "tty",
        )
    }


@pytest.mark.parametrize(
    "line", ["-" + "i" * 400_000, "-i " * 100_000, "-e A " * 80_000, "--" + "x" * 400_000]
)
def test_endless_options_are_refused_at_once(line: str) -> None:
    with pytest.raises(WordError):
        read(line)


def test_many_options_are_read() -> None:
    assert len(read("-e A=1 " * MAX_OPTIONS + "img")[0]) == MAX_OPTIONS
