from __future__ import annotations

import threading
import time

import pytest

from tasks_engine.backends.fakes import PATIENCE_S
from tasks_engine.backends.questions import AT_ONCE, Question, ask_all
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import Canceled, SecretError


def test_answers_come_in_the_order_of_their_questions() -> None:
    numbers = range(20)
    assert ask_all([Question(str(each), lambda each=each: each * each) for each in numbers]) == [
        each * each for each in numbers
    ]


def test_nothing_asked_is_nothing_answered() -> None:
    assert ask_all([]) == []


def test_five_are_asked_at_the_same_time_and_no_more() -> None:
    together = threading.Barrier(AT_ONCE, timeout=PATIENCE_S)
    lock = threading.Lock()
    running, most = 0, 0

    def ask() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()  # breaks unless five come at once
        with lock:
            running -= 1

    ask_all([Question("", ask) for _ in range(3 * AT_ONCE)])
    assert most == AT_ONCE


def test_the_first_error_ends_it_while_others_hang() -> None:
    over = threading.Event()

    def fail() -> None:
        raise SecretError("gone")

    questions = [Question("", lambda: over.wait(PATIENCE_S)), Question("", fail)]
    started = time.monotonic()
    with pytest.raises(SecretError, match="gone"):
        ask_all(questions)
    assert time.monotonic() - started < PATIENCE_S / 2
    over.set()


def test_after_an_error_nothing_more_is_asked() -> None:
    asked: list[int] = []
    may_go_on = threading.Event()

    def fail() -> None:
        raise SecretError("gone")

    waiting = [Question("", lambda: may_go_on.wait(PATIENCE_S)) for _ in range(AT_ONCE - 1)]
    with pytest.raises(SecretError):
        ask_all([*waiting, Question("", fail), Question("", lambda: asked.append(1))])
    may_go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("secret-"):
            thread.join(PATIENCE_S)
    assert asked == []


def test_what_does_not_come_in_time_is_told_by_name() -> None:
    over = threading.Event()
    questions = [Question("secret 'a'", lambda: None), Question("secret 'b'", lambda: over.wait(PATIENCE_S))]
    with pytest.raises(SecretError, match=r"\Ano answer within 0\.05 seconds: secret 'b'\n"):
        ask_all(questions, limit_s=0.05)
    over.set()


def test_cancelling_ends_the_wait() -> None:
    over = threading.Event()
    cancel = CancelToken()

    def ask() -> None:
        cancel.cancel()
        over.wait(PATIENCE_S)

    started = time.monotonic()
    with pytest.raises(Canceled):
        ask_all([Question("", ask)], cancel=cancel)
    assert time.monotonic() - started < PATIENCE_S / 2
    over.set()


def test_no_thread_stays_when_all_are_answered() -> None:
    before = set(threading.enumerate())
    ask_all([Question("", lambda: None) for _ in range(9)])
    assert set(threading.enumerate()) <= before
