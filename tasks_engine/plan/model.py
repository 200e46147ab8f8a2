"""The Plan: what will run, with every default filled in. JSON in, JSON out; nothing is left to guess.

Text that comes from a secret or from the output of a step is an opaque token here
(`definition.template.secret_text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tasks_engine.definition.build_attributes import Attestation, BuildOutput, BuildSecret, CacheEntry
from tasks_engine.definition.build_values import Annotation, HostEntry, SshForward, Ulimit
from tasks_engine.definition.command_line import RunIf
from tasks_engine.definition.model import Network, StepKind, Volume, VolumeMount
from tasks_engine.definition.redirections import Redirect
from tasks_engine.plan.json_form import fields_from_json, from_json, to_json

PLAN_VERSION = 1


@dataclass(frozen=True)
class BuildWork:
    """A `build` step. Paths are as written, relative to the step's working directory."""

    #: a folder, or an address
    context: str
    #: empty: `Dockerfile` in the context
    dockerfile: str
    #: images it makes, in the short form people write
    tags: tuple[str, ...]
    #: name -> value
    build_args: Mapping[str, str]
    #: name -> value
    labels: Mapping[str, str]
    #: the stage that is built; empty: the last one
    target: str
    #: such as linux/arm64; none: the engine's own
    platforms: tuple[str, ...]
    #: nothing that was built before is used again
    no_cache: bool
    #: base images are looked up in their registries although they are there
    pull: bool
    #: a later `cmd` step runs one of the tags, so the image must get into Docker
    runs_later: bool
    #: the image that keeps the build's cache in a registry; empty: only the engine's own cache is used
    cache: str = ""
    #: stages that are built without cache
    no_cache_filter: tuple[str, ...] = ()
    #: for `RUN --mount=type=secret`
    secrets: tuple[BuildSecret, ...] = ()
    #: for `RUN --mount=type=ssh`
    ssh: tuple[SshForward, ...] = ()
    #: name in the Dockerfile -> folder or address
    build_contexts: Mapping[str, str] = field(default_factory=dict)
    #: caches that are read
    cache_from: tuple[CacheEntry, ...] = ()
    #: caches that are written
    cache_to: tuple[CacheEntry, ...] = ()
    #: where the result goes besides the image
    outputs: tuple[BuildOutput, ...] = ()
    #: documents about the image that are made with it
    attestations: tuple[Attestation, ...] = ()
    #: of the image's manifest or index
    annotations: tuple[Annotation, ...] = ()
    #: lines of /etc/hosts while it is built
    add_hosts: tuple[HostEntry, ...] = ()
    #: of `RUN`: default, none or host
    run_network: str = "default"
    #: limits of processes in `RUN`
    ulimits: tuple[Ulimit, ...] = ()
    #: 0: the engine's default
    shm_size_bytes: int = 0
    #: empty: the engine's default
    cgroup_parent: str = ""
    #: entitlements such as `network.host`
    allow: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContainerOption:
    """An option of `docker run`."""

    #: the long one, without dashes, such as cap-add
    name: str
    #: of a switch: true or false
    value: str


@dataclass(frozen=True)
class PlannedCommand:
    """One of several commands of a `cmd` step. All of them share what the step says of its container."""

    #: by the status of the command that ran before
    run_if: RunIf
    #: `true`, `false` or `echo`; empty for a container
    builtin: str
    #: empty for a builtin
    image: str
    args: tuple[str, ...]
    #: in their order
    redirects: tuple[Redirect, ...] = ()
    #: of its container alone
    options: tuple[ContainerOption, ...] = ()


@dataclass(frozen=True)
class CmdWork:
    """A `cmd` step: one container, or the `commands`, of which `image` and `args` are the first."""

    image: str
    #: what stands behind the image
    args: tuple[str, ...]
    #: empty: the image's own
    entrypoint: str = ""
    #: empty: the image's own
    user: str = ""
    #: pull the image although it is there
    pull: bool = False
    #: further tries of that pull
    download_retries: int = 0
    #: between tries of that pull
    download_retry_delay_s: int = 0
    #: what a step has no property for
    options: tuple[ContainerOption, ...] = ()
    #: empty for a single command without redirections
    commands: tuple[PlannedCommand, ...] = ()

    @property
    def images(self) -> tuple[str, ...]:
        """Every image that runs."""
        return tuple(each.image for each in self.commands if each.image) or (self.image,)


@dataclass(frozen=True)
class PushWork:
    """A `push` step."""

    #: in their order, in the short form people write
    images: tuple[str, ...]
    #: image -> id of the step of this run that builds it
    built_by: Mapping[str, str] = field(default_factory=dict)
    #: nothing but such pushes comes after it, so its tags may wait for all else to succeed
    at_end: bool = False


Work = BuildWork | CmdWork | PushWork


@dataclass(frozen=True)
class PlannedStep:
    """A step with all its defaults; what it does stands under the name of its kind."""

    #: unique in the plan; its container is reached under it
    id: str
    kind: StepKind
    #: ids of the steps this one waits for, in file order
    depends_on: tuple[str, ...]
    #: over all repetitions and attempts
    timeout_s: int
    #: further attempts after the first
    retries: int
    #: between attempts
    retry_delay_s: int
    #: a failure does not end the run
    ignore_errors: bool
    #: the step is done once its container runs
    detach: bool
    #: name -> value, with what the step inherits
    env: Mapping[str, str]
    #: absolute, inside the container; empty: the image's own
    working_directory: str
    work: Work
    #: texts one of which a failed attempt must have printed to be repeated; empty: any
    retry_on_errors: tuple[str, ...] = ()
    #: further times after the first
    repeat: int = 0
    #: before the first attempt; outside of the time limit
    start_delay_s: int = 0
    #: the container stays when it ended, until the run ends
    keep: bool = False
    #: name of a network of the plan or of the engine; empty: the engine's default
    network: str = ""
    #: published on the engine's machine, as `docker run -p` takes them
    ports: tuple[str, ...] = ()
    #: open to other containers
    expose: tuple[str, ...] = ()
    #: the container may do what the engine's machine may
    privileged: bool = False
    #: of Windows containers; empty: the engine's default
    isolation: str = ""
    #: how many it may use, such as 1.5; empty: all
    cpus: str = ""
    #: volumes of the plan
    volume_mounts: tuple[VolumeMount, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a run does."""

    #: `$ID`
    run_id: str
    #: name of the task file, for people
    task: str
    #: `$Registry`; empty when the run has none
    registry: str
    #: in file order
    steps: tuple[PlannedStep, ...]
    #: version of the task language
    task_version: str = "v1.0.0"
    #: part of the names of its caches
    task_name: str = ""
    #: made before the first step, unless they exist
    networks: tuple[Network, ...] = ()
    #: made before the first step
    volumes: tuple[Volume, ...] = ()
    #: ids of the secrets that are fetched before the first step
    secrets: tuple[str, ...] = ()
    #: a failure does not end the run: steps that do not wait for the failed one go on
    keep_going: bool = False
    #: what cannot be meant, but is let pass
    warnings: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def step_by_id(self) -> Mapping[str, PlannedStep]:
        return {step.id: step for step in self.steps}

    @property
    def has_pushes_at_end(self) -> bool:
        """Whether there are tags that move together, once all steps have succeeded."""
        return any(isinstance(step.work, PushWork) and step.work.at_end for step in self.steps)

    @property
    def has_containers(self) -> bool:
        return any(step.kind is StepKind.CMD for step in self.steps)

    @property
    def registries(self) -> frozenset[str]:
        """Registries that the plan names; a step sees logins of no other, nor of one that only an output names."""
        from tasks_engine.definition.image_names import known_registry

        images: list[str] = []
        for step in self.steps:
            match step.work:
                case BuildWork(tags=tags):
                    images += tags
                case CmdWork():
                    images += step.work.images
                case PushWork(images=pushed):
                    images += pushed
        named = set(map(known_registry, images))
        return frozenset(filter(None, named | {self.registry}))

    def to_json(self) -> dict[str, Any]:
        data = {name: to_json(getattr(self, name)) for name in _PLAN_FIELDS if name != "steps"}
        return {"version": PLAN_VERSION, **data, "steps": list(map(_step_to_json, self.steps))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Raises ValueError for another version."""
        if data["version"] != PLAN_VERSION:
            raise ValueError(f"plan of version {data['version']!r}; this program knows {PLAN_VERSION}")
        rest = {name: value for name, value in data.items() if name not in ("version", "steps", "warnings")}
        return cls(
            steps=tuple(_step_from_json(step) for step in data["steps"]),
            warnings=tuple(data.get("warnings", ())),
            **fields_from_json(cls, rest),
        )


_PLAN_FIELDS = tuple(Plan.__dataclass_fields__)
_WORK_BY_KIND: Mapping[StepKind, type[Work]] = {
    StepKind.BUILD: BuildWork,
    StepKind.CMD: CmdWork,
    StepKind.PUSH: PushWork,
}


def _step_to_json(step: PlannedStep) -> dict[str, Any]:
    rest = {name: to_json(value) for name, value in vars(step).items() if name not in ("kind", "work")}
    return {"id": step.id, "kind": step.kind.value, **rest, step.kind.value: to_json(step.work)}


def _step_from_json(data: Mapping[str, Any]) -> PlannedStep:
    kind = StepKind(data["kind"])
    rest = {name: value for name, value in data.items() if name not in ("kind", kind.value)}
    work = from_json(_WORK_BY_KIND[kind], data[kind.value])
    return PlannedStep(kind=kind, work=work, **fields_from_json(PlannedStep, rest))
