"""Arbitrary texts of build steps, and flags in any order; contexts that are printed and read again."""

from __future__ import annotations

import shlex
from collections import defaultdict, deque

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks_engine.definition.build_attributes import csv_fields
from tasks_engine.definition.build_context import parse_build_context
from tasks_engine.definition.build_flags import FLAGS
from tasks_engine.definition.build_string import BuildStringError, parse_build_string, parse_build_words
from tasks_engine.definition.build_values import InvalidValue

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
envs = st.dictionaries(st.sampled_from(["A", "B", "NAME"]), words, max_size=2)
flag_like = st.lists(
    st.sampled_from(
        [
            *FLAGS,
            *FLAGS,
            "--",
            "-",
            ".",
            "=",
            "a",
            "a=b",
            "id=x",
            "linux/arm64",
            "1g",
            "type=",
            '"',
            "'",
            "$A",
            "${B",
            "\\",
            "<",
        ]
    ).map(str),
    max_size=8,
).flatmap(lambda parts: st.sampled_from(["", " ", "\n", "="]).map(lambda between: between.join(parts)))
addresses = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(
            ["", "https://", "http://", "ssh://", "git://", "git@", "github.com/", "oci://", "OCI://", "/"]
        ),
        st.sampled_from(["", "user@", "user:p:w@", ":@", "a@b@"]),
        st.sampled_from(["", "host", "host:1", "dev.azure.com", "x.visualstudio.com", "github.com"]),
        st.sampled_from(["", "/", "/a.git", "/a", "/o/_git/r", "/a b.git", "/a@b.git"]),
        st.sampled_from(["", "?x=1", ".git", "/"]),
        st.sampled_from(["", "#", "#:", "##", "#%", "#%00", "#a%25"]),
        words,
        st.sampled_from(["", ":", "::", ":a/b", ":%3A"]),
    ),
)
#: uses of flags whose items do not depend on those of other flags
uses = st.sampled_from(
    [
        "-t a",
        "--tag=b",
        "-tc",
        "--build-arg A=1",
        "--build-arg A=2",
        "--build-arg B",
        "--label a=b",
        "--target x",
        "--target=y",
        "-f D",
        "--no-cache",
        "--no-cache=false",
        "--pull",
        "-q",
        "--platform linux/arm64,linux/amd64",
        "--platform linux/s390x",
        "--secret id=x,src=a",
        "--secret id=x,src=b",
        "--ssh default",
        "--cache-from type=registry,ref=a",
        "--cache-to b",
        "--add-host a:1.1.1.1",
        "--ulimit nofile=1",
        "--ulimit nofile=2",
        "--shm-size 1m",
        "--attest type=sbom",
        "--sbom=false",
        "--provenance mode=max",
        "--annotation a=b",
        "-m 1g",
        "--network none",
    ]
)


@given(words, words, words)
def test_any_quoted_word_comes_back(tag: str, value: str, context: str) -> None:
    text = f"-t={shlex.quote(tag)} --build-arg {shlex.quote('A=' + value)} -- {shlex.quote('./' + context)}"
    for env in (None, {"A": "x"}):
        arguments = parse_build_string(text, env)
        assert (arguments.tags, arguments.build_args["A"]) == ((tag,), value)
        assert arguments.context == f"./{context}"


@given(st.text() | flag_like, st.none() | envs)
@example("-t a $A", {"A": "b c"})
@settings(max_examples=400)
def test_any_text_is_read_or_refused_at_a_place_in_it(text: str, env: dict[str, str] | None) -> None:
    try:
        arguments = parse_build_string(text, env)
    except BuildStringError as error:
        assert error.offset is not None
        assert text.startswith(error.word, error.offset)
        return
    for warning in arguments.warnings:
        assert warning.offset is None or text.startswith(warning.word, warning.offset)


@given(st.lists(words | st.sampled_from(list(FLAGS)), max_size=6))
def test_any_words_are_read_or_refused(parts: list[str]) -> None:
    try:
        arguments = parse_build_words(parts)
    except BuildStringError:
        return
    assert arguments.context in (*parts, ".")


@given(st.data(), st.lists(uses, max_size=10))
def test_the_order_of_different_flags_does_not_matter(data: st.DataObject, given_uses: list[str]) -> None:
    def flag(use: str) -> str:
        name = use.partition("=")[0].split()[0]
        return FLAGS[name if name in FLAGS else name[:2]].name

    waiting: dict[str, deque[str]] = defaultdict(deque)
    for use in given_uses:
        waiting[flag(use)].append(use)
    order = data.draw(st.permutations([flag(use) for use in given_uses]))
    mixed = [waiting[name].popleft() for name in order]
    place = data.draw(st.integers(0, len(mixed)))
    mixed.insert(place, "dir")
    assert parse_build_string(" ".join(mixed)) == parse_build_string(" ".join([*given_uses, "dir"]))


@given(addresses | st.text())
def test_printing_and_reading_a_context_is_stable(text: str) -> None:
    context = parse_build_context(text)
    assert parse_build_context(str(context)) == context


@given(st.sampled_from(["https://", "http://", "ssh://", "git://", "oci://"]), st.sampled_from(["", "user:"]))
def test_no_login_is_ever_shown(scheme: str, user: str) -> None:
    for rest in ("host/r.git#b:s", "host/x.tar?sig=login", "dev.azure.com/o/_git/r"):
        assert "login" not in parse_build_context(f"{scheme}{user}login@{rest}").shown


@given(st.lists(st.text(st.sampled_from('ab=",\n ')), min_size=1, max_size=5))
def test_csv_fields_that_are_quoted_come_back(fields: list[str]) -> None:
    text = ",".join('"' + each.replace('"', '""') + '"' for each in fields)
    assert csv_fields(text) == fields


@given(st.text(st.sampled_from('ab",')))
def test_csv_is_read_or_refused(text: str) -> None:
    try:
        fields = csv_fields(text)
    except InvalidValue:
        return
    assert len(fields) <= text.count(",") + 1
