"""Finds the images a Dockerfile needs: bases, images copied from or mounted, and its frontend. Pure.

Docker's rules decide (Dockerfile reference; BuildKit's frontend). Some files that Docker refuses were scanned all
the same by the original executor of task files; where Docker's reading of a FROM line is no image, its looser one
is tried, and a remark says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tasks_engine.images.dockerfile_images import (
    DockerfileError,
    DockerfileImages,
    ImageUse,
    Remark,
    Stage,
    Use,
    shortened,
)
from tasks_engine.images.dockerfile_lines import Instruction, read_dockerfile
from tasks_engine.images.dockerfile_variables import FromVariables, platform_values, without_quotes
from tasks_engine.images.dockerfile_words import Expander, ExpansionError
from tasks_engine.images.reference import InvalidReference, parse_reference

DEFAULT_PLATFORM = "linux/amd64"

_FORM = "the form is FROM [--platform=PLATFORM] IMAGE [AS NAME]"


def scan_dockerfile(
    text: str,
    *,
    build_args: Mapping[str, str],
    target: str = "",
    platform: str = DEFAULT_PLATFORM,
    build_platform: str = DEFAULT_PLATFORM,
) -> DockerfileImages:
    """The images of a build of `target`, by default the last stage. Raises DockerfileError.

    `platform` is what is built for, `build_platform` what the builder runs on.
    """
    file = read_dockerfile(text)
    global_instructions, stages = _split_at_from(file.instructions)
    if not stages:
        raise DockerfileError("no-from", "the Dockerfile has no FROM", 1, hint=_FORM)
    names = [stage.name for stage in stages]
    known_target = target.lower() if target.lower() in names else ""
    last = len(names) - 1 - names[::-1].index(known_target) if known_target else len(names) - 1
    scan = _Scan(
        names,
        FromVariables(
            Expander(file.escape),
            build_args,
            {
                **platform_values("BUILD", build_platform),
                **platform_values("TARGET", platform),
                "TARGETSTAGE": target or names[-1] or "default",
            },
        ),
    )
    if file.syntax is not None:
        scan.add_image(file.syntax.value.split()[0], "syntax", file.syntax.line)
    if target and not known_target:
        scan.remark(f"no stage is named '{shortened(target)}'; the last one is taken", stages[-1].line)
    scan.read_global(global_instructions)
    for stage in stages[: last + 1]:
        scan.read_stage(stage)
    return scan.result()


@dataclass(frozen=True)
class _StageText:
    instruction: Instruction
    body: list[Instruction] = field(default_factory=list)

    @property
    def line(self) -> int:
        return self.instruction.line

    @property
    def name(self) -> str:
        """In lower case; empty without one."""
        words = self.instruction.words
        return words[2].lower() if len(words) > 2 and words[1].lower() == "as" else ""


@dataclass(frozen=True)
class _Reading:
    """What became of the image of a FROM line; without a problem it is a stage or a valid reference."""

    text: str
    problem: str
    empty: tuple[str, ...] = ()


class _Scan:
    def __init__(self, names: list[str], variables: FromVariables) -> None:
        #: of all stages, those behind the target too
        self._names = frozenset(names)
        self._variables = variables
        #: name -> index of the stages above the one that is read
        self._above: dict[str, int] = {}
        self._stages: list[tuple[str, int, ImageUse | int, str]] = []
        #: stage -> stages it is built on, copies from or mounts
        self._parents: list[list[int]] = []
        self._uses: list[ImageUse] = []
        self._remarks: list[Remark] = []

    def remark(self, message: str, line: int, hint: str = "") -> None:
        self._remarks.append(Remark(message, line, hint))

    def read_global(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if instruction.keyword == "ARG":
                self._variables.declare(instruction)

    def read_stage(self, stage: _StageText) -> None:
        line, index = stage.line, len(self._stages)
        word = _image_word(stage.instruction)
        if len(stage.instruction.words) > 3:
            self.remark("a build refuses words behind the name of a stage", line, hint=_FORM)
        written = self._base(word, line)
        base: ImageUse | int | None = self._above.get(written.lower())
        if base is None:
            base = ImageUse(written, "from", line, index)
            self._uses.append(base)
        self._stages.append((stage.name, line, base, self._platform(stage.instruction)))
        self._parents.append([base] if isinstance(base, int) else [])
        for instruction in stage.body:
            self._read_instruction(instruction)
        if stage.name:
            self._above[stage.name] = index

    def add_image(self, written: str, how: Use, line: int) -> None:
        """An image of which a build, not this scan, will say that it is none."""
        try:
            parse_reference(written)
        except InvalidReference as error:
            self.remark(f"'{shortened(written)}' is no image: {shortened(str(error))}", line)
        else:
            self._uses.append(ImageUse(written, how, line, len(self._stages) - 1))

    def result(self) -> DockerfileImages:
        needed: set[int] = set()
        waiting = [len(self._stages) - 1]
        while waiting:
            index = waiting.pop()
            if index not in needed:
                needed.add(index)
                waiting += self._parents[index]
        return DockerfileImages(
            tuple(Stage(*stage, index in needed) for index, stage in enumerate(self._stages)),
            tuple(self._uses),
            tuple(self._remarks),
        )

    def _read_instruction(self, instruction: Instruction) -> None:
        if instruction.open_heredoc:
            self.remark(f"heredoc '{shortened(instruction.open_heredoc)}' is never closed", instruction.line)
        match instruction.keyword:
            case "ARG":
                self._variables.hear(instruction)
            case "COPY":
                for source in _flag_values(instruction, "--from"):
                    self._add_source(source, "copy", instruction.line)
            case "RUN":
                for mount in _flag_values(instruction, "--mount"):
                    for source in _mount_sources(mount):
                        self._add_source(source, "mount", instruction.line)

    def _add_source(self, source: str, how: Use, line: int) -> None:
        """A stage or an image. A number is a stage only to COPY; variables are never expanded here."""
        above = self._above.get(source.lower())
        is_number = how == "copy" and source.isascii() and source.isdigit()
        if is_number and len(source) < 10 and int(source) < len(self._stages) - 1:
            above = int(source)
        if above is not None:
            self._parents[-1].append(above)
        elif is_number or source.lower() in self._names:
            self.remark(f"there is no stage '{shortened(source)}' above this line", line)
        elif "$" in source:
            self.remark(
                f"'{shortened(source)}': a build fills in no variables here",
                line,
                hint="name a stage instead: ARG …, FROM image:$… AS NAME, and NAME here",
            )
        elif source != "scratch":
            self.add_image(source, how, line)

    def _base(self, word: str, line: int) -> str:
        """The image or stage of a FROM line, its variables filled in."""
        strict = self._read(word, self._variables.declared)
        if not strict.problem:
            return strict.text
        loose = self._read(without_quotes(word), self._variables.loose)
        hint = self._how_to_fill(strict.empty)
        if loose.problem:
            raise DockerfileError("bad-reference", _problem(word, strict), line, hint)
        self.remark(f"{_problem(word, strict)}; '{shortened(loose.text)}' is taken", line, hint)
        return loose.text

    def _read(self, word: str, variables: Mapping[str, str]) -> _Reading:
        try:
            expansion = self._variables.expander.expand(word, variables)
        except ExpansionError as error:
            return _Reading("", str(error))
        if expansion.text.lower() not in self._above:
            try:
                parse_reference(expansion.text)
            except InvalidReference as error:
                return _Reading(expansion.text, str(error), expansion.empty)
        return _Reading(expansion.text, "")

    def _platform(self, instruction: Instruction) -> str:
        platform = "".join(_flag_values(instruction, "--platform")[-1:])
        try:
            return self._variables.expander.expand(platform, self._variables.declared).text
        except ExpansionError:
            return platform

    def _how_to_fill(self, empty: tuple[str, ...]) -> str:
        for name in filter(str.isidentifier, empty):
            if name in self._variables.broken:
                return f"'{shortened(name)}' has no value: {shortened(self._variables.broken[name])}"
            if name in self._variables.loose and name not in self._variables.declared:
                return f"write 'ARG {shortened(name)}' before the first FROM: only there it counts for FROM lines"
            return (
                f"'{shortened(name)}' is empty: write 'ARG {shortened(name)}=VALUE' before the first FROM, "
                f"or give --build-arg {shortened(name)}=VALUE"
            )
        return ""


def _split_at_from(instructions: Iterable[Instruction]) -> tuple[list[Instruction], list[_StageText]]:
    """What stands before the first FROM, and the stages."""
    before: list[Instruction] = []
    stages: list[_StageText] = []
    for instruction in instructions:
        if instruction.keyword == "FROM":
            stages.append(_StageText(instruction))
        else:
            (stages[-1].body if stages else before).append(instruction)
    return before, stages


def _image_word(instruction: Instruction) -> str:
    """The word that is the image. Raises DockerfileError for a FROM of another form."""
    words = instruction.words
    problem = ""
    if not words:
        problem = "FROM names no image"
    elif len(words) > 1 and words[1].startswith("#"):
        problem = "a comment stands behind FROM; it needs a line of its own"
    elif len(words) > 1 and words[1].lower() != "as":
        problem = f"'{shortened(words[1])}' stands behind the image of FROM"
    elif len(words) == 2:
        problem = "FROM … AS gives no name"
    if problem:
        raise DockerfileError("from-syntax", problem, instruction.line, hint=_FORM)
    return words[0]


def _flag_values(instruction: Instruction, flag: str) -> list[str]:
    pairs = (each.partition("=") for each in instruction.flags)
    return [value for name, _, value in pairs if name == flag and value]


def _mount_sources(mount: str) -> list[str]:
    pairs = (field.partition("=") for field in mount.split(","))
    return [value for key, _, value in pairs if key.lower() == "from" and value]


def _problem(word: str, reading: _Reading) -> str:
    read_as = f", read as '{shortened(reading.text)}'," if reading.text not in ("", word) else ""
    return f"FROM '{shortened(word)}'{read_as} names no image: {shortened(reading.problem)}"
