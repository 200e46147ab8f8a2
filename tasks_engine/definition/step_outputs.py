"""Rules for the outputs of steps that a task uses: each comes from a step that has ended before.

A `cmd` step writes its outputs while it runs, under names that nobody knows before; a `build` step has two.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tasks_engine.definition.model import Step, StepKind
from tasks_engine.definition.step_rules import STARTS_AT_ONCE
from tasks_engine.definition.structure import Path, Structure
from tasks_engine.definition.template.secret_text import has_token, places_of_tokens
from tasks_engine.definition.words import shorten
from tasks_engine.errors import DefinitionError

OUTPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
#: what a build step gives, as far as it has one: the manifest's digest, and the first tag
BUILD_OUTPUTS = ("digest", "image")
#: steps whose outputs one task uses; each is followed through the whole graph
MAX_SOURCES = 1000
_TEXTS = ("build", "cmd", "env", "push")
_MAX_GUESSES = 50


@dataclass(frozen=True)
class _Use:
    """An output in a text of a step."""

    #: of the step that uses it
    index: int
    path: Path
    offset: int
    length: int
    #: of the step that writes it
    source: str
    name: str


def output_problems(
    structure: Structure, ids: Sequence[str], unreadable: Collection[int], steps: Sequence[Step]
) -> Iterator[DefinitionError]:
    """What is wrong with the outputs that steps use.

    `ids` are those of all steps; `unreadable` are positions of steps whose form is wrong already; `steps` are those
    that could be read.
    """
    if not has_token(structure.source.text):
        return
    readable = [index for index in range(len(ids)) if index not in unreadable]
    uses = [use for index in readable for use in _uses_of(structure.data["steps"][index], index)]
    if uses:
        yield from _Checker(structure, ids, readable, steps).problems(uses)


class _Checker:
    def __init__(
        self, structure: Structure, ids: Sequence[str], readable: Sequence[int], steps: Sequence[Step]
    ) -> None:
        self._structure = structure
        self._ids = ids
        self._readable = readable
        #: id -> position; of a name twice the first
        self._position = {ids[index]: index for index in reversed(range(len(ids)))}
        self._step_by_id = {step.id: step for step in steps}
        self._guesses = 0

    def problems(self, uses: Sequence[_Use]) -> Iterator[DefinitionError]:
        sources = list(dict.fromkeys(use.source for use in uses if use.source in self._position))
        if len(sources) > MAX_SOURCES:
            use = next(use for use in uses if use.source == sources[MAX_SOURCES])
            yield self._problem(use, f"the task uses outputs of more than {MAX_SOURCES} steps", "")
            return
        ancestors = self._ancestors(sources)
        for use in uses:
            message, hint = self._fault(use, ancestors[use.index])
            if message:
                yield self._problem(use, message, hint)

    def _fault(self, use: _Use, ancestors: frozenset[str]) -> tuple[str, str]:
        """What is wrong with a use, and what to do; empty when nothing is."""
        if not OUTPUT_NAME.match(use.name):
            return (
                f"'{shorten(use.name)}' cannot be the name of an output",
                "names have letters, digits and '_', and do not begin with a digit",
            )
        if use.source not in self._position:
            return f"no step has the id '{shorten(use.source)}'", self._guess(use)
        place = self._position[use.source]
        line = self._structure.line(("steps", place))
        me = self._ids[use.index]
        if place == use.index:
            return f"step '{me}' uses an output of itself", "outputs are for the steps after it"
        if place > use.index:
            return (
                f"step '{me}' uses an output of '{use.source}', which is defined later (line {line})",
                "move that one up, and wait for it with 'when'",
            )
        fault, hint = self._fault_of_source(use)
        if not fault and use.source not in ancestors:
            return (
                f"step '{me}' uses an output of '{use.source}' and does not wait for it",
                f"list '{use.source}' in 'when' of the step, or of one that it waits for",
            )
        return fault, hint

    def _fault_of_source(self, use: _Use) -> tuple[str, str]:
        step = self._step_by_id.get(use.source)
        if step is None:
            return "", ""  # what is wrong with it is told
        if step.kind is StepKind.PUSH:
            return (
                f"step '{use.source}' is a push step, which has no outputs",
                "a build step has the digest of its image",
            )
        if step.kind is StepKind.BUILD and use.name not in BUILD_OUTPUTS:
            return (
                f"build step '{use.source}' has no output '{use.name}'",
                f"a build step has {' and '.join(BUILD_OUTPUTS)}; cmd steps write their own to $TASKS_OUTPUT",
            )
        if step.detach or any(_is_detached(command.options) for command in step.commands):
            return (
                f"step '{use.source}' is detached, so it has no outputs",
                "let a step without 'detach' write them",
            )
        return "", ""

    def _ancestors(self, sources: Sequence[str]) -> dict[int, frozenset[str]]:
        """Position of a step -> those of `sources` that have ended before it starts."""
        bits = {self._position[source]: 1 << bit for bit, source in enumerate(sources)}
        #: position -> the bits of what comes before it
        before: dict[int, int] = {}
        for index in self._readable:
            known = 0
            for parent in self._parents(index):
                known |= before.get(parent, 0) | bits.get(parent, 0)
            before[index] = known
        sets: dict[int, frozenset[str]] = {}  # steps in a row have the same
        for known in set(before.values()):
            sets[known] = frozenset(source for bit, source in enumerate(sources) if known >> bit & 1)
        return {index: sets[known] for index, known in before.items()}

    def _parents(self, index: int) -> Iterator[int]:
        when = self._structure.data["steps"][index].get("when")
        if not when:
            if index:
                yield index - 1
            return
        for parent in when:
            place = self._position.get(parent, index)
            if parent != STARTS_AT_ONCE and place < index:
                yield place

    def _guess(self, use: _Use) -> str:
        self._guesses += 1
        earlier = self._ids[: use.index]
        guess: Sequence[str] = ()
        if self._guesses <= _MAX_GUESSES and len(use.source) < 60:
            short = (each for each in reversed(earlier) if len(each) < 60)
            guess = difflib.get_close_matches(use.source, islice(short, 1000), n=1)
        if guess:
            return f"did you mean '{guess[0]}' (line {self._structure.line(('steps', self._position[guess[0]]))})?"
        shown = ", ".join(f"'{shorten(each)}'" for each in earlier[:10])
        return f"earlier steps: {shown}" if shown else "no step stands before this one"

    def _problem(self, use: _Use, message: str, hint: str) -> DefinitionError:
        return self._structure.problem_in_text(
            message, use.path, use.offset, use.length, hint=hint, rule="output-unknown"
        )


def _uses_of(step: Any, index: int) -> Iterator[_Use]:
    for kind in _TEXTS:
        value = step.get(kind, ())
        texts: list[tuple[Any, Path]] = [(value, ("steps", index, kind))]
        if isinstance(value, (list, tuple)):
            texts = [(each, ("steps", index, kind, position)) for position, each in enumerate(value)]
        for text, path in texts:
            if not isinstance(text, str) or not has_token(text):
                continue
            seen: set[tuple[str, ...]] = set()
            for offset, length, token in places_of_tokens(text):
                for name in sorted(token.names):
                    if name[0] == "output" and name not in seen:
                        seen.add(name)
                        yield _Use(index, path, offset, length, *name[1:])


def _is_detached(options: Sequence[Any]) -> bool:
    return any(option.name == "detach" and option.value == "true" for option in options)
