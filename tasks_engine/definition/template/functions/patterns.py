"""Regular expressions by RE2, which Go's are: no pattern can make it search for long.

To find all matches the rest of the text is searched again after each one, which adds up; so the work is counted,
over all calls of one table of functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tasks_engine.definition.template.functions.bounds import check_list_length
from tasks_engine.definition.template.functions.octets import OctetWriter, from_bytes, to_bytes
from tasks_engine.definition.template.functions.signatures import TEXT, WHOLE, Takes, callables
from tasks_engine.definition.template.values import Function, FunctionError

#: bytes that a compiled pattern may take
_MAX_MEMORY = 1 << 20
#: characters; with huge patterns RE2 complains on the standard error stream
_MAX_PATTERN = 10_000
#: instructions of the patterns times bytes to search; at the very worst RE2 needs 10 ns for each
_MAX_WORK = 1 << 32
#: `$1`, `$name`, `${name}`, `$$` in a replacement
_REFERENCE = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")

#: start and end of a match and of its groups, in bytes; (-1, -1) for a group that took no part
_Spans = tuple[tuple[int, int], ...]


def pattern_functions() -> dict[str, Function]:
    """The functions with regular expressions; what they search is counted from here."""
    searcher = Searcher()
    return callables(
        {
            "regexMatch": Takes(searcher.matches, TEXT, TEXT),
            "regexFind": Takes(searcher.find, TEXT, TEXT),
            "regexFindAll": Takes(searcher.find_all, TEXT, TEXT, WHOLE),
            "regexSplit": Takes(searcher.split, TEXT, TEXT, WHOLE),
            "regexReplaceAll": Takes(searcher.replace_all, TEXT, TEXT, TEXT),
            "regexReplaceAllLiteral": Takes(searcher.replace_all_literally, TEXT, TEXT, TEXT),
        }
    )


class Searcher:
    def __init__(self) -> None:
        self._work_left = _MAX_WORK

    def matches(self, pattern: str, text: str) -> bool:
        """Whether the pattern matches somewhere in the text."""
        return next(self._find_all(_compile(pattern), to_bytes(text)), None) is not None

    def find(self, pattern: str, text: str) -> str:
        """The first match; empty when there is none."""
        octets = to_bytes(text)
        spans = next(self._find_all(_compile(pattern), octets), None)
        return "" if spans is None else from_bytes(octets[slice(*spans[0])])

    def find_all(self, pattern: str, text: str, most: int) -> list[str]:
        """The matches, at most so many; a negative number means all."""
        regexp, octets = _compile(pattern), to_bytes(text)
        found: list[str] = []
        for start, end in self._matches(regexp, octets) if most else ():
            found.append(from_bytes(octets[start:end]))
            check_list_length(len(found))
            if len(found) == most:
                break
        return found

    def split(self, pattern: str, text: str, most: int) -> list[str]:
        """The parts between the matches, at most so many; a negative number means all."""
        regexp, octets = _compile(pattern), to_bytes(text)
        if not most:
            return []
        if pattern and not text:
            return [""]
        parts: list[str] = []
        part_start = last_start = 0
        for start, end in self._matches(regexp, octets):
            if len(parts) == most - 1:
                break
            # an empty match at the very start separates nothing
            if end:
                parts.append(from_bytes(octets[part_start:start]))
                check_list_length(len(parts))
            part_start, last_start = end, start
        if last_start != len(octets):
            parts.append(from_bytes(octets[part_start:]))
        return parts

    def replace_all(self, pattern: str, text: str, replacement: str) -> str:
        """The text with its matches replaced; in the replacement `$1` and `${name}` stand for groups."""
        regexp, octets = _compile(pattern), to_bytes(text)
        pieces = list(_replacement_pieces(replacement, regexp))

        def expand(spans: _Spans) -> Iterator[bytes]:
            for piece in pieces:
                if isinstance(piece, bytes):
                    yield piece
                elif spans[piece][0] >= 0:
                    yield octets[slice(*spans[piece])]

        return self._replaced(regexp, octets, expand)

    def replace_all_literally(self, pattern: str, text: str, replacement: str) -> str:
        """The text with its matches replaced by exactly this."""
        pieces = (to_bytes(replacement),)
        return self._replaced(_compile(pattern), to_bytes(text), lambda _: pieces)

    def _replaced(self, regexp: Any, octets: bytes, expand: Callable[[_Spans], Iterable[bytes]]) -> str:
        writer = OctetWriter()
        at = 0
        for spans in self._find_all(regexp, octets):
            start, end = spans[0]
            writer.write(octets[at:start])
            for piece in expand(spans):
                writer.write(piece)
            at = end
        writer.write(octets[at:])
        return writer.text

    def _matches(self, regexp: Any, octets: bytes) -> Iterator[tuple[int, int]]:
        return (spans[0] for spans in self._find_all(regexp, octets))

    def _find_all(self, regexp: Any, octets: bytes) -> Iterator[_Spans]:
        """The matches one after the other; an empty one right behind another does not count."""
        at, last_end, size = 0, -1, regexp.programsize
        while at <= len(octets):
            self._work_left -= size * (len(octets) - at + 1)
            if self._work_left < 0:
                raise FunctionError("the search would take too long; use a simpler pattern or a shorter text")
            match = regexp.search(octets, at)
            if match is None:
                return
            spans = tuple(match.span(group) for group in range(regexp.groups + 1))
            start, end = spans[0]
            if start == end and _is_inside_character(octets, start):
                # for \B a byte of a character is as good as any
                at = start + 1
                continue
            counts = end != at or start != last_end
            at = end if end != at else at + _character_width(octets, at)
            last_end = end
            if counts:
                yield spans


def _compile(pattern: str) -> Any:
    import re2  # type: ignore[import-untyped]

    if len(pattern) > _MAX_PATTERN:
        raise FunctionError(f"the pattern is longer than {_MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(to_bytes(pattern), options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        shown = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise FunctionError(f"the pattern is not valid: {shown}") from error


def _replacement_pieces(replacement: str, regexp: Any) -> Iterator[bytes | int]:
    """A replacement as plain bytes and numbers of groups; unknown groups are nothing."""
    at = 0
    for reference in _REFERENCE.finditer(replacement):
        yield to_bytes(replacement[at : reference.start()])
        at = reference.end()
        if reference[1]:
            yield b"$"
            continue
        number = _group_number(reference[2] or reference[3], regexp)
        if 0 <= number <= regexp.groups:
            yield number
    yield to_bytes(replacement[at:])


def _group_number(name: str, regexp: Any) -> int:
    """The number of a group; -1 for an unknown one. A number does not begin with a zero."""
    if name.isascii() and name.isdigit() and len(name) < 9 and (name == "0" or name[0] != "0"):
        return int(name)
    return int(regexp.groupindex.get(to_bytes(name), -1))


def _is_inside_character(octets: bytes, at: int) -> bool:
    return at < len(octets) and octets[at] & 0xC0 == 0x80


def _character_width(octets: bytes, at: int) -> int:
    """How many bytes the character at an offset takes; one for what is no UTF-8."""
    for width in range(1, 5):
        try:
            octets[at : at + width].decode()
        except UnicodeDecodeError:
            continue
        return width
    return 1
