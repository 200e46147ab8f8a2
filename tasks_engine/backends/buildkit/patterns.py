"""Which paths the daemon's include and exclude patterns mean.

The language is that of .dockerignore: Go's `filepath.Match` per component plus `**`, `!` for exceptions, the
last match wins, and a pattern that matches a folder matches all that is below it. Pure; paths are relative,
slash separated and clean.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks_engine.backends.buildkit.errors import ContextError

#: per pattern: did it match this folder or one above it
Matched = tuple[bool, ...]

_META = frozenset("*?[\\")


@dataclass(frozen=True)
class _Pattern:
    regex: re.Pattern[str]
    exception: bool
    #: of every leading component that has no `**`: the regex of the path up to it; what is below can match
    #: only under these
    stems: tuple[re.Pattern[str], ...]
    #: there is a `**` after the stems, so the depth of what matches is open
    open_ended: bool


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

    def nothing(self) -> Matched:
        """What the root's parent matched: none of the patterns."""
        return (False,) * len(self.patterns)

    def match(self, path: str, parent: Matched) -> tuple[bool, Matched]:
        """Whether `path` is matched, and the `parent` to hand to the entries below it."""
        matched = False
        hits = list(parent)
        for index, pattern in enumerate(self.patterns):
            # A pattern is only tried when it can change the result.
            if not hits[index] and pattern.exception == matched:
                hits[index] = pattern.regex.fullmatch(path) is not None
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
    finite = next((i for i, part in enumerate(components) if "**" in part), len(components))
    # The last component of a closed pattern is no stem: below it everything matches through the folder
    # itself.
    stems = components[: min(finite, len(components) - 1)]
    return _Pattern(
        regex=_regex("/".join(components)),
        exception=exception,
        stems=tuple(_regex("/".join(stems[: end + 1])) for end in range(len(stems))),
        open_ended=finite < len(components),
    )


def _regex(pattern: str) -> re.Pattern[str]:
    """The expression that matches exactly the paths `pattern` means."""
    if pattern.startswith("**") and not pattern.startswith("**/") and not _META & set(pattern[2:]):
        # `**name` is a plain suffix, also within a component ("**.pyc").
        return re.compile("(?s:.*)" + re.escape(pattern[2:]))
    parts = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
            parts.append("(?s:.*/)?" if at < len(pattern) else "(?s:.*)")
            continue
        if char == "[":
            expression, at = _class(pattern, at)
            parts.append(expression)
            continue
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            parts.append(re.escape(pattern[at]))
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char))
        at += 1
    return re.compile("".join(parts))


def _class(pattern: str, start: int) -> tuple[str, int]:
    """The `[...]` at `start` as an expression, and its end: items c, \\c or lo-hi, after `^` none of them."""
    at = start + 1
    negated = pattern.startswith("^", at)
    at += negated
    items: list[str] = []
    while at < len(pattern) and (pattern[at] != "]" or not items):
        low, at = _class_char(pattern, at)
        high = low
        if pattern.startswith("-", at) and not pattern.startswith("-]", at):
            high, at = _class_char(pattern, at + 1)
        if high < low:
            raise ContextError(f"the ignore pattern '{pattern}' has an empty range")
        items.append(f"{re.escape(low)}-{re.escape(high)}")
    if at >= len(pattern):
        raise ContextError(f"the ignore pattern '{pattern}' has a '[' without its ']'")
    return f"(?!/)[{'^' if negated else ''}{''.join(items)}]", at + 1


def _class_char(pattern: str, at: int) -> tuple[str, int]:
    at += pattern.startswith("\\", at)
    if at >= len(pattern):
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
