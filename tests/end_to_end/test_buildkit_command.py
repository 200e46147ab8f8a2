"""`tasks buildkit` against the engines' BuildKits."""

from __future__ import annotations

import json

import pytest

from tests.services import require

pytestmark = [pytest.mark.docker, pytest.mark.buildkit]


@pytest.fixture
def built(tasks, project):
    """A task that ran a build, so that there is cache and history."""
    folder = project(
        "steps: [{build: -t buildkit-command .}]\n", Dockerfile="FROM busybox\nRUN echo $RANDOM > /x\n"
    )
    assert tasks("run", str(folder)).exit_code == 0
    return tasks


def test_info_says_what_it_is_and_can_do(tasks):
    text = tasks("buildkit", "info")
    data = json.loads(tasks("buildkit", "info", "--json").stdout)

    assert text.exit_code == 0, text.stderr
    assert data["kind"].startswith("docker-")
    assert f"kind          {data['kind']}\n" in text.stdout
    assert ", ".join(data["capabilities"]["exporters"]) in text.stdout


def test_cache_is_listed_and_pruned(built):
    listed = built("buildkit", "du").stdout.splitlines()
    records = json.loads(built("buildkit", "du", "--json", "--filter", "type==regular").stdout)

    assert listed[-1].startswith("total ")
    assert {record["type"] for record in records} == {"regular"}

    kept = built("buildkit", "prune", "--yes", "--keep-for", "999w", "--json")
    assert json.loads(kept.stdout) == []
    removed = built("buildkit", "prune", "--yes", "--filter", "type==source.local")
    assert removed.exit_code == 0, removed.stderr
    assert removed.stdout.splitlines()[-1].startswith("removed ")


def test_prune_without_a_terminal_needs_yes(tasks):
    outcome = tasks("buildkit", "prune")

    assert outcome.exit_code == 2
    assert "--yes" in outcome.stderr


def test_history_has_the_last_build(built):
    data = json.loads(built("buildkit", "history", "--json").stdout)
    text = built("buildkit", "history").stdout

    assert data[0]["ref"] in text
    assert data[0]["error"] == ""
    assert data[0]["total_steps"] > 0


def test_old_engine_has_no_history_and_says_so(tasks):
    outcome = tasks("buildkit", "history", env={"DOCKER_HOST": require("TASKS_TEST_OLD_ENGINE")})

    assert outcome.exit_code == 3
    assert "can not remember builds" in outcome.stderr
    assert "Traceback" not in outcome.stderr
