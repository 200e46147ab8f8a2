"""What a running step is at: vertices of its build, layers on their way, and how fast they move."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from tasks_engine.events import StepProgress

#: a speed is that of the last few seconds
_SPEED_WINDOW_S = 3.0
_SAMPLE_INTERVAL_S = 0.2
_MAX_SAMPLES = 16


@dataclass
class Item:
    name: str
    #: "running", "done", "cached", "failed"
    state: str = "running"
    current: int = 0
    total: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    #: the engine told of it; else it is only named as the parent of others
    is_told: bool = False
    children: list[Item] = field(default_factory=list)
    #: bytes moved below it, ever
    _moved: int = 0
    #: moments, and what had moved before them
    _samples: deque[tuple[datetime, int]] = field(default_factory=lambda: deque(maxlen=_MAX_SAMPLES))

    @property
    def is_running(self) -> bool:
        if self.is_told:
            return self.state == "running"
        return any(child.is_running for child in self.children)

    @property
    def bytes_so_far(self) -> tuple[int, int]:
        """So far, and in all where every total is known, else 0."""
        parts = [child for child in self.children if child.current or child.total] or [self]
        total = sum(part.total for part in parts) if all(part.total for part in parts) else 0
        return sum(part.current for part in parts), total

    def speed(self, now: datetime) -> float:
        """Bytes a second; 0 while nothing is known."""
        while len(self._samples) > 1 and (now - self._samples[0][0]).total_seconds() > _SPEED_WINDOW_S:
            self._samples.popleft()
        if not self._samples:
            return 0.0
        began, moved = self._samples[0]
        seconds = (now - began).total_seconds()
        return (self._moved - moved) / seconds if seconds >= 0.5 else 0.0

    def moved(self, size_bytes: int, at: datetime) -> None:
        if not self._samples or (at - self._samples[-1][0]).total_seconds() >= _SAMPLE_INTERVAL_S:
            self._samples.append((at, self._moved))
        self._moved += size_bytes


class Items:
    """All items of one attempt at a step, in the order they appeared."""

    def __init__(self) -> None:
        self._item_by_id: dict[str, Item] = {}
        self._top: list[Item] = []

    def take(self, event: StepProgress) -> None:
        item = self._item_by_id.get(event.item)
        parent = self._parent(event) if event.parent else None
        if item is None:
            item = self._item_by_id[event.item] = Item(event.name)
            (self._top if parent is None else parent.children).append(item)
        # a new name is a new phase, which counts from 0 again: downloaded, then extracted
        before = item.current if item.name == event.name else 0
        (parent or item).moved(max(0, event.current - before), event.at)
        if event.state == "running":
            item.started_at = item.started_at or event.at
        else:
            item.finished_at = event.at
        item.name, item.state, item.is_told = event.name, event.state, True
        # the last word on a transfer may be without its numbers
        item.current = event.current or (0 if event.state == "running" else item.total or item.current)
        item.total = event.total or (0 if event.state == "running" else item.total)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._top)

    def count(self, state: str) -> int:
        return sum(item.state == state for item in self._top if item.is_told)

    def _parent(self, event: StepProgress) -> Item:
        parent = self._item_by_id.get(event.parent)
        if parent is None:
            parent = self._item_by_id[event.parent] = Item(event.parent)
            parent.started_at = event.at
            self._top.append(parent)
        return parent
