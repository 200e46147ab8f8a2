"""The options that all commands on a task file share, and what they mean for loading and planning it."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_engine.backends.alias_sources import AliasSources
from tasks_engine.backends.run_ids import new_run_id
from tasks_engine.cli.artifacts import artifact_fetcher
from tasks_engine.cli.platforms import read_platform
from tasks_engine.cli.task_inputs import TaskInput, found_task, read_values
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import IMAGE_ALIASES, Inputs, Task
from tasks_engine.definition.template.secret_text import find_mark
from tasks_engine.errors import DefinitionErrors, UsageError
from tasks_engine.plan.request import QUICK_RUN, RunRequest, shared_volume
from tasks_engine.policy import Policy
from tasks_engine.settings import Settings

if TYPE_CHECKING:
    from tasks_engine.backends.credential_arguments import GivenCredential
    from tasks_engine.cli.task_changes import GivenAccess

#: flag -> run variable and what it is
_RUN_FLAGS = {
    "commit": ("Commit", "$Commit: the commit that is built (default: the commit of CONTEXT)"),
    "branch": ("Branch", "$Branch (default: the branch that CONTEXT names or is at)"),
    "repository": ("Repository", "{{.Run.Repository}} (default: the address of CONTEXT)"),
    "git-tag": ("GitTag", "{{.Run.GitTag}} (default: the tag that CONTEXT names)"),
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
    #: name -> value of those given with --set-secret and --secret
    secret_values: Mapping[str, str] = field(repr=False)
    credentials: tuple[GivenCredential, ...] = field(repr=False)
    policy: Policy = field(default_factory=Policy)
    #: of steps that name none; empty: the engine's own
    platform: str = ""
    #: what all builds may use; None: no more than the task says
    access: GivenAccess | None = None

    def load(self) -> Task:
        """Raises DefinitionErrors, also for what the policy of this machine forbids."""
        found = self.found
        task = load_task(found.text, found.name, self.inputs, AliasSources(found.context), strict=self.strict)
        if self.policy != Policy():
            from tasks_engine.plan.policy import check_policy  # most machines forbid nothing

            forbidden = check_policy(task, self.policy, found.text)
            if forbidden:
                raise DefinitionErrors(forbidden, task.warnings)
        if self.platform or self.access is not None:
            from tasks_engine.cli.task_changes import GivenAccess, with_access, with_platform

            task = with_access(with_platform(task, self.platform), self.access or GivenAccess())
        return task


def add_task_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="[FILE] [CONTEXT]", action=_AtMostTwo)
    parser.add_argument(
        "--cmd",
        metavar="COMMAND",
        help="a command instead of FILE, such as 'busybox echo hi'; it runs in the image's own folder, and without "
        "CONTEXT no files are copied",
    )
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
    steps.add_argument(
        "--platform",
        metavar="OS[/ARCH[/VARIANT]]",
        default="",
        help="of builds and containers without their own, such as linux/arm64 (default: the engine's)",
    )
    steps.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="id=NAME[,src=FILE|,env=NAME]",
        help="a file or variable of yours for RUN --mount=type=secret in all builds; may be repeated",
    )
    steps.add_argument(
        "--ssh",
        action="append",
        default=[],
        metavar="default|ID[=PATH]",
        help="your SSH agent, or a key, for RUN --mount=type=ssh in all builds",
    )
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="after a failure run what does not wait for the failed step; the run fails all the same, and pushes at "
        "its end do not happen",
    )
    parser.add_argument("--strict", action="store_true", help="treat warnings as errors")


def given_task_input(arguments: argparse.Namespace, settings: Settings) -> AbstractContextManager[TaskInput]:
    """The task file and the context that a command line names. Raises UsageError, SourceError, RegistryError."""
    return found_task(
        arguments.paths,
        Path.cwd(),
        artifact_fetcher(settings, arguments.credential),
        arguments.cmd,
        getattr(arguments, "timeout", None),
    )


def given_task(
    arguments: argparse.Namespace, settings: Settings, found: TaskInput, registry: str
) -> GivenTask:
    """What a command line gives. Raises UsageError."""
    now = time.time()
    run_id = _run_id(arguments.id, now)
    for entry in arguments.env:
        if "=" not in entry.lstrip("="):
            raise UsageError(f"--env takes NAME=VALUE, not '{entry}'")
        _refuse_marks("--env", entry)
    secrets = _secret_values(arguments.set_secret)
    access = _access(arguments)
    values = read_values(arguments.values, arguments.set)
    platform = read_platform(arguments.platform, _architecture()) if arguments.platform else ""
    system, architecture = platform.split("/")[:2] if platform else ("linux", _architecture())
    run = {
        "ID": run_id,
        "Registry": registry,
        "OS": system,
        "Architecture": architecture,
        "TaskName": arguments.task_name,
        "SharedVolume": shared_volume(run_id),
        **{
            variable: getattr(arguments, flag.replace("-", "_")) for flag, (variable, _) in _RUN_FLAGS.items()
        },
    }
    run["TriggeredBy"] = run["TriggeredBy"] or "Manual"
    for variable, default in _of_revision(found).items():
        run[variable] = run[variable] or default
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
        keep_going=arguments.keep_going,
    )
    return GivenTask(
        found,
        inputs,
        request,
        arguments.strict,
        {**secrets, **(access.values if access is not None else {})},
        credentials_of(arguments.credential),
        settings.policy,
        platform,
        access,
    )


def quick_inputs(run_id: str | None, registry: str) -> Inputs:
    """What the names of images may refer to in a run without a task file. Raises UsageError."""
    now = time.time()
    run_id = _run_id(run_id, now)
    run = {
        "ID": run_id,
        "Registry": registry,
        "OS": "linux",
        "Architecture": _architecture(),
        "TaskName": QUICK_RUN,
        "TriggeredBy": "Manual",
    }
    return Inputs(run=run, now=datetime.fromtimestamp(now, UTC), seed=run_id, has_secrets=False)


def _run_id(given: str | None, now_s: float) -> str:
    run_id = given or new_run_id(now_s)
    if not _ID.match(run_id):
        raise UsageError(
            f"'{run_id}' cannot be the id of a run",
            hint="letters, digits, '.', '_' and '-', the first one a letter or digit; 63 at most",
        )
    return run_id


class _AtMostTwo(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, *_: Any) -> None:
        if len(values) > 2:
            parser.error(f"takes FILE and CONTEXT, not {len(values)} paths: {' '.join(values)}")
        setattr(namespace, self.dest, values)


def _of_revision(found: TaskInput) -> dict[str, str]:
    """What the context itself tells of where it comes from, by run variable."""
    revision = found.revision
    if revision is None:
        return {}
    return {
        "Commit": revision.commit,
        "Branch": revision.branch,
        "Repository": revision.repository,
        "GitTag": revision.tag,
    }


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


def _access(arguments: argparse.Namespace) -> GivenAccess | None:
    if not arguments.secret and not arguments.ssh:
        return None
    from tasks_engine.cli.task_changes import read_access

    for flag, given in (("--secret", arguments.secret), ("--ssh", arguments.ssh)):
        for each in given:
            _refuse_marks(flag, each)
    return read_access(arguments.secret, arguments.ssh, os.environ, Path.cwd())


def credentials_of(arguments: Sequence[str]) -> tuple[GivenCredential, ...]:
    """What `--credential` gives. Raises UsageError."""
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
