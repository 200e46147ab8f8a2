"""Text that remembers where each character came from.

A task file is rewritten several times before it is YAML (comments dropped, aliases and templates
expanded); a problem found at the end is still shown at its place in the author's file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tasks_engine.errors import SourceLocation


@dataclass(frozen=True)
class Edit:
    """Replace characters `start` to `end` (end excluded) of a text."""

    start: int
    end: int
    replacement: str


class Piece(NamedTuple):
    """A part of a text that is put together anew: characters `start` to `end`, or what stands for them."""

    start: int
    end: int
    #: None: the characters themselves
    replacement: str | None = None
    #: the replacement came out of a template action
    is_value: bool = False


class _Segment(NamedTuple):
    """A stretch of the text. Verbatim ones map character by character, others to one span as a whole."""

    start: int
    origin: int
    #: characters of the original that a replacement stands for; 0 for a verbatim stretch
    replaces: int = 0
    is_value: bool = False


class SourceText:
    """A text, and for each of its characters the place in the author's original."""

    def __init__(self, name: str, original: str) -> None:
        self.name = name
        self.original = original
        self.text = original
        self._segments = [_Segment(0, 0)]

    def rewrite(self, edits: Sequence[Edit]) -> SourceText:
        """The text after `edits`, which are in order and do not overlap."""
        if not edits:
            return self
        pieces: list[Piece] = []
        at = 0
        for edit in edits:
            pieces.append(Piece(at, edit.start))
            pieces.append(Piece(edit.start, edit.end, edit.replacement))
            at = edit.end
        pieces.append(Piece(at, len(self.text)))
        return self.assemble(pieces)

    def assemble(self, pieces: Iterable[Piece]) -> SourceText:
        """A text made of pieces of this one, in any order and as often as one likes."""
        result = SourceText(self.name, self.original)
        parts: list[str] = []
        segments: list[_Segment] = []
        length = 0
        for start, end, replacement, is_value in pieces:
            if replacement is None:
                if end <= start:
                    continue
                self._keep(start, end, length, segments)
                part = self.text[start:end]
            elif replacement:
                origin, width = self._span(start, end)
                segments.append(_Segment(length, origin, max(1, width), is_value))
                part = replacement
            else:
                continue
            parts.append(part)
            length += len(part)
        result.text = "".join(parts)
        result._segments = segments or [_Segment(0, 0)]
        return result

    def values(self) -> Iterator[tuple[int, int]]:
        """Start and end of every stretch that came out of a template action."""
        for index, segment in enumerate(self._segments):
            if segment.is_value:
                following = self._segments[index + 1 : index + 2]
                yield segment.start, following[0].start if following else len(self.text)

    def locate(self, start: int, end: int | None = None) -> SourceLocation:
        """The place of characters `start` to `end` in the original; one character without `end`."""
        origin, width = self._span(start, start + 1 if end is None else end)
        line = bisect_right(self._line_starts, origin) - 1
        line_start = self._line_starts[line]
        following = self._line_starts[line + 1 : line + 2] or [len(self.original)]
        line_text = self.original[line_start : following[0]].rstrip("\r\n")
        return SourceLocation(
            source_name=self.name,
            line=line + 1,
            column=origin - line_start + 1,
            text=line_text,
            width=max(1, min(width, len(line_text) - (origin - line_start))),
        )

    def line(self, start: int) -> int:
        """The line in the original where a character stands."""
        return bisect_right(self._line_starts, self._origin(start)[0])

    def _keep(self, start: int, end: int, length: int, segments: list[_Segment]) -> None:
        """Adds the segments of characters `start` to `end`, which come to stand at `length`."""
        index = bisect_right(self._segment_starts, start) - 1
        while index < len(self._segments) and self._segments[index].start < end:
            segment = self._segments[index]
            skipped = max(0, start - segment.start)
            origin = segment.origin if segment.replaces else segment.origin + skipped
            at = length + max(0, segment.start - start)
            segments.append(_Segment(at, origin, segment.replaces, segment.is_value))
            index += 1

    def _span(self, start: int, end: int) -> tuple[int, int]:
        """Offset and width in the original."""
        first_offset, first_width = self._origin(start)
        if end <= start + 1:
            return first_offset, first_width
        last_offset, last_width = self._origin(end - 1)
        return first_offset, max(first_width, last_offset + last_width - first_offset)

    def _origin(self, position: int) -> tuple[int, int]:
        segment = self._segments[max(0, bisect_right(self._segment_starts, position) - 1)]
        if segment.replaces:
            return segment.origin, segment.replaces
        return min(segment.origin + position - segment.start, len(self.original)), 1

    @cached_property
    def _segment_starts(self) -> list[int]:
        return [segment.start for segment in self._segments]

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        at = self.original.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = self.original.find("\n", at + 1)
        return starts
