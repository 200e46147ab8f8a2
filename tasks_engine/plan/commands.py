"""What a `cmd` step runs: its container options folded into the step's own, or a list of commands."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks_engine.definition.command_line import Command
from tasks_engine.definition.model import Step
from tasks_engine.definition.run_options import FLAGS, Meaning
from tasks_engine.definition.step_texts import OPTIONS_OF_STEPS
from tasks_engine.plan.model import CmdWork, ContainerOption, PlannedCommand


@dataclass(frozen=True)
class OptionValues:
    """Container options of a step with a single command that have the same meaning as one of its properties."""

    values: dict[str, list[str]] = field(default_factory=dict)

    def last(self, name: str) -> str:
        return self.values[name][-1] if name in self.values else ""

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self.values.get(name, ()))

    def switch(self, name: str) -> bool:
        return self.last(name) == "true"

    @property
    def env(self) -> dict[str, str]:
        """name -> value; a name alone would take a variable of the machine, and gives none."""
        pairs = (entry.partition("=") for entry in self.values.get("env", ()))
        return {name: value for name, equals, value in pairs if equals}


_NO_VALUES = OptionValues()


def option_values(step: Step) -> OptionValues:
    """Options of the only command of a step; with several commands each keeps its own."""
    if len(step.commands) != 1 or not step.commands[0].options:
        return _NO_VALUES
    values: dict[str, list[str]] = {}
    for option in step.commands[0].options:
        if option.name in OPTIONS_OF_STEPS:
            values.setdefault(option.name, []).append(option.value)
    return OptionValues(values)


def cmd_work(step: Step, given: OptionValues) -> CmdWork:
    first = step.commands[0]
    is_single = len(step.commands) == 1
    return CmdWork(
        image=first.image,
        args=first.args,
        entrypoint=given.last("entrypoint") or step.entry_point,
        user=given.last("user") or step.user,
        pull=step.pull or given.last("pull") == "always",
        download_retries=step.download_retries,
        download_retry_delay_s=step.download_retry_delay,
        options=_options(first, without=OPTIONS_OF_STEPS) if is_single else (),
        commands=() if is_single and not first.redirects else tuple(map(_planned, step.commands)),
    )


def _planned(command: Command) -> PlannedCommand:
    return PlannedCommand(
        run_if=command.run_if,
        builtin=command.builtin,
        image=command.image,
        args=command.args,
        redirects=command.redirects,
        options=_options(command),
    )


def _options(command: Command, without: frozenset[str] = frozenset()) -> tuple[ContainerOption, ...]:
    return tuple(
        ContainerOption(option.name, option.value)
        for option in command.options
        if option.name not in without and FLAGS[option.name].meaning is Meaning.HONOURED
    )
