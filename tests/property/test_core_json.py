"""What is stored as JSON comes back the same; what the walk of the schema accepts, the schema accepts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any, get_args, get_origin, get_type_hints

import jsonschema
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks_engine.definition.model import StepKind
from tasks_engine.definition.nodes import parse_yaml
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.structure import load_schema, read_structure, schema_problems
from tasks_engine.event_schema import event_schema
from tasks_engine.events import EVENT_TYPES, RunEvent, from_json, to_json
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork
from tasks_engine.plan_schema import plan_schema
from tasks_engine.schemas_folder import schema_text

TASK_SCHEMA = load_schema(schema_text("task.schema.json"))
TASK_VALIDATOR = jsonschema.Draft202012Validator(TASK_SCHEMA)
PLAN_VALIDATOR = jsonschema.Draft202012Validator(plan_schema())
EVENT_VALIDATOR = jsonschema.Draft202012Validator(event_schema())

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
tuples = st.lists(texts, max_size=3).map(tuple)
json_maps = st.dictionaries(
    texts, texts | st.integers() | st.booleans() | st.none() | st.lists(st.integers(), max_size=2), max_size=3
)
moments = st.datetimes(timezones=st.just(UTC))
warnings = st.fixed_dictionaries({"code": texts, "message": texts}, optional={"hint": texts, "rule": texts})
_PLAIN = {str: texts, int: st.integers(), bool: st.booleans()}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return (
            st.dictionaries(texts, values_of(arguments[1]), max_size=2) if arguments[1] is str else warnings
        )
    return filled(hint) if dataclasses.is_dataclass(hint) else st.sampled_from(list(hint))


def filled(kind: type[Any], /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects of a class with every field drawn, defaults included."""
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.name not in fields]
    return st.builds(kind, **fields, **{name: values_of(hints[name]) for name in names})


steps_of_plans = st.one_of(
    [
        filled(PlannedStep, kind=st.just(kind), work=filled(work))
        for kind, work in ((StepKind.BUILD, BuildWork), (StepKind.CMD, CmdWork), (StepKind.PUSH, PushWork))
    ]
)
plans = filled(Plan, steps=st.lists(steps_of_plans, max_size=3).map(tuple))


def events_of(kind: type[RunEvent]) -> st.SearchStrategy[RunEvent]:
    fields = {
        "at": moments,
        "plan": json_maps,
        "error": st.none() | json_maps,
        "tags": tuples,
        "images": tuples,
        "dependencies": json_maps,
        "outputs": st.dictionaries(texts, texts, max_size=3),
    }
    special = {name: values for name, values in fields.items() if name in kind.__dataclass_fields__}
    return st.builds(kind, **special)


events = st.one_of([events_of(kind) for kind in EVENT_TYPES.values()]).filter(
    lambda event: all(part == part for part in vars(event).values())  # NaN is not itself
)


@given(plans)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_plan_comes_back_from_its_json_and_is_valid_by_its_schema(plan: Plan) -> None:
    data = json.loads(json.dumps(plan.to_json()))
    PLAN_VALIDATOR.validate(data)
    assert Plan.from_json(data) == plan


@given(events)
@settings(max_examples=200)
def test_an_event_comes_back_from_its_json(event: RunEvent) -> None:
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


@given(events)
@settings(max_examples=100)
def test_an_event_is_valid_by_its_schema(event: RunEvent) -> None:
    EVENT_VALIDATOR.validate(to_json(event))


scalars = st.sampled_from(
    ["a", "", "5", "-1", "1.5", "yes", "null", "10e3", 5, -1, 0, 1.5, True, False, None, 2**70]
)
lists = st.lists(scalars, max_size=3)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=5,
)
step_fields = sorted(TASK_SCHEMA["$defs"]["step"]["properties"])
task_fields = sorted(set(TASK_SCHEMA["properties"]) - {"steps"})
steps = st.dictionaries(st.sampled_from([*step_fields, "unknown"]), scalars | lists | anything, max_size=4)
tasks = st.builds(
    lambda fields, steps: {**fields, "steps": steps},
    st.dictionaries(st.sampled_from([*task_fields, "unknown"]), scalars | lists | anything, max_size=3),
    st.lists(steps | anything, max_size=3) | anything,
)


@given(tasks | anything)
@settings(max_examples=300)
def test_the_walk_and_the_schema_agree(data: Any) -> None:
    source = SourceText("f", yaml.safe_dump(data, allow_unicode=True))
    result = read_structure(parse_yaml(source), source, TASK_SCHEMA)
    found = {error.validator for error in TASK_VALIDATOR.iter_errors(result.data)}
    assert result.suspicious is bool(found & {"type", "minimum"})  # others are for editors


@given(tasks | anything)
@settings(max_examples=100)
def test_every_wrong_type_has_a_place(data: Any) -> None:
    source = SourceText("f", yaml.safe_dump(data, allow_unicode=True))
    result = read_structure(parse_yaml(source), source, TASK_SCHEMA)
    assert all(problem.location is not None for problem in schema_problems(result, TASK_SCHEMA).values())
