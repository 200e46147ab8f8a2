"""The examples do what their expected.json says, on a new and on an old engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.registry import RegistryClient
from tasks_engine.images.reference import parse_reference

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/task.yaml"))

pytestmark = pytest.mark.docker


def expected_of(name: str, engine_name: str) -> dict:
    """expected.json; `old_engine` in it says what Docker 20.10 does instead."""
    expected = json.loads((EXAMPLES / name / "expected.json").read_text())
    elsewhere = expected.pop("old_engine", {})
    return {**expected, **elsewhere} if engine_name == "old_engine" else expected


@pytest.fixture
def registry_client(tmp_path):
    with RegistryClient(DockerConfigCredentials(tmp_path)) as client:
        yield client


@pytest.mark.parametrize(
    ("engine", "engine_name"), [("engine", "engine"), ("old_engine", "old_engine")], indirect=["engine"]
)
@pytest.mark.parametrize("name", NAMES)
def test_example_ends_as_expected(name, engine_name, tasks, registry, registry_client):
    expected = expected_of(name, engine_name)

    arguments = expected.get("arguments", [])
    environ = expected.get("environ", {})
    outcome = tasks(
        "run", ".", "--registry", registry, "--json", *arguments, cwd=EXAMPLES / name, env=environ
    )

    run_id = outcome.events[0]["run_id"]
    assert outcome.exit_code == (0 if expected["status"] == "succeeded" else 1), outcome.stderr
    assert outcome.events[-1]["status"] == expected["status"]
    assert outcome.statuses == expected["steps"]
    pushed = [f"{registry}/{image.replace('$ID', run_id)}" for image in expected["pushed"]]
    # pushes of one step go on at the same time
    assert sorted(event["image"] for event in outcome.of_type("image_pushed")) == sorted(pushed)
    for text in expected["log_contains"]:
        assert text in outcome.log.decode()
    if "error" in expected:
        assert expected["error"] in outcome.events[-1]["error"]["message"]
    if "warning" in expected:
        assert any(expected["warning"] in event["message"] for event in outcome.of_type("run_warning"))
    for text in expected.get("shown_nowhere", ()):
        files = [path for path in outcome.folder.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if text.encode() in path.read_bytes()]
        assert text not in outcome.stdout + outcome.stderr
    for image in pushed if "platforms" in expected else ():
        index = registry_client.manifest(parse_reference(image))
        found = [str(each.platform) for each in index.manifests() if each.platform is not None]
        assert found == expected["platforms"]
    for image in expected.get("in_registry", ()):
        assert registry_client.digest(parse_reference(f"{registry}/{image}")), image


def test_every_example_is_listed_and_explained():
    index = (EXAMPLES / "README.md").read_text()
    for name in NAMES:
        assert f"[{name}]({name})" in index
        assert (EXAMPLES / name / "README.md").read_text().startswith("# ")
