"""What is stored as JSON comes back the same; what the walk of the schema accepts, the schema accepts."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import jsonschema
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_engine.definition.model import StepKind
from tasks_engine.definition.nodes import parse_yaml
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.structure import load_schema, read_structure, schema_problems
from tasks_engine.event_schema import event_schema
from tasks_engine.events import EVENT_TYPES, RunEvent, from_json, to_json
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork
from tasks_engine.schemas_folder import schema_text

TASK_SCHEMA = load_schema(schema_text("task.schema.json"))
TASK_VALIDATOR = jsonschema.Draft202012Validator(TASK_SCHEMA)
EVENT_VALIDATOR = jsonschema.Draft202012Validator(event_schema())

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
tuples = st.lists(texts, max_size=3).map(tuple)
maps = st.dictionaries(texts, texts, max_size=3)
json_maps = st.dictionaries(
    texts, texts | st.integers() | st.booleans() | st.none() | st.lists(st.integers(), max_size=2), max_size=3
)
moments = st.datetimes(timezones=st.just(UTC))

works = (
    st.tuples(st.just(StepKind.CMD), st.builds(CmdWork, image=texts, args=tuples))
    | st.tuples(st.just(StepKind.PUSH), st.builds(PushWork, images=tuples, built_by=maps))
    | st.tuples(
        st.just(StepKind.BUILD),
        st.builds(
            BuildWork,
            context=texts,
            dockerfile=texts,
            tags=tuples,
            build_args=maps,
            labels=maps,
            target=texts,
            platforms=tuples,
            no_cache=st.booleans(),
            pull=st.booleans(),
            runs_later=st.booleans(),
        ),
    )
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    def step(kind: StepKind, work: Any) -> PlannedStep:
        return PlannedStep(
            id=draw(texts),
            kind=kind,
            depends_on=draw(tuples),
            timeout_s=draw(st.integers()),
            retries=draw(st.integers()),
            retry_delay_s=draw(st.integers()),
            ignore_errors=draw(st.booleans()),
            detach=draw(st.booleans()),
            env=draw(maps),
            working_directory=draw(texts),
            work=work,
        )

    steps = [step(kind, work) for kind, work in draw(st.lists(works, max_size=4))]
    return Plan(
        draw(texts), draw(texts), draw(texts), tuple(steps), tuple(draw(st.lists(json_maps, max_size=2)))
    )


def events_of(kind: type[RunEvent]) -> st.SearchStrategy[RunEvent]:
    fields = {"at": moments, "plan": json_maps, "error": st.none() | json_maps, "tags": tuples}
    special = {name: values for name, values in fields.items() if name in kind.__dataclass_fields__}
    return st.builds(kind, **special)


events = st.one_of([events_of(kind) for kind in EVENT_TYPES.values()]).filter(
    lambda event: all(part == part for part in vars(event).values())  # NaN is not itself
)


@given(plans())
@settings(max_examples=50)
def test_a_plan_comes_back_from_its_json(plan: Plan) -> None:
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


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
    assert result.suspicious is not TASK_VALIDATOR.is_valid(result.data)


@given(tasks | anything)
@settings(max_examples=100)
def test_every_wrong_type_has_a_place(data: Any) -> None:
    source = SourceText("f", yaml.safe_dump(data, allow_unicode=True))
    result = read_structure(parse_yaml(source), source, TASK_SCHEMA)
    assert all(problem.location is not None for problem in schema_problems(result, TASK_SCHEMA).values())
