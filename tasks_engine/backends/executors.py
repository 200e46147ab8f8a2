"""The executor of one run: a Docker Engine for containers and pushes, BuildKit for builds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.push_steps import PushSteps
from tasks_engine.backends.run_folder import RunFolder
from tasks_engine.backends.secrets import SecretBook, revealed
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.model import StepKind
from tasks_engine.errors import BackendError, EngineError
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork
from tasks_engine.policy import Policy
from tasks_engine.ports import StepOutput
from tasks_engine.settings import RegistrySettings

if TYPE_CHECKING:  # heavy libraries load when a step needs them
    from docker.api import APIClient

    from tasks_engine.backends.build_steps import BuildSteps
    from tasks_engine.backends.builds import Builder
    from tasks_engine.backends.cmd_steps import CmdSteps
    from tasks_engine.backends.docker.endpoint import Endpoint
    from tasks_engine.backends.workspace.user_folder import Workspace


@dataclass(frozen=True)
class Machine:
    """Where a run runs, and within which limits."""

    #: None when a standalone BuildKit may do
    endpoint: Endpoint | None
    #: address of a standalone daemon; empty: builds go to the BuildKit inside the engine
    buildkit_host: str = ""
    #: folder with certificates for it
    buildkit_tls: Path | None = None
    registries: RegistrySettings = field(default_factory=RegistrySettings)
    policy: Policy = field(default_factory=Policy)


class RunExecutor:
    """Implements the Executor port for a plan on one machine."""

    def __init__(
        self,
        plan: Plan,
        context: Path,
        folder: RunFolder,
        machine: Machine,
        credentials: DockerConfigCredentials,
        secrets: SecretBook,
    ) -> None:
        self._plan = plan
        self._context = context
        self._folder = folder
        self._machine = machine
        self._credentials = credentials
        self._secrets = secrets
        self._api: APIClient | None = None
        self._builder: Builder | None = None
        self._workspace: Workspace | None = None
        self._build_steps: BuildSteps | None = None
        self._cmd_steps: CmdSteps | None = None
        self._push_steps: PushSteps | None = None

    def open(self) -> None:
        """Connects what the plan needs, before a run starts. Raises EngineError."""
        try:
            self._connect()
        except BaseException:
            self._disconnect()
            raise

    def prepare(self) -> None:
        if self._plan.has_containers:
            self._workspace = self._prepare_containers()
        else:
            from tasks_engine.backends.workspace.user_folder import UserFolder

            self._workspace = UserFolder(self._context)
        alone = bool(self._machine.buildkit_host)
        if self._builder is not None:
            from tasks_engine.backends.build_steps import BuildSteps

            self._build_steps = BuildSteps(
                self._builder, self._workspace, self._context, self._machine.endpoint, alone=alone
            )
        self._push_steps = PushSteps(self._api, self._build_steps if alone else None, self._credentials)

    def execute(self, step: PlannedStep, attempt: int, output: StepOutput, cancel: CancelToken) -> None:
        step = revealed(step, self._secrets)
        match step.work:
            case BuildWork():
                assert self._build_steps is not None, "open and prepare come before execute"
                self._build_steps.build(step, step.work, output, cancel)
            case CmdWork():
                assert self._cmd_steps is not None, "prepare comes before execute"
                self._cmd_steps.run(step, step.work, attempt, output, cancel)
            case PushWork():
                assert self._push_steps is not None, "prepare comes before execute"
                self._push_steps.push(step.id, step.work, output, cancel)

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
        machine = self._machine
        if any(step.kind is StepKind.BUILD for step in self._plan.steps):
            from tasks_engine.backends import builds

            if not machine.buildkit_host:
                self._docker_endpoint()
            client = builds.connect(machine.buildkit_host, machine.endpoint, machine.buildkit_tls)
            self._builder = builds.Builder(client, self._credentials)
        if self._needs_docker():
            from tasks_engine.backends.docker import client as docker

            endpoint = self._docker_endpoint()
            self._api = docker.connect(endpoint)
            with docker.translated(f"connecting to the engine at {endpoint.url}"):
                self._api.ping()

    def _prepare_containers(self) -> Workspace:
        from tasks_engine.backends.cmd_steps import CmdSteps, make_network

        assert self._api is not None
        self._folder.hold(self._docker_endpoint().url)
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="prepare") as pool:
            workspace = pool.submit(self._make_workspace, self._api)
            network = pool.submit(make_network, self._plan, self._api)
            # To be removed even if the network cannot be made.
            self._workspace = workspace.result()
            network.result()
        self._cmd_steps = CmdSteps(
            self._plan, self._api, self._workspace, self._credentials, self._machine.policy
        )
        return self._workspace

    def _make_workspace(self, api: APIClient) -> Workspace:
        from tasks_engine.backends.workspace.engine_volumes import EngineVolumes, engine_sees
        from tasks_engine.backends.workspace.shared_folder import SharedFolder

        logins = self._credentials.subset(self._plan.registries)
        into = self._folder.workspace
        if engine_sees(api, self._folder.path):
            return SharedFolder(self._context, into, logins)
        return EngineVolumes(api, self._plan.run_id, self._context, into, logins)

    def _remove_from_engine(self) -> None:
        if self._api is None:
            return
        if self._cmd_steps is not None:
            self._cmd_steps.close()
        if self._plan.has_containers:
            from tasks_engine.backends.docker.leftovers import remove_labelled

            remove_labelled(self._api, self._plan.run_id)
        self._api.close()

    def _remove_workspace(self) -> None:
        if self._workspace is not None:
            self._workspace.remove()

    def _disconnect(self) -> None:
        if self._builder is not None:
            self._builder.close()

    def _needs_docker(self) -> bool:
        alone = self._machine.buildkit_host
        pushes_others = any(
            isinstance(step.work, PushWork) and (not alone or len(step.work.built_by) < len(step.work.images))
            for step in self._plan.steps
        )
        return self._plan.has_containers or pushes_others

    def _docker_endpoint(self) -> Endpoint:
        if self._machine.endpoint is None:
            raise EngineError(
                "this task needs a Docker engine, for its cmd steps or pushes, and there is none",
                hint="run `tasks doctor`",
            )
        return self._machine.endpoint
