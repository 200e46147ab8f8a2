"""What the author wrote: a Task of Steps. Frozen; holds no decision of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tasks_engine.definition.scalars import Value
from tasks_engine.errors import DefinitionError


class StepKind(StrEnum):
    BUILD = "build"
    PUSH = "push"
    CMD = "cmd"


@dataclass(frozen=True)
class Inputs:
    """Everything a task file may refer to, fixed before it is read."""

    #: `.Run`: run variable -> text, such as ID, Registry, Date
    run: Mapping[str, str] = field(default_factory=dict)
    #: `.Values`: the values file with `--set` on top
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    id: str
    kind: StepKind
    #: the line in the author's file where the step begins
    line: int
    #: arguments of `docker build`, as written
    build: str = ""
    #: image and arguments, as written
    cmd: str = ""
    push: tuple[str, ...] = ()
    #: ids to wait for; None means the step before, `("-",)` none
    when: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_directory: str = ""
    #: seconds; 0 means the task's
    timeout: int = 0
    retries: int = 0
    #: seconds; 0 means the default
    retry_delay: int = 0
    detach: bool = False
    ignore_errors: bool = False


@dataclass(frozen=True)
class Task:
    version: str
    steps: tuple[Step, ...]
    env: tuple[str, ...] = ()
    working_directory: str = ""
    #: seconds; 0 means the default
    step_timeout: int = 0
    source_name: str = field(default="", compare=False)
    #: what the original lets pass and we only mention
    warnings: tuple[DefinitionError, ...] = field(default=(), compare=False, repr=False)
