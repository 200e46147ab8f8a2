"""Shell patterns of `${name#pattern}` and its kin: `*` is any text, `?` any one character; there are no brackets.

The parts between stars are looked for one after another, and what was found is never given up again, so a match
costs at most (length of the value) x (length of the pattern) steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

#: a part between stars; None is any one character
_Part = tuple[str | None, ...]


class InvalidPattern(ValueError):
    """A text that is no pattern; the message says why."""


@dataclass(frozen=True)
class Pattern:
    """`*a?` has two parts, the empty one before the star and `a?`."""

    parts: tuple[_Part, ...]

    @cached_property
    def reversed(self) -> Pattern:
        return Pattern(tuple(part[::-1] for part in self.parts[::-1]))

    def end_of_match(self, value: str, start: int, *, longest: bool) -> int | None:
        """Where a match that begins exactly at `start` ends."""
        first, *rest = self.parts
        if not _stands_at(value, first, start):
            return None
        at = start + len(first)
        for part in rest[:-1]:
            found = _find(value, part, range(at, len(value) - len(part) + 1))
            if found < 0:
                return None
            at = found + len(part)
        if not rest:
            return at
        last = rest[-1]
        places = range(at, len(value) - len(last) + 1)
        found = _find(value, last, reversed(places) if longest else places)
        return None if found < 0 else found + len(last)


def parse_pattern(text: str) -> Pattern:
    r"""The pattern; `\` before `*`, `?`, `\`, `/` and `}` makes them ordinary. Raises InvalidPattern."""
    parts: list[list[str | None]] = [[]]
    characters = iter(text)
    for character in characters:
        if character == "*":
            parts.append([])
        elif character == "?":
            parts[-1].append(None)
        elif character == "\\":
            escaped = next(characters, "")
            if not escaped or escaped not in "*?\\/}":
                raise InvalidPattern(f"'\\{escaped}' has no meaning in a pattern")
            parts[-1].append(escaped)
        else:
            parts[-1].append(character)
    return Pattern(tuple(tuple(part) for part in parts))


def trim_prefix(value: str, pattern: Pattern, *, longest: bool) -> str:
    end = pattern.end_of_match(value, 0, longest=longest)
    return value if end is None else value[end:]


def trim_suffix(value: str, pattern: Pattern, *, longest: bool) -> str:
    return trim_prefix(value[::-1], pattern.reversed, longest=longest)[::-1]


def replace(value: str, pattern: Pattern, replacement: str, *, every: bool) -> str:
    """The first match, or every one, replaced; a match is as long as it can be."""
    first = pattern.parts[0]
    if len(pattern.parts) == 1 and None not in first:
        return value.replace("".join(filter(None, first)), replacement, -1 if every else 1)
    pieces: list[str] = []
    at = 0
    while True:
        start = _find(value, first, range(at, len(value) - len(first) + 1))
        # the first part begins as early as it can: where the rest does not follow, it follows nowhere
        end = pattern.end_of_match(value, start, longest=True) if start >= 0 else None
        if end is None:
            break
        pieces += (value[at:start], replacement)
        at = end
        if not every or at == len(value):
            break
    return "".join(pieces) + value[at:]


def _find(value: str, part: _Part, places: Iterable[int]) -> int:
    """The first of `places` where the part stands, or -1."""
    return next((place for place in places if _stands_at(value, part, place)), -1)


def _stands_at(value: str, part: _Part, place: int) -> bool:
    return len(value) - place >= len(part) and all(
        wanted is None or wanted == value[place + index] for index, wanted in enumerate(part)
    )
