"""The options that all commands on a task file share, and what they mean for loading and planning it."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks_engine.backends.alias_sources import AliasSources
from tasks_engine.backends.run_ids import new_run_id
from tasks_engine.cli.task_inputs import TaskInput, read_values
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import IMAGE_ALIASES, Inputs, Task
from tasks_engine.definition.template.secret_text import find_mark
from tasks_engine.errors import UsageError
from tasks_engine.plan.request import QUICK_RUN, RunRequest
from tasks_engine.settings import Settings

if TYPE_CHECKING:
    from tasks_engine.backends.credential_arguments import GivenCredential

#: flag -> run variable and what it is
_RUN_FLAGS = {
    "commit": ("Commit", "$Commit: the commit that is built"),
    "branch": ("Branch", "$Branch"),
    "repository": ("Repository", "{{.Run.Repository}}: where the source comes from"),
    "git-tag": ("GitTag", "{{.Run.GitTag}}"),
    "triggered-by": ("TriggeredBy", "{{.Run.TriggeredBy}} (default: Manual)"),
}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")


@dataclass(frozen=True)
class GivenTask:
    """A task file and everything that was given with it."""

    found: TaskInput
    inputs: Inputs
    request: RunRequest
    strict: bool
    #: name -> value of those given with --set-secret
    secret_values: Mapping[str, str] = field(repr=False)
    credentials: tuple[GivenCredential, ...] = field(repr=False)

    def load(self) -> Task:
        """Raises DefinitionErrors."""
        found = self.found
        return load_task(found.text, found.name, self.inputs, AliasSources(found.context), strict=self.strict)


def add_task_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="[FILE] [CONTEXT]", action=_AtMostTwo)
    values = parser.add_argument_group("values")
    values.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value for {{.Values.NAME}}; wins over --values; may be repeated",
    )
    values.add_argument("--values", metavar="FILE", help="YAML map of values for {{.Values.…}}")
    values.add_argument(
        "--set-secret",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a value that is shown nowhere; NAME alone takes it from the environment, where no list of processes "
        "shows it",
    )
    run = parser.add_argument_group("what the task may know of its run")
    run.add_argument("--id", metavar="ID", help="$ID (default: a new one)")
    run.add_argument(
        "--registry",
        metavar="HOST",
        help="$Registry (default: $TASKS_REGISTRY, else the embedded engine's registry)",
    )
    run.add_argument(
        "--task-name", metavar="NAME", default=QUICK_RUN, help="{{.Run.TaskName}} (default: %(default)s)"
    )
    for flag, (variable, text) in _RUN_FLAGS.items():
        run.add_argument(f"--{flag}", metavar=variable.upper(), default="", help=text)
    steps = parser.add_argument_group("what its steps get")
    steps.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable for all steps, unless the task sets it; may be repeated",
    )
    steps.add_argument("--working-directory", metavar="PATH", default="", help="for steps without their own")
    steps.add_argument(
        "--network", metavar="NAME", default="", help="a network that exists, for steps without their own"
    )
    steps.add_argument(
        "--credential",
        action="append",
        default=[],
        metavar="JSON",
        help='login of a registry: {"registry": HOST, "username": NAME, "userNameProviderType": "opaque", '
        '"password": …, "passwordProviderType": "opaque"}; @FILE reads it from a file',
    )
    parser.add_argument("--strict", action="store_true", help="treat warnings as errors")


def given_task(
    arguments: argparse.Namespace, settings: Settings, found: TaskInput, registry: str
) -> GivenTask:
    """What a command line gives. Raises UsageError."""
    now = time.time()
    run_id = arguments.id or new_run_id(now)
    if not _ID.match(run_id):
        raise UsageError(
            f"'{run_id}' cannot be the id of a run",
            hint="letters, digits, '.', '_' and '-', the first one a letter or digit; 63 at most",
        )
    for entry in arguments.env:
        if "=" not in entry.lstrip("="):
            raise UsageError(f"--env takes NAME=VALUE, not '{entry}'")
        _refuse_marks("--env", entry)
    secrets = _secret_values(arguments.set_secret)
    values = read_values(arguments.values, arguments.set)
    run = {
        "ID": run_id,
        "Registry": registry,
        "OS": "linux",
        "Architecture": _architecture(),
        "TaskName": arguments.task_name,
        **{
            variable: getattr(arguments, flag.replace("-", "_")) for flag, (variable, _) in _RUN_FLAGS.items()
        },
    }
    run["TriggeredBy"] = run["TriggeredBy"] or "Manual"
    inputs = Inputs(
        run=run,
        values=values,
        secret_values=frozenset(secrets),
        now=datetime.fromtimestamp(now, UTC),
        seed=run_id,
        image_aliases={**IMAGE_ALIASES, **settings.image_aliases},
        env=tuple(arguments.env),
    )
    request = RunRequest(
        run_id=run_id,
        task=found.name,
        registry=registry,
        task_name=arguments.task_name,
        working_directory=arguments.working_directory,
        network=arguments.network,
    )
    credentials = _credentials(arguments.credential)
    return GivenTask(found, inputs, request, arguments.strict, secrets, credentials)


class _AtMostTwo(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, *_: Any) -> None:
        if len(values) > 2:
            parser.error(f"takes FILE and CONTEXT, not {len(values)} paths: {' '.join(values)}")
        setattr(namespace, self.dest, values)


def _secret_values(assignments: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not name:
            raise UsageError("--set-secret takes NAME=VALUE, or NAME for a variable of the environment")
        if not equals:
            if name not in os.environ:
                raise UsageError(f"--set-secret {name}: there is no variable '{name}' in the environment")
            value = os.environ[name]
        values[name] = value
    return values


def _credentials(arguments: Sequence[str]) -> tuple[GivenCredential, ...]:
    if not arguments:
        return ()
    from tasks_engine.backends.credential_arguments import parse_credential

    return tuple(map(parse_credential, arguments))


def _refuse_marks(flag: str, text: str) -> None:
    if find_mark(text) >= 0:
        raise UsageError(f"{flag} holds a character that tasks keeps for itself (U+F5EC0 or U+F5EC1)")


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
