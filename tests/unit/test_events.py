from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tasks_engine.events import (
    EVENT_TYPES,
    ImageBuilt,
    ImageDependencies,
    ImagePushed,
    ReleaseFinished,
    ReleaseStarted,
    RunEvent,
    RunFinished,
    RunPlanned,
    RunStarted,
    RunWarning,
    Status,
    StepFinished,
    StepLog,
    StepOutputs,
    StepProgress,
    StepRetrying,
    StepStarted,
    from_json,
    to_json,
)

STAMP = {"run_id": "r1", "seq": 3, "at": datetime(2024, 1, 2, 3, 4, 5, 678, UTC)}
EVENTS: list[RunEvent] = [
    RunStarted(task="t", context=".", engine="1", **STAMP),
    RunPlanned(plan={"steps": []}, **STAMP),
    RunWarning(message="m", hint="h", **STAMP),
    RunWarning(message="m", **STAMP),
    StepStarted(step_id="a", **STAMP),
    StepLog(step_id="a", stream="stdout", offset=0, length=2, text="ä", **STAMP),
    StepProgress(step_id="a", item="1", name="layer", state="running", current=5, total=10, **STAMP),
    StepRetrying(step_id="a", attempt=1, attempts=3, delay_s=0.5, reason="r", **STAMP),
    ImageBuilt(step_id="a", tags=("x:1", "y:2"), digest="", image_id="i", **STAMP),
    ImageBuilt(step_id="a", tags=(), digest="d", image_id="", **STAMP),
    ImageDependencies(step_id="a", dependencies={"image": None, "git": {"git-head-revision": ""}}, **STAMP),
    ImagePushed(step_id="a", image="x:1", digest="d", size_bytes=9, **STAMP),
    ReleaseStarted(images=("x:1",), **STAMP),
    ReleaseFinished(images=("x:1",), **STAMP),
    StepOutputs(step_id="a", outputs={"type": "v", "step_id": ""}, **STAMP),
    StepFinished(
        step_id="a",
        status=Status.FAILED,
        attempts=2,
        exit_code=0,
        error={"message": "m"},
        ignored=True,
        **STAMP,
    ),
    StepFinished(step_id="a", status=Status.SKIPPED, attempts=0, **STAMP),
    RunFinished(status=Status.SUCCEEDED, **STAMP),
    RunFinished(status=Status.ERROR, error={"code": "backend"}, **STAMP),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_an_event_comes_back_from_its_json(event: RunEvent) -> None:
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


def test_every_type_of_event_is_known_by_its_name() -> None:
    assert set(EVENT_TYPES) == {event.type for event in EVENTS}


def test_json_leaves_out_what_holds_nothing() -> None:
    assert to_json(EVENTS[-3]) == {
        "type": "step_finished",
        "version": 1,
        "run_id": "r1",
        "seq": 3,
        "at": "2024-01-02T03:04:05.000678Z",
        "step_id": "a",
        "status": "skipped",
        "attempts": 0,
    }


@pytest.mark.parametrize("change", [{"type": "step_vanished"}, {"type": None}, {"version": 2}])
def test_an_unknown_event_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a known event"):
        from_json(to_json(EVENTS[4]) | change)


@pytest.mark.parametrize("change", [{"at": "yesterday"}, {"at": 5}, {"status": "fine"}, {"status": 1}])
def test_a_damaged_event_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="event of type 'run_finished' is damaged"):
        from_json(to_json(EVENTS[-1]) | change)


@pytest.mark.parametrize("missing", ["at", "step_id"])
def test_an_event_with_a_missing_field_is_refused(missing: str) -> None:
    data = to_json(EVENTS[4])
    del data[missing]
    with pytest.raises(ValueError, match="is damaged"):
        from_json(data)


@pytest.mark.parametrize("status", Status)
def test_only_queued_and_running_are_not_final(status: Status) -> None:
    assert status.is_final is (status not in {Status.QUEUED, Status.RUNNING})
