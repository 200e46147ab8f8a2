"""Runs as their folders tell them."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from tasks_engine.backends.run_folder import RunFolder
from tasks_engine.backends.run_history import (
    EventReader,
    beyond_bounds,
    find_run,
    folder_bytes,
    keep_within,
    list_runs,
    note_started,
    rebuild,
    run_names,
    summarize,
)
from tasks_engine.errors import UsageError
from tasks_engine.events import RunFinished, RunPlanned, RunStarted, Status, StepLog, StepStarted
from tasks_engine.settings import HistorySettings

START = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def make(runs):
    """Makes a run; `status` None: still open, the caller has to close it. Each is a second younger."""
    made: list[RunFolder] = []

    def make(run_id: str, status: Status | None = Status.SUCCEEDED, *, log: bytes = b"", task="task.yaml"):
        folder = RunFolder.create(runs, run_id)
        made.append(folder)
        os.utime(folder.path / "lock", (len(made), len(made)))
        at = START + timedelta(seconds=len(made))
        folder.append_event(RunStarted(seq=1, at=at, run_id=run_id, task=task, context="/c", engine="0"))
        folder.append_event(RunPlanned(seq=2, at=at, run_id=run_id, plan={"long": "x" * 20_000}))
        folder.append_log(log)
        if status is not None:
            error = None if status is Status.SUCCEEDED else {"message": "why"}
            folder.append_event(
                RunFinished(seq=3, at=at + timedelta(seconds=5), run_id=run_id, status=status, error=error)
            )
        folder.flush()
        note_started(runs, run_id)
        if status is not None:
            folder.close()
        return folder

    yield make
    for folder in made:
        folder.close()


def test_runs_are_listed_from_the_newest_with_what_their_events_say(runs, make):
    make("old")
    make("new", Status.FAILED)

    new, old = list_runs(runs)
    assert (new.id, new.status, new.task, new.error) == ("new", "failed", "task.yaml", {"message": "why"})
    assert (old.id, old.status, old.error) == ("old", "succeeded", None)
    assert old.started_at == START + timedelta(seconds=1)
    assert old.finished_at == START + timedelta(seconds=6)


def test_a_run_is_running_while_its_process_lives_and_abandoned_after(runs, make):
    folder = make("r", None)
    assert [each.status for each in list_runs(runs)] == ["running"]
    assert list_runs(runs)[0].finished_at is None

    folder.close()
    assert [each.status for each in list_runs(runs)] == ["abandoned"]


def test_a_run_without_events_is_queued_and_then_abandoned(runs):
    folder = RunFolder.create(runs, "r")
    assert summarize(folder.path).status == "queued"
    folder.close()
    assert summarize(folder.path).status == "abandoned"


@pytest.mark.parametrize("torn", [b'{"type":"step_lo', b"\x00\x00", b"{"])
def test_a_torn_last_line_is_ignored(runs, make, torn):
    folder = make("r")
    with (folder.path / "events.jsonl").open("ab") as writer:
        writer.write(torn)

    assert summarize(folder.path).status == "succeeded"
    assert [event.type for event in EventReader(folder.path).read()][-1] == "run_finished"


def test_a_damaged_line_in_the_middle_is_left_out(runs, make):
    folder = make("r")
    path = folder.path / "events.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b'nonsense\n[1]\n{"type":"of the future","version":9}\n' + b"".join(rest))

    assert [event.type for event in EventReader(folder.path).read()] == [
        "run_started",
        "run_planned",
        "run_finished",
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n", b"x", b"[]\n", b'{"at": 7}\n', b"\xff\xfe\n"])
def test_any_content_of_the_events_gives_a_summary(runs, make, content):
    folder = make("r")
    (folder.path / "events.jsonl").write_bytes(content)

    assert summarize(folder.path).status == "abandoned"


@pytest.mark.parametrize("length", [10, 4000, 4096, 5000, 70_000, 1_000_000])
def test_a_last_line_of_any_length_is_found(runs, make, length):
    folder = make("r", None)
    folder.append_event(RunFinished(seq=9, at=START, status=Status.ERROR, error={"message": "x" * length}))
    folder.flush()

    assert len(summarize(folder.path).error["message"]) == length


def test_a_reader_goes_on_where_it_ended_and_waits_for_whole_lines(runs, make):
    folder = make("r", None)
    reader = EventReader(folder.path)
    assert len(list(reader.read())) == 2
    assert list(reader.read()) == []
    line = json.dumps(
        {"type": "step_started", "version": 1, "at": START.isoformat(), "step_id": "a"}
    ).encode()
    with (folder.path / "events.jsonl").open("ab") as writer:
        writer.write(line[:20])
        writer.flush()
        assert list(reader.read()) == []
        writer.write(line[20:] + b"\n")
    assert [event.step_id for event in reader.read()] == ["a"]


def test_runs_are_chosen_by_status_task_and_number(runs, make):
    make("a", Status.FAILED)
    make("b", task="sub/other.yaml")
    make("c")
    (runs / "c" / "request.json").write_text('{"task_name": "nightly"}')

    assert [each.id for each in list_runs(runs, status="failed")] == ["a"]
    assert [each.id for each in list_runs(runs, task="other.yaml")] == ["b"]
    assert [each.id for each in list_runs(runs, task="nightly")] == ["c"]
    assert [each.id for each in list_runs(runs, top=2)] == ["c", "b"]
    assert list_runs(runs, task="none") == []


@pytest.mark.parametrize(
    ("wanted", "found"), [("", "abd2"), ("last", "abd2"), ("abc1", "abc1"), ("abc", "abc1")]
)
def test_a_run_is_found_by_id_beginning_or_age(runs, make, wanted, found):
    make("abc1")
    make("abd2")

    assert find_run(runs, wanted) == runs / found


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("ab", "may be any of 2 runs: abd2, abc1"),
        ("abc2", "did you mean abd2 or abc1"),
        ("zzzz", "the newest: abd2, abc1"),
        ("../runs/abc1", "there is no run"),
        (".", "there is no run"),
    ],
)
def test_an_unknown_run_is_told_with_those_that_may_be_meant(runs, make, wanted, told):
    make("abc1")
    make("abd2")

    with pytest.raises(UsageError) as caught:
        find_run(runs, wanted)
    assert told in str(caught.value)


def test_no_runs_at_all_are_told(runs):
    with pytest.raises(UsageError, match="no runs"):
        find_run(runs)
    assert list_runs(runs) == []


def test_the_oldest_finished_runs_go_beyond_the_number(runs, make):
    for name in "abcd":
        make(name)

    assert [name for name, _ in keep_within(runs, HistorySettings(keep_runs=2), "d")] == ["a", "b"]
    assert run_names(runs) == ["d", "c"]
    assert keep_within(runs, HistorySettings(keep_runs=2), "d") == []


def test_the_oldest_finished_runs_go_beyond_the_size_but_never_the_newest(runs, make):
    for name in "abc":
        make(name, log=b"x" * 1_000_000)
        keep_within(runs, HistorySettings(), name)

    removed = keep_within(runs, HistorySettings(keep_bytes=2_200_000), "c")
    assert [name for name, _ in removed] == ["a"]
    assert removed[0][1] > 1_000_000
    assert [name for name, _ in keep_within(runs, HistorySettings(keep_bytes=1), "c")] == ["b"]
    assert run_names(runs) == ["c"]


def test_runs_that_are_alive_or_hold_something_stay(runs, make):
    make("alive", None)
    make("holding").hold("unix:///engine")
    (make("copied").path / "workspace").mkdir()
    make("done")
    make("newest")

    assert [name for name, _ in keep_within(runs, HistorySettings(keep_runs=1), "newest")] == ["done"]
    assert sorted(run_names(runs)) == ["alive", "copied", "holding", "newest"]


def test_runs_from_before_there_was_an_index_count(runs, make):
    for name in "abc":
        make(name)
    for file in (runs.parent / "runs-index").iterdir():
        file.unlink()
    make("d")

    assert [name for name, _ in keep_within(runs, HistorySettings(keep_runs=2), "d")] == ["a", "b"]


@pytest.mark.parametrize("damage", [b"a", b"a x\n", b"\xff\x00", b"a 1 b\n"])
def test_a_damaged_index_harms_nothing_and_is_made_anew(runs, make, damage):
    for name in "abc":
        make(name)
    (runs.parent / "runs-index" / "sizes").write_bytes(damage)

    keep_within(runs, HistorySettings(keep_runs=2), "c")
    rebuild(runs)
    assert [name for name, _ in keep_within(runs, HistorySettings(keep_runs=2))] == ["a"]


def test_what_would_go_is_told_without_removing_it(runs, make):
    make("a", log=b"x" * 5000)
    make("b")

    assert beyond_bounds(runs, HistorySettings(keep_runs=1)) == [("a", folder_bytes(runs / "a"))]
    assert run_names(runs) == ["b", "a"]


def test_a_removal_that_was_cut_off_is_finished(runs, make):
    make("a")
    away = runs.parent / "runs-index" / "removing" / "a.1"
    away.parent.mkdir()
    (runs / "a").rename(away)

    rebuild(runs)
    assert not away.exists()


def test_the_index_stays_small_however_many_runs_there_were(runs, make):
    make("a")
    for _ in range(400):
        keep_within(runs, HistorySettings(), "a")

    assert len((runs.parent / "runs-index" / "sizes").read_text().splitlines()) < 110


def test_a_history_that_cannot_be_written_is_no_reason_to_fail(tmp_path):
    (tmp_path / "file").write_text("")

    assert keep_within(tmp_path / "file" / "runs", HistorySettings(), "a") == []
    note_started(tmp_path / "file" / "runs", "a")


def test_a_thousand_runs_are_listed_from_the_ends_of_their_events(runs, make):
    folder = make("r", None)
    for number in range(2000):
        folder.append_event(StepLog(seq=number, at=START, step_id="a", stream="stdout", offset=0, length=9))
    folder.append_event(StepStarted(seq=2, at=START, step_id="a"))
    folder.append_event(RunFinished(seq=3, at=START, status=Status.SUCCEEDED))
    folder.flush()
    began = time.process_time()
    for _ in range(1000):
        assert summarize(folder.path).status == "succeeded"
    assert time.process_time() - began < 1
