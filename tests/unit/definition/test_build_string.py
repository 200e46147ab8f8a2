from __future__ import annotations

import pytest

from tasks_engine.definition.build_attributes import Attestation, BuildOutput, BuildSecret, CacheEntry
from tasks_engine.definition.build_context import ContextKind
from tasks_engine.definition.build_string import (
    BuildArguments,
    BuildStringError,
    BuildWarning,
    parse_build_string,
    parse_build_words,
)
from tasks_engine.definition.build_values import Annotation, HostEntry, SshForward, Ulimit
from tasks_engine.definition.build_words import Place


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
    assert list(arguments.build_args) == ["A", "B", "C"]


def test_labels_without_value_are_empty() -> None:
    assert parse_build_string("--label a=b --label c .").labels == {"a": "b", "c": ""}


def test_platforms_are_a_list_and_may_be_repeated() -> None:
    arguments = parse_build_string("--platform linux/arm64,linux/amd64 --platform=linux/amd64,linux/s390x .")
    assert arguments.platforms == ("linux/arm64", "linux/amd64", "linux/s390x")


def test_everything_a_build_can_be_told() -> None:
    arguments = parse_build_string(
        """
        --target one --target=two --network host --shm-size 64m --cgroup-parent parent --allow network.host
        --no-cache-filter a,b --no-cache-filter b,c --add-host db:10.0.0.1 --ulimit nofile=1:2 --ulimit nofile=3
        --secret id=s,src=old --secret id=s,src=file --ssh default --build-context base=docker-image://busybox
        --cache-from r/cache --cache-to type=inline --output out --annotation a=b .
        """
    )
    assert arguments == BuildArguments(
        context=".",
        target="two",
        network="host",
        shm_size_bytes=64 << 20,
        cgroup_parent="parent",
        allow=("network.host",),
        no_cache_filter=("a", "b", "c"),
        add_hosts=(HostEntry("db", "10.0.0.1"),),
        ulimits=(Ulimit("nofile", 3, 3),),
        secrets=(BuildSecret("s", file="file"),),
        ssh=(SshForward("default"),),
        build_contexts={"base": "docker-image://busybox"},
        cache_from=(CacheEntry("registry", {"ref": "r/cache"}),),
        cache_to=(CacheEntry("inline"),),
        outputs=(BuildOutput("local", "out"),),
        annotations=(Annotation("a", "b"),),
    )
    assert arguments.warnings == ()


def test_an_explicit_attestation_counts_before_the_short_forms() -> None:
    text = "--sbom=false --provenance mode=max --attest type=sbom,generator=g ."
    assert parse_build_string(text).attestations == (
        Attestation("sbom", attributes={"generator": "g"}),
        Attestation("provenance", attributes={"mode": "max"}),
    )


@pytest.mark.parametrize(
    ("text", "sbom"),
    [("--sbom .", True), ("--sbom true .", True), ("--sbom=0 .", False), ("--sbom false .", False)],
)
def test_the_word_behind_sbom_is_its_value_when_it_looks_like_one(text: str, sbom: bool) -> None:
    arguments = parse_build_string(text)
    assert (arguments.context, arguments.attestations) == (".", (Attestation("sbom", disabled=not sbom),))


@pytest.mark.parametrize(
    ("flag", "no_cache"),
    [
        ("--no-cache", True),
        ("--no-cache=true", True),
        ("--no-cache=1", True),
        ("--no-cache=false", False),
        ("--no-cache --no-cache=F", False),
        ("", False),
    ],
)
def test_switches(flag: str, no_cache: bool) -> None:
    assert parse_build_string(f"{flag} .").no_cache is no_cache


def test_the_context_may_follow_a_switch() -> None:
    arguments = parse_build_string("--no-cache --pull --rm --force-rm -q --quiet --compress -D dir")
    assert (arguments.context, arguments.no_cache, arguments.pull) == ("dir", True, True)
    assert arguments.warnings == ()


@pytest.mark.parametrize("text", ["-qt a .", "-qta .", "-qDt=a .", "-q=true -t a ."])
def test_short_flags_may_share_a_dash(text: str) -> None:
    assert parse_build_string(text) == BuildArguments(context=".", tags=("a",))


def test_the_context_may_stand_first() -> None:
    assert parse_build_string("dir -t a").context == "dir"


def test_after_two_dashes_there_are_no_flags() -> None:
    assert parse_build_string("-t a -- -dir").context == "-dir"


def test_a_dash_is_a_context_of_its_own() -> None:
    arguments = parse_build_string("-t a -")
    assert (arguments.context, arguments.source.kind) == ("-", ContextKind.STDIN)


def test_the_last_of_several_contexts_is_the_context() -> None:
    arguments = parse_build_string("one -t a two three")
    assert (arguments.context, arguments.extra_contexts) == ("three", ("one", "two"))


def test_lines_are_joined() -> None:
    assert parse_build_string("-t a\n-f D\n.\n") == BuildArguments(context=".", dockerfile="D", tags=("a",))


@pytest.mark.parametrize(
    "text",
    ["--network '' .", "--platform= .", "--secret= .", "--ssh '' --cache-from '' --cache-to= .", "-o= ."],
)
def test_an_empty_value_is_none(text: str) -> None:
    assert parse_build_string(text) == BuildArguments(context=".")


def test_an_empty_value_takes_an_earlier_one_back() -> None:
    arguments = parse_build_string("--network host --network= --target a --target '' -f D -f= .")
    assert arguments == BuildArguments(context=".")


def test_variables_stay_without_an_environment() -> None:
    assert parse_build_string("-t $A/a '$B' ~").tags == ("$A/a",)


def test_variables_come_from_the_environment_of_the_step() -> None:
    env = {"R": "host", "FLAGS": "--pull -t b", "TEXT": "1 2"}
    text = """-t $R/a $FLAGS --build-arg A="$TEXT" --build-arg 'B=$R' ~/dir"""
    assert parse_build_string(text, env) == BuildArguments(
        context="~/dir", tags=("host/a", "b"), pull=True, build_args={"A": "1 2", "B": "$R"}
    )


def test_a_variable_that_is_not_set_is_warned_about() -> None:
    arguments = parse_build_string("-t a$NONE .", {})
    assert arguments.tags == ("a",)
    message = "$NONE is not set in the environment of the step and becomes nothing"
    assert arguments.warnings == (BuildWarning(message, "$NONE", 4, "a literal '$' is written '\\$'"),)


def test_a_build_without_context_takes_the_working_directory_with_a_warning() -> None:
    arguments = parse_build_string("-t a")
    assert arguments.context == "."
    assert [warning.message for warning in arguments.warnings] == ["build has no context, so it is '.'"]


def test_flags_without_effect_are_warned_about_once_and_by_name() -> None:
    arguments = parse_build_string("-m 1g --squash --memory=2g --push --builder b .")
    assert [(warning.message, warning.word, warning.offset) for warning in arguments.warnings] == [
        ("build flag '-m' is for docker's classic builder and has no effect", "-m", 0),
        ("build flag '--squash' is for docker's classic builder and has no effect", "--squash", 6),
        ("build flag '--push' has no effect", "--push", 27),
        ("build flag '--builder' has no effect", "--builder", 34),
    ]


def test_a_switch_that_is_off_is_not_warned_about() -> None:
    assert parse_build_string("--push=false --squash=0 --load=F .").warnings == ()


@pytest.mark.parametrize("output", ["type=registry", "type=image,push=true"])
def test_an_output_that_would_push_is_warned_about(output: str) -> None:
    warnings = parse_build_string(f"-o {output} .").warnings
    assert [(each.message, each.word) for each in warnings] == [("build flag '-o' does not push", output)]


def test_a_page_of_github_as_context_is_warned_about() -> None:
    (warning,) = parse_build_string("-t a https://github.com/o/r").warnings
    assert warning == BuildWarning(
        "build context 'https://github.com/o/r' is a download, not a git repository",
        "https://github.com/o/r",
        5,
        "the address of a git repository ends with .git",
    )


@pytest.mark.parametrize(
    ("text", "message", "word", "offset"),
    [
        (". -t", "build flag '-t' needs a value", "-t", 2),
        ("-t --pull .", "build flag '-t' needs a value, but flag '--pull' follows", "-t", 0),
        (". --zzz=1", "build flag '--zzz' is not known", "--zzz", 2),
        ("-x .", "build flag '-x' is not known", "-x", 0),
        (". -qx", "build flag '-x' is not known", "-qx", 2),
        (
            "-t 'a b' --pull=maybe .",
            "build flag '--pull' takes true or false, not 'maybe'",
            "--pull=maybe",
            9,
        ),
        ("--build-arg '=x' .", "build flag '--build-arg' needs a name before '='", "'=x'", 12),
        ("one two three --zzz", "build flag '--zzz' is not known", "--zzz", 14),
        (
            "-f - .",
            "build flag '-f' cannot read standard input, which a step does not have",
            "-",
            3,
        ),
        ("--call check .", "build flag '--call' is not supported", "--call", 0),
        ("-t a ''", "the build context is empty", "''", 5),
        ('. -t "a\0"', "a NUL character cannot be part of a build", '"a\0"', 5),
    ],
)
def test_what_is_refused(text: str, message: str, word: str, offset: int) -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_string(text)
    error = caught.value
    assert (error.message, error.word, error.offset) == (message, word, offset)


@pytest.mark.parametrize(
    ("text", "word", "offset", "hint"),
    [
        ("-t a - < D", "<", 7, "a step has no standard input"),
        ("-t a . && echo x", "&&", 7, "a build step is one docker build"),
        ("-t `id` .", "`", 3, "a build step is one docker build"),
        ("-t 'a .", "'", 3, ""),
    ],
)
def test_what_needs_a_shell_is_refused_with_its_place(text: str, word: str, offset: int, hint: str) -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_string(text)
    assert (caught.value.word, caught.value.offset) == (word, offset)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--platform linux/amd64/v2/x .", "cannot read platform 'linux/amd64/v2/x'"),
        ("--platform amd64/linux .", "needs the operating system first in 'amd64/linux'"),
        ("--platform linuz/amd64 .", "knows no platform 'linuz/amd64'"),
        ("--platform linux/amd64, .", "cannot read platform ''"),
    ],
)
def test_a_wrong_platform_is_refused_with_the_forms_there_are(text: str, message: str) -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_string(text)
    assert caught.value.message == f"build flag '--platform' {message}"
    assert "os/architecture[/variant]" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("--buildarg A=1 .", "--build-arg"),
        ("--tags a .", "--tag"),
        ("-tag a .", "--tag"),
        ("-no-cache .", "--no-cache"),
        ("-file=D .", "--file"),
        ("--secret id=a,sorce=b .", "source"),
    ],
)
def test_a_misspelled_flag_gets_a_guess(text: str, guess: str) -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_string(text)
    assert caught.value.hint == f"did you mean '{guess}'?"


def test_other_unknown_flags_are_told_what_flags_there_are() -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_string("--zzz .")
    assert caught.value.hint == "flags are those of docker build, such as -t, -f, --build-arg and --target"


def test_tokens_of_secrets_may_stand_where_nothing_can_be_checked() -> None:
    token = "\U000f5ec0eyJzIjoiYSJ9\U000f5ec1"
    arguments = parse_build_string(
        f"-t {token}/a --platform linux/{token} --network {token} --build-arg A={token} --target {token} "
        f"--secret id=x,src={token} --add-host db:{token} https://{token}@github.com/o/r.git"
    )
    assert arguments.tags == (f"{token}/a",)
    assert arguments.platforms == (f"linux/{token}",)
    assert (arguments.network, arguments.target) == (token, token)
    assert arguments.build_args == {"A": token}
    assert arguments.source.address == f"https://dummy:{token}@github.com/o/r.git"
    assert token not in arguments.source.shown


def test_words_that_are_split_already_are_read_alike() -> None:
    words = ["-t", "a", "--build-arg", "A=1 2", "."]
    assert parse_build_words(words) == BuildArguments(context=".", tags=("a",), build_args={"A": "1 2"})


def test_errors_in_words_have_the_place_that_the_caller_gives() -> None:
    with pytest.raises(BuildStringError) as caught:
        parse_build_words([".", "--zzz"])
    assert (caught.value.word, caught.value.offset) == ("--zzz", None)
    with pytest.raises(BuildStringError) as caught:
        parse_build_words([".", "--zzz"], lambda number: Place("written", 7 * number))
    assert (caught.value.word, caught.value.offset) == ("written", 7)
