"""Keeps values of secrets out of everything that leaves a run: output of steps, messages of events.

A value is known in the forms it takes on its way: as it is, line by line, in Base64, with URL or JSON escapes. Output
comes in pieces; the beginning of a value at the end of one is held back until it is clear what follows.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote, quote_plus

from tasks_engine.events import RunEvent, RunFinished, RunWarning, StepFinished, StepProgress, StepRetrying

MASK = b"***"
#: shorter values would mask half of what people write
MIN_LENGTH = 4


class Masker:
    """The values to be masked in one run. Thread-safe; values may come while output is on its way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: frozenset[bytes] = frozenset()
        self._pattern: re.Pattern[bytes] | None = None
        self._first_bytes: frozenset[int] = frozenset()
        self._longest = 0

    def add(self, value: bytes) -> None:
        forms = {form for form in _forms(value) if len(form) >= MIN_LENGTH}
        with self._lock:
            if forms <= self._forms:
                return
            self._forms |= forms
            longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile(b"|".join(map(re.escape, longest_first)))
            self._first_bytes = frozenset(form[0] for form in self._forms)
            self._longest = len(longest_first[0])

    @property
    def has_values(self) -> bool:
        return self._pattern is not None

    def mask(self, data: bytes) -> bytes:
        """The whole of some output, with its values masked."""
        return data if self._pattern is None else self._pattern.sub(MASK, data)

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Masked output that may leave, and the end that may be the beginning of a value."""
        if self._pattern is None:
            return data, b""
        keep = self._beginning_at_end(data)
        return self._pattern.sub(MASK, data[:keep]), data[keep:]

    def mask_text(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def mask_event(self, event: RunEvent) -> RunEvent:
        """The event with values masked in the texts that tools and engines wrote."""
        if self._pattern is None:
            return event
        match event:
            case RunWarning():
                return replace(event, message=self.mask_text(event.message), hint=self.mask_text(event.hint))
            case StepProgress():
                return replace(event, name=self.mask_text(event.name))
            case StepRetrying():
                return replace(event, reason=self.mask_text(event.reason))
            case StepFinished() | RunFinished() if event.error is not None:
                return replace(event, error=json.loads(self.mask_text(json.dumps(dict(event.error)))))
        return event

    def _beginning_at_end(self, data: bytes) -> int:
        """Where the longest end of `data` begins that could grow into a value; its length when none does.

        A value that is complete and could grow into a longer one is held back too.
        """
        with self._lock:
            forms, first_bytes, longest = self._forms, self._first_bytes, self._longest
        for at in range(max(0, len(data) - longest + 1), len(data)):
            if data[at] in first_bytes:
                end = data[at:]
                if any(form.startswith(end) and len(form) > len(end) for form in forms):
                    return self._not_inside_a_value(data, at)
        return len(data)

    def _not_inside_a_value(self, data: bytes, at: int) -> int:
        """`at`, or the start of a complete value that reaches over it."""
        assert self._pattern is not None
        for match in self._pattern.finditer(data, max(0, at - self._longest)):
            if match.start() < at < match.end():
                return match.start()
        return at


class MaskedStream:
    """One stream of one step."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What may leave now."""
        if not self._held and not self._masker.has_values:
            return data
        out, self._held = self._masker.split(self._held + data)
        return out

    def flush(self) -> bytes:
        """The rest, once nothing more comes."""
        held, self._held = self._held, b""
        return self._masker.mask(held)


def _forms(value: bytes) -> Iterator[bytes]:
    for part in {value, value.strip(), *value.splitlines(), *(line.strip() for line in value.splitlines())}:
        if len(part) < MIN_LENGTH:
            continue
        yield part
        text = part.decode("utf-8", "surrogateescape")
        yield base64.b64encode(part).rstrip(b"=")
        yield base64.urlsafe_b64encode(part).rstrip(b"=")
        yield quote(part, safe="").encode()
        yield quote_plus(part).encode()
        for ascii_only in (True, False):
            escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
            yield escaped.encode("utf-8", "surrogateescape")
