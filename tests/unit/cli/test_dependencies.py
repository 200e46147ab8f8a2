"""`tasks deps`: the base images of a Dockerfile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

#: see conftest: a command line -> code, out, err
Tasks = Callable[..., Any]
DOCKERFILE = """\
# syntax=docker/dockerfile:1
ARG VERSION=3
FROM golang:1.22 AS build
FROM build AS test
FROM alpine:$VERSION
COPY --from=build /a /a
"""


def test_base_images_are_listed(tasks: Tasks) -> None:
    outcome = tasks("deps", "Dockerfile", files={"Dockerfile": DOCKERFILE})
    assert outcome == (
        0,
        "runtime    alpine:3\nbuildtime  golang:1.22\nfrontend   docker/dockerfile:1\n",
        "",
    )


def test_they_are_json_for_programs(tasks: Tasks) -> None:
    outcome = tasks("deps", "Dockerfile", "--json", files={"Dockerfile": DOCKERFILE})
    assert json.loads(outcome.out)


def test_build_arguments_and_the_target_count(tasks: Tasks) -> None:
    files = {"Dockerfile": DOCKERFILE}
    assert "alpine:4\n" in tasks("deps", "Dockerfile", "--build-arg", "VERSION=4", files=files).out
    assert tasks("deps", "Dockerfile", "--target", "test").out.startswith("runtime    golang:1.22\n")


def test_a_dockerfile_may_come_from_standard_input(tasks: Tasks) -> None:
    assert tasks("deps", "-", stdin="FROM scratch\n").code == 0


@pytest.mark.parametrize(
    ("text", "place"),
    [("RUN true\n", ""), ("FROM\n", "Dockerfile:1:1: "), ("FROM a\u2028b\nFROM a b c\n", "Dockerfile:1:1: ")],
)
def test_what_is_no_dockerfile_is_told_at_its_line(tasks: Tasks, text: str, place: str) -> None:
    outcome = tasks("deps", "Dockerfile", files={"Dockerfile": text})
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(place)


def test_remarks_go_to_standard_error(tasks: Tasks) -> None:
    outcome = tasks("deps", "Dockerfile", files={"Dockerfile": "FROM alpine:$NOT_SET\n"})
    assert outcome.err


def test_a_missing_file_is_told(tasks: Tasks) -> None:
    outcome = tasks("deps", "none")
    assert (outcome.code, outcome.err) == (2, "tasks: none cannot be read: No such file or directory\n")
