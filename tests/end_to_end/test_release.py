"""Pushes at the end of a run: content first, tags last, and none of them in a run that failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks_engine.backends.registry import RegistryClient
from tasks_engine.images.reference import parse_reference
from tests.end_to_end.conftest import Outcome, Tasks
from tests.fake_registry import FakeRegistry, Scripted

pytestmark = pytest.mark.docker

both_engines = pytest.mark.parametrize("engine", ["engine", "old_engine"], indirect=True)
TASK = """
version: v1.1.0
steps:
  - {id: a, build: -t $Registry/release/a:$ID -f A ., when: ['-']}
  - {id: b, build: -t $Registry/release/b:$ID -t $Registry/release/b:again-$ID -f B ., when: ['-']}
  - {id: push-a, push: [$Registry/release/a:$ID], when: [a]}
  - {id: push-b, push: [$Registry/release/b:$ID, $Registry/release/b:again-$ID], when: [b]}
  - {id: test, cmd: "$Registry/release/a:$ID sh -c 'sleep 2; exit STATUS'", when: [a]}
"""


class NoLogins:
    def find(self, registry: str) -> None:
        return None


@pytest.fixture
def digest_of() -> Callable[[str], str | None]:
    """Digest of an image in its registry, None when it has no such tag."""
    with RegistryClient(NoLogins()) as client:
        yield lambda image: client.digest(parse_reference(image))


@pytest.fixture
def release(tasks: Tasks, project: Callable[..., Path], registry: str) -> Callable[..., Outcome]:
    """Runs TASK with a test that exits with a status."""

    def run(status: int, *arguments: str) -> Outcome:
        folder = project(
            TASK.replace("STATUS", str(status)),
            A=f"FROM busybox\nRUN echo {tasks.state_dir} a > /what\n",
            B=f"FROM busybox\nRUN echo {tasks.state_dir} b > /what\n",
        )
        return tasks("run", str(folder), "--registry", registry, "--json", *arguments)

    return run


@both_engines
def test_all_tags_of_a_run_that_succeeds_are_there_with_the_digests_it_tells(release, digest_of):
    outcome = release(0)

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    pushed = {event["image"]: event["digest"] for event in outcome.of_type("image_pushed")}
    assert len(pushed) == 3
    for image, digest in pushed.items():
        assert digest_of(image) == digest


def test_tags_move_together_after_the_last_step(release, digest_of):
    outcome = release(0)

    kinds = [event["type"] for event in outcome.events if event["type"] not in ("step_log", "step_progress")]
    window = kinds[kinds.index("release_started") : kinds.index("release_finished") + 1]
    assert window == ["release_started", *["image_pushed"] * 3, "release_finished"]
    assert "step_finished" not in kinds[kinds.index("release_started") :]
    # The content went before: the pushes did not wait for the test, which takes longer.
    order = [event["step_id"] for event in outcome.of_type("step_finished")]
    assert order[-1] == "test"


@both_engines
def test_a_failed_run_moves_no_tag(release, digest_of, registry):
    outcome = release(3)

    assert outcome.exit_code == 1, outcome.stdout + outcome.stderr
    assert outcome.of_type("image_pushed") == []
    run_id = outcome.folder.name
    for name in (f"a:{run_id}", f"b:{run_id}", f"b:again-{run_id}"):
        assert digest_of(f"{registry}/release/{name}") is None


def test_a_second_push_sends_nothing_that_is_there(release, tasks, project, registry):
    first = release(0)
    again = release(0)

    def sent(outcome: Outcome) -> set[str]:
        progress = [each for each in outcome.of_type("step_progress") if each["step_id"].startswith("push-")]
        return {event["state"] for event in progress}

    assert "done" in sent(first)
    assert sent(again) == {"cached"}


def test_a_registry_that_refuses_tags_fails_the_run_and_says_what_has_moved(tasks, project):
    with FakeRegistry().running() as fake:
        folder = project(
            f"steps:\n  - {{id: b, build: '-t {fake.name}/x:1 -t {fake.name}/x:2 .'}}\n"
            f"  - {{id: p, push: ['{fake.name}/x:1', '{fake.name}/x:2']}}\n",
            Dockerfile="FROM busybox\n",
        )
        fake.script = [("PUT /v2/x/manifests/2", Scripted(403)) for _ in range(10)]
        outcome = tasks("run", str(folder), "--json")

        assert outcome.exit_code == 3, outcome.stdout + outcome.stderr
        assert outcome.statuses == {"b": "succeeded", "p": "succeeded"}
        error = outcome.events[-1]["error"]
        assert error["message"].startswith("not all tags have moved: ")
        assert f"moved: {fake.name}/x:1; not moved: {fake.name}/x:2" in error["message"]
        assert "1" in fake.manifests["x"]
        assert "2" not in fake.manifests["x"]


def test_a_failed_run_moves_no_tag_though_the_content_could_not_go_first(
    tasks, project, docker_api, registry, digest_of
):
    with FakeRegistry().running() as fake:
        # We cannot upload there; the engine would not even speak plain HTTP to it.
        fake.script = [("POST", Scripted(403)) for _ in range(50)]
        folder = project(
            f"steps:\n  - {{id: b, build: '-t {fake.name}/x:1 .', when: ['-']}}\n"
            f"  - {{id: p, push: ['{fake.name}/x:1'], when: [b]}}\n"
            "  - {id: t, cmd: 'busybox sh -c \"sleep 2; exit 1\"', when: ['-']}\n",
            Dockerfile="FROM busybox\n",
        )
        outcome = tasks("run", str(folder), "--json")

        assert outcome.exit_code == 1, outcome.stdout + outcome.stderr
        assert outcome.statuses["p"] == "succeeded"
        assert b"so all of it comes last" in outcome.step_log("p")
        assert outcome.of_type("image_pushed") == []
        assert not fake.requests("PUT .*manifests/1")


def test_what_a_standalone_builder_has_not_built_cannot_be_pushed(tasks, project, engine, registry):
    folder = project(
        f"steps:\n  - {{id: b, build: '-t {registry}/x:1 .', ignoreErrors: true}}\n"
        f"  - {{id: p, push: ['{registry}/x:1']}}\n",
        Dockerfile="FROM busybox\nRUN exit 1\n",
    )
    outcome = tasks("run", str(folder), "--json", env={"BUILDKIT_HOST": f"docker+{engine}"})

    assert outcome.exit_code == 1, outcome.stdout + outcome.stderr
    assert "step 'b' has not built it" in outcome.events[-1]["error"]["message"]


def test_an_image_that_the_run_did_not_build_is_released_too(tasks, project, docker_api, registry, digest_of):
    name = f"{registry}/release/tagged"
    docker_api.images.get("busybox").tag(name, tag="by-hand")
    folder = project(f"steps:\n  - push: ['{name}:by-hand']\n")

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    [pushed] = outcome.of_type("image_pushed")
    assert digest_of(f"{name}:by-hand") == pushed["digest"]
    assert outcome.of_type("release_finished")
