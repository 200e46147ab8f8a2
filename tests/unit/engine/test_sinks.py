from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from tasks_engine.backends.fakes import PATIENCE_S, FakeStore
from tasks_engine.engine import sinks
from tasks_engine.engine.masking import Masker
from tasks_engine.engine.sinks import EventSink
from tasks_engine.errors import StoreError
from tasks_engine.events import (
    RunEvent,
    RunFinished,
    RunStarted,
    RunWarning,
    Status,
    StepFinished,
    StepLog,
    StepProgress,
    StepStarted,
)

NOW = datetime(2024, 1, 2, tzinfo=UTC)


class Run:
    """A sink with a store and a watcher, all closed together."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.seen: list[RunEvent] = []
        self.failures: list[StoreError] = []
        self.failed = threading.Event()
        self._ticks = 0
        self.sink = EventSink("r1", self.store, [self.seen.append], self._failed, self._tick)

    def logs(self) -> list[StepLog]:
        return [event for event in self.seen if isinstance(event, StepLog)]

    def _failed(self, error: StoreError) -> None:
        self.failures.append(error)
        self.failed.set()

    def _tick(self) -> datetime:
        self._ticks += 1
        return NOW + timedelta(seconds=self._ticks)


@contextmanager
def running() -> Iterator[Run]:
    run = Run()
    yield run
    run.sink.close()


def test_events_are_stored_and_shown_in_order() -> None:
    with running() as run:
        for number in range(100):
            run.sink.emit(RunWarning(message=str(number)))
    assert [event.message for event in run.seen if isinstance(event, RunWarning)] == [
        str(n) for n in range(100)
    ]
    assert run.store.events == run.seen


def test_output_beyond_the_limit_is_dropped_and_said_so_once() -> None:
    store, seen = FakeStore(), []
    sink = EventSink("r1", store, [seen.append], pytest.fail, max_log_bytes=10)
    output = sink.output("s")
    for text in (b"12345678", b"9abcdef", b"more", b"and more"):
        output.write("stdout", text)
        output.emit(StepStarted(step_id="s"))
    sink.close()

    assert store.log == b"123456789a"
    warnings = [event.message for event in seen if isinstance(event, RunWarning)]
    assert warnings == ["the log has reached its limit of 10 B: all further output of steps is dropped"]
    assert sum(isinstance(event, StepStarted) for event in seen) == 4
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))


def test_a_detached_step_keeps_what_could_become_a_secret_until_the_run_ends() -> None:
    store = FakeStore()
    masker = Masker()
    masker.add(b"hunter22")
    sink = EventSink("r1", store, [], pytest.fail, masker=masker, detached=["service"])
    for step_id in ("service", "other"):
        sink.output(step_id).write("stdout", b"a hunt")
        sink.emit(StepFinished(step_id=step_id, status=Status.SUCCEEDED, attempts=1))
    sink.output("service").write("stdout", b"er22 b hunt")
    sink.emit(RunFinished(status=Status.SUCCEEDED))
    sink.close()

    assert bytes(store.log) == b"a " + b"a hunt" + b"*** b " + b"hunt"


def test_output_up_to_the_limit_is_whole() -> None:
    store, seen = FakeStore(), []
    sink = EventSink("r1", store, [seen.append], pytest.fail, max_log_bytes=4)
    sink.output("s").write("stdout", b"1234")
    sink.close()

    assert store.log == b"1234"
    assert [event.type for event in seen] == ["step_log"]


def test_an_event_gets_run_number_and_moment() -> None:
    with running() as run:
        at = run.sink.emit(RunStarted(task="t", context=".", engine="1"))
    [event] = run.seen
    assert (event.run_id, event.seq, event.at) == ("r1", 1, at)
    assert at == NOW + timedelta(seconds=1)


def test_output_goes_to_the_log_and_an_event_says_where() -> None:
    with running() as run:
        run.sink.output("a").write("stdout", b"one\n")
        run.sink.emit(StepStarted(step_id="b"))
        run.sink.output("b").write("stderr", b"two")
    assert bytes(run.store.log) == b"one\ntwo"
    assert [(log.step_id, log.stream, log.offset, log.length, log.text) for log in run.logs()] == [
        ("a", "stdout", 0, 4, "one\n"),
        ("b", "stderr", 4, 3, "two"),
    ]


def test_what_is_stored_of_output_has_no_text() -> None:
    with running() as run:
        run.sink.output("a").write("stdout", b"x")
    [event] = run.store.events
    assert isinstance(event, StepLog)
    assert (event.text, event.length) == ("", 1)


def test_no_output_is_no_event() -> None:
    with running() as run:
        run.sink.output("a").write("stdout", b"")
    assert run.seen == []


def test_output_that_piles_up_leaves_as_one_event() -> None:
    with running() as run, run.store.stalled():
        run.sink.emit(RunWarning(message="held"))
        for _ in range(1000):
            run.sink.output("a").write("stdout", b"x")
    assert bytes(run.store.log) == b"x" * 1000
    assert len(run.logs()) < 1000


def test_output_of_different_steps_or_streams_is_not_mixed() -> None:
    with running() as run, run.store.stalled():
        run.sink.output("a").write("stdout", b"1")
        run.sink.output("a").write("stderr", b"2")
        run.sink.output("b").write("stderr", b"3")
        run.sink.output("a").write("stdout", b"4")
    assert [(log.step_id, log.stream, log.text) for log in run.logs()] == [
        ("a", "stdout", "1"),
        ("a", "stderr", "2"),
        ("b", "stderr", "3"),
        ("a", "stdout", "4"),
    ]


def test_an_event_of_output_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "MAX_CHUNK_BYTES", 10)
    with running() as run, run.store.stalled():
        for _ in range(20):
            run.sink.output("a").write("stdout", b"xxxx")
    assert max(log.length for log in run.logs()) <= 12


def test_a_writer_is_held_back_while_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "MAX_PENDING_BYTES", 10)
    written = threading.Event()

    def write() -> None:
        for _ in range(5):
            run.sink.output("a").write("stdout", b"x" * 11)
        written.set()

    with running() as run:
        with run.store.stalled():
            writer = threading.Thread(target=write)
            writer.start()
            assert not written.wait(0.05)
        assert written.wait(PATIENCE_S)
        writer.join()
    assert len(run.store.log) == 55


def test_events_are_never_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "MAX_PENDING_BYTES", 0)
    with running() as run, run.store.stalled():
        run.sink.output("a").write("stdout", b"x")
        run.sink.emit(RunWarning(message="m"))


def test_a_character_that_comes_in_two_pieces_is_one() -> None:
    with running() as run:
        for part in (b"\xc3", b"\xa4"):
            run.sink.output("a").write("stdout", part)
            run.sink.emit(RunWarning(message="between"))
    assert "".join(log.text for log in run.logs()) == "ä"


def test_pieces_of_characters_of_two_streams_are_not_joined() -> None:
    with running() as run:
        run.sink.output("a").write("stdout", b"\xc3")
        run.sink.output("a").write("stderr", b"x")
        run.sink.output("a").write("stdout", b"\xa4")
    assert [log.text for log in run.logs()] == ["", "x", "ä"]


def test_bytes_that_are_no_text_are_replaced_in_the_text_only() -> None:
    with running() as run:
        run.sink.output("a").write("stdout", b"a\xff\xfeb")
    assert [log.text for log in run.logs()] == ["a��b"]
    assert bytes(run.store.log) == b"a\xff\xfeb"


def test_progress_is_shown_but_not_stored() -> None:
    with running() as run:
        run.sink.emit(StepProgress(step_id="a", item="1", name="n", state="running"))
    assert len(run.seen) == 1
    assert run.store.events == []


def test_numbers_have_no_gaps_and_moments_never_go_back() -> None:
    def work(name: str) -> None:
        for _ in range(50):
            run.sink.output(name).write("stdout", b"x")
            run.sink.emit(StepStarted(step_id=name))

    with running() as run:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [event.seq for event in run.seen] == list(range(1, len(run.seen) + 1))
    assert [event.at for event in run.seen] == sorted(event.at for event in run.seen)


def test_a_store_that_fails_is_told_once_and_the_rest_is_still_shown() -> None:
    with running() as run:
        run.store.error = StoreError("disk full")
        run.sink.output("a").write("stdout", b"one")
        assert run.failed.wait(PATIENCE_S)
        run.sink.output("a").write("stdout", b"two")
        run.sink.emit(RunWarning(message="after"))
    assert [error.message for error in run.failures] == ["disk full"]
    assert run.sink.failure is run.failures[0]
    assert "".join(log.text for log in run.logs()) == "onetwo"
    assert isinstance(run.seen[-1], RunWarning)


def test_after_a_failure_nothing_more_is_stored() -> None:
    with running() as run:
        run.store.error = StoreError("disk full")
        run.sink.emit(RunWarning(message="lost"))
        assert run.failed.wait(PATIENCE_S)
        run.store.error = None
        run.sink.emit(RunWarning(message="after"))
        run.sink.output("a").write("stdout", b"x")
    assert run.store.events == []
    assert bytes(run.store.log) == b""
    assert [log.offset for log in run.logs()] == [-1]


def test_a_watcher_with_a_bug_neither_stops_the_store_nor_the_writers() -> None:
    def watch(event: RunEvent) -> None:
        raise BrokenPipeError("nobody reads")

    store = FakeStore()
    sink = EventSink("r1", store, [watch], lambda error: None)
    for number in range(3):
        sink.emit(RunWarning(message=str(number)))
        sink.output("a").write("stdout", b"x")
    with pytest.raises(BrokenPipeError, match="nobody reads"):
        sink.close()
    assert bytes(store.log) == b"xxx"
    assert len([event for event in store.events if isinstance(event, RunWarning)]) == 3


def test_closing_stores_what_still_waits() -> None:
    run = Run()
    with run.store.stalled():
        run.sink.emit(RunWarning(message="m"))
    run.sink.close()
    assert len(run.store.events) == 1
