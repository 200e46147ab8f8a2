"""One running build: Solve, Status and the session, from start to the last of their ends.

The daemon builds as long as the Solve call stands. So a build ends by Solve returning, whatever made it: then
Status is read to its end, within limits, then the session is closed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from tasks_engine.backends.buildkit.capabilities import unsupported
from tasks_engine.backends.buildkit.errors import (
    BuildCanceled,
    BuildTimedOut,
    ConnectionLost,
    DaemonLost,
    ExportError,
)
from tasks_engine.backends.buildkit.progress import Event, LogOutput, Step, VertexChanged, events_of
from tasks_engine.backends.buildkit.proto import control_pb2
from tasks_engine.backends.buildkit.session import Session
from tasks_engine.backends.buildkit.solve import BuildResult, build_result

if TYPE_CHECKING:  # loaded when a build fails
    from tasks_engine.backends.buildkit.failures import Details, FailedVertex

# Status of a build that the daemon refused before it was one never ends by itself.
_REFUSED_GRACE_S = 0.5
_DRAIN_S = 5.0
_LAST_OUTPUT_BYTES = 4096


class Build:
    """A build that was started by `BuildKitClient.start`.

    Methods may be called from any thread, but `wait` and `join` not from `on_event`.
    """

    def __init__(
        self,
        *,
        ref: str,
        session: Session,
        status_call: grpc.CallIterator[control_pb2.StatusResponse],
        solve_call: grpc.CallFuture[control_pb2.SolveResponse],
        dockerfile: Path | str,
        daemon: str,
        on_event: Callable[[Event], None],
        silence_s: float,
        timeout_s: float | None,
        on_end: Callable[[Build], None],
    ) -> None:
        """Takes over the session and both calls. `begin` starts its threads."""
        #: the daemon's name of the build
        self.ref = ref
        self._session = session
        self._daemon = daemon
        self._solve_call = solve_call
        self._dockerfile = dockerfile
        self._silence_s = silence_s
        self._timeout_s = timeout_s
        self._started_s = time.monotonic()
        self._on_end = on_end
        self._status = _StatusReader(status_call, on_event, solve_call)
        self._canceled = False
        self._silent = False
        self._solve_returned = threading.Event()
        self._result: Future[BuildResult] = Future()
        self._thread = threading.Thread(target=self._run, name="buildkit-build", daemon=True)

    def begin(self) -> None:
        """Starts watching; called once."""
        self._status.start()
        self._solve_call.add_done_callback(lambda _: self._solve_returned.set())
        self._thread.start()

    def wait(self) -> BuildResult:
        """The result.

        Raises BuildFailed, BuildCanceled, BuildTimedOut, UnsupportedFeature, ConnectionLost, what is wrong on
        this side (ContextError, ExportError, SecretError, SshError, CredentialError), or what a callback
        raised.
        """
        return self._result.result()

    @property
    def steps(self) -> Sequence[Step]:
        """The names of all steps so far, in the order they were announced, with the last they printed."""
        return self._status.steps()

    def cancel(self) -> None:
        """Asks the daemon to stop; returns at once. A build that has just ended keeps its result."""
        self._canceled = True
        self._solve_call.cancel()  # type: ignore[no-untyped-call]
        self._session.give_up_results()

    def join(self) -> None:
        """Waits until nothing of the build runs any more, however it ended."""
        self._thread.join()

    def _run(self) -> None:
        outcome: BuildResult | BaseException
        try:
            try:
                self._watch()
                self._drain()
                outcome = self._outcome()
            finally:
                self._session.close()
        except BaseException as error:  # noqa: BLE001 - handed to wait()
            outcome = error
        self._on_end(self)
        if isinstance(outcome, BaseException):
            self._result.set_exception(outcome)
        else:
            self._result.set_result(outcome)

    def _watch(self) -> None:
        """Returns when Solve did. Gives up on a daemon that has been silent for too long."""
        while True:
            heard_s = max(self._session.last_heard_s, self._status.last_message_s)
            if self._solve_returned.wait(max(0.0, heard_s + self._silence_s - time.monotonic())):
                return
            if heard_s == max(self._session.last_heard_s, self._status.last_message_s):
                self._silent = True
                self._solve_call.cancel()  # type: ignore[no-untyped-call]
                self._solve_returned.wait()
                return

    def _drain(self) -> None:
        """Waits for the end of Status, and ends it when it has been quiet for too long."""
        refused = not self._canceled and self._solve_call.code() != grpc.StatusCode.OK
        grace_s = _REFUSED_GRACE_S if refused else _DRAIN_S
        returned_s = time.monotonic()
        while not self._silent:
            now_s = time.monotonic()
            # It is not quiet while the consumer is busy with a message.
            quiet_since_s = now_s if self._status.busy else max(returned_s, self._status.last_message_s)
            left_s = quiet_since_s + grace_s - now_s
            if self._canceled or self._timed_out:
                left_s = min(left_s, returned_s + _DRAIN_S - now_s)
            if left_s <= 0 or self._status.ended(left_s):
                break
        self._status.end()

    def _outcome(self) -> BuildResult:
        if self._status.failure is not None:
            raise self._status.failure
        call = self._solve_call
        code = call.code()
        if code == grpc.StatusCode.OK:
            self._finish_results()
            return build_result(self.ref, dict(call.result().exporter_response))
        if self._silent:
            raise DaemonLost(f"the BuildKit daemon has been silent for {self._silence_s:g} seconds")
        if self._canceled:
            raise BuildCanceled("the build was canceled")
        if self._timed_out:
            raise BuildTimedOut(f"the build took longer than {self._timeout_s:g} s, and was canceled")
        from tasks_engine.backends.buildkit.failures import Details, build_failed

        details = _details(call)
        ours = self._session.failure(call.details() or "")
        if ours is not None:
            raise ours
        refused = unsupported(self._daemon, call.details() or "")
        if refused is not None:
            raise refused
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED) and details is None:
            raise ConnectionLost(f"lost the connection to the BuildKit daemon: {call.details() or code.name}")
        raise build_failed(
            call.details() or code.name,
            details or Details(),
            self._status.failed_vertexes(),
            self._dockerfile_text(),
            str(self._dockerfile),
        )

    @property
    def _timed_out(self) -> bool:
        """It was our time limit; a daemon may have some of its own."""
        return (
            self._timeout_s is not None
            and self._solve_call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            and time.monotonic() - self._started_s >= self._timeout_s
        )

    def _finish_results(self) -> None:
        try:
            self._session.finish_results()
        except ExportError:
            if self._canceled:
                raise BuildCanceled("the build was canceled") from None
            raise

    def _dockerfile_text(self) -> str:
        try:
            if isinstance(self._dockerfile, Path):
                return self._dockerfile.read_text("utf-8", "replace")
        except OSError:
            pass
        return ""


class _StatusReader:
    """Reads Status in its own thread and hands on the events."""

    def __init__(
        self,
        call: grpc.CallIterator[control_pb2.StatusResponse],
        on_event: Callable[[Event], None],
        solve_call: grpc.CallFuture[control_pb2.SolveResponse],
    ) -> None:
        self._call = call
        self._on_event = on_event
        self._solve_call = solve_call
        #: what `on_event` raised
        self.failure: BaseException | None = None
        #: time.monotonic() when the last message was dealt with
        self.last_message_s = time.monotonic()
        #: in `on_event`
        self.busy = False
        self._vertex_by_digest: dict[str, VertexChanged] = {}
        self._last_output_by_digest: dict[str, bytes] = {}
        self._thread = threading.Thread(target=self._read, name="buildkit-status", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ended(self, timeout_s: float) -> bool:
        """Whether Status is over, after waiting for it."""
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def end(self) -> None:
        """Ends it if it has not; a consumer that is stuck is left alone after a few seconds."""
        self._call.cancel()  # type: ignore[no-untyped-call]
        self._thread.join(_DRAIN_S)

    def steps(self) -> list[Step]:
        """Those announced so far."""
        return [
            Step(vertex.name, self._last_output_by_digest.get(digest, b""))
            for digest, vertex in list(self._vertex_by_digest.items())
        ]

    def failed_vertexes(self) -> dict[str, FailedVertex]:
        """digest -> vertex, of those that ended with an error, in the order they were announced."""
        from tasks_engine.backends.buildkit.failures import FailedVertex

        return {
            digest: FailedVertex(vertex.name, self._last_output_by_digest.get(digest, b""))
            for digest, vertex in self._vertex_by_digest.items()
            if vertex.error
        }

    def _read(self) -> None:
        try:
            for response in self._call:
                self.busy = True
                for event in events_of(response):
                    self._remember(event)
                    self._on_event(event)
                self.last_message_s = time.monotonic()
                self.busy = False
        except (grpc.RpcError, grpc.FutureCancelledError):
            # Solve tells what went wrong.
            pass
        except BaseException as error:  # noqa: BLE001 - the caller's own, raised again by Build.wait
            self.failure = error
            self._solve_call.cancel()  # type: ignore[no-untyped-call]
            self._call.cancel()  # type: ignore[no-untyped-call]
        finally:
            self.busy = False

    def _remember(self, event: Event) -> None:
        if isinstance(event, VertexChanged):
            self._vertex_by_digest[event.digest] = event
        elif isinstance(event, LogOutput):
            kept = self._last_output_by_digest.get(event.vertex, b"") + event.data
            self._last_output_by_digest[event.vertex] = kept[-_LAST_OUTPUT_BYTES:]


def _details(call: grpc.Call) -> Details | None:
    """What came with the error; None when nothing did."""
    from tasks_engine.backends.buildkit.failures import read_details

    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return read_details(value)
    return None
