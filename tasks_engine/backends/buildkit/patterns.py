"""Which paths the daemon's include and exclude patterns mean.

The language is that of .dockerignore: Go's `filepath.Match` plus `**`, `!` for exceptions, the last match wins,
and a pattern that matches a folder matches all that is below it. Classes like `[^a]` match a slash too, as they
do in Go. Pure; paths are relative, slash separated and clean.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from tasks_engine.backends.buildkit.errors import ContextError

#: per pattern: did it match this folder or one above it
Matched = tuple[bool, ...]

#: `**` and `*` in one pattern that Python's expressions cope with: each more multiplies their time by the length
#: of a path
_FEW_STARS = 2
#: expressions of stars
_STARS = frozenset({"[^/]*", "(?s:.*/)?"})
#: leading components that are looked at to see whether something below a folder can match
_MAX_STEMS = 32
_META = frozenset("*?[\\")
#: what makes a `**` at the begin more than a plain suffix
_MORE_THAN_SUFFIX = frozenset("*?[]\\")


class Expression(Protocol):
    """What is asked of a compiled expression."""

    def fullmatch(self, text: str, /) -> object: ...


@dataclass(frozen=True)
class _Pattern:
    text: str
    #: None for one with a range that ends before it begins
    regex: Expression | None
    exception: bool
    #: of every leading component that can not match a slash: the regex of the path up to it; what is below can
    #: match only under these
    stems: tuple[Expression, ...]
    #: after the stems comes what can match a slash, so the depth of what matches is open
    open_ended: bool

    def matches(self, path: str) -> bool:
        """Raises ContextError for a pattern with an empty range: it harms only where it is tried."""
        if self.regex is None:
            raise ContextError(f"the ignore pattern '{self.text}' has an empty range; write it low-high")
        return self.regex.fullmatch(path) is not None


@dataclass(frozen=True)
class PatternList:
    """Patterns in the order that decides."""

    patterns: tuple[_Pattern, ...]

    def __bool__(self) -> bool:
        return bool(self.patterns)

    @property
    def has_exceptions(self) -> bool:
        """True when something below a matched folder may be unmatched again."""
        return any(pattern.exception for pattern in self.patterns)

    @cached_property
    def _after_exception(self) -> frozenset[int]:
        """Places of the patterns that are none, but have one before them."""
        first = next(
            (index for index, each in enumerate(self.patterns) if each.exception), len(self.patterns)
        )
        return frozenset(
            index for index, each in enumerate(self.patterns) if index > first and not each.exception
        )

    def nothing(self) -> Matched:
        """What the root's parent matched: none of the patterns."""
        return (False,) * len(self.patterns)

    def match(self, path: str, parent: Matched) -> tuple[bool, Matched]:
        """Whether `path` is matched, and the `parent` to hand to the entries below it. Raises ContextError."""
        matched = False
        hits = list(parent)
        for index, pattern in enumerate(self.patterns):
            # An exception is only tried when it can change the result. What comes after one and matches a folder
            # may change nothing there, but does for what the exception takes out below.
            if not hits[index] and (
                pattern.exception == matched or (matched and index in self._after_exception)
            ):
                hits[index] = pattern.matches(path)
            if hits[index]:
                matched = not pattern.exception
        return matched, tuple(hits)

    def may_match_below(self, folder: str) -> bool:
        """False when no entry below the unmatched `folder` can match, so that the walk need not enter it."""
        depth = folder.count("/") + 1
        for pattern in self.patterns:
            if pattern.exception or (depth > len(pattern.stems) and not pattern.open_ended):
                continue
            if not pattern.stems or pattern.stems[min(depth, len(pattern.stems)) - 1].fullmatch(
                _head(folder, pattern)
            ):
                return True
        return False


def _head(folder: str, pattern: _Pattern) -> str:
    return "/".join(folder.split("/")[: len(pattern.stems)])


def compile_patterns(lines: Iterable[str]) -> PatternList:
    """The patterns in `lines`; blank ones are skipped. Raises ContextError for one that has no meaning."""
    return PatternList(tuple(_compile(line.strip()) for line in lines if line.strip()))


def _compile(line: str) -> _Pattern:
    exception = line.startswith("!")
    text = posixpath.normpath(line[1:].strip()) if exception else posixpath.normpath(line)
    if exception and not line[1:].strip():
        raise ContextError("the ignore pattern '!' names nothing")
    components = text.lstrip("/").split("/")
    finite = next(
        (i for i, part in enumerate(components) if "**" in part or "[" in part or part.endswith("\\")),
        len(components),
    )
    # The last component of a closed pattern is no stem: below it everything matches through the folder
    # itself.
    stems = components[: min(finite, len(components) - 1, _MAX_STEMS)]
    return _Pattern(
        text=line,
        regex=_regex("/".join(components)),
        exception=exception,
        stems=tuple(filter(None, (_regex("/".join(stems[: end + 1])) for end in range(len(stems))))),
        open_ended=len(stems) < len(components) - 1 or finite < len(components),
    )


def name_matcher(pattern: str) -> Callable[[str], bool]:
    """Tells names that `pattern`, one component, means; of a pattern without meaning there are none.

    Here `**` is no more than `*`, and blanks and `!` stand for themselves.
    """
    try:
        regex = _regex(pattern, deep=False)
    except ContextError:
        regex = None
    return lambda name: regex is not None and regex.fullmatch(name) is not None


def _regex(pattern: str, *, deep: bool = True) -> Expression | None:
    """The expression that matches exactly the paths `pattern` means; None when it has an empty range.

    `deep` gives `**` its meaning. Raises ContextError for what Go's `filepath.Match` calls a bad pattern.
    """
    if (
        deep
        and pattern.startswith("**")
        and not pattern.startswith("**/")
        and not _MORE_THAN_SUFFIX & set(pattern[2:])
    ):
        # `**name` is a plain suffix, also within a component ("**.pyc").
        return re.compile("(?s:.*)" + re.escape(pattern[2:]))
    parts = []
    empty_range = False
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if deep and pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
            parts.append("(?s:.*/)?" if at < len(pattern) else "(?s:.*)")
            continue
        if char == "[":
            expression, at = _class(pattern, at)
            parts.append(expression or "")
            empty_range = empty_range or expression is None
            continue
        if char == "\\":
            at += 1
            if at == len(pattern):
                raise ContextError(f"the ignore pattern '{pattern}' ends in a backslash; write two for one")
            parts.append(re.escape(pattern[at]))
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char))
        at += 1
    if empty_range:
        return None
    # Two stars in a row mean no more than one.
    parts = [
        part
        for part, before in zip(parts, [None, *parts], strict=False)
        if part != before or part not in _STARS
    ]
    few = sum(part.endswith(("*", "*)", "?")) for part in parts) <= _FEW_STARS
    return re.compile("".join(parts)) if few else _Linear("".join(parts))


class _Linear:
    """An expression that takes time by the length of the text alone, whoever wrote it."""

    def __init__(self, expression: str) -> None:
        import re2  # type: ignore[import-untyped]  # few patterns need it

        try:
            self._compiled = re2.compile(expression)
        except re2.error as error:
            raise ContextError("an ignore pattern is too long") from error

    def fullmatch(self, text: str, /) -> object:
        # Names that are no UTF-8 are no text for it.
        return self._compiled.fullmatch(text.encode("utf-8", "replace").decode())


def _class(pattern: str, start: int) -> tuple[str | None, int]:
    """The `[...]` at `start` as an expression, and its end: items c, \\c or lo-hi, after `^` none of them.

    No expression when a range is empty.
    """
    at = start + 1
    negated = pattern.startswith("^", at)
    at += negated
    items: list[str] = []
    empty_range = False
    while not (items and pattern.startswith("]", at)):
        low, at = _class_char(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_char(pattern, at + 1)
        empty_range = empty_range or high < low
        items.append(f"{re.escape(low)}-{re.escape(high)}")
    return None if empty_range else f"[{'^' if negated else ''}{''.join(items)}]", at + 1


def _class_char(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith(("-", "]"), at):
        raise ContextError(
            f"the ignore pattern '{pattern}' has a '{pattern[at]}' where a character belongs; write '\\{pattern[at]}'"
        )
    at += pattern.startswith("\\", at)
    if at + 1 >= len(pattern):
        raise ContextError(f"the ignore pattern '{pattern}' has a '[' without its ']'")
    return pattern[at], at + 1


def escape(path: str) -> str:
    """The pattern that matches `path` itself."""
    return "".join(f"\\{char}" if char in _META else char for char in path)


def without_nested(paths: Sequence[str]) -> list[str]:
    """The paths that are not below another of them, sorted, each once."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: path.split("/")):
        if not (kept and path.startswith(f"{kept[-1]}/")):
            kept.append(path)
    return kept
