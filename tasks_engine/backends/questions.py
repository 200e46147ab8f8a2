"""Several slow questions at the same time, whose first error ends them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

from tasks_engine.cancel import CancelToken
from tasks_engine.errors import SecretError

Value = TypeVar("Value")

#: as in the original
AT_ONCE = 5
LIMIT_S = 120.0


@dataclass(frozen=True)
class Question(Generic[Value]):
    #: for people, such as "secret 'a'"
    name: str
    ask: Callable[[], Value]


class _Round(Generic[Value]):
    """Its state is guarded by `changed`."""

    def __init__(self, questions: Sequence[Question[Value]]) -> None:
        self.questions = questions
        self.changed = threading.Condition()
        self.asked = 0
        self.values: dict[int, Value] = {}
        self.errors: dict[int, BaseException] = {}
        self.is_over = False

    def work(self) -> None:
        while True:
            with self.changed:
                if self.is_over or self.errors or self.asked == len(self.questions):
                    return
                number = self.asked
                self.asked += 1
            try:
                value = self.questions[number].ask()
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                with self.changed:
                    self.errors[number] = error
                    self.changed.notify_all()
                return
            with self.changed:
                self.values[number] = value
                self.changed.notify_all()

    def wake(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def wait(self, limit_s: float, cancel: CancelToken | None) -> None:
        deadline = time.monotonic() + limit_s
        with self.changed:
            while len(self.values) < len(self.questions) and not self.errors:
                left = deadline - time.monotonic()
                if left <= 0 or (cancel is not None and cancel.is_cancelled):
                    return
                self.changed.wait(left)


def ask_all(
    questions: Sequence[Question[Value]],
    *,
    limit_s: float = LIMIT_S,
    cancel: CancelToken | None = None,
) -> list[Value]:
    """The answers, in the order of their questions, of which AT_ONCE are asked at a time.

    Raises the first error, SecretError when something is not answered after `limit_s` in all, and what `cancel` tells.
    Then questions that are under way are left to end by themselves, in threads that keep no process alive.
    """
    asking = _Round(questions)
    threads = [
        threading.Thread(target=asking.work, name=f"secret-{number}", daemon=True)
        for number in range(min(AT_ONCE, len(questions)))
    ]
    for thread in threads:
        thread.start()
    with cancel.calling(asking.wake) if cancel is not None else nullcontext():
        asking.wait(limit_s, cancel)
    with asking.changed:
        asking.is_over = True
        errors, values = dict(asking.errors), dict(asking.values)
    if errors:
        raise errors[min(errors)]
    if len(values) == len(questions):
        for thread in threads:
            thread.join()
        return [values[number] for number in range(len(questions))]
    if cancel is not None:
        cancel.raise_if_cancelled()
    missing = ", ".join(each.name for number, each in enumerate(questions) if number not in values)
    raise SecretError(
        f"no answer within {limit_s:g} seconds: {missing}",
        hint="see whether what holds them can be reached from here",
    )
