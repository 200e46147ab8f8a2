"""One picture of a run for a terminal of a given size. Pure: lines of styled text, none too long or too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tasks_engine.cli.render.items import Item, Items
from tasks_engine.cli.render.summary import MAX_ID_WIDTH
from tasks_engine.cli.render.text import cut, duration, pad, safe_name, size, width_of
from tasks_engine.cli.render.watched import Watched
from tasks_engine.cli.render.words import reason_of, status_color, status_word, step_reason
from tasks_engine.definition.model import StepKind
from tasks_engine.events import Status, StepRetrying
from tasks_engine.plan.model import PlannedStep
from tasks_engine.plan.state import StepState

#: text and its style; a style is words such as "bold red"
Span = tuple[str, str]
Line = list[Span]

_DETAIL_ITEMS = 6


@dataclass(frozen=True)
class Icons:
    status: Mapping[Status, str]
    ignored: str
    retrying: str
    spinner: str
    guide: str
    branch: str
    ellipsis: str


UNICODE_ICONS = Icons(
    status={
        Status.QUEUED: "·",
        Status.SUCCEEDED: "✓",
        Status.FAILED: "✗",
        Status.ERROR: "✗",
        Status.CANCELED: "■",
        Status.TIMED_OUT: "✗",
        Status.SKIPPED: "-",
    },
    ignored="!",
    retrying="↻",
    spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
    guide="│",
    branch="├─",
    ellipsis="…",
)
ASCII_ICONS = Icons(
    status={
        Status.QUEUED: ".",
        Status.SUCCEEDED: "+",
        Status.FAILED: "x",
        Status.ERROR: "x",
        Status.CANCELED: "x",
        Status.TIMED_OUT: "x",
        Status.SKIPPED: "-",
    },
    ignored="!",
    retrying="~",
    spinner="|/-\\",
    guide="|",
    branch="|-",
    ellipsis="...",
)
ALL_UNICODE = "".join((*UNICODE_ICONS.status.values(), UNICODE_ICONS.spinner, "↻│├─…"))


@dataclass
class Scene:
    """Everything a frame is drawn from."""

    watched: Watched
    icons: Icons
    #: step id -> items of its running attempt
    items: dict[str, Items] = field(default_factory=dict)
    #: step id -> the last failed attempt, of steps that have further ones
    retrying: dict[str, StepRetrying] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    """A line below a running step; the lowest rank is shown first when there is little room."""

    rank: int
    line: Line


def draw(scene: Scene, width: int, height: int, now: datetime) -> list[Line]:
    """At most `height` lines of at most `width` columns: all steps, counted where they do not fit."""
    painter = _Painter(scene, width, now)
    lines = [painter.header()]
    room = height - 1
    above, shown, below = _choose(scene, room)
    details = painter.details(shown, room - len(shown) - len(above) - len(below), height)
    lines += [painter.count_line(above)] if above else []
    for step in shown:
        lines.append(painter.step_line(step))
        lines += details.get(step.id, [])
    lines += [painter.count_line(below)] if below else []
    return [fit(line, width, scene.icons.ellipsis) for line in lines[: max(height, 1)]]


def draw_final(scene: Scene, width: int, now: datetime) -> list[Line]:
    """Every step on a line of its own, however many there are."""
    painter = _Painter(scene, width, now)
    lines = [painter.header(), *(painter.step_line(step) for step in scene.watched.plan.steps)]
    return [fit(line, width, scene.icons.ellipsis) for line in lines]


def fit(line: Line, width: int, ellipsis: str) -> Line:
    """The line cut to a width."""
    if sum(width_of(text) for text, _ in line) <= width:
        return line
    kept: Line = []
    room = width
    for at, (text, style) in enumerate(line):
        taken = width_of(text)
        rest = sum(width_of(later) for later, _ in line[at + 1 :])
        if taken + min(rest, width_of(ellipsis)) > room or (taken == room and rest):
            kept.append((cut(text + ellipsis * bool(rest), room, ellipsis), style))
            return kept
        kept.append((text, style))
        room -= taken
    return kept


def _choose(scene: Scene, room: int) -> tuple[list[StepState], list[PlannedStep], list[StepState]]:
    """States to count above, steps to show in file order, states to count below."""
    steps = scene.watched.plan.steps
    state = scene.watched.state
    if len(steps) <= room:
        return [], list(steps), []
    waiting = [step for step in steps if state.step(step.id).status is Status.QUEUED]
    soon = {step.id for step in waiting[:2]}

    def importance(step: PlannedStep) -> tuple[int, float]:
        own = state.step(step.id)
        if not own.status.is_final and own.status is not Status.QUEUED:
            return 0, 0.0
        if own.status.is_final and not own.lets_others_start and own.status is not Status.SKIPPED:
            return 1, 0.0
        if step.id in soon:
            return 2, 0.0
        if own.status.is_final:
            return 3, -(own.finished_at.timestamp() if own.finished_at else 0.0)
        return 4, 0.0

    chosen = {step.id for step in sorted(steps, key=importance)[: max(0, room - 2)]}
    hidden = [state.step(step.id) for step in steps if step.id not in chosen]
    above = [own for own in hidden if own.status.is_final]
    below = [own for own in hidden if not own.status.is_final]
    return above, [step for step in steps if step.id in chosen], below


class _Painter:
    def __init__(self, scene: Scene, width: int, now: datetime) -> None:
        self._scene = scene
        self._state = scene.watched.state
        self._icons = scene.icons
        self._width = width
        self._now = now
        widths = [width_of(safe_name(step.id, 64)) for step in scene.watched.plan.steps]
        self._id_width = min(max(widths, default=0), MAX_ID_WIDTH, max(6, width // 3))
        # room for "failed, ignored" only where that can happen and there is room
        ignores = any(step.ignore_errors for step in scene.watched.plan.steps)
        self._word_width = 15 if ignores and width >= 60 else 9
        self._spin = scene.icons.spinner[int(now.timestamp() * 10) % len(scene.icons.spinner)]

    def header(self) -> Line:
        plan, state = self._scene.watched.plan, self._state
        steps = [state.step(step.id) for step in plan.steps]
        over = sum(own.status.is_final for own in steps)
        line: Line = [
            (f"run {safe_name(plan.run_id, 20)}", "bold"),
            (f"  {safe_name(plan.task, max(8, self._width // 3))}", ""),
            (f"  {status_word(state.status)}", _style(state.status)),
        ]
        if state.started_at is not None:
            elapsed_s = ((state.finished_at or self._now) - state.started_at).total_seconds()
            line.append((f"  {duration(elapsed_s)}", ""))
        if not state.status.is_final:
            line.append((f"  {over} of {len(steps)} done", "dim"))
        return line

    def step_line(self, step: PlannedStep) -> Line:
        own = self._state.step(step.id)
        name = pad(cut(safe_name(step.id, 64), self._id_width, self._icons.ellipsis), self._id_width)
        again = self._scene.retrying.get(step.id)
        icon, word, style = self._status(own, again)
        line: Line = [(f" {icon} ", style), (name, "bold" if own.status is Status.RUNNING else "")]
        line.append((f"  {word:<{self._word_width}}", style))
        line.append((f"  {self._elapsed(own):>6}", ""))
        notes = self._notes(step, own, again)
        return [*line, (f"  {notes}", "dim")] if notes else line

    def count_line(self, states: Sequence[StepState]) -> Line:
        """Steps that are not shown, by status."""
        counts = Counter((own.status, own.ignored) for own in states)
        words = [
            f"{count} {status_word(status, ignored=ignored)}"
            for (status, ignored), count in sorted(
                counts.items(), key=lambda each: list(Status).index(each[0][0])
            )
        ]
        return [(f" {self._icons.ellipsis} {', '.join(words)}", "dim")]

    def details(self, steps: Sequence[PlannedStep], room: int, height: int) -> dict[str, list[Line]]:
        """Lines below running steps, dealt out evenly while there is room."""
        rows = {
            step.id: self._rows(step, height)
            for step in steps
            if self._state.step(step.id).status is Status.RUNNING
        }
        wanted = [
            (turn, order, step_id, row)
            for order, (step_id, own) in enumerate(rows.items())
            for turn, row in enumerate(sorted(own, key=lambda each: each.rank))
        ]
        wanted.sort(key=lambda each: each[:2])
        granted = {id(row) for *_, row in wanted[: max(0, room)]}
        return {step_id: [row.line for row in own if id(row) in granted] for step_id, own in rows.items()}

    def _status(self, own: StepState, again: StepRetrying | None) -> tuple[str, str, str]:
        """Icon, word and style."""
        if own.status is Status.RUNNING:
            if again is not None and self._wait_s(again) > 0:
                return self._icons.retrying, "retrying", "yellow"
            return self._spin, "running", "cyan"
        icon = self._icons.ignored if own.ignored else self._icons.status[own.status]
        word = status_word(own.status, ignored=own.ignored)
        return icon, word, _style(own.status, ignored=own.ignored)

    def _elapsed(self, own: StepState) -> str:
        if own.started_at is None:
            return ""
        return duration(((own.finished_at or self._now) - own.started_at).total_seconds())

    def _wait_s(self, again: StepRetrying) -> float:
        return again.delay_s - (self._now - again.at).total_seconds()

    def _notes(self, step: PlannedStep, own: StepState, again: StepRetrying | None) -> str:
        if own.status is Status.QUEUED:
            if self._state.status.is_final:
                return ""
            awaited = [
                safe_name(parent, 64)
                for parent in step.depends_on
                if not self._state.step(parent).lets_others_start
            ]
            return f"for {', '.join(awaited)}" if awaited else ""
        notes = []
        if own.status is Status.RUNNING and again is not None:
            wait_s = self._wait_s(again)
            if wait_s > 0:
                reason = reason_of({"message": again.reason})
                notes.append(
                    f"attempt {again.attempt + 1} of {again.attempts} in {max(1, round(wait_s))} s: {reason}"
                )
            else:
                notes.append(f"attempt {again.attempt + 1} of {again.attempts}")
        if own.status.is_final and own.attempts > 1:
            notes.append(f"{own.attempts} attempts")
        if own.status.is_final and own.status is not Status.SUCCEEDED and step_reason(own):
            notes.append(step_reason(own))
        items = self._scene.items.get(step.id)
        if items is not None and step.kind is StepKind.BUILD:
            done, cached = items.count("done"), items.count("cached")
            notes += [f"{done} done"] if done and not own.status.is_final else []
            notes += [f"{cached} CACHED"] if cached else []
        return ", ".join(notes)

    def _rows(self, step: PlannedStep, height: int) -> list[_Row]:
        """Best first: what runs, the last line of the log, layers, more of the log, what is done."""
        items = list(self._scene.items.get(step.id) or ())
        running = [item for item in items if item.is_running][-_DETAIL_ITEMS:]
        done = [item for item in items if not item.is_running][-max(2, height // 8) :]
        rows = []
        for item in items:
            if item in running:
                rows.append(_Row(0, self._item_line(item)))
                moving = [child for child in item.children if child.is_running and child.current]
                if len(moving) > 1 or not item.is_told:
                    rows += [_Row(2, self._item_line(child, depth=2)) for child in moving[-_DETAIL_ITEMS:]]
            elif item in done:
                rows.append(_Row(4, self._item_line(item)))
        tail = self._tail(step, height)
        rows += [_Row(3, line) for line in tail[:-1]]
        return rows + [_Row(1, line) for line in tail[-1:]]

    def _tail(self, step: PlannedStep, height: int) -> list[Line]:
        tail = self._scene.watched.tail_by_step.get(step.id)
        if tail is None:
            return []
        # the engine's lines of a build say what its items show better
        lines = tail.lines(without="engine" if step.kind is StepKind.BUILD else "")
        count = min(6, max(3, (height - 12) // 6))
        guide = f"   {self._icons.guide} "
        return [[(guide, "dim"), (line.expandtabs(4), "dim")] for line in lines[-count:]]

    def _item_line(self, item: Item, depth: int = 1) -> Line:
        icon, style = self._item_icon(item)
        guide = (
            f"   {self._icons.branch} " if depth == 1 else f"   {self._icons.guide}    {self._icons.branch} "
        )
        info = self._item_info(item)
        room = self._width - width_of(guide) - 2 - width_of(info) - (2 if info else 0)
        name = cut(safe_name(item.name), max(room, 8), self._icons.ellipsis)
        line: Line = [(guide, "dim"), (f"{icon} ", style), (name, "" if item.is_running else "dim")]
        return [*line, (f"  {info}", "bold" if item.state == "cached" else style)] if info else line

    def _item_icon(self, item: Item) -> tuple[str, str]:
        if item.is_running:
            return self._spin, "cyan"
        if item.state == "failed":
            return self._icons.status[Status.FAILED], "red"
        return self._icons.status[Status.SUCCEEDED], "green"

    def _item_info(self, item: Item) -> str:
        if item.state == "cached":
            return "CACHED"
        if item.state == "failed":
            return "failed"
        parts = []
        if not item.is_told:
            over = sum(not child.is_running for child in item.children)
            parts.append(f"{over} of {len(item.children)} layers")
        if item.is_running:
            so_far, total = item.bytes_so_far
            if so_far and total >= so_far:
                parts.append(f"{size(so_far)} of {size(total)}, {100 * so_far // total}%")
            elif so_far:
                parts.append(size(so_far))
            speed = item.speed(self._now)
            parts += [f"{size(speed)}/s"] if speed >= 1 else []
        if parts or item.started_at is None:
            return ", ".join(parts)
        end = self._now if item.is_running else item.finished_at or self._now
        return duration((end - item.started_at).total_seconds())


def _style(status: Status, *, ignored: bool = False) -> str:
    return status_color(status, ignored=ignored)
