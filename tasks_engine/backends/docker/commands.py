"""One of several commands of a `cmd` step, as a step with that command alone. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import replace

from tasks_engine.definition.redirections import Redirect, Stream, final_targets
from tasks_engine.definition.step_texts import OPTIONS_OF_STEPS
from tasks_engine.plan.make import WORKSPACE
from tasks_engine.plan.model import CmdWork, PlannedCommand, PlannedStep

Write = Callable[[str, bytes], None]


def step_of(step: PlannedStep, work: CmdWork, command: PlannedCommand) -> PlannedStep:
    """The step with a single command, whose options are folded into it as the plan does for a lone one."""
    given: dict[str, list[str]] = {}
    for option in command.options:
        if option.name in OPTIONS_OF_STEPS:
            given.setdefault(option.name, []).append(option.value)

    def last(name: str) -> str:
        return given[name][-1] if name in given else ""

    pairs = (entry.partition("=") for entry in given.get("env", ()))
    directory = last("workdir")
    return replace(
        step,
        detach=step.detach or last("detach") == "true",
        env={**step.env, **{name: value for name, equals, value in pairs if equals}},
        working_directory=posixpath.normpath(posixpath.join(WORKSPACE, directory))
        if directory
        else step.working_directory,
        network=last("network") or step.network,
        ports=(*step.ports, *given.get("publish", ())),
        expose=(*step.expose, *given.get("expose", ())),
        privileged=step.privileged or last("privileged") == "true",
        isolation=last("isolation") or step.isolation,
        cpus=last("cpus") or step.cpus,
        work=replace(
            work,
            image=command.image,
            args=command.args,
            entrypoint=last("entrypoint") or work.entrypoint,
            user=last("user") or work.user,
            pull=work.pull or last("pull") == "always",
            options=tuple(option for option in command.options if option.name not in OPTIONS_OF_STEPS),
            commands=(),
        ),
    )


def redirected(write: Write, redirects: tuple[Redirect, ...]) -> Write:
    """Where a command's output goes behind its redirections; what the engine says of it goes on as it is."""
    if not redirects:
        return write
    stdout, stderr = final_targets(redirects)
    goes_to = {"stdout": stdout, "stderr": stderr}

    def write_redirected(stream: str, data: bytes) -> None:
        target = goes_to.get(stream)
        if target is None:
            write(stream, data)
        elif target is not Stream.NULL:
            write(target.value, data)

    return write_redirected
