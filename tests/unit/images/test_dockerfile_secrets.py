"""Which secrets a Dockerfile mounts, and which variables it declares."""

from __future__ import annotations

import pytest

from tasks_engine.images.dockerfile_secrets import declared_arguments, mounted_secrets


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("RUN --mount=type=secret,id=a cat /run/secrets/a", {"a"}),
        ("RUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B x", {"a", "b"}),
        ("run --mount=type=secret,target=/etc/token,required=true x", {"token"}),
        ("RUN --mount=id=a,TYPE=secret \\\n  x", {"a"}),
        ("RUN --mount=type=secret x", set()),
        ("RUN --mount=type=cache,id=a x", set()),
        ("RUN --mount=type=bind,id=secret x", set()),
        ("RUN echo --mount=type=secret,id=a", set()),
        ("# RUN --mount=type=secret,id=a x", set()),
        ("COPY <<E /x\nRUN --mount=type=secret,id=a x\nE", set()),
    ],
)
def test_mounted_secrets(line: str, ids: set[str]) -> None:
    assert mounted_secrets(f"FROM a\n{line}\n") == ids


def test_arguments_are_declared_before_and_behind_from() -> None:
    text = "ARG A=1 B\nFROM a\narg C=x\n# ARG D\nRUN ARG E\n"
    assert declared_arguments(text) == {"A", "B", "C"}
