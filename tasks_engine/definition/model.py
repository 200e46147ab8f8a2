"""What the author wrote: a Task of Steps. Frozen; holds no decision of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from tasks_engine.definition.scalars import Value
from tasks_engine.errors import DefinitionError

if TYPE_CHECKING:  # they load when a step needs them
    from tasks_engine.definition.build_string import BuildArguments
    from tasks_engine.definition.command_line import Command

#: `.Run`: what a task may know of its run
RUN_VARIABLES = (
    "Architecture",
    "Branch",
    "Commit",
    "Date",
    "GitTag",
    "ID",
    "OS",
    "OSVersion",
    "Registry",
    "RegistryName",
    "Repository",
    "SharedVolume",
    "TaskName",
    "TriggeredBy",
)
#: the home folder of every step, as in the original
HOME = "/acb/home"
#: short names of images that tasks of the original may begin a `cmd` with; settings may name others
IMAGE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "acr": "mcr.microsoft.com/acr/acr-cli:0.19",
        "az": "mcr.microsoft.com/acr/azure-cli:2ff604c",
        "bash": "mcr.microsoft.com/acr/bash:2ff604c",
        "cssc": "mcr.microsoft.com/acr/cssc:2ff604c",
        "curl": "mcr.microsoft.com/acr/curl:2ff604c",
    }
)


class StepKind(StrEnum):
    BUILD = "build"
    PUSH = "push"
    CMD = "cmd"


@dataclass(frozen=True)
class Inputs:
    """Everything a task file may refer to, fixed before it is read. Values of secrets are never in it."""

    #: `.Run`: run variable -> text; RegistryName follows from Registry, and Date from `now`, when left out
    run: Mapping[str, str] = field(default_factory=dict)
    #: `.Values`: the values file with `--set` on top
    values: Mapping[str, Value] = field(default_factory=dict)
    #: names in `.Values` whose values are secrets
    secret_values: frozenset[str] = frozenset()
    #: the time that templates see; aware
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    #: random functions of templates give the same for the same seed
    seed: str = ""
    image_aliases: Mapping[str, str] = field(default_factory=lambda: IMAGE_ALIASES)
    #: environment given with the run, which steps inherit after the task's: entries `name=value`
    env: tuple[str, ...] = ()
    #: whether `.Secrets` and `.Steps` exist; a build without a task file has none
    has_secrets: bool = True


@dataclass(frozen=True)
class Secret:
    id: str
    #: address of the value
    keyvault: str
    #: identity that may read it; empty: the task's own
    client_id: str = ""


@dataclass(frozen=True)
class Network:
    """A network of containers, which reach each other under the ids of their steps."""

    name: str
    #: empty: the engine's default
    driver: str = ""
    #: containers get addresses of version 6 too
    ipv6: bool = False
    #: it exists already and stays
    skip_creation: bool = False
    #: steps without a network of their own get it
    is_default: bool = False


@dataclass(frozen=True)
class Volume:
    """A volume with files."""

    #: unique in the task
    name: str
    #: file name -> content in Base64
    secret: Mapping[str, str]


@dataclass(frozen=True)
class VolumeMount:
    """Where a step sees a volume."""

    #: of a volume of the task
    name: str
    #: where the container sees it
    mount_path: str


@dataclass(frozen=True)
class Step:
    id: str
    kind: StepKind
    #: the line in the author's file where the step begins
    line: int
    #: what a `cmd` step runs
    commands: tuple[Command, ...] = ()
    #: what a `build` step builds
    build: BuildArguments | None = None
    #: images of a `push` step, each once, in the short form people write
    push: tuple[str, ...] = ()
    #: ids to wait for; None means the step before, `("-",)` none
    when: tuple[str, ...] | None = None
    #: name -> value, with what it inherits
    env: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""
    #: the image's own working directory stands
    disable_working_directory_override: bool = False
    entry_point: str = ""
    user: str = ""
    network: str = ""
    isolation: str = ""
    cpus: str = ""
    cache: bool = False
    volume_mounts: tuple[VolumeMount, ...] = ()
    expose: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    #: seconds; 0 means the task's
    timeout: int = 0
    #: seconds
    start_delay: int = 0
    retries: int = 0
    #: seconds; 0 means the default
    retry_delay: int = 0
    #: texts one of which a failed attempt must have printed to be repeated; empty: any
    retry_on_errors: tuple[str, ...] = ()
    #: further times after the first
    repeat: int = 0
    pull: bool = False
    #: further tries of an explicit pull, and the seconds between them
    download_retries: int = 0
    download_retry_delay: int = 0
    keep: bool = False
    detach: bool = False
    privileged: bool = False
    ignore_errors: bool = False


@dataclass(frozen=True)
class Task:
    version: str
    steps: tuple[Step, ...]
    working_directory: str = ""
    #: seconds; 0 means the default
    step_timeout: int = 0
    secrets: tuple[Secret, ...] = ()
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()
    source_name: str = field(default="", compare=False)
    #: what the original lets pass and we only mention
    warnings: tuple[DefinitionError, ...] = field(default=(), compare=False, repr=False)
