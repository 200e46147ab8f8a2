"""The EventStore port: the fake and the run folder keep the same."""

from __future__ import annotations

import json

import pytest

from tasks_engine.backends.fakes import FakeStore
from tasks_engine.backends.run_folder import RunFolder
from tasks_engine.events import StepStarted, to_json


@pytest.fixture(params=["fake", "folder"])
def store(request, tmp_path):
    if request.param == "fake":
        fake = FakeStore()
        yield fake, lambda: bytes(fake.log), lambda: [to_json(event) for event in fake.events]
        return
    folder = RunFolder.create(tmp_path, "r1")
    yield (
        folder,
        folder.log_path.read_bytes,
        lambda: [json.loads(line) for line in (folder.path / "events.jsonl").read_text().splitlines()],
    )
    folder.close()


def test_output_is_appended_and_its_offset_returned(store):
    kept, log, _ = store

    assert [kept.append_log(b"one"), kept.append_log(b"\xff\n"), kept.append_log(b"x" * 100_000)] == [0, 3, 5]
    assert log() == b"one\xff\n" + b"x" * 100_000


def test_events_are_kept_in_order_from_their_flush_on(store):
    kept, _, events = store

    kept.append_event(StepStarted(seq=1, step_id="a"))
    kept.flush()
    kept.append_event(StepStarted(seq=2, step_id="b"))
    assert [event["step_id"] for event in events()] == ["a"]
    kept.flush()
    assert [event["step_id"] for event in events()] == ["a", "b"]
