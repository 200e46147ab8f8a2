"""`tasks run`, `tasks plan` and `tasks validate`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_engine.backends.run_folder import new_run_id
from tasks_engine.cancel import CancelToken
from tasks_engine.cli.task_inputs import TaskInput, found_task, read_values
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs, Task
from tasks_engine.errors import DefinitionErrors, ExitCode, TasksError
from tasks_engine.events import Status
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork
from tasks_engine.plan.request import RunRequest
from tasks_engine.settings import Settings

if TYPE_CHECKING:
    pass

EXIT_CODE_BY_STATUS = {
    Status.SUCCEEDED: ExitCode.SUCCEEDED,
    Status.FAILED: ExitCode.FAILED,
    Status.ERROR: ExitCode.ERROR,
    Status.TIMED_OUT: ExitCode.TIMED_OUT,
    Status.CANCELED: ExitCode.CANCELED,
}

_RUN_HELP = """\
Runs a task file: builds, tests and pushes images, steps in parallel where `when` allows.

FILE is a task file, or - for standard input; CONTEXT is the folder its steps work on, or a git address
(https://host/repo.git#branch:folder). A lone folder or address is CONTEXT. Without FILE the first of acb.yaml,
acr-task.yaml, task.yaml in CONTEXT is run; without CONTEXT it is the folder of FILE. Your folder is never
written: steps work on a private copy of it, under /workspace.
"""
_RUN_EXAMPLES = """\
examples:
  tasks run                                  the task file of this folder
  tasks run task.yaml . --set tag=1.2        a value for {{.Values.tag}}
  tasks run build.yaml src --registry localhost:5000
  echo 'steps: [{cmd: busybox echo hi}]' | tasks run -

exit codes:
  0 succeeded   1 a step failed   2 wrong usage or task file   3 engine or infrastructure
  124 timed out   130 cancelled   70 a bug in tasks
"""


def add_parsers(commands: Any) -> None:
    """Adds `run`, `plan` and `validate` to the parser of `tasks`."""
    run = commands.add_parser(
        "run",
        usage="tasks run [FILE] [CONTEXT] [options]",
        help="run a task file",
        description=_RUN_HELP,
        epilog=_RUN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_task_arguments(run)
    run.add_argument("--dry-run", action="store_true", help="print the plan instead of running it")
    run.add_argument("--json", action="store_true", help="print events as JSON lines, one event a line")
    run.set_defaults(execute=run_command)

    plan = commands.add_parser(
        "plan",
        usage="tasks plan [FILE] [CONTEXT] [options]",
        help="show what a task file would do",
        description="Prints the steps of a task file as they would run, with all defaults filled in.",
    )
    _add_task_arguments(plan)
    plan.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    plan.set_defaults(execute=plan_command)

    validate = commands.add_parser(
        "validate",
        usage="tasks validate [FILE] [CONTEXT] [options]",
        help="check a task file",
        description="Checks a task file and prints everything that is wrong with it. Needs no engine.",
    )
    _add_task_arguments(validate)
    validate.add_argument("--json", action="store_true", help="print problems and warnings as JSON")
    validate.set_defaults(execute=validate_command)


def run_command(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.dry_run:
        return plan_command(arguments, settings)
    with found_task(arguments.paths, Path.cwd()) as found:
        return _run(arguments, settings, found)


def _run(arguments: argparse.Namespace, settings: Settings, found: TaskInput) -> int:
    from tasks_engine.app import LocalRun, remove_abandoned
    from tasks_engine.cli.render import Mode, open_view

    plan = _plan(arguments, settings, found)
    remove_abandoned(settings)
    cancel = CancelToken()
    with ExitStack() as at_kill, _cancelled_by_signals(cancel, at_kill.close):
        # from here on: threads that connecting starts must not get the signals either
        run = LocalRun(settings, plan, found.context, cancel)
        view = open_view(plan, Mode.JSON if arguments.json else Mode.AUTO, sys.stdout, os.environ)
        at_kill.callback(view.abandon)
        try:
            finished = run.run([view])
        finally:
            at_kill.pop_all()
            view.close(log_path=run.folder.log_path)
            run.close()
    return EXIT_CODE_BY_STATUS[finished.status]


def plan_command(arguments: argparse.Namespace, settings: Settings) -> int:
    with found_task(arguments.paths, Path.cwd()) as found:
        plan = _plan(arguments, settings, found)
    if arguments.json:
        print(json.dumps(plan.to_json(), indent=2))
        return ExitCode.SUCCEEDED
    _print_warnings(plan)
    print(f"{plan.task}: {len(plan.steps)} steps, run {plan.run_id}, registry {plan.registry or '(none)'}")
    width = max((len(step.id) for step in plan.steps), default=0)
    for step in plan.steps:
        after = ", ".join(step.depends_on) or "at once"
        print(f"  {step.id:<{width}}  {step.kind:<5}  {_describe(step)}")
        print(f"  {'':<{width}}         after {after}; at most {step.timeout_s} s{_extras(step)}")
    return ExitCode.SUCCEEDED


def validate_command(arguments: argparse.Namespace, settings: Settings) -> int:
    with found_task(arguments.paths, Path.cwd()) as found:
        return _validate(arguments, settings, found)


def _validate(arguments: argparse.Namespace, settings: Settings, found: TaskInput) -> int:
    problems: tuple[TasksError, ...] = ()
    warnings: tuple[TasksError, ...] = ()
    steps = 0
    try:
        task = _load(arguments, found, _run_variables("validate", settings.registry or "registry.invalid"))
        warnings, steps = task.warnings, len(task.steps)
    except DefinitionErrors as error:
        problems = error.problems
    if arguments.json:
        print(
            json.dumps(
                {
                    "valid": not problems,
                    "steps": steps,
                    "problems": [each.to_json() for each in problems],
                    "warnings": [each.to_json() for each in warnings],
                },
                indent=2,
            )
        )
    else:
        for warning in warnings:
            print(f"warning: {warning}\n", file=sys.stderr)
        for problem in problems:
            print(f"{problem}\n", file=sys.stderr)
        if problems:
            print(f"{found.name}: {_count(len(problems), 'problem')}", file=sys.stderr)
        else:
            print(f"{found.name} is valid: {_count(steps, 'step')}")
    return ExitCode.USAGE if problems else ExitCode.SUCCEEDED


def _add_task_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="[FILE] [CONTEXT]", action=_AtMostTwo)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value for {{.Values.NAME}}; wins over --values; may be repeated",
    )
    parser.add_argument("--values", metavar="FILE", help="YAML map of values for {{.Values.…}}")
    parser.add_argument(
        "--registry",
        metavar="HOST",
        help="$Registry (default: $TASKS_REGISTRY, else the embedded engine's registry)",
    )
    parser.add_argument("--strict", action="store_true", help="treat warnings as errors")


class _AtMostTwo(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, *_: Any) -> None:
        if len(values) > 2:
            parser.error(f"takes FILE and CONTEXT, not {len(values)} paths: {' '.join(values)}")
        setattr(namespace, self.dest, values)


def _plan(arguments: argparse.Namespace, settings: Settings, found: TaskInput) -> Plan:
    from tasks_engine.app import default_registry

    run_id = new_run_id(time.time())
    registry = default_registry(settings)
    task = _load(arguments, found, _run_variables(run_id, registry))
    return make_plan(task, RunRequest(run_id=run_id, task=found.name, registry=registry))


def _load(arguments: argparse.Namespace, found: TaskInput, run: dict[str, str]) -> Task:
    values = read_values(arguments.values, arguments.set)
    return load_task(found.text, found.name, Inputs(run=run, values=values), strict=arguments.strict)


def _run_variables(run_id: str, registry: str) -> dict[str, str]:
    return {
        "ID": run_id,
        "Registry": registry,
        "RegistryName": registry.partition(".")[0],
        "Date": datetime.now(UTC).strftime("%Y%m%d-%H%M%Sz"),
        "OS": "linux",
        "Architecture": _architecture(),
        "Commit": "",
        "Branch": "",
        "SharedVolume": "",
    }


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


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


def _print_warnings(plan: Plan) -> None:
    for warning in plan.warnings:
        place = warning.get("location") or {}
        where = f"{place['source']}:{place['line']}:{place['column']}: " if place else ""
        hint = f" ({warning['hint']})" if warning.get("hint") else ""
        print(f"warning: {where}{warning['message']}{hint}", file=sys.stderr)


def _describe(step: PlannedStep) -> str:
    match step.work:
        case BuildWork() as work:
            return f"{', '.join(work.tags) or '(no tag)'} from {work.context}"
        case PushWork() as work:
            return ", ".join(work.images)
        case CmdWork() as work:
            return " ".join((work.image, *work.args))


def _extras(step: PlannedStep) -> str:
    extras = []
    if step.retries:
        extras.append(f"{_count(step.retries + 1, 'attempt')}, {step.retry_delay_s} s apart")
    if step.detach:
        extras.append("detached")
    if step.ignore_errors:
        extras.append("errors ignored")
    return "".join(f"; {extra}" for extra in extras)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
