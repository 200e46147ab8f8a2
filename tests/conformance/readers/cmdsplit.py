"""A `cmd` as the engine gets it: options, image and arguments of its first container, and how the line ends.

The exit code and the output are those of the whole list, for a container that ends and prints as the vector says.
Options are compared by their long names. A line of which the original makes no container at all is wrong here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks_engine.definition.command_line import Command, RunIf, echo_output
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.definition.run_options import FLAGS
from tasks_engine.errors import DefinitionErrors
from tests.conformance.readers.task_files import refusal
from tests.conformance.vectors import Vector

_LONG_NAMES = {flag.short: flag.name for flag in FLAGS.values() if flag.short}


def actual(vector: Vector) -> dict[str, Any]:
    quoted = vector.input["cmd"].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    try:
        task = load_task(f'steps: [{{cmd: "{quoted}"}}]', "task.yaml", Inputs())
    except DefinitionErrors as errors:
        return refusal(errors)
    commands = task.steps[0].commands
    status, output = _run(commands, vector.input.get("container") or {})
    return {
        "options": [[option.name, option.value] for option in commands[0].options],
        "image": commands[0].image,
        "args": list(commands[0].args),
        "exit": status,
        "executor_stdout": output,
    }


def wanted(vector: Vector) -> dict[str, Any]:
    outcome = vector.wanted
    if outcome["argv"] is None:
        return {"error": "cmd-syntax"}
    return {
        **{key: outcome[key] for key in ("image", "args", "exit", "executor_stdout")},
        "options": list(_pairs(outcome["options"])),
    }


def _run(commands: Sequence[Command], container: Mapping[str, Any]) -> tuple[int, str]:
    """Status and output of a list of commands."""
    status, output = 0, ""
    for command in commands:
        if command.run_if is not RunIf.ALWAYS and (command.run_if is RunIf.SUCCESS) != (status == 0):
            continue
        if command.builtin:
            status = int(command.builtin == "false")
            output += echo_output(command.args) if command.builtin == "echo" else ""
        else:
            status = container.get("exit", 0)
            output += container.get("stdout", "")
    return status, output


def _pairs(words: Iterable[str]) -> Iterable[list[str]]:
    """Options with their values; none of the recorded ones is a switch."""
    rest = iter(words)
    for word in rest:
        name = word.lstrip("-")
        yield [name if word.startswith("--") else _LONG_NAMES[name], next(rest)]
