"""Finds the lines of a Dockerfile that a vertex of the build came from, for daemons that do not say. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPE_DIRECTIVE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*$", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*\w+\s*=")
_STAGE_NAME = re.compile(r"^FROM\s.*\sAS\s+(\S+)$", re.IGNORECASE)
# "[build 2/4] RUN make", "[2/4] RUN make", "[stage-1 1/2] FROM docker.io/library/alpine"
_VERTEX = re.compile(r"^\[(?:(?P<stage>\S+) +)?\d+/\d+\] (?P<text>.+)$", re.DOTALL)
_METADATA = re.compile(r"^\[internal\] load metadata for (?P<reference>\S+)$")
_VARIABLE = re.compile(r"\$(?:\{[^}]*\}|\w+)")


@dataclass(frozen=True)
class Instruction:
    """One instruction; its text on one line, as BuildKit names it."""

    text: str
    #: lines, from 1
    first: int
    last: int
    #: name of the stage it is in; "stage-<n>" when it has none; empty before the first FROM
    stage: str


def instruction_of(vertex_name: str) -> str:
    """The instruction in a vertex's name, "" when it shows none: "[2/4] RUN make" -> "RUN make"."""
    match = _VERTEX.match(vertex_name)
    return match["text"] if match else ""


def find_lines(dockerfile: str, vertex_name: str) -> tuple[int, int] | None:
    """First and last line of the instruction that `vertex_name` stands for."""
    instructions = parse_instructions(dockerfile)
    metadata = _METADATA.match(vertex_name)
    if metadata:
        candidates = [found for found in instructions if _is_from(found, metadata["reference"])]
    else:
        match = _VERTEX.match(vertex_name)
        if not match:
            return None
        wanted = _one_line(match["text"])
        candidates = [found for found in instructions if _could_be(found.text, wanted)]
        candidates = [found for found in candidates if found.stage == match["stage"]] or candidates
    return (candidates[0].first, candidates[0].last) if candidates else None


def parse_instructions(dockerfile: str) -> list[Instruction]:
    """All instructions in the order of the file."""
    escape = _escape_char(dockerfile)
    instructions: list[Instruction] = []
    stage, stages = "", 0
    pending, first = "", 0
    lines = [line.strip() for line in dockerfile.splitlines()]
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line and line[0] != "#"]
    for number, line in numbered:
        first = first or number
        if line.endswith(escape) and number < numbered[-1][0]:
            pending += line[:-1]
            continue
        text = _one_line(pending + line.removesuffix(escape))
        if re.match(r"(?i)FROM\s", text):
            named = _STAGE_NAME.match(text)
            stage = named[1].lower() if named else f"stage-{stages}"
            stages += 1
        instructions.append(Instruction(text, first, number, stage))
        pending, first = "", 0
    return instructions


def _escape_char(dockerfile: str) -> str:
    """Directives stand only at the top of the file."""
    for line in dockerfile.splitlines():
        match = _ESCAPE_DIRECTIVE.match(line.strip())
        if match:
            return match[1]
        if not _DIRECTIVE.match(line.strip()):
            break
    return "\\"


def _one_line(text: str) -> str:
    keyword, _, rest = " ".join(text.split()).partition(" ")
    return f"{keyword.upper()} {rest}".rstrip()


def _could_be(instruction: str, wanted: str) -> bool:
    """The daemon shows instructions with their variables filled in."""
    first, *others = _VARIABLE.split(instruction)
    if not others:
        return instruction == wanted
    *middle, last = others
    if not wanted.startswith(first) or not wanted.endswith(last):
        return False
    at, end = len(first), len(wanted) - len(last)
    for piece in middle:
        found = wanted.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return at <= end


def _is_from(instruction: Instruction, reference: str) -> bool:
    """A FROM of the image that the daemon calls `reference`, always with registry and tag."""
    words = [word for word in instruction.text.split() if not word.startswith("--")]
    if len(words) < 2 or words[0] != "FROM":
        return False
    written = words[1] if re.search(r"(:[^/]+|@\S+)$", words[1]) else f"{words[1]}:latest"
    return any(_could_be(prefix + written, reference) for prefix in ("", "docker.io/", "docker.io/library/"))
