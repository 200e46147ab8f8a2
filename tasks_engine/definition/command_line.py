"""Plans the text of a `cmd` step: a short list of containers to run, read as a shell would read it.

No shell is ever started. The grammar (words: see words.py; `$NAME`, `${NAME}`, `~`: see expansion.py):

    line     = [newlines] [list] ;                      # comment to the end of the line; \\ joins lines
    list     = and-or { (";" | newlines) and-or } [";"] [newlines] ;
    and-or   = command { ("&&" | "||") [newlines] command } ;
    command  = { redirect } (builtin | container) ;     redirects may stand anywhere in it
    builtin  = ("true" | "false" | "echo") { word } ;   not as the first command, which is always a container
    container = [alias | { docker run option } image] { word } ;
    redirect = [1 | 2] (">" | ">>") "/dev/null" | ("&>" | "&>>" | ">&") "/dev/null"
             | [1 | 2] ">&" (1 | 2) | ["0"] "<" "/dev/null" ;

A bare first word that is the name of an image alias is replaced by the words of the alias. Refused with their place:
pipes, groups, substitution, arithmetic, background, files, here-documents, assignments, `!` and the shell's own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from tasks_engine.definition.expansion import Expansion
from tasks_engine.definition.redirections import (
    REDIRECTIONS,
    Redirect,
    Stream,
    final_targets,
    read_redirection,
)
from tasks_engine.definition.run_options import RunOption, read_run_options
from tasks_engine.definition.words import (
    IN_CONTAINER,
    Operator,
    Word,
    WordError,
    needs_shell,
    read_tokens,
    refuse_operator,
    shorten,
)

MAX_COMMANDS = 100
#: for one command
MAX_REDIRECTS = 100
BUILTINS = frozenset({"true", "false", "echo"})

_RESERVED = {"!", "{", "}", "case", "do", "done", "elif", "else", "esac"} | {
    *("fi", "for", "function", "if", "then", "until", "while")
}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*+\+?=")


class RunIf(StrEnum):
    """When a command runs, by the status that the list has before it; a command that does not run keeps that."""

    ALWAYS = "always"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Command:
    run_if: RunIf
    #: `true`, `false`, `echo`; empty for a container
    builtin: str
    #: as written, not normalised; empty for a builtin
    image: str
    options: tuple[RunOption, ...]
    args: tuple[str, ...]
    redirects: tuple[Redirect, ...]
    #: where the command begins in the line, and where its image stands
    offset: int
    image_offset: int

    @property
    def outputs(self) -> tuple[Stream, Stream]:
        """Where standard output and standard error end up after all redirects."""
        return final_targets(self.redirects)


@dataclass(frozen=True, slots=True)
class UnsetVariable:
    name: str
    #: where it stands first
    offset: int


@dataclass(frozen=True, slots=True)
class CommandLine:
    #: at least one; the status of the last one that ran is that of the line
    commands: tuple[Command, ...]
    #: variables that vanished because the environment does not have them
    unset: tuple[UnsetVariable, ...]


class _Draft:
    """A command whose words are still being collected."""

    __slots__ = ("joiner", "offset", "redirects", "run_if", "words")

    def __init__(self, run_if: RunIf = RunIf.ALWAYS, joiner: Operator | None = None) -> None:
        self.run_if = run_if
        #: the operator that must not be the last of the line
        self.joiner = joiner
        #: -1 until it begins
        self.offset = -1
        self.words: list[Word] = []
        self.redirects: list[Redirect] = []


def parse_command_line(
    line: str,
    env: Mapping[str, str],
    *,
    home: str,
    image_aliases: Mapping[str, str] = MappingProxyType({}),
) -> CommandLine:
    """The commands of a line. Raises WordError, whose offset lies in the line (0 in an empty one).

    `env` is the step's environment, `home` the folder that `~` stands for, `image_aliases` name -> text.
    """
    expansion = Expansion(env, home)
    commands: list[Command] = []
    for draft in _read_list(line, expansion):
        if len(commands) == MAX_COMMANDS:
            raise WordError(f"more than {MAX_COMMANDS} commands", draft.offset, IN_CONTAINER)
        commands.append(_finish(draft, line, expansion, image_aliases, first=not commands))
    if not commands:
        raise WordError("cmd names no image", 0)
    return CommandLine(
        tuple(commands), tuple(UnsetVariable(name, offset) for name, offset in expansion.unset.items())
    )


def echo_output(args: Sequence[str]) -> str:
    """What the builtin `echo` prints: the arguments, with blanks between them and a line break behind.

    `-n` in front drops the line break. Backslashes are kept as they are.
    """
    return " ".join(args[1:]) if args and args[0] == "-n" else " ".join(args) + "\n"


def _read_list(line: str, expansion: Expansion) -> Iterator[_Draft]:
    tokens = read_tokens(line, expansion)
    draft = _Draft()
    for token in tokens:
        if isinstance(token, Word):
            if draft.offset < 0:
                draft.offset = token.offset
            draft.words.append(token)
        elif token.text in REDIRECTIONS:
            if draft.offset < 0:
                draft.offset = token.offset
            draft.redirects += read_redirection(line, token, next(tokens, None))
            if len(draft.redirects) > MAX_REDIRECTS:
                raise WordError(f"more than {MAX_REDIRECTS} redirections", token.offset)
        elif token.text == "\n":
            if draft.offset >= 0:
                yield draft
                draft = _Draft()
        elif token.text not in (";", ";;", "&&", "||"):
            raise refuse_operator(token)
        elif token.text == ";;" or draft.offset < 0:
            raise _misplaced(token)
        else:
            yield draft
            draft = _after(token)
    if draft.offset >= 0:
        yield draft
    elif draft.joiner is not None:
        raise WordError(f"no command stands behind '{draft.joiner.text}'", draft.joiner.offset, length=2)


def _after(operator: Operator) -> _Draft:
    if operator.text == ";":
        return _Draft()
    return _Draft(RunIf.SUCCESS if operator.text == "&&" else RunIf.FAILURE, operator)


def _misplaced(operator: Operator) -> WordError:
    if operator.text == ";;":
        return WordError("no command stands between ';' and ';'", operator.offset, length=2)
    hint = "" if operator.text == ";" else f"write '{operator.text}' at the end of the line before"
    return WordError(
        f"no command stands before '{operator.text}'", operator.offset, hint, length=len(operator.text)
    )


def _finish(
    draft: _Draft, line: str, expansion: Expansion, image_aliases: Mapping[str, str], *, first: bool
) -> Command:
    head = draft.words[0] if draft.words else None
    words = draft.words
    alias = image_aliases.get(head.fields[0]) if head is not None and head.bare else None
    if head is not None and alias is not None:
        words = [*_alias_words(head, alias, expansion), *words[1:]]
    elif head is not None:
        _check_head(head, line)
    texts = [field for word in words for field in word.fields]
    options: tuple[RunOption, ...] = ()
    at, image_offset = 0, draft.offset
    builtin = texts[0] if texts and texts[0] in BUILTINS and not first and alias is None else ""
    if texts and texts[0][:1] == "-":
        places = [word for word in words for _ in word.fields]
        options, at = read_run_options(texts, places)
        image_offset = places[at].offset if at < len(places) else draft.offset
    if not any(texts[at : at + 1]):
        unset = ", ".join(f"${name}" for name in list(expansion.unset)[:3])
        raise WordError("the command names no image", draft.offset, f"not set: {unset}" if unset else "")
    return Command(
        draft.run_if,
        builtin,
        "" if builtin else texts[at],
        options,
        tuple(texts[at + 1 :]),
        tuple(draft.redirects),
        draft.offset,
        image_offset,
    )


def _check_head(head: Word, line: str) -> None:
    """Refuses what a shell would not read as the name of a program."""
    if head.bare and head.fields[0] in _RESERVED:
        raise needs_shell(f"'{head.fields[0]}'", head.offset, head.end - head.offset)
    assignment = _ASSIGNMENT.match(line, head.offset)
    if assignment is not None:
        shown = shorten(assignment[0])
        raise WordError(
            f"'{shown}' before the image sets nothing in the container",
            head.offset,
            hint=f"write -e {shown}… instead, or use the step's env",
            length=len(assignment[0]),
        )


def _alias_words(head: Word, text: str, expansion: Expansion) -> list[Word]:
    """The words of an alias, all at the place of its name."""
    expansion.spend(len(text), head.offset)
    known = len(expansion.unset)
    words: list[Word] = []
    try:
        for token in read_tokens(text, expansion):
            if isinstance(token, Word):
                words.append(Word(token.fields, head.offset, head.end, False))
            elif token.text != "\n":
                raise refuse_operator(token)
    except WordError as error:
        raise WordError(
            f"in alias '{head.fields[0]}': {error.message}", head.offset, error.hint, head.end - head.offset
        ) from None
    for name in list(expansion.unset)[known:]:
        expansion.unset[name] = head.offset
    return words
