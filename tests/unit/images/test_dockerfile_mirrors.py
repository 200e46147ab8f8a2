from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.images.dockerfile_mirrors import mirror_dockerfile
from tasks_engine.images.mirrors import mirrored_name

MIRRORS = {"docker.io": "m.io", "docker.io/library": "m.io/l"}


def mirror(name: str) -> str:
    return mirrored_name(name, MIRRORS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM alpine", "FROM m.io/l/alpine:latest"),
        ("from  alpine:3\tas x # y", "from  m.io/l/alpine:3\tas x # y"),
        ("FROM a/b@sha256:" + "0" * 64, "FROM m.io/a/b@sha256:" + "0" * 64),
        ("FROM --platform=$BUILDPLATFORM a/b AS x", "FROM --platform=$BUILDPLATFORM m.io/a/b:latest AS x"),
        ("FROM --platform=alpine alpine", "FROM --platform=alpine m.io/l/alpine:latest"),
        ("FROM 'alpine'", "FROM m.io/l/alpine:latest"),
        ("FROM other.io/a", "FROM other.io/a"),
        ("FROM scratch", "FROM scratch"),
        ("FROM $X", "FROM $X"),
        ("FROM", "FROM"),
        ("", ""),
        ("# only a comment", "# only a comment"),
        ("\ufeffFROM a", "\ufeffFROM m.io/l/a:latest"),
        ("FROM a\r\nRUN b\r\n", "FROM m.io/l/a:latest\r\nRUN b\r\n"),
        # a word over several lines keeps its lines
        ("FROM al\\\npine AS x\nRUN a", "FROM m.io/l/alpine:latest\\\n AS x\nRUN a"),
        ("FROM al\\\r\n# c\r\npine\r\nRUN a", "FROM m.io/l/alpine:latest\\\r\n# c\r\n\r\nRUN a"),
        ("FROM \\\n# c\n  a AS x", "FROM \\\n# c\n  m.io/l/a:latest AS x"),
        ("# escape=`\nFROM a `\n AS x", "# escape=`\nFROM m.io/l/a:latest `\n AS x"),
        # stages are no images
        ("FROM a AS One\nFROM one", "FROM m.io/l/a:latest AS One\nFROM one"),
        ("FROM a AS a\nFROM a", "FROM m.io/l/a:latest AS a\nFROM a"),
        ("FROM a AS x\nCOPY --from=X / /", "FROM m.io/l/a:latest AS x\nCOPY --from=X / /"),
        (
            "FROM a\nFROM a\nCOPY --from=0 / /",
            "FROM m.io/l/a:latest\nFROM m.io/l/a:latest\nCOPY --from=0 / /",
        ),
        # images elsewhere
        (
            "FROM x.io/a\nCOPY --chown=1 --from=b:1 --link / /",
            "FROM x.io/a\nCOPY --chown=1 --from=m.io/l/b:1 --link / /",
        ),
        ('FROM x.io/a\nCOPY --from="b:1" b:1 /', 'FROM x.io/a\nCOPY --from="m.io/l/b:1" b:1 /'),
        ("FROM x.io/a\nCOPY --from=$B / /", "FROM x.io/a\nCOPY --from=$B / /"),
        ("FROM x.io/a\nCOPY --from=scratch / /", "FROM x.io/a\nCOPY --from=scratch / /"),
        (
            "FROM x.io/a\nCOPY \\\n  --from=b \\\n  / /",
            "FROM x.io/a\nCOPY \\\n  --from=m.io/l/b:latest \\\n  / /",
        ),
        ("FROM x.io/a\nADD --from=b / /", "FROM x.io/a\nADD --from=b / /"),
        (
            "FROM x.io/a\nRUN --mount=type=bind,xfrom=b,from=b,target=/b --mount=from=c/d:1 a from=b",
            "FROM x.io/a\n"
            "RUN --mount=type=bind,xfrom=b,from=m.io/l/b:latest,target=/b --mount=from=m.io/c/d:1 a from=b",
        ),
        (
            "FROM x.io/a\nRUN --mount='type=bind,from=b,\"target=/a b\"' ls",
            "FROM x.io/a\nRUN --mount='type=bind,from=m.io/l/b:latest,\"target=/a b\"' ls",
        ),
        (
            "FROM x.io/a\nRUN --mount=from=b,from=b ls",
            "FROM x.io/a\nRUN --mount=from=m.io/l/b:latest,from=m.io/l/b:latest ls",
        ),
        # what looks like an instruction and is text
        (
            "FROM x.io/a\nRUN <<EOF\nFROM a\nEOF\nCOPY --from=b / /",
            "FROM x.io/a\nRUN <<EOF\nFROM a\nEOF\nCOPY --from=m.io/l/b:latest / /",
        ),
        ("FROM x.io/a\nRUN echo \\\nFROM a", "FROM x.io/a\nRUN echo \\\nFROM a"),
        # the frontend
        (
            "# syntax=docker/dockerfile:1 # x\nFROM x.io/a",
            "# syntax=m.io/docker/dockerfile:1 # x\nFROM x.io/a",
        ),
        ("# syntax=x.io/f\nFROM x.io/a", "# syntax=x.io/f\nFROM x.io/a"),
        ("FROM x.io/a\n# syntax=docker/dockerfile:1", "FROM x.io/a\n# syntax=docker/dockerfile:1"),
        # refused by a build, and left to it
        ("ARG\nFROM a", "ARG\nFROM a"),
    ],
)
def test_names_of_images_are_replaced_and_nothing_else(text: str, expected: str) -> None:
    assert mirror_dockerfile(text, mirror) == expected
    assert expected.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "build_args", "platforms", "expected"),
    [
        ("ARG B=alpine\nFROM $B", None, [], "FROM $B"),
        ("ARG B=alpine\nFROM $B", {}, [], "FROM m.io/l/alpine:latest"),
        ("ARG B=alpine\nFROM ${B}:3 AS x", {"B": "debian"}, [], "FROM m.io/l/debian:3 AS x"),
        ("ARG B=x.io/a\nFROM $B", {}, [], "FROM $B"),
        ("ARG B\nFROM ${B:-alpine}", {}, [], "FROM m.io/l/alpine:latest"),
        ("ARG B\nFROM $B", {}, [], "FROM $B"),
        ("FROM $B", {"B": "alpine"}, [], "FROM $B"),
        ("ARG B=alpine\nFROM x.io/a AS alpine\nFROM $B", {}, [], "FROM $B"),
        ("FROM a/$TARGETARCH", {}, [], "FROM a/$TARGETARCH"),
        ("FROM a/$TARGETARCH", {}, ["linux/arm64"], "FROM m.io/a/arm64:latest"),
        ("FROM a/$TARGETARCH", {}, ["linux/arm64", "linux/amd64"], "FROM a/$TARGETARCH"),
        ("FROM a/$TARGETOS", {}, ["linux/arm64", "linux/amd64"], "FROM m.io/a/linux:latest"),
        ("FROM a/${TARGETVARIANT:-x}", {}, [], "FROM a/${TARGETVARIANT:-x}"),
        ("FROM a/$BUILDARCH", {}, ["linux/arm64"], "FROM a/$BUILDARCH"),
        ("ARG B=a/${TARGETARCH}\nFROM $B", {}, [], "FROM $B"),
        ("ARG B=${\nFROM $B", {}, [], "FROM $B"),
    ],
)
def test_variables_are_filled_in_where_the_result_is_certain(
    text: str, build_args: dict[str, str] | None, platforms: list[str], expected: str
) -> None:
    found = mirror_dockerfile(text, mirror, build_args=build_args, platforms=platforms)
    assert found.splitlines()[-1] == expected
    assert found.splitlines()[:-1] == text.splitlines()[:-1]


PIECES = st.sampled_from(
    [
        *(
            "FROM ",
            "COPY --from=",
            "RUN --mount=from=",
            "ARG X=a",
            " AS n",
            "# escape=`\n",
            "# syntax=",
            "<<E",
            "--x",
        ),
        *(
            "a",
            "b:1",
            "x.io/c",
            "n",
            "$X",
            "E",
            "\\",
            "`",
            "\n",
            "\r",
            "\t",
            " ",
            "'",
            '"',
            "#",
            ",",
            "\ufeff",
        ),
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_text_keeps_its_lines_and_a_second_time_changes_nothing(text: str) -> None:
    found = mirror_dockerfile(text, mirror, build_args={})
    assert found.count("\n") == text.count("\n")
    assert mirror_dockerfile(found, mirror, build_args={}) == found
    assert mirror_dockerfile(text, lambda name: name, build_args={}) == text
