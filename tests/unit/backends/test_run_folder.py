"""One run on disk."""

from __future__ import annotations

import json
import os

import pytest

from tasks_engine.backends.run_folder import RunFolder, abandoned_runs, held_on
from tasks_engine.backends.run_ids import new_run_id
from tasks_engine.errors import StoreError
from tasks_engine.events import StepStarted


@pytest.fixture
def folder(tmp_path):
    created = RunFolder.create(tmp_path / "runs", "r1")
    yield created
    created.close()


def test_run_ids_sort_by_time_and_are_fit_for_tags():
    ids = [new_run_id(1_800_000_000 + seconds) for seconds in range(0, 10_000_000, 99_991)]

    assert ids == sorted(ids)
    assert all(len(run_id) == 10 and run_id.isalnum() and run_id == run_id.lower() for run_id in ids)


def test_run_ids_of_one_second_differ():
    assert len({new_run_id(1_800_000_000) for _ in range(50)}) > 45


def test_output_is_kept_byte_by_byte_and_its_offset_told(folder):
    assert folder.append_log(b"ab\xff") == 0
    assert folder.append_log(b"\n") == 3
    assert folder.log_path.read_bytes() == b"ab\xff\n"


def test_events_are_written_by_flush_as_one_line_each(folder):
    folder.append_event(StepStarted(seq=1, step_id="a"))
    folder.append_event(StepStarted(seq=2, step_id="b"))
    folder.flush()

    lines = (folder.path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["step_id"] for line in lines] == ["a", "b"]


def test_the_same_run_cannot_be_made_twice(folder, tmp_path):
    with pytest.raises(StoreError, match="already a run"):
        RunFolder.create(tmp_path / "runs", "r1")


def test_a_place_that_cannot_be_written_is_told_with_a_way_out(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError) as caught:
        RunFolder.create(tmp_path / "file" / "runs", "r1")

    assert "TASKS_STATE_DIR" in caught.value.hint


def test_a_full_disk_is_an_error_of_the_store(folder):
    os.close(folder._log)
    folder._log = os.open("/dev/full", os.O_WRONLY)

    with pytest.raises(StoreError, match="No space left"):
        folder.append_log(b"x")


def test_a_run_that_lives_is_not_abandoned(folder, tmp_path):
    folder.hold("unix:///engine")

    assert list(abandoned_runs(tmp_path / "runs")) == []


def test_a_run_whose_process_is_gone_is_abandoned_until_released(folder, tmp_path):
    folder.hold("unix:///engine")
    folder.close()

    (abandoned,) = abandoned_runs(tmp_path / "runs")
    assert held_on(abandoned) == "unix:///engine"
    abandoned.release()
    abandoned.close()
    assert list(abandoned_runs(tmp_path / "runs")) == []


def test_a_damaged_note_of_what_is_held_names_no_engine(folder):
    (folder.path / "engine.json").write_text("{")

    assert held_on(folder) == ""
