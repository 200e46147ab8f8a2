"""Where the paths of a build step lead on this machine. A task file reaches its workspace and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tasks_engine.definition.build_values import SshForward
from tasks_engine.errors import StepFailed
from tasks_engine.plan.make import WORKSPACE


@dataclass(frozen=True)
class GivenToBuilds:
    """What the person who starts a run gives to its builds beyond the workspace."""

    #: paths of builds are those of this machine, and relative ones count from here; None: they are the workspace's
    paths_from: Path | None = None
    #: keys and agents by their paths on this machine, for every build without its own of that id
    ssh: tuple[SshForward, ...] = ()
    #: a secret may become a build argument that the history of the image shows
    secrets_in_history: bool = False
    #: standard input, for the context `-`
    stdin: Callable[[], BinaryIO] | None = None


class Places(Protocol):
    def find(self, path: str, what: str) -> Path:
        """The path on this machine; `what` names it in errors. Raises StepFailed for one that is out of bounds."""


@dataclass(frozen=True)
class WorkspacePlaces:
    """Paths as a step sees them: the workspace is `/workspace`."""

    workspace: Path
    #: of the step, absolute
    working_directory: str

    def find(self, path: str, what: str) -> Path:
        absolute = os.path.normpath(os.path.join(self.working_directory, path))  # noqa: PTH118 - in the container
        if absolute != WORKSPACE and not absolute.startswith(f"{WORKSPACE}/"):
            raise StepFailed(f"{what} '{path}' lies outside of {WORKSPACE}")
        found = self.workspace / os.path.relpath(absolute, WORKSPACE)
        if not found.resolve().is_relative_to(self.workspace.resolve()):
            raise StepFailed(f"{what} '{path}' leads outside of {WORKSPACE} through a link")
        return found


@dataclass(frozen=True)
class OwnPlaces:
    """Paths of the person who builds."""

    folder: Path

    def find(self, path: str, what: str) -> Path:  # noqa: ARG002 - part of the protocol
        return self.folder / Path(path).expanduser()
