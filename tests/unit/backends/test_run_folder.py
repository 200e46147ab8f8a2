"""One run on disk."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest

from tasks_engine.backends.run_folder import (
    RunFolder,
    abandoned_runs,
    held_on,
    holder_of,
    is_alive,
    locked,
    owner_name,
    task_text_of,
)
from tasks_engine.backends.run_holder import this_process
from tasks_engine.backends.run_ids import new_run_id
from tasks_engine.backends.run_request import KeptRequest
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


def test_the_lock_names_the_process_that_runs_the_run(folder):
    holder = holder_of(folder.path)

    assert holder is not None
    assert holder.pid == os.getpid()
    assert holder.is_comparable
    assert not holder.is_gone


def test_a_run_is_alive_while_its_folder_is_open(folder):
    assert is_alive(folder.path)
    assert locked(folder.path) is None
    folder.close()
    assert not is_alive(folder.path)


def test_asking_whether_a_run_is_alive_leaves_its_lock_free(folder):
    folder.close()
    assert not is_alive(folder.path)

    again = locked(folder.path)
    assert again is not None
    again.close()


def test_a_run_that_is_about_to_take_its_lock_is_alive(tmp_path):
    (tmp_path / "r1").mkdir()
    assert is_alive(tmp_path / "r1")
    (tmp_path / "r1" / "lock").touch()
    assert is_alive(tmp_path / "r1")
    os.utime(tmp_path / "r1" / "lock", (1, 1))
    assert not is_alive(tmp_path / "r1")


def test_a_lock_that_is_held_to_clean_up_behind_a_dead_process_is_no_sign_of_life(folder):
    dead = replace(this_process(), start_ticks=1)
    (folder.path / "lock").write_bytes(dead.to_line())

    assert not is_alive(folder.path)


def test_a_closed_folder_can_be_closed_again_without_harm_to_other_files(folder):
    folder.close()
    with open(os.devnull) as other:
        folder.close()
        os.fstat(other.fileno())


def test_runs_that_hold_nothing_are_not_looked_at(tmp_path, folder):
    folder.hold("unix:///engine")
    folder.close()
    for number in range(20):
        RunFolder.create(tmp_path / "runs", f"idle{number}").close()
        os.unlink(tmp_path / "runs" / f"idle{number}" / "lock")

    for each in abandoned_runs(tmp_path / "runs"):
        assert each.path == folder.path
        each.close()
    assert not list((tmp_path / "runs").glob("idle*/lock"))


def test_a_note_of_a_run_that_is_gone_is_removed(tmp_path, folder):
    folder.hold("unix:///engine")
    folder.discard()

    assert list(abandoned_runs(tmp_path / "runs")) == []
    assert list((tmp_path / "runs-index" / "holding").iterdir()) == []


def test_the_owner_is_the_same_for_all_runs_of_a_state_folder_and_another_for_a_copy(tmp_path, folder):
    other = RunFolder.create(tmp_path / "runs", "r2")
    other.close()
    shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-copy")

    assert folder.owner == other.owner
    assert owner_name(tmp_path.parent / f"{tmp_path.name}-copy" / "runs") != folder.owner


def test_a_task_file_from_standard_input_is_kept_and_others_are_not(folder):
    folder.write_request(KeptRequest(paths=("task.yaml",)), "steps: []")
    assert not task_text_of(folder.path).exists()
    folder.write_request(KeptRequest(paths=("-",), has_task_text=True), "steps: []")
    assert task_text_of(folder.path).read_text() == "steps: []"
