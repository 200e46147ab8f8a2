"""Keeps values of secrets out of everything that leaves a run: output of steps, texts of events, the stored plan.

Output comes in pieces; the beginning of a value at the end of one is held back until it is clear what follows.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from tasks_engine.engine.secret_forms import MIN_LENGTH, forms_of
from tasks_engine.events import RunEvent, StepOutputs
from tasks_engine.plan.model import Plan

if TYPE_CHECKING:
    from typing import Protocol  # of google-re2, which ships no types

    class _Match(Protocol):
        def start(self) -> int: ...

    class _Heads(Protocol):
        def search(self, text: bytes, pos: int = ...) -> _Match | None: ...


MASK = b"***"
#: bytes of a form that one automaton looks for; the rest is compared where they are found
_HEAD = 8
#: what the automaton may take, for secrets of thousands of lines
_AUTOMATON_BYTES = 256 * 1024 * 1024
#: names of texts that the author wrote or this program chose, and that others are found by
_NAMES = frozenset(
    {
        "builtin",
        "built_by",
        "code",
        "depends_on",
        "id",
        "kind",
        "rule",
        "run_id",
        "run_if",
        "state",
        "step_id",
        "stream",
        "target",
        "task_version",
    }
)


class Masker:
    """The values to be masked in one run. Thread-safe; values may come while output is on its way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[bytes] = set()
        self._forms: set[bytes] = set()
        #: of the forms so far; None: to be made when next needed
        self._table: _Table | None = None

    def add(self, value: bytes) -> None:
        with self._lock:
            if value in self._values:
                return
            self._values.add(value)
            forms = forms_of(value)
            if not forms <= self._forms:
                self._forms |= forms
                self._table = None

    @property
    def has_values(self) -> bool:
        return bool(self._forms)

    def mask(self, data: bytes) -> bytes:
        """The whole of some output, with its values masked."""
        return self._current().mask(data) if self._forms else data

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Masked output that may leave, and the end that may be the beginning of a value."""
        return self._current().split(data) if self._forms else (data, b"")

    def mask_text(self, text: str) -> str:
        if not self._forms or len(text) < MIN_LENGTH:
            return text
        # surrogates that stand for bytes become those bytes, others stay apart: text of JSON may hold any
        data = text.encode("utf-8", "surrogateescape" if _is_from_bytes(text) else "surrogatepass")
        masked = self.mask(data)
        if masked == data:
            return text
        return masked.decode("utf-8", "surrogateescape")

    def mask_json(self, data: Any) -> Any:
        """The same, of JSON types, with values masked in all texts but names that others refer to."""
        match data:
            case Enum():
                return data
            case str():
                return self.mask_text(data)
            case Mapping():
                return {name: each if name in _NAMES else self.mask_json(each) for name, each in data.items()}
            case tuple():
                return tuple(map(self.mask_json, data))
            case list():
                return list(map(self.mask_json, data))
        return data

    def mask_event(self, event: RunEvent) -> RunEvent:
        """The event with values masked in whatever text it holds."""
        if not self._forms:
            return event
        changed: dict[str, Any] = {}
        for each in fields(event):
            value = getattr(event, each.name)
            if isinstance(event, StepOutputs) and each.name == "outputs":
                # their names are the author's, and may be any of ours
                masked = {name: self.mask_text(text) for name, text in event.outputs.items()}
                changed |= {"outputs": masked} if masked != value else {}
            elif each.name not in _NAMES and (masked := self.mask_json(value)) != value:
                changed[each.name] = masked
        return replace(event, **changed) if changed else event

    def mask_plan(self, plan: Plan) -> Plan:
        """The plan as it may be stored: its secrets are tokens, but the author may have written a value as well."""
        return Plan.from_json(self.mask_json(plan.to_json())) if self._forms else plan

    def _current(self) -> _Table:
        table = self._table
        if table is None:
            with self._lock:
                table = self._table
                if table is None:
                    table = self._table = _Table(self._forms)
        return table


class MaskedStream:
    """One stream of one step."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What may leave now."""
        if not self._held and not self._masker.has_values:
            return data
        out, self._held = self._masker.split(self._held + data if self._held else data)
        return out

    def flush(self) -> bytes:
        """The rest, once nothing more comes."""
        held, self._held = self._held, b""
        return self._masker.mask(held)


class _Table:
    """A fixed set of forms, made to be found fast. Never changes.

    Of what overlaps, the form that begins first is masked, and of those the longest.
    """

    def __init__(self, forms: Iterable[bytes]) -> None:
        self._sorted = sorted(forms)
        self._forms = frozenset(self._sorted)
        self._longest = max(map(len, self._sorted))
        lengths: dict[bytes, set[int]] = {}
        for form in self._sorted:
            lengths.setdefault(form[:MIN_LENGTH], set()).add(len(form))
        #: first bytes -> lengths of the forms that begin so, the longest first
        self._lengths = {start: sorted(each, reverse=True) for start, each in lengths.items()}
        self._shortest_starts = frozenset(start[:size] for start in lengths for size in range(1, MIN_LENGTH))
        self._heads = _automaton(self._sorted)

    def mask(self, data: bytes) -> bytes:
        return self._up_to(data, lambda _: len(data))[0]

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Masked data up to where an end begins that could grow into a form, and that end as it is.

        A form that is complete and could grow into a longer one is part of that end.
        """
        return self._up_to(data, lambda place: self._beginning(data, place))

    def _up_to(self, data: bytes, limit_from: Callable[[int], int]) -> tuple[bytes, bytes]:
        out: list[bytes] = []
        place = 0
        limit = limit_from(place)
        while True:
            found, length = self._next(data, place)
            if found >= limit:
                out.append(data[place:limit])
                return b"".join(out), data[limit:]
            out += (data[place:found], MASK)
            place = found + length
            if limit < place:
                limit = limit_from(place)

    def _beginning(self, data: bytes, place: int) -> int:
        """Where the longest end from `place` on begins that could grow into a form; the length when none does."""
        end = len(data)
        short = max(0, end - _HEAD + 1)
        at = max(place, end - self._longest + 1)
        while at < short and (match := self._heads.search(data, at)) and match.start() < short:
            at = match.start()
            if self._may_grow(data[at:]):
                return at
            at += 1
        return next((at for at in range(max(place, short), end) if self._may_begin(data[at:])), end)

    def _may_begin(self, rest: bytes) -> bool:
        if len(rest) < MIN_LENGTH:
            return rest in self._shortest_starts
        return rest[:MIN_LENGTH] in self._lengths and self._may_grow(rest)

    def _may_grow(self, rest: bytes) -> bool:
        at = bisect_left(self._sorted, rest)
        if at < len(self._sorted) and self._sorted[at] == rest:
            at += 1
        return at < len(self._sorted) and self._sorted[at].startswith(rest)

    def _next(self, data: bytes, place: int) -> tuple[int, int]:
        """Start and length of the next form from `place` on; (length of data, 0) when there is none."""
        while match := self._heads.search(data, place):
            place = match.start()
            for length in self._lengths[data[place : place + MIN_LENGTH]]:
                if data[place : place + length] in self._forms:
                    return place, length
            place += 1
        return len(data), 0


def _automaton(forms: list[bytes]) -> _Heads:
    """Finds in linear time where one of the sorted forms may begin."""
    import re2  # type: ignore[import-untyped]  # only runs that have secrets need it

    heads: list[bytes] = []
    for form in forms:
        if not heads or not form.startswith(heads[-1]):
            heads.append(form[:_HEAD])
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _AUTOMATON_BYTES
    options.never_capture = True
    found: _Heads = re2.compile(b"|".join(map(re2.escape, heads)), options)
    return found


def _is_from_bytes(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" and not "\udc80" <= each <= "\udcff" for each in text)
