"""One step that is being read: where it stands, and what is said of it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tasks_engine.definition.model import Step
from tasks_engine.definition.structure import Path, Structure
from tasks_engine.errors import DefinitionError

_MAX_GUESSES = 50
_LONGEST_GUESS = 60


@dataclass
class ReadSteps:
    """Steps that could be read, and what is to be said of all of them."""

    steps: list[Step] = field(default_factory=list)
    problems: list[DefinitionError] = field(default_factory=list)
    warnings: list[DefinitionError] = field(default_factory=list)
    #: of all steps, each as often as it is inherited
    variables: int = 0
    #: names that others were compared with
    guesses: int = 0


@dataclass(frozen=True)
class Surroundings:
    """What steps share."""

    #: name -> value that steps inherit
    environment: Mapping[str, str]
    image_aliases: Mapping[str, str]
    volume_names: Collection[str]


class StepNotes:
    """A step by its position in the file, with the ids of all steps; notes go to `result`."""

    def __init__(
        self,
        structure: Structure,
        index: int,
        ids: Sequence[str],
        first: Mapping[str, int],
        around: Surroundings,
        result: ReadSteps,
    ) -> None:
        """`first` is id -> the first step that has it."""
        self.structure = structure
        self.index = index
        self.data: Mapping[str, Any] = structure.data["steps"][index]
        self.ids = ids
        self.first = first
        self.around = around
        self.result = result
        self.path: Path = ("steps", index)
        self.id = ids[index]

    def problem(self, message: str, at: Path, *, hint: str = "", rule: str) -> None:
        path = (*self.path, *at)
        self.result.problems.append(self.structure.problem(message, path, hint=hint, rule=rule))

    def problem_in_text(
        self, message: str, kind: str, offset: int | None, length: int, hint: str, rule: str = ""
    ) -> None:
        path = (*self.path, kind)
        rule = rule or f"{kind}-syntax"
        if offset is None:
            problem = self.structure.problem(message, path, hint=hint, rule=rule)
        else:
            problem = self.structure.problem_in_text(message, path, offset, length, hint=hint, rule=rule)
        self.result.problems.append(problem)

    def warn(self, message: str, at: Path, *, hint: str = "") -> None:
        self.result.warnings.append(self.structure.problem(message, (*self.path, *at), hint=hint))

    def guess(self, wanted: str, known: Collection[str]) -> str:
        """The name that another one may stand for, or nothing; comparing takes time, so it is done seldom."""
        self.result.guesses += 1
        if self.result.guesses > _MAX_GUESSES or len(wanted) > _LONGEST_GUESS:
            return ""
        short = (each for each in known if len(each) <= _LONGEST_GUESS)
        return next(iter(difflib.get_close_matches(wanted, islice(short, 1000), n=1)), "")
