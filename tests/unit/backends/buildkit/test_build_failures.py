from __future__ import annotations

import base64
import json

import pytest

from tasks_engine.backends.buildkit.failures import Details, FailedVertex, build_failed, read_details
from tasks_engine.backends.buildkit.proto.rpc_status_pb2 import Status

DOCKERFILE = "FROM scratch\nCOPY x /x\nRUN exit \\\n  7\n"


def trailer(**values: object) -> bytes:
    status = Status(code=2, message="m")
    for name, value in values.items():
        detail = status.details.add()
        detail.type_url = "github.com/moby/buildkit/" + name.replace("__", ".") + "+json"
        detail.value = json.dumps(value).encode()
    return status.SerializeToString()


def test_details_are_json() -> None:
    details = read_details(
        trailer(
            stack__Stack={"frames": [], "cmdline": ["dockerd", "--secret"]},
            errdefs__Source={
                "info": {"filename": "Dockerfile", "data": base64.b64encode(b"FROM x\n").decode()},
                "ranges": [
                    {"start": {"line": 4}, "end": {"line": 4}},
                    {"start": {"line": 3}, "end": {"line": 3}},
                ],
            },
            errdefs__Vertex={"digest": "sha256:1"},
            gatewayapi__ExitMessage={"Code": 7},
        )
    )
    assert details == Details("sha256:1", 7, (3, 4), "FROM x\n")


@pytest.mark.parametrize(
    "value",
    [
        b"\xff\xff",
        trailer(),
        trailer(errdefs__Source={"info": None, "ranges": None}),
        trailer(errdefs__Source=[1]),
        trailer(errdefs__Source={"ranges": [{"start": {}}]}),
    ],
)
def test_details_may_be_missing(value: bytes) -> None:
    assert read_details(value) == Details()


def test_failed_run_of_a_new_daemon_has_all_its_details() -> None:
    error = build_failed(
        'failed to solve: process "/bin/sh -c exit   7" did not complete successfully: exit code: 7',
        Details("sha256:2", 7, (3, 4), DOCKERFILE),
        {"sha256:1": FailedVertex("other", b""), "sha256:2": FailedVertex("[3/3] RUN exit 7", b"out\n")},
        "",
    )
    assert error.message == "RUN exit 7: exit code 7"
    assert (error.exit_code, error.line_range, error.dockerfile_line) == (7, (3, 4), 3)
    assert error.snippet == "RUN exit \\\n  7"
    assert (error.vertex_name, error.last_output) == ("[3/3] RUN exit 7", b"out\n")


def test_failed_run_of_an_old_daemon_is_found_by_its_vertex() -> None:
    error = build_failed(
        "executor failed running [/bin/sh -c exit   7]: exit code: 7",
        Details(),
        {"sha256:2": FailedVertex("[3/3] RUN exit   7", b"")},
        DOCKERFILE,
    )
    assert error.message == "RUN exit 7: exit code 7"
    assert (error.exit_code, error.line_range) == (7, (3, 4))


OLD = "failed to solve with frontend dockerfile.v0: "
OLD_LLB = OLD + "failed to create LLB definition: "


@pytest.mark.parametrize(
    ("daemon", "user", "line"),
    [
        (
            "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
            "unknown instruction: RUNN (did you mean RUN?)",
            2,
        ),
        (
            OLD_LLB + "dockerfile parse error line 2: unknown instruction: RUNN",
            "unknown instruction: RUNN",
            2,
        ),
        (
            "alpine:9: failed to resolve source metadata for docker.io/library/alpine:9: "
            "docker.io/library/alpine:9: not found",
            "image docker.io/library/alpine:9 not found",
            None,
        ),
        (
            OLD_LLB + "127.0.0.1:5000/x:1: not found",
            "image 127.0.0.1:5000/x:1 not found",
            None,
        ),
        (
            'failed to compute cache key: failed to calculate checksum of ref k1::k2: "/nofile": not found',
            "'/nofile' not found",
            None,
        ),
        ('failed to compute cache key: "/nofile" not found: not found', "'/nofile' not found", None),
        (
            OLD
            + "failed to read dockerfile: open /var/lib/docker/tmp/m1/Dockerfile.x: no such file or directory",
            "there is no Dockerfile.x in the folder of the Dockerfile",
            None,
        ),
        (
            "failed to read dockerfile: open Dockerfile: no such file or directory",
            "there is no Dockerfile in the folder of the Dockerfile",
            None,
        ),
        ('target stage "nope" could not be found', "the Dockerfile has no stage 'nope'", None),
        (
            OLD_LLB + "target stage nope could not be found",
            "the Dockerfile has no stage 'nope'",
            None,
        ),
        (
            "r/x:1: failed to resolve source metadata for r/x:1: unexpected status from HEAD request to "
            "http://r/v2/x/manifests/1: 401 Unauthorized",
            "the registry refused access to r/x:1: 401 Unauthorized",
            None,
        ),
        (
            OLD_LLB + "unexpected status code [manifests 1]: 401 Unauthorized",
            "the registry refused access: 401 Unauthorized",
            None,
        ),
        ("something new", "something new", None),
    ],
)
def test_message_is_in_words_of_the_author(daemon: str, user: str, line: int | None) -> None:
    error = build_failed(daemon, Details(), {}, DOCKERFILE)
    assert (error.message, error.dockerfile_line) == (user, line)


def test_missing_file_names_the_instruction() -> None:
    error = build_failed(
        'failed to compute cache key: "/x" not found: not found',
        Details(),
        {"d": FailedVertex("[2/3] COPY x /x", b"")},
        DOCKERFILE,
    )
    assert (error.message, error.line_range) == ("COPY x /x: '/x' not found", (2, 2))
