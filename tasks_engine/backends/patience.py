"""Asks a service again when what went wrong may pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tasks_engine.errors import BackendError

Value = TypeVar("Value")

#: answers after which the same request may succeed: too many requests, and troubles of servers
PASSING_STATUSES = frozenset((429, 500, 502, 503, 504))


@dataclass(frozen=True)
class Patience:
    """How long a service is waited for."""

    tries: int = 5
    #: before the second try; doubled before each further one
    first_wait_s: float = 0.5
    #: for a connection, and for each part of an answer
    request_s: int = 20

    def call(self, ask: Callable[[], Value]) -> Value:
        """What `ask` gives, which is called again when it raises a BackendError that is `retryable`."""
        wait_s = self.first_wait_s
        for _ in range(self.tries - 1):
            try:
                return ask()
            except BackendError as error:
                if not error.retryable:
                    raise
            time.sleep(wait_s)
            wait_s *= 2
        return ask()


PATIENT = Patience()
