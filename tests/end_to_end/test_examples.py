"""The examples do what their expected.json says, on a new and on an old engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/task.yaml"))

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("engine", ["engine", "old_engine"], indirect=True)
@pytest.mark.parametrize("name", NAMES)
def test_example_ends_as_expected(name, tasks, registry):
    expected = json.loads((EXAMPLES / name / "expected.json").read_text())

    arguments = expected.get("arguments", [])
    outcome = tasks("run", ".", "--registry", registry, "--json", *arguments, cwd=EXAMPLES / name)

    run_id = outcome.events[0]["run_id"]
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.events[-1]["status"] == expected["status"]
    assert outcome.statuses == expected["steps"]
    assert [event["image"] for event in outcome.of_type("image_pushed")] == [
        f"{registry}/{image.replace('$ID', run_id)}" for image in expected["pushed"]
    ]
    for text in expected["log_contains"]:
        assert text in outcome.log.decode()


def test_every_example_is_listed_and_explained():
    index = (EXAMPLES / "README.md").read_text()
    for name in NAMES:
        assert f"[{name}]({name})" in index
        assert (EXAMPLES / name / "README.md").read_text().startswith("# ")
