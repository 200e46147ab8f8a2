"""What a command line adds to all steps of a task: a platform, and what builds may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tasks_engine.definition.build_attributes import BuildSecret, read_secret
from tasks_engine.definition.build_string import BuildArguments
from tasks_engine.definition.build_values import InvalidValue, SshForward, read_ssh
from tasks_engine.definition.command_line import Command
from tasks_engine.definition.model import Step, Task
from tasks_engine.definition.run_options import RunOption
from tasks_engine.definition.template.secret_text import secret_value
from tasks_engine.errors import UsageError

_T = TypeVar("_T")
_PLATFORM = "platform"
#: BuildKit takes no larger ones
_MAX_SECRET_BYTES = 500 * 1024


@dataclass(frozen=True)
class GivenAccess:
    """What every build of a run may use."""

    #: each comes from a variable of the step, which no task file can name
    secrets: tuple[BuildSecret, ...] = ()
    #: variable of the step -> token of the value
    env: Mapping[str, str] = field(default_factory=dict)
    #: name of the token -> value
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: paths are those of this machine
    ssh: tuple[SshForward, ...] = ()

    @property
    def keys(self) -> tuple[SshForward, ...]:
        """Forwards of keys and agents by their paths, which no task may hold: there they are the workspace's."""
        return tuple(each for each in self.ssh if each.paths)


def read_access(
    secrets: Sequence[str], forwards: Sequence[str], environ: Mapping[str, str], folder: Path
) -> GivenAccess:
    """What `--secret` and `--ssh` give. Variables and files are those of whoever starts the run; relative paths count
    from `folder`. Raises UsageError.
    """
    declared: dict[str, BuildSecret] = {}
    env: dict[str, str] = {}
    values: dict[str, str] = {}
    for text in secrets:
        for secret in _read("--secret", text, read_secret):
            name = f"--secret {secret.id}"
            values[name] = _value(secret, environ, folder)
            env[name] = secret_value(name).token
            declared[secret.id] = BuildSecret(secret.id, env=name)
    ssh: dict[str, SshForward] = {}
    for text in forwards:
        for forward in _read("--ssh", text, read_ssh):
            paths = tuple(str(folder / Path(path).expanduser()) for path in forward.paths)
            ssh[forward.id] = replace(forward, paths=paths)
    return GivenAccess(tuple(declared.values()), env, values, tuple(ssh.values()))


def with_access(task: Task, given: GivenAccess) -> Task:
    """Every build gets it, unless the build itself says what an id stands for."""
    if not given.secrets and not given.ssh:
        return task

    def changed(step: Step, build: BuildArguments) -> Step:
        own_secrets = {each.id for each in build.secrets}
        own_forwards = {each.id for each in build.ssh}
        secrets = (each for each in given.secrets if each.id not in own_secrets)
        forwards = (each for each in given.ssh if not each.paths and each.id not in own_forwards)
        more = replace(build, secrets=(*build.secrets, *secrets), ssh=(*build.ssh, *forwards))
        return replace(step, build=more, env={**step.env, **given.env})

    return replace(
        task, steps=tuple(changed(each, each.build) if each.build else each for each in task.steps)
    )


def with_platform(task: Task, platform: str) -> Task:
    """Builds and containers that name no platform get this one; empty: the engine's own."""
    if not platform:
        return task

    def command(each: Command) -> Command:
        if each.builtin or any(option.name == _PLATFORM for option in each.options):
            return each
        return replace(each, options=(*each.options, RunOption(_PLATFORM, platform, each.offset)))

    def changed(step: Step) -> Step:
        if step.build is not None:
            if step.build.platforms:
                return step
            return replace(step, build=replace(step.build, platforms=(platform,)))
        return replace(step, commands=tuple(map(command, step.commands)))

    return replace(task, steps=tuple(map(changed, task.steps)))


def _read(flag: str, text: str, read: Callable[[str], tuple[_T, ...]]) -> tuple[_T, ...]:
    try:
        found = read(text)
    except InvalidValue as error:
        raise UsageError(f"{flag} {error.message}", hint=error.hint) from error
    if not found:
        raise UsageError(f"{flag} is empty")
    return found


def _value(secret: BuildSecret, environ: Mapping[str, str], folder: Path) -> str:
    """Bytes that are no text become surrogates, which the build turns back."""
    variable = secret.env or ("" if secret.file else secret.id)
    if variable in environ:
        return environ[variable]
    if secret.env:
        raise UsageError(
            f"--secret id={secret.id}: there is no variable '{secret.env}' in the environment",
            hint=f"export it, or write --secret id={secret.id},src=FILE",
        )
    path = folder / Path(secret.file or secret.id).expanduser()
    if not secret.file and not os.path.lexists(path):
        raise UsageError(
            f"--secret id={secret.id}: there is neither a variable nor a file '{secret.id}'",
            hint=f"write --secret id={secret.id},env=NAME or --secret id={secret.id},src=FILE",
        )
    try:
        with path.open("rb") as reader:
            data = reader.read(_MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--secret id={secret.id}: file '{path}' cannot be read: {reason}") from error
    if len(data) > _MAX_SECRET_BYTES:
        raise UsageError(
            f"--secret id={secret.id}: file '{path}' is larger than {_MAX_SECRET_BYTES >> 10} KiB"
        )
    return data.decode("utf-8", "surrogateescape")
