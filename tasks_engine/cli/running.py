"""A plan is run and shown: what `tasks run` and `tasks build` have in common."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tasks_engine.cancel import CancelToken
from tasks_engine.errors import ExitCode, TimedOut
from tasks_engine.settings import Settings

if TYPE_CHECKING:
    from tasks_engine.app import RunSecrets
    from tasks_engine.backends.run_request import KeptRequest
    from tasks_engine.cli.render import Mode
    from tasks_engine.events import RunEvent, Status
    from tasks_engine.plan.model import Plan


def run_plan_here(
    settings: Settings,
    plan: Plan,
    context: Path,
    secrets: RunSecrets,
    *,
    mode: Mode,
    timeout_s: int | None = None,
    request: KeptRequest | None = None,
    task_text: str = "",
    watchers: Sequence[Callable[[RunEvent], None]] = (),
    out: TextIO | None = None,
) -> ExitCode:
    """Runs a plan, shows it on `out`, by default standard output, and tells how it ended. Signals cancel it.

    `timeout_s` is no longer than the settings allow; a longer one is cut, which is said on standard error. `request`
    and `task_text` are kept with the run. Raises what LocalRun does.
    """
    from tasks_engine.app import LocalRun
    from tasks_engine.backends.abandoned import remove_abandoned
    from tasks_engine.cli.render import open_view

    remove_abandoned(settings)
    limit = _time_limit_of(timeout_s, settings.policy.max_run_s)
    cancel = CancelToken()
    with ExitStack() as at_kill, _cancelled_by_signals(cancel, at_kill.close):
        # from here on: threads that connecting starts must not get the signals either
        run = LocalRun(settings, plan, context, cancel, secrets, request, task_text)
        view = open_view(plan, mode, out or sys.stdout, os.environ)
        at_kill.callback(view.abandon)
        try:
            with _time_limit(cancel, limit):
                finished = run.run([view, *watchers])
        finally:
            at_kill.pop_all()
            view.close(log_path=run.folder.log_path)
            run.close()
    return exit_code_of(finished.status)


def exit_code_of(status: Status) -> ExitCode:
    from tasks_engine.events import Status

    return {
        Status.SUCCEEDED: ExitCode.SUCCEEDED,
        Status.FAILED: ExitCode.FAILED,
        Status.ERROR: ExitCode.ERROR,
        Status.TIMED_OUT: ExitCode.TIMED_OUT,
        Status.CANCELED: ExitCode.CANCELED,
    }[status]


def seconds(text: str) -> int:
    """Of a command line; raises ValueError."""
    number = int(text)
    if number <= 0:
        raise ValueError
    return number


@dataclass(frozen=True)
class _Limit:
    seconds: int
    #: what to do about it
    hint: str


def _time_limit_of(asked_s: int | None, allowed_s: int) -> _Limit | None:
    """The time limit of a run; `allowed_s` is the longest that the settings allow, 0 for any."""
    if allowed_s and (asked_s is None or asked_s > allowed_s):
        if asked_s is not None:
            print(
                f"warning: --timeout {asked_s} is more than the settings allow (policy.max_run_s): "
                f"the run ends after {allowed_s} s",
                file=sys.stderr,
            )
        return _Limit(allowed_s, "the settings allow no more (policy.max_run_s): make it faster")
    return None if asked_s is None else _Limit(asked_s, "raise --timeout, or make it faster")


@contextmanager
def _time_limit(cancel: CancelToken, limit: _Limit | None) -> Iterator[None]:
    """Cancels the run when it takes longer."""
    if limit is None:
        yield
        return
    late = TimedOut(f"the run did not finish within {limit.seconds} s", hint=limit.hint)
    timer = threading.Timer(min(limit.seconds, threading.TIMEOUT_MAX), lambda: cancel.cancel(late))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _cancelled_by_signals(cancel: CancelToken, abandon: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and the end of the terminal cancel the run; the second of them calls `abandon` and ends the
    process at once.

    A thread waits for the signals: a handler would run between two lines of whatever the main thread does,
    and cancelling takes locks.
    """
    signals = {signal.SIGINT, signal.SIGTERM}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as behind nohup
        signals.add(signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait() -> None:
        signal.sigwait(signals)
        with suppress(OSError):  # the terminal may be gone
            print(
                "\ncancelling; once more ends at once and leaves the rest to the next command",
                file=sys.stderr,
            )
        threading.Thread(target=cancel.cancel, name="cancel", daemon=True).start()
        signal.sigwait(signals)
        abandon()
        os._exit(ExitCode.CANCELED)

    threading.Thread(target=wait, name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
