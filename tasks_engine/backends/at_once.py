"""Many alike acts at the same time, given up together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from tasks_engine.cancel import CancelToken

T = TypeVar("T")


def for_each(
    act: Callable[[T], None],
    items: Iterable[T],
    cancel: CancelToken,
    *,
    at_once: int,
    patient: bool = False,
) -> None:
    """Acts on all items, `at_once` of them at a time.

    Raises the first failure when all that had begun have ended, or the reason of `cancel` at once: what does not end
    when cancelled goes on in a daemon thread. A `patient` caller waits also then; when nothing was left to begin, all
    is done.
    """
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    #: None for a thread that ended well
    ends: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        end: BaseException | None = None
        while not stop.is_set() and not cancel.is_cancelled:
            try:
                act(waiting.get_nowait())
            except queue.Empty:
                break
            except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
                end = error
                stop.set()
        ends.put(end)

    threads = min(at_once, waiting.qsize())
    for _ in range(threads):
        threading.Thread(target=run, name=f"at-once-{act.__name__}", daemon=True).start()
    failures: list[BaseException] = []

    def wake() -> None:
        if not patient:
            ends.put(None)

    with cancel.calling(wake):
        for _ in range(threads):
            end = ends.get()
            if not patient:
                cancel.raise_if_cancelled()
            if end is not None:
                failures.append(end)
    if failures:
        raise failures[0]
    if not waiting.empty():
        cancel.raise_if_cancelled()
