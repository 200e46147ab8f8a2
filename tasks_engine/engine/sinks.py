"""The one way out of a run: log bytes and events, in one order, to the store and to whoever watches.

Steps write from many threads. One thread numbers, stores and shows; while it is busy, output of the same
step piles up and leaves as one event, so a flood costs little and the first line goes out at once.
"""

from __future__ import annotations

import codecs
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tasks_engine.engine.masking import MaskedStream, Masker
from tasks_engine.errors import StoreError
from tasks_engine.events import RunEvent, RunFinished, RunWarning, StepFinished, StepLog, StepProgress
from tasks_engine.ports import EventStore, StepOutput
from tasks_engine.sizes import size_text

Watcher = Callable[[RunEvent], None]

#: output waiting to be stored; a step that writes faster than this drains is held back
MAX_PENDING_BYTES = 8 * 1024 * 1024
#: output that leaves as one event
MAX_CHUNK_BYTES = 256 * 1024


@dataclass
class _Output:
    step_id: str
    stream: str
    #: when the first part came
    at: datetime
    parts: list[bytes]
    size: int


class EventSink:
    """Takes events and output from any thread. `close` before reading what was stored.

    A watcher that raises does not stop the run or what is stored; `close` raises the first such error.
    """

    def __init__(
        self,
        run_id: str,
        store: EventStore,
        watchers: Sequence[Watcher],
        on_store_failure: Callable[[StoreError], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        masker: Masker | None = None,
        max_log_bytes: int = 0,
        detached: Collection[str] = (),
    ) -> None:
        """`detached` are ids of steps that print on after they have finished.

        Output beyond `max_log_bytes` is dropped, which a warning says; 0 for no limit."""
        self._masker = masker or Masker()
        self._masked: dict[tuple[str, str], MaskedStream] = {}
        self._run_id = run_id
        self._store = store
        self._watchers = watchers
        self._on_store_failure = on_store_failure
        self._clock = clock
        self._queue: deque[RunEvent | _Output] = deque()
        self._changed = threading.Condition()
        self._pending_bytes = 0
        self._closing = False
        self._seq = 0
        self._max_log_bytes = max_log_bytes
        self._detached = frozenset(detached)
        self._logged_bytes = 0
        self._drops = False
        self._decoders: dict[tuple[str, str], codecs.IncrementalDecoder] = {}
        self.failure: StoreError | None = None
        self._bug: Exception | None = None
        self._thread = threading.Thread(target=self._drain, name="event-sink", daemon=True)
        self._thread.start()

    def emit(self, event: RunEvent) -> datetime:
        """Takes an event and returns the moment it was given."""
        if isinstance(event, StepFinished) and event.step_id not in self._detached:
            self._flush_masked(event.step_id)
        elif isinstance(event, RunFinished):
            for step_id in {step_id for step_id, _ in list(self._masked)}:
                self._flush_masked(step_id)
        with self._changed:
            stamped = replace(self._masker.mask_event(event), run_id=self._run_id, at=self._clock())
            self._queue.append(stamped)
            self._changed.notify_all()
        return stamped.at

    def output(self, step_id: str) -> StepOutput:
        return StepOutput(step_id, lambda stream, data: self._write(step_id, stream, data), self.emit)

    def close(self) -> None:
        """Returns when everything taken so far is stored and shown."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._bug is not None:
            raise self._bug

    def _write(self, step_id: str, stream: str, data: bytes) -> None:
        if not self._masker.has_values:
            self._take(step_id, stream, data)
            return
        with self._changed:
            masked = self._masked.get((step_id, stream))
            if masked is None:
                masked = self._masked[step_id, stream] = MaskedStream(self._masker)
            data = masked.feed(data)
        self._take(step_id, stream, data)

    def _flush_masked(self, step_id: str) -> None:
        """Output that was held back, for it could have become a secret."""
        with self._changed:
            ended = [key for key in self._masked if key[0] == step_id]
            rest = [(stream, self._masked.pop((step_id, stream)).flush()) for _, stream in ended]
        for stream, data in rest:
            self._take(step_id, stream, data)

    def _take(self, step_id: str, stream: str, data: bytes) -> None:
        if not data:
            return
        with self._changed:
            while self._pending_bytes > MAX_PENDING_BYTES:
                self._changed.wait()
            last = self._queue[-1] if self._queue else None
            if (
                isinstance(last, _Output)
                and (last.step_id, last.stream) == (step_id, stream)
                and last.size < MAX_CHUNK_BYTES
            ):
                last.parts.append(data)
                last.size += len(data)
            else:
                self._queue.append(_Output(step_id, stream, self._clock(), [data], len(data)))
            self._pending_bytes += len(data)
            self._changed.notify_all()

    def _drain(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                batch = list(self._queue)
                self._queue.clear()
                self._pending_bytes = 0
                self._changed.notify_all()
                if not batch:
                    return
            try:
                self._handle(batch)
            except Exception as error:  # noqa: BLE001 - raised by `close`; steps must not wait for a dead thread
                self._bug = self._bug or error

    def _handle(self, batch: list[RunEvent | _Output]) -> None:
        stored: list[RunEvent] = []
        for each in batch:
            for event in self._log_events(each) if isinstance(each, _Output) else (each,):
                self._seq += 1
                stored.append(replace(event, seq=self._seq))
        self._keep(stored)
        for event in stored:
            for watch in self._watchers:
                watch(event)

    def _log_events(self, output: _Output) -> Iterator[RunEvent]:
        data = b"".join(output.parts)
        if self._drops:
            return
        left = self._max_log_bytes - self._logged_bytes
        if self._max_log_bytes and len(data) > left:
            self._drops = True
            data = data[:left]
        self._logged_bytes += len(data)
        if data:
            yield self._log_event(output, data)
        if self._drops:
            yield RunWarning(
                run_id=self._run_id,
                at=output.at,
                message=f"the log has reached its limit of {size_text(self._max_log_bytes)}: "
                "all further output of steps is dropped",
                hint="policy.max_log_bytes in the settings is the limit",
            )

    def _log_event(self, output: _Output, data: bytes) -> StepLog:
        key = (output.step_id, output.stream)
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = self._decoders[key] = codecs.getincrementaldecoder("utf-8")("replace")
        return StepLog(
            run_id=self._run_id,
            at=output.at,
            step_id=output.step_id,
            stream=output.stream,
            offset=self._append_log(data),
            length=len(data),
            text=decoder.decode(data),
        )

    def _append_log(self, data: bytes) -> int:
        if self.failure is None:
            try:
                return self._store.append_log(data)
            except StoreError as error:
                self._fail(error)
        return -1

    def _keep(self, events: Sequence[RunEvent]) -> None:
        if self.failure is not None:
            return
        try:
            for event in events:
                if isinstance(event, StepProgress):
                    continue  # only of use while it happens; its outcome is in the log
                self._store.append_event(replace(event, text="") if isinstance(event, StepLog) else event)
            self._store.flush()
        except StoreError as error:
            self._fail(error)

    def _fail(self, error: StoreError) -> None:
        self.failure = error
        # the callback cancels the run, which may kill containers: not in the thread that takes their output
        threading.Thread(target=self._on_store_failure, args=(error,), daemon=True).start()
