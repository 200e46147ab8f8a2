"""`tasks run`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_engine.cancel import CancelToken
from tasks_engine.cli.show import PATHS_HELP, plan_command
from tasks_engine.cli.task_inputs import TaskInput, found_task
from tasks_engine.cli.task_options import add_task_options, given_task
from tasks_engine.errors import ExitCode, TimedOut
from tasks_engine.settings import Settings

if TYPE_CHECKING:
    from tasks_engine.events import Status

_HELP = f"""\
Runs a task file: builds, tests and pushes images, steps in parallel where `when` allows.

{PATHS_HELP}
Your folder is never written: steps work on a private copy of it, under /workspace.
"""
_EXAMPLES = """\
examples:
  tasks run                                  the task file of this folder
  tasks run task.yaml . --set tag=1.2        a value for {{.Values.tag}}
  tasks run build.yaml src --registry localhost:5000
  TOKEN=… tasks run --set-secret TOKEN       a secret for {{.Values.TOKEN}}
  echo 'steps: [{cmd: busybox echo hi}]' | tasks run -

exit codes:
  0 succeeded   1 a step failed   2 wrong usage or task file   3 engine or infrastructure
  124 timed out   130 cancelled   70 a bug in tasks
"""


def add_parser(commands: Any) -> None:
    """Adds `run` to the parser of `tasks`."""
    run = commands.add_parser(
        "run",
        usage="tasks run [FILE] [CONTEXT] [options]",
        help="run a task file",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_task_options(run)
    run.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="time limit of the whole run (default: none)"
    )
    run.add_argument("--dry-run", action="store_true", help="print the plan instead of running it")
    run.add_argument("--json", action="store_true", help="print events as JSON lines, one event a line")
    run.set_defaults(execute=run_command)


def run_command(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.dry_run:
        return plan_command(arguments, settings)
    with found_task(arguments.paths, Path.cwd()) as found:
        return _run(arguments, settings, found)


def _run(arguments: argparse.Namespace, settings: Settings, found: TaskInput) -> int:
    from tasks_engine.app import LocalRun, RunSecrets, default_registry, remove_abandoned
    from tasks_engine.cli.render import Mode, open_view
    from tasks_engine.plan.make import make_plan

    given = given_task(arguments, settings, found, default_registry(settings))
    task = given.load()
    plan = make_plan(task, given.request)
    secrets = RunSecrets(task.secrets, given.secret_values, Path.cwd(), given.credentials)
    remove_abandoned(settings)
    cancel = CancelToken()
    with ExitStack() as at_kill, _cancelled_by_signals(cancel, at_kill.close):
        # from here on: threads that connecting starts must not get the signals either
        run = LocalRun(settings, plan, found.context, cancel, secrets)
        view = open_view(plan, Mode.JSON if arguments.json else Mode.AUTO, sys.stdout, os.environ)
        at_kill.callback(view.abandon)
        try:
            with _time_limit(cancel, arguments.timeout):
                finished = run.run([view])
        finally:
            at_kill.pop_all()
            view.close(log_path=run.folder.log_path)
            run.close()
    return _exit_code(finished.status)


def _exit_code(status: Status) -> ExitCode:
    from tasks_engine.events import Status

    return {
        Status.SUCCEEDED: ExitCode.SUCCEEDED,
        Status.FAILED: ExitCode.FAILED,
        Status.ERROR: ExitCode.ERROR,
        Status.TIMED_OUT: ExitCode.TIMED_OUT,
        Status.CANCELED: ExitCode.CANCELED,
    }[status]


def _seconds(text: str) -> int:
    seconds = int(text)
    if seconds <= 0:
        raise ValueError
    return seconds


@contextmanager
def _time_limit(cancel: CancelToken, timeout_s: int | None) -> Iterator[None]:
    """Cancels the run when it takes longer."""
    if timeout_s is None:
        yield
        return
    late = TimedOut(f"the run did not finish within {timeout_s} s", hint="raise --timeout, or make it faster")
    timer = threading.Timer(min(timeout_s, threading.TIMEOUT_MAX), lambda: cancel.cancel(late))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _cancelled_by_signals(cancel: CancelToken, abandon: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM cancel the run; the second one calls `abandon` and ends the process at once.

    A thread waits for the signals: a handler would run between two lines of whatever the main thread does,
    and cancelling takes locks.
    """
    signals = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait() -> None:
        signal.sigwait(signals)
        print("\ncancelling; once more ends at once and leaves the rest to the next command", file=sys.stderr)
        threading.Thread(target=cancel.cancel, name="cancel", daemon=True).start()
        signal.sigwait(signals)
        abandon()
        os._exit(ExitCode.CANCELED)

    threading.Thread(target=wait, name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
