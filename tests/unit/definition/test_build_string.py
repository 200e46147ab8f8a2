from __future__ import annotations

import pytest

from tasks_engine.definition.build_string import BuildArguments, BuildStringError, parse_build_string


@pytest.mark.parametrize(
    "text",
    ["-t a -t b:1 .", "--tag a --tag=b:1 .", "-ta -tb:1 .", "-t=a . -t b:1", "--image a -t b:1 -t a ."],
)
def test_tags(text: str) -> None:
    assert parse_build_string(text) == BuildArguments(context=".", tags=("a", "b:1"))


@pytest.mark.parametrize("text", ["-f D .", "--file D .", "--file=D .", "-fD .", "-f C -f D .", "-f 'D' ."])
def test_the_last_dockerfile_counts(text: str) -> None:
    assert parse_build_string(text).dockerfile == "D"


def test_build_arguments_keep_their_order_and_the_last_of_a_name_counts() -> None:
    arguments = parse_build_string("--build-arg A=1 --build-arg B='x y=z' --build-arg C --build-arg A= .")
    assert arguments.build_args == {"A": "", "B": "x y=z", "C": None}


def test_labels_without_value_are_empty() -> None:
    assert parse_build_string("--label a=b --label c .").labels == {"a": "b", "c": ""}


def test_target_and_platform() -> None:
    arguments = parse_build_string("--target one --target=two --platform linux/arm64 .")
    assert (arguments.target, arguments.platform) == ("two", "linux/arm64")


@pytest.mark.parametrize(
    ("flag", "no_cache"),
    [
        ("--no-cache", True),
        ("--no-cache=true", True),
        ("--no-cache=1", True),
        ("--no-cache=false", False),
        ("", False),
    ],
)
def test_switches(flag: str, no_cache: bool) -> None:
    assert parse_build_string(f"{flag} .").no_cache is no_cache


def test_the_context_may_follow_a_switch() -> None:
    arguments = parse_build_string("--no-cache --pull --rm --force-rm -q --quiet dir")
    assert (arguments.context, arguments.no_cache, arguments.pull) == ("dir", True, True)


def test_the_context_may_stand_first() -> None:
    assert parse_build_string("dir -t a").context == "dir"


def test_after_two_dashes_there_are_no_flags() -> None:
    assert parse_build_string("-t a -- -dir").context == "-dir"


def test_a_dash_is_a_context() -> None:
    assert parse_build_string("-").context == "-"


def test_lines_are_joined() -> None:
    assert parse_build_string("-t a\n-f D\n.\n") == BuildArguments(context=".", dockerfile="D", tags=("a",))


@pytest.mark.parametrize(
    ("text", "message", "word"),
    [
        ("", "build has no context", ""),
        ("-t a", "build has no context", "-t a"),
        ("a b", "build takes one context, but 'a' and 'b' stand here", "b"),
        (". -t", "build flag '-t' needs a value", "-t"),
        ("--squash .", "build flag '--squash' is not supported", "--squash"),
        ("-x .", "build flag '-x' is not supported", "-x"),
        ("--memory=1g .", "build flag '--memory' is not supported", "--memory"),
        ("--pull=maybe .", "build flag '--pull' takes true or false, not 'maybe'", "--pull=maybe"),
        ("--build-arg =x .", "build flag '--build-arg' needs a name before '='", "=x"),
    ],
)
def test_what_is_refused(text: str, message: str, word: str) -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_string(text)
    assert (caught.value.message, caught.value.word) == (message, word)


def test_a_misspelled_flag_gets_a_guess() -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_string("--buildarg A=1 .")
    assert caught.value.hint == "did you mean '--build-arg'?"


def test_an_unknown_flag_gets_the_list() -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_string("--zzz .")
    assert caught.value.hint.startswith("supported: --build-arg, --file, --force-rm")
