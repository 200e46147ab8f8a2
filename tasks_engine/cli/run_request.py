"""The command line of a run, kept so that `tasks runs rerun` can give it again."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tasks_engine.backends.run_request import KeptRequest
from tasks_engine.errors import UsageError

#: options with one value, with any number of them, and without
_SINGLE = (
    "values", "registry", "task_name", "commit", "branch", "repository", "git_tag", "triggered_by",
    "working_directory", "network", "timeout", "cmd", "platform",
)  # fmt: skip
_REPEATED = ("set", "env", "secret", "ssh")
_SWITCHES = ("strict", "allow_secret_in_history", "keep_going")
#: kept by name alone, see `kept_request`
_SECRET = ("set_secret", "credential")
#: of one run, or of how it is shown
_NOT_KEPT = ("id", "json", "dry_run")
#: every option of `tasks run` has to be one of these: whoever adds one decides whether it may be kept
KNOWN_OPTIONS = frozenset((*_SINGLE, *_REPEATED, *_SWITCHES, *_SECRET, *_NOT_KEPT, "paths"))

_LOGIN = re.compile(r"(https?://)[^/@\s]+@|(\w+://)[^/@\s:]*:[^/@\s]*@")


def kept_request(arguments: argparse.Namespace, folder: Path) -> KeptRequest:
    """What may be kept of the arguments of `tasks run`, given in a folder."""
    options: list[str] = []
    for name in _SINGLE:
        value = getattr(arguments, name, None)
        if value not in (None, ""):
            options.append(f"--{_flag(name)}={value}")
    for name in _REPEATED:
        options += [f"--{_flag(name)}={value}" for value in getattr(arguments, name, ())]
    options += [f"--{_flag(name)}" for name in _SWITCHES if getattr(arguments, name, False)]
    credentials = list(getattr(arguments, "credential", ()))
    options += [f"--credential={each}" for each in credentials if each.startswith("@")]
    paths = list(arguments.paths)
    withheld: list[str] = []
    if len(paths) > 1 and paths[1] == "-":
        withheld.append("CONTEXT, which came from standard input")
    if any(_LOGIN.search(path) for path in paths):
        withheld.append("the login in the address of CONTEXT")
    return KeptRequest(
        options=tuple(options),
        paths=tuple(_LOGIN.sub(r"\1\2", path) for path in paths),
        folder=str(folder),
        has_task_text=paths[:1] == ["-"],
        task_name=getattr(arguments, "task_name", ""),
        secrets=tuple(dict.fromkeys(each.partition("=")[0] for each in getattr(arguments, "set_secret", ()))),
        credentials=tuple(_registry_of(each) for each in credentials if not each.startswith("@")),
        withheld=tuple(withheld),
    )


def command_line(
    request: KeptRequest, run_id: str, task_text: Path, secrets: Sequence[str], credentials: Sequence[str]
) -> list[str]:
    """The arguments of `tasks run` that ask for the same. `secrets` and `credentials` are given anew, as arguments.

    Raises UsageError for what was not kept and is not given.
    """
    if request.withheld:
        raise UsageError(
            f"run {run_id} cannot be run again: not kept is {'; '.join(request.withheld)}",
            hint="run it with `tasks run`",
        )
    given = {each.partition("=")[0] for each in secrets}
    missing = [name for name in request.secrets if name not in given and name not in os.environ]
    if missing:
        raise UsageError(
            f"run {run_id} was given secrets, whose values are not kept: {', '.join(missing)}",
            hint=f"set them in the environment, or give them anew: --set-secret {missing[0]}=…",
        )
    known = {_registry_of(each) for each in credentials}
    unknown = [registry for registry in request.credentials if registry not in known]
    if unknown:
        raise UsageError(
            f"run {run_id} was given logins, which are not kept: {', '.join(unknown)}",
            hint="give them anew with --credential",
        )
    paths = list(request.paths)
    if request.has_task_text:
        paths = [str(task_text), *(paths[1:] or ["."])]
    again = [name for name in request.secrets if name not in given]
    return [
        *request.options,
        *(f"--set-secret={each}" for each in (*again, *secrets)),
        *(f"--credential={each}" for each in credentials),
        "--",
        *paths,
    ]


def _registry_of(credential: str) -> str:
    from tasks_engine.backends.credential_arguments import parse_credential

    return parse_credential(credential).registry


def _flag(name: str) -> str:
    return name.replace("_", "-")
