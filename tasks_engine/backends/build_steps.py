"""`build` steps of one run, on the BuildKit of its engine or on one that stands alone."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from tasks_engine.backends import builds
from tasks_engine.backends.buildkit import BuildOptions, BuildResult
from tasks_engine.backends.builds import Builder
from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.backends.workspace.user_folder import Workspace
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import StepFailed
from tasks_engine.events import ImageBuilt
from tasks_engine.plan.model import BuildWork, PlannedStep
from tasks_engine.ports import StepOutput


class BuildSteps:
    """Thread-safe."""

    def __init__(
        self, builder: Builder, workspace: Workspace, context: Path, endpoint: Endpoint | None, *, alone: bool
    ) -> None:
        """`alone`: the daemon has no store of images that an engine knows.

        `context` is the user's folder, which `workspace` may be a copy of; `endpoint` the engine of the containers.
        """
        self._builder = builder
        self._workspace = workspace
        self._context = context
        self._endpoint = endpoint
        self._alone = alone
        self._built_by_step: dict[str, tuple[BuildOptions, BuildResult]] = {}
        self._lock = threading.Lock()

    def build(self, step: PlannedStep, work: BuildWork, output: StepOutput, cancel: CancelToken) -> None:
        """Raises StepFailed, BackendError, or the reason of `cancel`."""
        if not self._alone:
            exporters = [builds.into_its_docker(work.tags)]
        elif work.runs_later:
            assert self._endpoint is not None
            exporters = [builds.into_docker(work.tags, self._endpoint)]
        else:
            exporters = [builds.into_nothing(work.tags)]
        options = builds.build_options(step, work, self._workspace.folder(), self._context, exporters)
        result = self._builder.build(options, output, cancel)
        with self._lock:
            self._built_by_step[step.id] = (options, result)
        output.emit(
            ImageBuilt(
                step_id=step.id,
                tags=work.tags,
                digest=result.image_digest or "",
                image_id=result.image_id or "",
            )
        )

    def push(self, image: str, maker: str, output: StepOutput, cancel: CancelToken) -> str:
        """Builds again, all from the cache, with a push at the end: a standalone daemon keeps no images.

        Returns the digest.
        """
        options, built = self._built_by_step[maker]
        again = replace(options, exporters=[builds.into_nothing([image])], no_cache=False, pull=False)
        # What steps have changed in the workspace since must not get into an image that others have tested.
        if self._builder.build(again, output, cancel).image_id != built.image_id:
            raise StepFailed(
                f"{image} cannot be pushed: a standalone builder keeps no images, and what step '{maker}' built "
                "cannot be built again, since files of its context or a base image have changed",
                hint="push it before they change, or build in a Docker Engine (without BUILDKIT_HOST)",
            )
        pushing = replace(again, exporters=[builds.to_registry([image])])
        return self._builder.build(pushing, output, cancel).image_digest or ""
