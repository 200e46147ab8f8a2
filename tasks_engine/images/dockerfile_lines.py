"""Splits a Dockerfile into instructions: directives, comments, continued lines, heredocs, flags. Knows no images.

Source of the rules: Dockerfile reference, "Parser directives" and "Format", and the parser of BuildKit's frontend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S.*)")
_DIRECTIVES = ("syntax", "escape", "check")

_HEREDOC_KEYWORDS = ("RUN", "COPY", "ADD")
#: a word with its quotes, which must be closed; blanks behind `<<` belong to it
_SHELL_WORD = re.compile(
    r"""(?:\\.?|'[^']*'|"(?:\\["$\\]|[^"])*+"|<<[ \t\r]*|[^\s\\'"])+""",
    re.DOTALL,
)
_HEREDOC = re.compile(r"\d*<<(-?)\s*([^<]+)", re.DOTALL)
_QUOTED = re.compile(r"""\\(.?)|'([^']*)'|"((?:\\["$\\]|[^"])*+)\"""", re.DOTALL)
_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+"'
_JSON_STRINGS = re.compile(rf"\[\s*+(?:{_STRING}\s*+(?:,\s*+{_STRING}\s*+)*+)?\]\s*")

#: escape character -> a word; its quotes and escapes stay in it
_WORD = {
    escape: re.compile(rf"""(?:{e}.?|'[^']*'?|"(?:{e}.|[^"{e}])*+{e}?"?|\S)+""", re.DOTALL)
    for escape, e in (("\\", r"\\"), ("`", "`"))
}


@dataclass(frozen=True)
class Instruction:
    #: in upper case
    keyword: str
    #: `--from=x` and the like, without quotes
    flags: tuple[str, ...]
    #: what follows the flags, on one line; without the bodies of heredocs
    arguments: str
    #: of its keyword, from 1
    line: int
    #: a heredoc that is opened here and never closed; what follows is read as instructions
    open_heredoc: str = ""

    @property
    def words(self) -> list[str]:
        """The arguments, split at blanks; quotes mean nothing."""
        return _BLANKS.split(self.arguments) if self.arguments else []


@dataclass(frozen=True)
class Directive:
    value: str
    line: int


@dataclass(frozen=True)
class DockerfileText:
    instructions: tuple[Instruction, ...]
    #: escape character: a backslash or a backquote
    escape: str = "\\"
    #: the `# syntax=` line
    syntax: Directive | None = None


def read_dockerfile(text: str) -> DockerfileText:
    """The instructions of any text; what is none of Docker's is kept as it stands."""
    lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
    escape = _directives(lines).get("escape")
    escape_character = escape.value if escape is not None and escape.value in _WORD else "\\"
    return DockerfileText(
        tuple(_instructions(lines, escape_character)),
        escape_character,
        _directives(lines, after_shebang=lines[0].startswith("#!")).get("syntax"),
    )


def split_words(text: str, escape: str) -> list[str]:
    """Words between blanks; quotes hold blanks together and stay in the word, as escapes do."""
    return _WORD[escape].findall(text)


def _directives(lines: list[str], *, after_shebang: bool = False) -> dict[str, Directive]:
    """Name -> directive; they stand at the very top, each once."""
    found: dict[str, Directive] = {}
    for number, line in enumerate(lines, start=1):
        if number == 1 and after_shebang:
            continue
        match = _DIRECTIVE.match(line.strip())
        name = match[1].lower() if match is not None else ""
        if match is None or name not in _DIRECTIVES or name in found:
            break
        found[name] = Directive(match[2], number)
    return found


def _instructions(lines: list[str], escape: str) -> Iterator[Instruction]:
    heredocs = _HeredocEnds(lines)
    at = 0
    while at < len(lines):
        number = at + 1
        text, at = _joined(lines, at, escape)
        if text.strip():
            instruction = _instruction(text.strip(), escape, number)
            if "<<" in text and _can_hold_heredocs(instruction, escape):
                at, open_heredoc = heredocs.skip(_heredocs(text.strip()), at)
                instruction = replace(instruction, open_heredoc=open_heredoc)
            yield instruction


def _joined(lines: list[str], at: int, escape: str) -> tuple[str, int]:
    """The instruction that begins at line `at`, and the line behind it; empty for a comment or an empty line."""
    if _is_comment(lines[at]):
        return "", at + 1
    piece, goes_on = _without_continuation(lines[at].lstrip(), escape)
    pieces = [piece]
    at += 1
    while goes_on and at < len(lines):
        if lines[at].strip() and not _is_comment(lines[at]):
            piece, goes_on = _without_continuation(lines[at], escape)
            pieces.append(piece)
        at += 1
    return "".join(pieces), at


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _without_continuation(line: str, escape: str) -> tuple[str, bool]:
    """Without the escape character at its end, and whether there was one; two of them are none."""
    end = line.rstrip(" \t")
    if end.endswith(escape) and not end.endswith(escape * 2):
        return end[:-1], True
    return line, False


def _instruction(text: str, escape: str, line: int) -> Instruction:
    keyword, *rest = _BLANKS.split(text, maxsplit=1)
    flags, arguments = _flags(rest[0], escape) if rest else ((), "")
    return Instruction(keyword.upper(), flags, arguments.strip(), line)


def _flags(text: str, escape: str) -> tuple[tuple[str, ...], str]:
    """The leading words that begin with two dashes, unquoted, and the rest."""
    flags: list[str] = []
    at = 0
    while text.startswith("--", at):
        word = _WORD[escape].match(text, at)
        assert word is not None
        at = _behind_blanks(text, word.end())
        if word[0] == "--":
            break
        flags.append(_unquoted_flag(word[0], escape))
    return tuple(flags), text[at:]


def _behind_blanks(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _unquoted_flag(word: str, escape: str) -> str:
    pieces: list[str] = []
    quote = ""
    characters = iter(word)
    for character in characters:
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            pieces.append(next(characters, "") if character == escape else character)
    return "".join(pieces)


def _can_hold_heredocs(instruction: Instruction, escape: str) -> bool:
    if instruction.keyword == "ONBUILD":
        instruction = _instruction(instruction.arguments, escape, instruction.line)
    return instruction.keyword in _HEREDOC_KEYWORDS and not _JSON_STRINGS.fullmatch(instruction.arguments)


def _heredocs(text: str) -> list[tuple[str, bool]]:
    """Names of the heredocs opened in an instruction, and whether tabs may stand before their end."""
    words: list[str] = []
    at = 0
    while at < len(text):
        word = _SHELL_WORD.match(text, at)
        if word is None:
            return []  # a quote that is never closed
        words.append(word[0])
        at = _behind_blanks(text, word.end())
    matches = filter(None, (_HEREDOC.fullmatch(word) for word in words))
    named = ((_without_quotes(match[2]), bool(match[1])) for match in matches)
    return [(name, tabs) for name, tabs in named if name]


def _without_quotes(word: str) -> str:
    return _QUOTED.sub(
        lambda match: match[1] or match[2] or re.sub(r'\\(["$\\])', r"\1", match[3] or ""), word
    )


class _HeredocEnds:
    """Finds the lines that end heredocs, without reading on for one that never ends."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._last: dict[bool, dict[str, int]] = {}

    def skip(self, heredocs: list[tuple[str, bool]], at: int) -> tuple[int, str]:
        """The line behind the bodies that begin at `at`, and the name of the first that never ends."""
        for name, tabs in heredocs:
            if self._last_line(name, tabs) < at:
                return at, name
            while _end(self._lines[at], tabs) != name:
                at += 1
            at += 1
        return at, ""

    def _last_line(self, name: str, tabs: bool) -> int:
        if tabs not in self._last:
            self._last[tabs] = {_end(line, tabs): number for number, line in enumerate(self._lines)}
        return self._last[tabs].get(name, -1)


def _end(line: str, tabs: bool) -> str:
    return line.lstrip("\t") if tabs else line
