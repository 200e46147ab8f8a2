"""Sorts the words of a `build` step into flags with their values, contexts and warnings.

Flags are taken as docker's flag library does: `--name=value`, `--name value`, `-nvalue`, `-n=value`, switches
joined behind one dash, and nothing but contexts behind `--`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from tasks_engine.definition.build_attributes import is_attestation_value
from tasks_engine.definition.build_context import parse_build_context
from tasks_engine.definition.build_flags import FLAGS, BuildFlag, Takes, Use, guess_flag
from tasks_engine.definition.build_values import InvalidValue

_KNOWN_FLAGS = "flags are those of docker build, such as -t, -f, --build-arg and --target"


class BuildStringError(ValueError):
    """`word` is the part of the text that is wrong; `offset` is where it begins, None where that is not known."""

    def __init__(self, message: str, word: str, hint: str = "", offset: int | None = None) -> None:
        super().__init__(message)
        self.message, self.word, self.hint, self.offset = message, word, hint, offset


@dataclass(frozen=True)
class BuildWarning:
    """Something that is let pass, but cannot be meant or has no effect."""

    message: str
    #: the part of the text it is about; empty for the whole
    word: str = ""
    #: where that begins in the text; None where that is not known
    offset: int | None = None
    hint: str = ""


class Place(NamedTuple):
    #: the word as written, with its quotes
    written: str
    offset: int | None


#: the place of a word, by its number from 0
PlaceOf = Callable[[int], Place]


@dataclass
class ReadWords:
    #: name of a flag -> items that its uses stand for
    items: dict[str, list[Any]] = field(default_factory=dict)
    #: numbers of the words that are contexts
    contexts: list[int] = field(default_factory=list)
    warnings: list[BuildWarning] = field(default_factory=list)


def read_build_words(words: Sequence[str], place_of: PlaceOf) -> ReadWords:
    """Raises BuildStringError."""
    reader = _Reader(words, place_of)
    reader.read()
    return reader.result


class _Given(NamedTuple):
    """One use of a flag."""

    flag: BuildFlag
    #: the spelling
    name: str
    #: of its word
    number: int


class _Reader:
    def __init__(self, words: Sequence[str], place_of: PlaceOf) -> None:
        self._words = words
        self._place_of = place_of
        self._next = 0
        self._warned: set[str] = set()
        self.result = ReadWords()

    def read(self) -> None:
        for number, word in enumerate(self._words):
            if "\0" in word:
                self._fail("a NUL character cannot be part of a build", number)
        while self._next < len(self._words):
            number, word = self._next, self._words[self._next]
            self._next += 1
            if word == "--":
                self.result.contexts += range(self._next, len(self._words))
                break
            if word == "-" or not word.startswith("-"):
                self.result.contexts.append(number)
            elif word.startswith("--"):
                self._long_flag(word, number)
            else:
                self._short_flags(word, number)
        self._check_contexts()

    def _long_flag(self, word: str, number: int) -> None:
        name, equals, value = word.partition("=")
        flag = self._find(name, number, name)
        if equals:
            self._take(_Given(flag, name, number), value, number)
        else:
            self._take_following(_Given(flag, name, number))

    def _short_flags(self, word: str, number: int) -> None:
        """`-qt name`, `-qtname` or `-qt=name`: switches, and at last a flag with a value."""
        long_name = word.partition("=")[0]
        if f"-{long_name}" in FLAGS:  # docker would read -tag as -t ag, which nobody means
            self._fail_unknown(long_name, number, long_name)
        for at in range(1, len(word)):
            name = f"-{word[at]}"
            flag = self._find(name, number, word)
            given = _Given(flag, name, number)
            if at + 1 == len(word):
                self._take_following(given)
            elif flag.takes is not Takes.SWITCH or word[at + 1] == "=":
                self._take(given, word[at + 1 :].removeprefix("="), number)
                return
            else:
                self._take(given, "true", number)

    def _find(self, name: str, number: int, written: str) -> BuildFlag:
        """`written` is what an error marks."""
        flag = FLAGS.get(name)
        if flag is None:
            self._fail_unknown(name, number, written)
        if flag.use is Use.REFUSED:
            self._fail(f"build flag '{name}' is not supported", number, flag.note, written)
        return flag

    def _fail_unknown(self, name: str, number: int, written: str) -> NoReturn:
        guess = guess_flag(written)
        hint = f"did you mean '{guess}'?" if guess else _KNOWN_FLAGS
        self._fail(f"build flag '{name}' is not known", number, hint, written)

    def _take_following(self, given: _Given) -> None:
        """The value is the next word, or the flag has none."""
        flag, name, number = given
        following = self._words[self._next] if self._next < len(self._words) else None
        if flag.takes is Takes.VALUE:
            if following is None:
                self._fail(f"build flag '{name}' needs a value", number)
            if following in FLAGS:
                self._fail(
                    f"build flag '{name}' needs a value, but flag '{following}' follows",
                    number,
                    f"if that is the value, write {flag.name}={following}",
                )
        elif flag.takes is Takes.SWITCH or following is None or not is_attestation_value(following):
            self._take(given, "true", number)
            return
        self._next += 1
        self._take(given, following, number + 1)

    def _take(self, given: _Given, value: str, number: int) -> None:
        """`number` is that of the word with the value."""
        flag, name, _ = given
        try:
            items = flag.read(value)
        except InvalidValue as error:
            self._fail(f"build flag '{name}' {error.message}", number, error.hint)
        if flag.use is not Use.HONORED:
            if flag.use is not Use.SILENT and items != (False,):
                whose = " is for docker's classic builder and" if flag.use is Use.CLASSIC else ""
                message = f"build flag '{name}'{whose} has no effect"
                self._warn(message, given.number, flag.note, once=flag.name)
            return
        if not flag.repeats:
            self.result.items[flag.name] = list(items)
            return
        self.result.items.setdefault(flag.name, []).extend(items)
        if flag.name == "--output" and any(output.pushes for output in items):
            self._warn(f"build flag '{name}' does not push", number, FLAGS["--push"].note, once=flag.name)

    def _check_contexts(self) -> None:
        if not self.result.contexts:
            hint = "end it with a folder, usually '.'"
            self.result.warnings.append(BuildWarning("build has no context, so it is '.'", hint=hint))
            return
        number = self.result.contexts[-1]
        if not self._words[number]:
            self._fail("the build context is empty", number, "write '.' for the working directory")
        doubt = parse_build_context(self._words[number]).doubt
        if doubt:
            self._warn(doubt, number, "the address of a git repository ends with .git", once="context")

    def _warn(self, message: str, number: int, hint: str, *, once: str) -> None:
        """Warnings of a kind are given once: a place costs time, and the text may be anybody's."""
        if once in self._warned:
            return
        self._warned.add(once)
        self.result.warnings.append(BuildWarning(message, *self._place_of(number), hint))

    def _fail(self, message: str, number: int, hint: str = "", word: str = "") -> NoReturn:
        """`word` is a part at the beginning of the word, if not the whole is meant."""
        written, offset = self._place_of(number)
        part = word if word and written.startswith(word) else written
        raise BuildStringError(message, part, hint, offset)
