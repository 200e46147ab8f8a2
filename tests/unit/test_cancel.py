from __future__ import annotations

import threading

import pytest

from tasks_engine.backends.fakes import PATIENCE_S
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import Canceled, TimedOut


def test_a_new_token_has_not_fired() -> None:
    token = CancelToken()
    token.raise_if_cancelled()
    assert not token.is_cancelled


def test_a_token_fires_with_its_reason() -> None:
    token = CancelToken()
    reason = TimedOut("too long")
    token.cancel(reason)
    with pytest.raises(TimedOut) as caught:
        token.raise_if_cancelled()
    assert caught.value is reason


def test_without_a_reason_the_run_was_cancelled() -> None:
    token = CancelToken()
    token.cancel()
    assert str(token.reason) == "the run was cancelled"


def test_only_the_first_reason_counts() -> None:
    token = CancelToken()
    token.cancel(Canceled("first"))
    token.cancel(Canceled("second"))
    assert str(token.reason) == "first"


def test_a_callback_is_called_once_when_the_token_fires() -> None:
    token, calls = CancelToken(), []
    with token.calling(lambda: calls.append("called")):
        assert calls == []
        token.cancel()
        token.cancel()
    assert calls == ["called"]


def test_a_callback_is_called_at_once_when_the_token_has_fired() -> None:
    token, calls = CancelToken(), []
    token.cancel()
    with token.calling(lambda: calls.append("called")):
        assert calls == ["called"]


def test_a_callback_is_forgotten_after_its_block() -> None:
    token, calls = CancelToken(), []
    with token.calling(lambda: calls.append("called")):
        pass
    token.cancel()
    assert calls == []


def test_the_same_callback_may_be_registered_twice() -> None:
    token, calls = CancelToken(), []

    def callback() -> None:
        calls.append("called")

    with token.calling(callback), token.calling(callback):
        token.cancel()
    assert calls == ["called", "called"]


def test_waiting_ends_when_the_token_fires() -> None:
    token = CancelToken()
    waiting = threading.Thread(target=token.cancel)
    waiting.start()
    with pytest.raises(Canceled):
        token.wait(PATIENCE_S)
    waiting.join()


def test_waiting_ends_when_the_time_is_up() -> None:
    CancelToken().wait(0)


def test_any_number_of_seconds_can_be_waited_for() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Canceled):
        token.wait(10**18)


def test_a_child_fires_with_its_parent() -> None:
    token = CancelToken()
    with token.child() as child:
        token.cancel(Canceled("why"))
        assert child.reason is token.reason


def test_a_child_of_a_fired_token_has_fired() -> None:
    token = CancelToken()
    token.cancel()
    with token.child() as child:
        assert child.is_cancelled


def test_a_parent_does_not_fire_with_its_child() -> None:
    token = CancelToken()
    with token.child() as child:
        child.cancel()
    assert not token.is_cancelled


def test_a_child_fires_when_its_time_is_up() -> None:
    with (
        CancelToken().child(0, "step 'a'") as child,
        pytest.raises(TimedOut, match="step 'a' did not finish within 0 s"),
    ):
        child.wait(PATIENCE_S)


def test_a_child_that_ended_does_not_fire_any_more() -> None:
    token = CancelToken()
    with token.child(PATIENCE_S, "x") as child:
        pass
    token.cancel()
    assert not child.is_cancelled
    assert not [each for each in threading.enumerate() if isinstance(each, threading.Timer)]


def test_any_time_limit_can_be_set() -> None:
    with CancelToken().child(10**18, "x") as child:
        assert not child.is_cancelled
