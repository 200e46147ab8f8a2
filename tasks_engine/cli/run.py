"""`tasks run`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tasks_engine.cli.running import run_plan_here, seconds
from tasks_engine.cli.show import PATHS_HELP, plan_command
from tasks_engine.cli.task_inputs import TaskInput
from tasks_engine.cli.task_options import add_task_options, given_task, given_task_input
from tasks_engine.settings import Settings

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
  tasks run --cmd 'busybox echo hi'          one command, without files
  tasks run --cmd '$Registry/app sh -c "./test.sh"' . --registry localhost:5000
  tasks run --secret id=token,env=TOKEN --ssh default    for RUN --mount in all builds
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
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="time limit of the whole run (default: none, or "
        "what the settings allow at most: policy.max_run_s)",
    )
    run.add_argument(
        "--allow-secret-in-history",
        action="store_true",
        help="let a secret become a build argument, which whoever gets the image can read in its history",
    )
    run.add_argument("--dry-run", action="store_true", help="print the plan instead of running it")
    run.add_argument("--json", action="store_true", help="print events as JSON lines, one event a line")
    run.set_defaults(execute=run_command)


def run_command(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.dry_run:
        return plan_command(arguments, settings)
    with given_task_input(arguments, settings) as found:
        return _run(arguments, settings, found)


def _run(arguments: argparse.Namespace, settings: Settings, found: TaskInput) -> int:
    from tasks_engine.app import RunSecrets, default_registry
    from tasks_engine.backends.build_places import GivenToBuilds
    from tasks_engine.cli.render import Mode
    from tasks_engine.cli.run_request import kept_request
    from tasks_engine.plan.make import make_plan

    given = given_task(arguments, settings, found, default_registry(settings))
    task = given.load()
    plan = make_plan(task, given.request)
    builds = GivenToBuilds(
        secrets_in_history=arguments.allow_secret_in_history, ssh=given.access.keys if given.access else ()
    )
    secrets = RunSecrets(task.secrets, given.secret_values, Path.cwd(), given.credentials, builds)
    return run_plan_here(
        settings,
        plan,
        found.context,
        secrets,
        mode=Mode.JSON if arguments.json else Mode.AUTO,
        timeout_s=arguments.timeout,
        request=kept_request(arguments, Path.cwd()),
        task_text=found.text,
    )
