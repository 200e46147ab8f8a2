"""What `RUN` instructions of a build may use without finding it in the image: secrets and SSH agents."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tasks_engine.backends import buildkit
from tasks_engine.backends.build_places import OwnPlaces, Places
from tasks_engine.definition.build_attributes import BuildSecret
from tasks_engine.definition.build_values import SshForward
from tasks_engine.definition.template.secret_text import has_token
from tasks_engine.errors import StepFailed
from tasks_engine.images.dockerfile_secrets import PREDEFINED, declared_arguments, mounted_secrets
from tasks_engine.plan.model import BuildWork, PlannedStep

Reveal = Callable[[str], str]


@dataclass(frozen=True)
class BuildAccess:
    #: id -> value
    secrets: Mapping[str, buildkit.SecretValue] = field(default_factory=dict, repr=False)
    #: id -> agent
    ssh: Mapping[str, buildkit.Agent] = field(default_factory=dict)


def build_access(
    step: PlannedStep, work: BuildWork, places: Places, given: Sequence[SshForward] = ()
) -> BuildAccess:
    """What the flags `--secret` and `--ssh` ask for, and keys that the person `given` has. The environment of `step`
    holds no tokens any more.

    Files are read now, so that their values can be masked in what the build prints. Raises StepFailed.
    """
    try:
        return BuildAccess(
            {each.id: _secret(each, step, places) for each in work.secrets},
            {
                **{each.id: _agent(each, OwnPlaces(Path("/"))) for each in given},
                **{each.id: _agent(each, places) for each in work.ssh},
            },
        )
    except buildkit.BuildKitError as error:
        raise StepFailed(error.message) from error


def _secret(secret: BuildSecret, step: PlannedStep, places: Places) -> buildkit.SecretValue:
    variable = secret.env or ("" if secret.file else secret.id)
    if variable in step.env:
        value = buildkit.SecretValue(step.env[variable].encode("utf-8", "surrogateescape"))
    elif secret.env:
        raise StepFailed(
            f"secret '{secret.id}' comes from the variable '{secret.env}', which the step does not have",
            hint="set it with env of the step; --secret id=NAME,src=FILE takes a file",
        )
    else:
        value = buildkit.SecretValue(_read(secret, places))
    value.check()
    return value


def _read(secret: BuildSecret, places: Places) -> bytes:
    path = places.find(secret.file or secret.id, f"the file of secret '{secret.id}'")
    if not secret.file and not os.path.lexists(path):
        raise StepFailed(
            f"secret '{secret.id}' is neither a variable of the step nor a file",
            hint=f"set {secret.id} with env of the step, or write --secret id={secret.id},src=FILE",
        )
    try:
        return buildkit.SecretFile(path).read()
    except buildkit.SecretError as error:
        # the author knows another path than that of the copy
        written = secret.file or secret.id
        raise StepFailed(f"secret '{secret.id}': {error.message.replace(str(path), written)}") from error


def _agent(forward: SshForward, places: Places) -> buildkit.Agent:
    paths = [places.find(path, f"the key or agent of '--ssh {forward.id}'") for path in forward.paths]
    if any("," in str(path) for path in paths):
        raise StepFailed(f"a path of '--ssh {forward.id}' holds a comma")
    listed = ",".join(map(str, paths))
    try:
        return buildkit.parse_ssh(f"{forward.id}={listed}" if listed else forward.id)[1]
    except ValueError as error:
        raise StepFailed(f"'--ssh {forward.id}' cannot be used: {error}") from error


def with_secret_arguments(
    work: BuildWork, access: BuildAccess, dockerfile: str, reveal: Reveal, *, in_history: bool
) -> tuple[BuildWork, BuildAccess]:
    """The build with values of secrets in its arguments.

    An argument that the Dockerfile mounts as a secret of the same name becomes that secret. Another one would show in
    the history of the image: it raises StepFailed, unless it is let pass by `in_history`.
    """
    hidden = [name for name, value in work.build_args.items() if has_token(value)]
    if not hidden:
        return work, access
    mounted, declared = mounted_secrets(dockerfile), declared_arguments(dockerfile)
    arguments, secrets = dict(work.build_args), dict(access.secrets)
    for name in hidden:
        value = reveal(arguments.pop(name))
        if name in mounted:
            secrets[name] = buildkit.SecretValue(value.encode("utf-8", "surrogateescape"))
        elif in_history or (name in PREDEFINED and name not in declared):
            arguments[name] = value
        else:
            raise StepFailed(
                f"build argument '{name}' is a secret, and whoever gets the image could read it in its history",
                hint=f"use it with RUN --mount=type=secret,id={name} in the Dockerfile, without ARG {name}; "
                "--allow-secret-in-history builds all the same",
            )
    return replace(work, build_args=arguments), replace(access, secrets=secrets)
