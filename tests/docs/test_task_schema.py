"""What editors and people read in `schemas/task.schema.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tasks_engine.definition.expand import expand_text
from tasks_engine.definition.load import load_values
from tasks_engine.definition.model import Inputs

ROOT = Path(__file__).resolve().parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "schemas/task.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
OBJECTS = {"task": SCHEMA} | SCHEMA["$defs"]


def properties(name: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in schema["properties"].items():
        yield f"{name}.{key}", value


PROPERTIES = dict(pair for name, schema in OBJECTS.items() for pair in properties(name, schema))
of_each_property = pytest.mark.parametrize("schema", PROPERTIES.values(), ids=PROPERTIES)
of_each_object = pytest.mark.parametrize("schema", OBJECTS.values(), ids=OBJECTS)


def valid(schema: dict[str, Any], value: Any) -> bool:
    return VALIDATOR.evolve(schema=schema | {"$defs": SCHEMA["$defs"]}).is_valid(value)


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every map inside the schema, itself included."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts(inner)


def filled_in(body: Any) -> Any:
    """What an editor makes of a snippet whose suggestions are all taken."""
    text = re.sub(r"\$\{\d+:([^}]*)\}", r"\1", json.dumps(body))
    return json.loads(text.replace(r"\\$", "$"))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_reference_leads_somewhere() -> None:
    names = {part["$ref"] for part in parts(SCHEMA) if isinstance(part.get("$ref"), str)}

    assert names == {f"#/$defs/{name}" for name in SCHEMA["$defs"]}


@of_each_property
def test_every_property_has_a_title_and_a_description(schema: dict[str, Any]) -> None:
    assert schema["title"]
    assert schema["description"].endswith(".")


@of_each_property
def test_every_property_shows_how_it_is_written(schema: dict[str, Any]) -> None:
    """Lists of maps show it in their maps: editors write each map of an example as `[object Object]`."""
    items = schema.get("items", {})

    assert ("default" in schema or "examples" in schema) != ("$ref" in items)


@of_each_property
def test_examples_and_defaults_are_valid(schema: dict[str, Any]) -> None:
    items = schema.get("items", {})

    assert all(valid(schema, value) for value in schema.get("examples", []))
    assert all(valid(items, value) for value in items.get("examples", []))
    assert "default" not in schema or valid(schema, schema["default"])


@of_each_property
def test_a_default_stands_in_the_description_too(schema: dict[str, Any]) -> None:
    """Editors do not show it otherwise."""
    assert "default" not in schema or f"Default: {schema['default']}." in schema["description"]


def test_only_the_task_has_defaults() -> None:
    """Editors write all defaults of a list's maps into the file as soon as the list is begun."""
    assert not [part["title"] for part in parts(SCHEMA["$defs"]) if "default" in part]


def test_descriptions_are_plain_text() -> None:
    """Editors show back quotes and the like as they stand."""
    assert not [part["title"] for part in parts(SCHEMA) if "`" in str(part.get("description", ""))]


@of_each_object
def test_no_other_properties_are_allowed(schema: dict[str, Any]) -> None:
    assert schema["additionalProperties"] is False


@of_each_object
def test_snippets_are_valid(schema: dict[str, Any]) -> None:
    for snippet in schema.get("defaultSnippets", []):
        assert snippet["label"] and snippet["description"]
        assert valid(schema, filled_in(snippet["body"])), snippet["label"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/task.yaml")), ids=lambda path: path.parent.name)
def test_examples_are_valid(path: Path) -> None:
    values = path.with_name("values.yaml")
    given = load_values(values.read_text(), "values.yaml") if values.exists() else {}
    aliases = path.with_name("aliases.yaml")
    inputs = Inputs(run={"Registry": "localhost:5000", "ID": "r1"}, values=given)
    rendered = expand_text(path.read_text(), str(path), inputs, lambda _: aliases.read_text())

    VALIDATOR.validate(yaml.safe_load(rendered.source.text))


@pytest.mark.parametrize("kinds", [(), ("build", "push"), ("push", "cmd"), ("build", "cmd")])
def test_a_step_has_exactly_one_kind(kinds: tuple[str, ...]) -> None:
    written = {"build": ".", "push": ["x"], "cmd": "x"}

    assert not VALIDATOR.is_valid({"steps": [{kind: written[kind] for kind in kinds}]})


@pytest.mark.parametrize("word", ["V1.1.0", "v1.0.0", "1.0-preview-1"])
def test_words_are_not_held_to_their_suggestions(word: str) -> None:
    task = {"version": word, "steps": [{"build": ".", "cache": "Enabled", "isolation": "other"}]}

    assert VALIDATOR.is_valid(task)
