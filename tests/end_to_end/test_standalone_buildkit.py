"""BUILDKIT_HOST: builds by a daemon that keeps no images, pushes straight from it, loads where a step runs them.

No standalone daemon is packaged for the test machines: a relay makes the engine's BuildKit look like one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks_engine.backends.buildkit.sockets import Connection, Relay, upgrade

pytestmark = [pytest.mark.docker, pytest.mark.buildkit]


@pytest.fixture
def buildkit_host(engine: str, tmp_path: Path) -> Iterator[str]:
    if not engine.startswith("unix://"):
        pytest.skip("the relay needs an engine on a unix socket")

    def connect() -> Connection:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(engine.removeprefix("unix://"))
        return upgrade(connection, "/grpc")

    path = Path(f"/tmp/relay-{tmp_path.name[-20:]}")
    relay = Relay(path, connect, connect())
    yield f"unix://{path}"
    relay.close()
    path.unlink()


def test_images_are_built_and_pushed_without_any_docker(tasks, project, registry, buildkit_host):
    folder = project(
        "version: v1.1.0\nsteps:\n  - {id: b, build: '-t $Registry/standalone:$ID .'}\n"
        "  - {id: p, push: ['$Registry/standalone:$ID']}\n",
        Dockerfile="FROM scratch\nCOPY task.yaml /\n",
    )

    outcome = tasks(
        "run", str(folder), "--registry", registry, "--json",
        env={"BUILDKIT_HOST": buildkit_host, "DOCKER_HOST": "unix:///nowhere"},
    )  # fmt: skip

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    (pushed,) = outcome.of_type("image_pushed")
    assert pushed["digest"].startswith("sha256:")


def test_an_image_that_a_later_step_runs_is_loaded_into_docker(tasks, project, registry, buildkit_host):
    folder = project(
        "version: v1.1.0\nsteps:\n  - {id: b, build: '-t standalone-run:$ID .'}\n"
        "  - {id: r, cmd: 'standalone-run:$ID cat /greeting'}\n",
        Dockerfile="FROM busybox\nRUN echo hello from buildkit > /greeting\n",
    )

    outcome = tasks("run", str(folder), "--json", env={"BUILDKIT_HOST": buildkit_host})

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outcome.step_log("r") == b"hello from buildkit\n"


def test_a_daemon_that_is_not_there_is_told(tasks, project):
    folder = project("steps: [{build: .}]", Dockerfile="FROM scratch\n")

    outcome = tasks("run", str(folder), env={"BUILDKIT_HOST": "unix:///nowhere/buildkitd.sock"})

    assert outcome.exit_code == 3
    assert "/nowhere/buildkitd.sock" in outcome.stderr


def test_what_was_not_tested_is_not_pushed(tasks, project, registry, buildkit_host):
    """The daemon keeps no image between the steps, and a step changes what it was made of."""
    folder = project(
        "version: v1.1.0\nsteps:\n  - {id: b, build: '-t $Registry/changed:$ID .'}\n"
        "  - {id: r, cmd: busybox sh -c 'echo changed > file'}\n  - {id: p, push: ['$Registry/changed:$ID']}\n",
        Dockerfile="FROM scratch\nCOPY file /\n",
        file="as it was built\n",
    )

    outcome = tasks(
        "run", str(folder), "--registry", registry, "--json", env={"BUILDKIT_HOST": buildkit_host}
    )

    assert outcome.exit_code == 1
    assert outcome.statuses == {"b": "succeeded", "r": "succeeded", "p": "failed"}
    assert not outcome.of_type("image_pushed")
    assert "what step 'b' built cannot be built again" in outcome.stdout
