"""Cancellation and deadlines, handed down and never polled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tasks_engine.errors import Canceled, TasksError, TimedOut


class CancelToken:
    """Fires at most once, with a reason: an error that says why. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fired = threading.Event()
        self._callbacks: dict[object, Callable[[], None]] = {}
        self.reason: TasksError | None = None

    @property
    def is_cancelled(self) -> bool:
        return self._fired.is_set()

    def cancel(self, reason: TasksError | None = None) -> None:
        """Fires the token; only the first call counts. Callbacks run in the calling thread."""
        with self._lock:
            if self.reason is not None:
                return
            self.reason = reason or Canceled("the run was cancelled")
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        self._fired.set()
        for callback in callbacks:
            callback()

    def raise_if_cancelled(self) -> None:
        if self.reason is not None:
            raise self.reason

    def wait(self, seconds: float) -> None:
        """Waits, and raises the reason as soon as the token fires."""
        self._fired.wait(min(seconds, threading.TIMEOUT_MAX))
        self.raise_if_cancelled()

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `callback` is called once when the token fires; at once if it has."""
        key = object()
        with self._lock:
            fired = self.reason is not None
            if not fired:
                self._callbacks[key] = callback
        if fired:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)

    @contextmanager
    def child(self, timeout_s: float | None = None, what: str = "") -> Iterator[CancelToken]:
        """A token that fires with this one, or with TimedOut after `timeout_s`."""
        token = CancelToken()
        timer: threading.Timer | None = None
        if timeout_s is not None:
            message = f"{what} did not finish within {timeout_s:g} s"
            within = min(timeout_s, threading.TIMEOUT_MAX)
            timer = threading.Timer(within, lambda: token.cancel(TimedOut(message)))
            timer.daemon = True
            timer.start()
        try:
            with self.calling(lambda: token.cancel(self.reason)):
                yield token
        finally:
            if timer is not None:
                timer.cancel()
                with suppress(RuntimeError):
                    timer.join(timeout=1)
