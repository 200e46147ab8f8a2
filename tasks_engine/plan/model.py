"""The Plan: what will run, with every default filled in. JSON in, JSON out; nothing is left to guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tasks_engine.definition.model import StepKind

PLAN_VERSION = 1


@dataclass(frozen=True)
class BuildWork:
    """A `build` step. Paths are as written, relative to the step's working directory."""

    context: str
    dockerfile: str
    tags: tuple[str, ...]
    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    target: str
    platforms: tuple[str, ...]
    no_cache: bool
    pull: bool
    #: a later `cmd` step runs one of the tags, so the image must get into Docker
    runs_later: bool


@dataclass(frozen=True)
class CmdWork:
    image: str
    args: tuple[str, ...]


@dataclass(frozen=True)
class PushWork:
    images: tuple[str, ...]
    #: image -> id of the step of this run that builds it
    built_by: Mapping[str, str] = field(default_factory=dict)


Work = BuildWork | CmdWork | PushWork


@dataclass(frozen=True)
class PlannedStep:
    id: str
    kind: StepKind
    #: ids of the steps this one waits for, in file order
    depends_on: tuple[str, ...]
    timeout_s: int
    #: further attempts after the first
    retries: int
    retry_delay_s: int
    ignore_errors: bool
    detach: bool
    env: Mapping[str, str]
    #: absolute, inside the container
    working_directory: str
    work: Work


@dataclass(frozen=True)
class Plan:
    run_id: str
    task: str
    #: `$Registry`; empty when the run has none
    registry: str
    #: in file order
    steps: tuple[PlannedStep, ...]
    warnings: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def step_by_id(self) -> Mapping[str, PlannedStep]:
        return {step.id: step for step in self.steps}

    @property
    def has_containers(self) -> bool:
        return any(step.kind is StepKind.CMD for step in self.steps)

    @property
    def registries(self) -> frozenset[str]:
        """Registries that the plan names; a step sees logins of no other."""
        from tasks_engine.images.reference import parse_reference

        images: list[str] = []
        for step in self.steps:
            match step.work:
                case BuildWork(tags=tags):
                    images += tags
                case CmdWork(image=image):
                    images.append(image)
                case PushWork(images=pushed):
                    images += pushed
        named = {parse_reference(image).registry for image in images}
        return frozenset(named | ({self.registry} if self.registry else set()))

    def to_json(self) -> dict[str, Any]:
        return {
            "version": PLAN_VERSION,
            "run_id": self.run_id,
            "task": self.task,
            "registry": self.registry,
            "steps": [_step_to_json(step) for step in self.steps],
            "warnings": [dict(warning) for warning in self.warnings],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Raises ValueError for another version."""
        if data["version"] != PLAN_VERSION:
            raise ValueError(f"plan of version {data['version']!r}; this program knows {PLAN_VERSION}")
        return cls(
            run_id=data["run_id"],
            task=data["task"],
            registry=data["registry"],
            steps=tuple(_step_from_json(step) for step in data["steps"]),
            warnings=tuple(data["warnings"]),
        )


def _step_to_json(step: PlannedStep) -> dict[str, Any]:
    work = {name: _plain(value) for name, value in vars(step.work).items()}
    rest = {name: _plain(value) for name, value in vars(step).items() if name not in ("kind", "work")}
    return {"id": step.id, "kind": step.kind.value, **rest, step.kind.value: work}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _step_from_json(data: Mapping[str, Any]) -> PlannedStep:
    kind = StepKind(data["kind"])
    classes: dict[StepKind, type[Work]] = {
        StepKind.BUILD: BuildWork,
        StepKind.CMD: CmdWork,
        StepKind.PUSH: PushWork,
    }
    rest = {name: _frozen(value) for name, value in data.items() if name not in ("kind", kind.value)}
    work = classes[kind](**{name: _frozen(value) for name, value in data[kind.value].items()})
    return PlannedStep(kind=kind, work=work, **rest)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
