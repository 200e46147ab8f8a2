"""`schemas/plan.schema.json` says what `tasks plan --json` prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tasks_engine.plan.model import Plan
from tasks_engine.plan_schema import plan_schema, plan_schema_text
from tasks_engine.schemas_folder import schema_text

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = plan_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PLANS = sorted(ROOT.glob("tests/golden/cases/*/plan.json"))
EXAMPLES = sorted(ROOT.glob("examples/*/task.yaml"))


def objects(schema: Any, path: str = "plan") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside the schema that says what an object's properties are."""
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            yield path, schema
        for name, inner in schema.items():
            yield from objects(inner, f"{path}.{name}")


def test_the_checked_in_schema_is_fresh() -> None:
    assert schema_text("plan.schema.json") == plan_schema_text(), "run `make schemas`"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.parent.name)
def test_every_golden_plan_is_valid(path: Path) -> None:
    VALIDATOR.validate(json.loads(path.read_bytes()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_plan_of_every_example_is_valid(path: Path, plan_of: Callable[..., Plan]) -> None:
    sources = {each.name: each.read_text() for each in path.parent.glob("*.yaml")}
    plan = plan_of(path.read_text(), run={"ID": "r1", "Registry": "r.io"}, sources=sources)
    VALIDATOR.validate(plan.to_json())


@pytest.mark.parametrize(("path", "schema"), list(objects(SCHEMA)), ids=[path for path, _ in objects(SCHEMA)])
def test_every_property_has_a_title_and_a_description(path: str, schema: dict[str, Any]) -> None:
    assert schema["title"]
    assert schema["description"]
    for name, value in schema["properties"].items():
        resolved = SCHEMA["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
        assert value["title"], f"{path}.{name}"
        assert (value | resolved)["description"].endswith("."), f"{path}.{name}"


def test_what_programs_count_on_is_there() -> None:
    definitions = SCHEMA["$defs"]
    assert set(SCHEMA["required"]) >= {"version", "steps", "networks", "volumes", "secrets", "warnings"}
    step = {
        *("id", "kind", "depends_on", "timeout_s", "retries", "retry_delay_s", "repeat", "start_delay_s"),
        *("ignore_errors", "detach", "keep", "env", "network", "working_directory"),
    }
    assert set(definitions["PlannedStep"]["required"]) >= step
    assert set(definitions["BuildWork"]["required"]) >= {
        *("context", "dockerfile", "tags", "build_args", "target", "platforms", "cache"),
    }
    assert set(definitions["CmdWork"]["required"]) >= {"image", "args", "entrypoint", "user", "commands"}
    assert set(definitions["PlannedCommand"]["required"]) == {
        *("run_if", "builtin", "image", "args", "redirects", "options"),
    }
    assert set(definitions["PushWork"]["required"]) >= {"images"}


def plan_data(plan_of: Callable[..., Plan]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(plan_of("steps: [{cmd: a}]\nfoo: 1").to_json()))
    return data


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.pop("networks"),
        lambda plan: plan.update(version=2),
        lambda plan: plan.update(more=1),
        lambda plan: plan["steps"][0].pop("cmd"),
        lambda plan: plan["steps"][0].update(kind="push"),
        lambda plan: plan["steps"][0].update(push={"images": [], "built_by": {}}),
        lambda plan: plan["steps"][0].update(timeout_s="600"),
        lambda plan: plan["steps"][0]["cmd"].update(args="a"),
        lambda plan: plan["warnings"][0].pop("message"),
    ],
)
def test_what_is_no_plan_is_not_valid(change: Callable[[Any], object], plan_of: Callable[..., Plan]) -> None:
    data = plan_data(plan_of)
    assert VALIDATOR.is_valid(data)
    change(data)
    assert not VALIDATOR.is_valid(data)
