"""What happened in a run, as an ordered stream of frozen events.

Everything anyone sees (terminal, JSON, status, log index) is drawn from these. `to_json` and `from_json` are
inverse; `schemas/run-event.schema.json` is generated from the classes below. A change of meaning raises the
version of that event type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar


class Status(StrEnum):
    """Of runs and steps; `skipped` only of steps. `failed` is the author's doing, `error` is ours."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERROR = "error"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        return self not in (Status.QUEUED, Status.RUNNING)


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """Base of all events.

    `seq` counts from 1 within a run; what is stored leaves out step_progress, so numbers are missing there.
    """

    type: ClassVar[str]
    version: ClassVar[int] = 1

    run_id: str = ""
    seq: int = 0
    #: aware, UTC
    at: datetime = field(default=datetime.fromtimestamp(0, UTC))


@dataclass(frozen=True, kw_only=True)
class RunStarted(RunEvent):
    type = "run_started"
    task: str
    context: str
    #: version of tasks-engine
    engine: str


@dataclass(frozen=True, kw_only=True)
class RunPlanned(RunEvent):
    type = "run_planned"
    #: the plan as JSON, see plan/model.py
    plan: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunWarning(RunEvent):
    """Something that did not stop the run, but that its reader should know."""

    type = "run_warning"
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class StepStarted(RunEvent):
    type = "step_started"
    step_id: str


@dataclass(frozen=True, kw_only=True)
class StepLog(RunEvent):
    """Output of a step: bytes `offset` to `offset + length` of the run's log file.

    `text` is the same for readers of a live stream, with bytes that are not UTF-8 replaced; it is left out
    of what is stored.
    """

    type = "step_log"
    step_id: str
    #: "stdout", "stderr" or "engine" (lines about what the engine does for the step)
    stream: str
    offset: int
    length: int
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class StepProgress(RunEvent):
    """One item below a step: a BuildKit vertex, a layer that is pulled or pushed, a transfer."""

    type = "step_progress"
    step_id: str
    #: names the item within its step
    item: str
    #: item this one belongs to; empty for an item directly below the step
    parent: str = ""
    name: str
    #: "running", "done", "cached", "failed"
    state: str
    #: bytes or pieces so far, and in all; 0 when not known
    current: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class StepRetrying(RunEvent):
    type = "step_retrying"
    step_id: str
    #: the attempt that failed, from 1
    attempt: int
    attempts: int
    delay_s: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class ImageBuilt(RunEvent):
    type = "image_built"
    step_id: str
    tags: tuple[str, ...]
    #: manifest digest where the engine knows one before the push, else empty
    digest: str
    #: the engine's id of the image; empty when it keeps none
    image_id: str


@dataclass(frozen=True, kw_only=True)
class ImageDependencies(RunEvent):
    """What an image was built on: one event for each tag of a build, one without image for a build without tags."""

    type = "image_dependencies"
    step_id: str
    #: in the form of ACR Tasks: image, runtime-dependency, buildtime-dependency, git
    dependencies: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ImagePushed(RunEvent):
    type = "image_pushed"
    step_id: str
    image: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ReleaseStarted(RunEvent):
    """All steps have succeeded and the content of these images is in its registries: from now on tags move."""

    type = "release_started"
    images: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReleaseFinished(RunEvent):
    """All tags have moved; each has an image_pushed event between the two."""

    type = "release_finished"
    images: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StepOutputs(RunEvent):
    """What a step gives to the steps after it; the last one of a step counts."""

    type = "step_outputs"
    step_id: str
    #: name -> value
    outputs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StepFinished(RunEvent):
    type = "step_finished"
    step_id: str
    status: Status
    #: attempts made; 0 for a skipped step
    attempts: int
    #: of the container or the failing RUN line, where there was one
    exit_code: int | None = None
    #: why it did not succeed
    error: Mapping[str, Any] | None = None
    #: the failure counts as success for the steps that wait
    ignored: bool = False


@dataclass(frozen=True, kw_only=True)
class RunFinished(RunEvent):
    type = "run_finished"
    status: Status
    error: Mapping[str, Any] | None = None


AnyEvent = (
    RunStarted
    | RunPlanned
    | RunWarning
    | StepStarted
    | StepLog
    | StepProgress
    | StepRetrying
    | ImageBuilt
    | ImageDependencies
    | ImagePushed
    | ReleaseStarted
    | ReleaseFinished
    | StepOutputs
    | StepFinished
    | RunFinished
)

EVENT_TYPES: Mapping[str, type[RunEvent]] = {each.type: each for each in AnyEvent.__args__}


def to_json(event: RunEvent) -> dict[str, Any]:
    """JSON types only; fields that hold nothing are left out."""
    data: dict[str, Any] = {
        "type": event.type,
        "version": event.version,
        "run_id": event.run_id,
        "seq": event.seq,
        "at": event.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    for each in fields(event):
        value = getattr(event, each.name)
        if each.name not in data and value is not None and value != each.default:
            data[each.name] = list(value) if isinstance(value, tuple) else value
    return data


def from_json(data: Mapping[str, Any]) -> RunEvent:
    """The event. Raises ValueError for data that is no event of a version this program knows."""
    kind = EVENT_TYPES.get(str(data.get("type")))
    if kind is None or data.get("version") != kind.version:
        raise ValueError(f"not a known event: type {data.get('type')!r}, version {data.get('version')!r}")
    values = {each.name: data[each.name] for each in fields(kind) if each.name in data}
    try:
        values["at"] = datetime.fromisoformat(values["at"])
        if "status" in values:
            values["status"] = Status(values["status"])
        for name in ("tags", "images"):
            if name in values:
                values[name] = tuple(values[name])
        return kind(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"event of type {kind.type!r} is damaged: {error}") from error
