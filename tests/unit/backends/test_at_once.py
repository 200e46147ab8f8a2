"""Many alike acts at the same time."""

from __future__ import annotations

import threading
import time

import pytest

from tasks_engine.backends.at_once import for_each
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import Canceled


def test_all_items_are_acted_on_some_at_a_time() -> None:
    lock = threading.Lock()
    busy, most, seen = 0, 0, []

    def act(item: int) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.005)
        with lock:
            busy -= 1
            seen.append(item)

    for_each(act, range(10), CancelToken(), at_once=3)

    assert sorted(seen) == list(range(10))
    assert 1 < most <= 3


def test_nothing_to_do_is_done_at_once() -> None:
    for_each(lambda _: pytest.fail("nothing to act on"), (), CancelToken(), at_once=3)


def test_the_first_failure_is_raised_when_what_had_begun_has_ended() -> None:
    begun, ended = threading.Barrier(2, timeout=10), []

    def act(item: int) -> None:
        if item > 1:
            pytest.fail("begun after the failure")
        begun.wait()
        if item == 0:
            raise ValueError("no")
        time.sleep(0.02)
        ended.append(item)

    with pytest.raises(ValueError, match="no"):
        for_each(act, range(50), CancelToken(), at_once=2)
    assert ended == [1]


def test_a_cancelled_run_does_not_wait_for_an_act_that_hangs() -> None:
    hangs, cancel = threading.Event(), CancelToken()
    threading.Timer(0.02, cancel.cancel).start()

    with pytest.raises(Canceled):
        for_each(lambda _: hangs.wait(30), [1, 2, 3], cancel, at_once=2)
    hangs.set()


def test_a_patient_caller_waits_for_what_had_begun_and_learns_that_the_rest_did_not() -> None:
    cancel, done = CancelToken(), []

    def act(item: int) -> None:
        cancel.cancel()
        time.sleep(0.02)
        done.append(item)

    with pytest.raises(Canceled):
        for_each(act, range(5), cancel, at_once=1, patient=True)
    assert done == [0]
    done.clear()
    for_each(act, [7], CancelToken(), at_once=1, patient=True)
    assert done == [7]


def test_a_patient_caller_whose_last_act_ends_well_has_done_all() -> None:
    cancel, done = CancelToken(), []

    def act(item: int) -> None:
        cancel.cancel()
        done.append(item)

    for_each(act, [1], cancel, at_once=1, patient=True)
    assert done == [1]


def test_a_token_that_has_fired_lets_nothing_begin() -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Canceled):
        for_each(lambda _: pytest.fail("begun"), [1], cancel, at_once=1)
