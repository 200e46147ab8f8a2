from __future__ import annotations

from collections.abc import Callable

import jsonschema
import pytest

from tasks_engine.backends.fakes import FakeExecutor, FakeStore, Write, exits
from tasks_engine.cancel import CancelToken
from tasks_engine.engine.execute import execute_run
from tasks_engine.engine.sinks import EventSink
from tasks_engine.event_schema import event_schema, event_schema_text
from tasks_engine.events import (
    EVENT_TYPES,
    ImageBuilt,
    ImageDependencies,
    ImagePushed,
    RunEvent,
    RunWarning,
    StepFinished,
    StepOutputs,
    StepProgress,
    to_json,
)
from tasks_engine.plan.model import Plan
from tasks_engine.schemas_folder import schema_text

VALIDATOR = jsonschema.Draft202012Validator(event_schema())


def test_the_checked_in_schema_is_fresh() -> None:
    assert schema_text("run-event.schema.json") == event_schema_text(), "run `make schemas`"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(event_schema())


def test_every_event_of_a_run_is_valid(plan_of: Callable[..., Plan]) -> None:
    script = {
        "a": [
            [Write(b"x\n"), exits(1)],
            [
                StepProgress(step_id="a", item="1", name="n", state="done", current=1, total=2),
                ImageBuilt(step_id="a", tags=("x:1",), digest="", image_id="sha256:0"),
                ImageDependencies(step_id="a", dependencies={"image": None}),
                StepOutputs(step_id="a", outputs={"a": "b"}),
                ImagePushed(step_id="a", image="x:1", digest="sha256:0", size_bytes=0),
                exits(2),
            ],
        ]
    }
    plan = plan_of(
        "steps: [{id: a, cmd: x, retries: 1, retryDelay: 1, ignoreErrors: true}, {push: [x]}]\nfoo: 1"
    )
    object.__setattr__(plan.steps[0], "retry_delay_s", 0)
    seen: list[RunEvent] = []
    sink = EventSink("run1", FakeStore(), [seen.append], lambda error: None)
    execute_run(plan, ".", FakeExecutor(script), sink, CancelToken())
    sink.close()
    assert {event.type for event in seen} == set(EVENT_TYPES)
    for event in seen:
        VALIDATOR.validate(to_json(event))


@pytest.mark.parametrize("change", [{"type": "x"}, {"version": 2}, {"message": 5}, {"more": 1}, {"seq": "1"}])
def test_what_is_no_event_is_not_valid(change: dict[str, object]) -> None:
    assert not VALIDATOR.is_valid(to_json(RunWarning(message="m")) | change)


@pytest.mark.parametrize("missing", ["type", "version", "run_id", "seq", "at", "message"])
def test_an_event_that_lacks_a_field_is_not_valid(missing: str) -> None:
    data = to_json(RunWarning(message="m"))
    del data[missing]
    assert not VALIDATOR.is_valid(data)


def test_fields_are_described_by_their_comments() -> None:
    properties = event_schema()["$defs"][StepFinished.type]["properties"]
    assert properties["attempts"]["description"] == "attempts made; 0 for a skipped step"
