from __future__ import annotations

import pytest

from tasks_engine.backends.buildkit.dockerfile_lines import find_lines, instruction_of, parse_instructions

DOCKERFILE = """\
# syntax is a comment here
ARG BASE=alpine
FROM golang:1.22 AS Build
RUN go  build \\
    # why
    -o app \\

    ./cmd
COPY --from=x $SRC /dst/${NAME}

from ${BASE}
RUN echo same
FROM build
RUN echo same
CMD ["x"]
"""


@pytest.mark.parametrize(
    ("vertex", "lines"),
    [
        ("[build 2/3] RUN go build -o app ./cmd", (4, 8)),
        ("[build 2/3] RUN go  build     -o app     ./cmd", (4, 8)),
        ("[build 3/3] COPY --from=x lib.c /dst/app", (9, 9)),
        ("[stage-1 2/2] RUN echo same", (12, 12)),
        ("[stage-2 2/2] RUN echo same", (14, 14)),
        ("[2/2] RUN echo same", (12, 12)),
        ("[internal] load metadata for docker.io/library/golang:1.22", (3, 3)),
        ("[internal] load metadata for docker.io/library/alpine:latest", (11, 11)),
        ("[internal] load metadata for ghcr.io/other/thing:1", None),
        ("[internal] load build context", None),
        ("[2/2] RUN something else", None),
        ("exporting to image", None),
        ("", None),
    ],
)
def test_vertex_leads_to_its_lines(vertex: str, lines: tuple[int, int] | None) -> None:
    dockerfile = DOCKERFILE.replace("from ${BASE}", "FROM ${BASE}:latest")
    assert find_lines(dockerfile, vertex) == lines


@pytest.mark.parametrize(
    ("vertex", "instruction"),
    [
        ("[2/4] RUN make", "RUN make"),
        ("[web 2/4] RUN a [1/2] b", "RUN a [1/2] b"),
        ("[internal] load .dockerignore", ""),
        ("exporting layers", ""),
    ],
)
def test_instruction_is_what_follows_the_counter(vertex: str, instruction: str) -> None:
    assert instruction_of(vertex) == instruction


def test_escape_directive_changes_the_continuation() -> None:
    found = parse_instructions("# escape=`\nFROM x\nRUN dir c:\\ `\n  /b\n")
    assert [(each.text, each.first, each.last) for each in found] == [
        ("FROM x", 2, 2),
        ("RUN dir c:\\ /b", 3, 4),
    ]


def test_continuation_at_the_end_of_the_file_still_counts() -> None:
    assert [each.last for each in parse_instructions("FROM x\nRUN a \\")] == [1, 2]


@pytest.mark.parametrize("written", ["app", "app:latest", "docker.io/library/app", "library/app"])
def test_base_image_is_found_as_it_was_written(written: str) -> None:
    vertex = "[internal] load metadata for docker.io/library/app:latest"
    assert find_lines(f"\nFROM --platform=linux/amd64 {written} AS b", vertex) == (2, 2)
