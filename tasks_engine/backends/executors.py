"""The executor of one run: a Docker Engine for containers and pushes, BuildKit for builds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.run_folder import RunFolder
from tasks_engine.backends.secrets import SecretBook, revealed
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.model import StepKind
from tasks_engine.errors import BackendError, EngineError, StepFailed, TasksError
from tasks_engine.events import ImageBuilt, ImagePushed
from tasks_engine.images.reference import parse_reference
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork
from tasks_engine.ports import StepOutput

if TYPE_CHECKING:  # heavy libraries load when a step needs them
    from docker.api import APIClient

    from tasks_engine.backends.buildkit import BuildOptions, BuildResult
    from tasks_engine.backends.builds import Builder
    from tasks_engine.backends.docker.containers import Containers
    from tasks_engine.backends.docker.endpoint import Endpoint
    from tasks_engine.backends.workspace.user_folder import Workspace


class RunExecutor:
    """Implements the Executor port for a plan on one machine's engine.

    `buildkit_host` names a standalone daemon, `buildkit_tls` the folder with certificates for it; without it
    builds go to the BuildKit inside the engine.
    """

    def __init__(
        self,
        plan: Plan,
        context: Path,
        folder: RunFolder,
        endpoint: Endpoint | None,
        buildkit_host: str,
        credentials: DockerConfigCredentials,
        secrets: SecretBook,
        buildkit_tls: Path | None = None,
    ) -> None:
        self._secrets = secrets
        self._plan = plan
        self._context = context
        self._folder = folder
        self._endpoint = endpoint
        self._buildkit_host = buildkit_host
        self._buildkit_tls = buildkit_tls
        self._credentials = credentials
        self._api: APIClient | None = None
        self._builds: Builder | None = None
        self._containers: Containers | None = None
        self._workspace: Workspace | None = None
        self._built_by_step: dict[str, tuple[BuildOptions, BuildResult]] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """Connects what the plan needs, before a run starts. Raises EngineError."""
        try:
            self._connect()
        except BaseException:
            self._disconnect()
            raise

    def prepare(self) -> None:
        from tasks_engine.backends.workspace.user_folder import UserFolder

        if not self._plan.has_containers:
            self._workspace = UserFolder(self._context)
            return
        assert self._api is not None
        from tasks_engine.backends.docker.containers import Containers

        self._folder.hold(self._docker_endpoint().url)
        self._containers = Containers(self._api)
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="prepare") as pool:
            workspace = pool.submit(self._make_workspace, self._api)
            network = pool.submit(self._make_network, self._api)
            self._workspace = workspace.result()
            network.result()

    def execute(self, step: PlannedStep, attempt: int, output: StepOutput, cancel: CancelToken) -> None:
        step = revealed(step, self._secrets)
        match step.work:
            case BuildWork():
                self._build(step, step.work, output, cancel)
            case CmdWork():
                self._run(step, step.work, attempt, output, cancel)
            case PushWork():
                self._push(step.id, step.work, output, cancel)

    def cleanup(self) -> None:
        problems: list[BackendError] = []
        for undo in (self._remove_from_engine, self._remove_workspace, self._disconnect):
            try:
                undo()
            except BackendError as error:
                problems.append(error)
        if problems:
            raise problems[0]
        self._folder.release()

    def _connect(self) -> None:
        if any(step.kind is StepKind.BUILD for step in self._plan.steps):
            from tasks_engine.backends import builds

            if not self._buildkit_host:
                self._docker_endpoint()
            self._builds = builds.Builder(
                builds.connect(self._buildkit_host, self._endpoint, self._buildkit_tls), self._credentials
            )
        if self._needs_docker():
            from tasks_engine.backends.docker import client

            self._api = client.connect(self._docker_endpoint())
            with client.translated(f"connecting to the engine at {self._docker_endpoint().url}"):
                self._api.ping()

    def _make_workspace(self, api: APIClient) -> Workspace:
        from tasks_engine.backends.workspace.engine_volumes import EngineVolumes, engine_sees
        from tasks_engine.backends.workspace.shared_folder import SharedFolder

        logins = self._credentials.subset(self._plan.registries)
        into = self._folder.workspace
        if engine_sees(api, self._folder.path):
            return SharedFolder(self._context, into, logins)
        return EngineVolumes(api, self._plan.run_id, self._context, into, logins)

    def _make_network(self, api: APIClient) -> None:
        from tasks_engine.backends.docker.client import translated
        from tasks_engine.backends.docker.convert import RUN_LABEL, network_name

        run_id = self._plan.run_id
        with translated("making the run's network"):
            api.create_network(network_name(run_id), labels={RUN_LABEL: run_id})

    def _build(self, step: PlannedStep, work: BuildWork, output: StepOutput, cancel: CancelToken) -> None:
        from tasks_engine.backends import builds

        if not self._buildkit_host:
            exporters = [builds.into_its_docker(work.tags)]
        elif work.runs_later:
            exporters = [builds.into_docker(work.tags, self._docker_endpoint())]
        else:
            exporters = [builds.into_nothing(work.tags)]
        options = builds.build_options(step, work, self._files().folder(), self._context, exporters)
        result = self._builder().build(options, output, cancel)
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

    def _run(
        self, step: PlannedStep, work: CmdWork, attempt: int, output: StepOutput, cancel: CancelToken
    ) -> None:
        from tasks_engine.backends.docker import containers, convert

        assert self._containers is not None
        name = convert.container_name(self._plan, step, attempt)
        body = convert.container_body(self._plan, step, self._files().mounts())
        if work.pull:
            self._pull(work, output, cancel)
        try:
            container = self._containers.create(name, body)
        except containers.MissingImage:
            self._pull(work, output, cancel)
            container = self._containers.create(name, body)
        cancel.raise_if_cancelled()
        self._files().fill(container)
        self._files().changed()
        if step.detach:
            self._containers.run_detached(container, output.write)
            return
        try:
            self._containers.run(container, output.write, cancel)
        finally:
            self._files().changed()

    def _pull(self, work: CmdWork, output: StepOutput, cancel: CancelToken) -> None:
        from tasks_engine.backends.docker import images

        assert self._api is not None
        image = parse_reference(work.image)
        credential = self._credentials.find(image.registry)
        for further in reversed(range(work.download_retries + 1)):
            try:
                images.pull(self._api, image, credential, output, cancel)
                return
            except TasksError:
                if not further or cancel.is_cancelled:
                    raise
            cancel.wait(work.download_retry_delay_s)

    def _push(self, step_id: str, work: PushWork, output: StepOutput, cancel: CancelToken) -> None:
        for image in work.images:
            cancel.raise_if_cancelled()
            maker = work.built_by.get(image)
            if self._buildkit_host and maker is not None:
                digest, size_bytes = self._push_from_buildkit(image, maker, output, cancel), 0
            else:
                digest, size_bytes = self._push_from_docker(image, output, cancel)
            output.emit(ImagePushed(step_id=step_id, image=image, digest=digest, size_bytes=size_bytes))

    def _push_from_docker(self, image: str, output: StepOutput, cancel: CancelToken) -> tuple[str, int]:
        from tasks_engine.backends.docker import images

        assert self._api is not None
        reference = parse_reference(image)
        pushed = images.push(self._api, reference, self._credentials.find(reference.registry), output, cancel)
        return pushed.digest, pushed.size_bytes

    def _push_from_buildkit(self, image: str, maker: str, output: StepOutput, cancel: CancelToken) -> str:
        """Builds again, all from the cache, with a push at the end: a standalone daemon keeps no images."""
        from tasks_engine.backends import builds

        options, built = self._built_by_step[maker]
        again = replace(options, exporters=[builds.into_nothing([image])], no_cache=False, pull=False)
        # What steps have changed in the workspace since must not get into an image that others have tested.
        if self._builder().build(again, output, cancel).image_id != built.image_id:
            raise StepFailed(
                f"{image} cannot be pushed: a standalone builder keeps no images, and what step '{maker}' built "
                "cannot be built again, since files of its context or a base image have changed",
                hint="push it before they change, or build in a Docker Engine (without BUILDKIT_HOST)",
            )
        pushing = replace(again, exporters=[builds.to_registry([image])])
        return self._builder().build(pushing, output, cancel).image_digest or ""

    def _remove_from_engine(self) -> None:
        if self._api is None:
            return
        if self._containers is not None:
            from tasks_engine.backends.docker.leftovers import remove_labelled

            self._containers.close()
            remove_labelled(self._api, self._plan.run_id)
        self._api.close()

    def _remove_workspace(self) -> None:
        if self._workspace is not None:
            self._workspace.remove()

    def _disconnect(self) -> None:
        if self._builds is not None:
            self._builds.close()

    def _files(self) -> Workspace:
        assert self._workspace is not None, "prepare comes before execute"
        return self._workspace

    def _builder(self) -> Builder:
        assert self._builds is not None, "open comes before execute"
        return self._builds

    def _needs_docker(self) -> bool:
        pushes_others = any(
            isinstance(step.work, PushWork)
            and (not self._buildkit_host or len(step.work.built_by) < len(step.work.images))
            for step in self._plan.steps
        )
        return self._plan.has_containers or pushes_others

    def _docker_endpoint(self) -> Endpoint:
        if self._endpoint is None:
            raise EngineError(
                "this task needs a Docker engine, for its cmd steps or pushes, and there is none",
                hint="run `tasks doctor`",
            )
        return self._endpoint
