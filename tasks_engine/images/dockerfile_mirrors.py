"""Puts mirrors into a Dockerfile: other names for the images of FROM, COPY --from, RUN --mount and its frontend. Pure.

Only the characters of those names change. Lines stay where they are, so that messages of a build point to the
author's own. What a build would refuse is left for it to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from tasks_engine.images.dockerfile_images import DockerfileError
from tasks_engine.images.dockerfile_lines import Instruction, read_dockerfile, split_words
from tasks_engine.images.dockerfile_variables import FromVariables, platform_values
from tasks_engine.images.dockerfile_words import Expander, ExpansionError

#: no part of one is in the other: a name that is the same for both is the same for all
_ANY_PLATFORMS = ("linux/amd64", "windows/arm/v6")

Mirror = Callable[[str], str]


def mirror_dockerfile(
    text: str,
    mirror: Mirror,
    *,
    build_args: Mapping[str, str] | None = None,
    platforms: Sequence[str] = (),
    target: str = "",
) -> str:
    """The text with every name of an image as `mirror` gives it, for a name as it is written.

    Names in FROM lines may use variables. They are filled in, and the result is written when `mirror` has another
    name for it, if `build_args` (what `--build-arg` gives, empty for nothing) are known and the result is the same
    for all `platforms` that are built for; without any, for every platform. Otherwise such a name stays.
    """
    try:
        return _mirrored(text, mirror, build_args, platforms, target)
    except DockerfileError:
        return text


def _mirrored(
    text: str, mirror: Mirror, build_args: Mapping[str, str] | None, platforms: Sequence[str], target: str
) -> str:
    file = read_dockerfile(text)
    edits = _Edits(text, file.escape)
    stage_names = [_stage_name(each) for each in file.instructions if each.keyword == "FROM"]
    names = _BaseNames(file.escape, build_args, platforms, target or (stage_names or [""])[-1])
    above: set[str] = set()
    if file.syntax is not None:
        frontend = file.syntax.value.split()[0]
        edits.replace_in_line(file.syntax.line, frontend, mirror(frontend))
    for instruction in file.instructions:
        if instruction.keyword == "FROM":
            base = names.base(instruction)
            if base and base != "scratch" and base.lower() not in above:
                edits.replace_first_word(instruction, base, mirror(base))
            above.add(_stage_name(instruction))
        elif instruction.keyword == "ARG" and not above:
            names.declare(instruction)
        elif instruction.keyword in ("COPY", "RUN"):
            for flag, source in _sources(instruction):
                if source.lower() not in stage_names and source != "scratch" and "$" not in source:
                    edits.replace_in_flag(instruction, flag, source, mirror(source))
    return edits.text()


class _BaseNames:
    """Names in FROM lines, with their variables filled in as far as that is certain."""

    def __init__(
        self, escape: str, build_args: Mapping[str, str] | None, platforms: Sequence[str], target: str
    ) -> None:
        self._knows_arguments = build_args is not None
        self._expander = Expander(escape)
        self._possible = [
            FromVariables(
                self._expander,
                build_args or {},
                {
                    **platform_values("BUILD", builder),
                    **platform_values("TARGET", platform),
                    "TARGETSTAGE": target or "default",
                },
            )
            for platform in platforms or _ANY_PLATFORMS
            for builder in _ANY_PLATFORMS
        ]

    def declare(self, instruction: Instruction) -> None:
        """An ARG before the first FROM. Raises DockerfileError."""
        for variables in self._possible:
            variables.declare(instruction)

    def base(self, instruction: Instruction) -> str:
        """Empty for what is not known."""
        word = "".join(instruction.words[:1])
        if "$" in word and not self._knows_arguments:
            return ""
        try:
            found = {self._expander.expand(word, each.declared).text for each in self._possible}
        except ExpansionError:
            return ""
        return found.pop() if len(found) == 1 else ""


class _Edits:
    """Replacements in the text of a Dockerfile, made all at once at the end."""

    def __init__(self, text: str, escape: str) -> None:
        self._text = text
        self._escape = escape
        #: where each line begins
        self._starts = [1 if text.startswith("\ufeff") else 0]
        self._starts += [at + 1 for at, character in enumerate(text) if character == "\n"]
        #: (begin, end, what comes in its place)
        self._edits: list[tuple[int, int, str]] = []

    def text(self) -> str:
        pieces: list[str] = []
        at = 0
        for begin, end, replacement in sorted(self._edits):
            if begin < at:
                continue  # named twice in one flag
            pieces += (self._text[at:begin], replacement)
            at = end
        return "".join(pieces) + self._text[at:]

    def replace_in_line(self, line: int, old: str, new: str) -> None:
        begin = self._text.find(old, self._starts[line - 1])
        if new != old and begin >= 0:
            self._edits.append((begin, begin + len(old), new))

    def replace_first_word(self, instruction: Instruction, meant: str, new: str) -> None:
        """The word behind the flags, which means the image `meant`."""
        word = instruction.words[0]
        if new == meant:
            return
        joined, places = self._joined(instruction)
        flags = self._flags(joined, instruction)
        begin = joined.find(word, flags[-1][1] if flags else len(instruction.keyword))
        if len(flags) == len(instruction.flags) and begin >= 0:
            self._replace(places[begin : begin + len(word)], new)

    def replace_in_flag(self, instruction: Instruction, number: int, old: str, new: str) -> None:
        """The image behind `from=` in one of the flags; what is written with escape characters stays."""
        if new == old:
            return
        joined, places = self._joined(instruction)
        begin, end = self._flags(joined, instruction)[number]
        image = re.compile(rf"(?:--|[,=\"'])(?i:from=)[\"']?({re.escape(old)})(?=[\"',]|\Z)")
        for found in image.finditer(joined[:end], begin):
            self._replace(places[found.start(1) : found.end(1)], new)

    def _replace(self, places: Sequence[int], new: str) -> None:
        """Characters that stand at `places`; what continues a line between them stays."""
        begin = end = places[0]
        for place in places:
            if place != end:
                self._edits.append((begin, end, new))
                begin, new = place, ""
            end = place + 1
        self._edits.append((begin, end, new))

    def _joined(self, instruction: Instruction) -> tuple[str, list[int]]:
        """The instruction on one line, and where in the text its characters stand. As `read_dockerfile` joins it."""
        places: list[int] = []
        number = instruction.line - 1
        goes_on = True
        while goes_on and number < len(self._starts):
            start = self._starts[number]
            line = self._line(number)
            is_first = number == instruction.line - 1
            if is_first or (line.strip() and not line.lstrip().startswith("#")):
                end = line.rstrip(" \t")
                goes_on = end.endswith(self._escape) and not end.endswith(self._escape * 2)
                indent = len(line) - len(line.lstrip()) if is_first else 0
                places += range(start + indent, start + (len(end) - 1 if goes_on else len(line)))
            number += 1
        return "".join(self._text[place] for place in places), places

    def _line(self, number: int) -> str:
        end = self._starts[number + 1] - 1 if number + 1 < len(self._starts) else len(self._text)
        return self._text[self._starts[number] : end].rstrip("\r")

    def _flags(self, joined: str, instruction: Instruction) -> list[tuple[int, int]]:
        """Begin and end of each leading word that begins with two dashes."""
        places: list[tuple[int, int]] = []
        at = len(instruction.keyword)
        for word in split_words(joined[at:], self._escape)[: len(instruction.flags)]:
            begin = joined.index(word, at)
            at = begin + len(word)
            places.append((begin, at))
        return places


def _stage_name(instruction: Instruction) -> str:
    """Of a FROM line, in lower case; empty without one."""
    words = instruction.words
    return words[2].lower() if len(words) > 2 and words[1].lower() == "as" else ""


def _sources(instruction: Instruction) -> list[tuple[int, str]]:
    """(number of a flag, stage or image that it names)."""
    found: list[tuple[int, str]] = []
    for number, flag in enumerate(instruction.flags):
        name, _, value = flag.partition("=")
        if instruction.keyword == "COPY" and name == "--from" and not (value.isascii() and value.isdigit()):
            found.append((number, value))
        elif instruction.keyword == "RUN" and name == "--mount":
            pairs = (each.partition("=") for each in value.split(","))
            found += ((number, image) for key, _, image in pairs if key.lower() == "from")
    return [(number, value) for number, value in found if value]
