"""The executor of one run: a Docker Engine for containers and pushes, BuildKit for builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_engine.backends.build_places import GivenToBuilds
from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.revealing import refuse_forbidden_outputs, revealed
from tasks_engine.backends.run_folder import RunFolder
from tasks_engine.backends.secrets import SecretBook
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.model import StepKind
from tasks_engine.errors import EngineError
from tasks_engine.events import StepOutputs
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork
from tasks_engine.policy import Policy
from tasks_engine.ports import StepOutput
from tasks_engine.settings import RegistrySettings

if TYPE_CHECKING:  # heavy libraries load when a step needs them
    from docker.api import APIClient

    from tasks_engine.backends.build_steps import BuildSteps
    from tasks_engine.backends.builds import Builder
    from tasks_engine.backends.cmd_steps import CmdSteps
    from tasks_engine.backends.content_push import ContentPush
    from tasks_engine.backends.docker.endpoint import Endpoint
    from tasks_engine.backends.push_steps import PushSteps
    from tasks_engine.backends.workspace.user_folder import Workspace
    from tasks_engine.images.reference import Reference

_NOTHING_GIVEN = GivenToBuilds()


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
        given: GivenToBuilds = _NOTHING_GIVEN,
    ) -> None:
        self._plan = plan
        self._context = context
        self._folder = folder
        self._machine = machine
        self._credentials = credentials
        self._secrets = secrets
        self._given = given
        self._api: APIClient | None = None
        self._builder: Builder | None = None
        self._workspace: Workspace | None = None
        self._build_steps: BuildSteps | None = None
        self._cmd_steps: CmdSteps | None = None
        self._push_steps: PushSteps | None = None
        #: volume of the task -> file -> content
        self._files_by_volume: dict[str, dict[str, bytes]] = {}

    def open(self) -> None:
        """Connects what the plan needs, before a run starts.

        Raises EngineError, DefinitionError for a volume whose files are no Base64, SecretError.
        """
        if self._plan.volumes:
            from tasks_engine.backends.volume_files import volume_files

            self._files_by_volume = {
                volume.name: volume_files(volume, self._secrets.reveal) for volume in self._plan.volumes
            }
        try:
            self._connect()
        except BaseException:
            self._disconnect()
            raise

    def prepare(self) -> None:
        if self._plan.has_containers:
            self._workspace = self._prepare_containers()
        else:
            self._workspace = self._folder_of_builds()
        if self._builder is not None:
            self._build_steps = self._prepare_builds(self._builder, self._workspace)
        if any(step.kind is StepKind.PUSH for step in self._plan.steps):
            self._push_steps = self._prepare_pushes()

    @property
    def sends_content_first(self) -> bool:
        return self._push_steps is not None and self._push_steps.sends_content_first

    def execute(self, step: PlannedStep, attempt: int, output: StepOutput, cancel: CancelToken) -> None:
        planned, step = step, revealed(step, self._secrets)
        refuse_forbidden_outputs(planned, step, self._machine.policy)
        outputs: Mapping[str, str] = {}
        match step.work:
            case BuildWork():
                assert self._build_steps is not None, "open and prepare come before execute"
                outputs = self._build_steps.build(step, step.work, output, cancel)
                if self._cmd_steps is not None:
                    self._cmd_steps.built(step.work.tags)
            case CmdWork():
                assert self._cmd_steps is not None, "prepare comes before execute"
                outputs = self._cmd_steps.run(step, step.work, attempt, output, cancel)
            case PushWork():
                assert self._push_steps is not None, "prepare comes before execute"
                self._push_steps.push(step.id, step.work, output, cancel)
        self._secrets.add_outputs(step.id, outputs)
        if outputs:
            output.emit(StepOutputs(step_id=step.id, outputs=outputs))

    @property
    def released(self) -> Sequence[str]:
        return self._push_steps.released if self._push_steps is not None else ()

    def release(self, output: Callable[[str], StepOutput], cancel: CancelToken) -> None:
        assert self._push_steps is not None, "prepare comes before release"
        self._push_steps.release(output, cancel)

    def cleanup(self) -> None:
        problems: list[Exception] = []
        for undo in (self._finish_builds, self._remove_from_engine, self._remove_workspace, self._disconnect):
            try:
                undo()
            except Exception as error:  # noqa: BLE001 - raised when all has been tried
                problems.append(error)
        if problems:
            raise problems[0]
        self._folder.release()

    def _connect(self) -> None:
        machine = self._machine
        if any(step.kind is StepKind.BUILD for step in self._plan.steps):
            if not machine.buildkit_host:
                self._docker_endpoint()
            self._connected_builder()
        if self._needs_docker():
            from tasks_engine.backends.docker import client as docker
            from tasks_engine.backends.docker.convert import OWNER_LABEL

            endpoint = self._docker_endpoint()
            self._api = docker.connect(endpoint, {OWNER_LABEL: self._folder.owner})
            with docker.translated(f"connecting to the engine at {endpoint.url}"):
                self._api.ping()

    def _prepare_containers(self) -> Workspace:
        from tasks_engine.backends.cmd_steps import CmdEngine, prepare_cmd_steps
        from tasks_engine.backends.docker.networks import make_networks

        assert self._api is not None
        machine = self._machine
        engine = CmdEngine(
            self._api,
            self._docker_endpoint(),
            self._credentials,
            machine.policy,
            machine.registries.mirrors,
        )
        self._folder.hold(engine.endpoint.url)
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="prepare") as pool:
            workspace = pool.submit(self._make_workspace, self._api)
            networks = pool.submit(make_networks, self._plan, self._api)
            # To be removed even if a network cannot be made.
            self._workspace = workspace.result()
            network_names = networks.result()
        self._cmd_steps = prepare_cmd_steps(
            self._plan, engine, self._workspace, self._files_by_volume, network_names
        )
        return self._workspace

    def _prepare_builds(self, builder: Builder, workspace: Workspace) -> BuildSteps:
        from tasks_engine.backends.build_steps import BuildSite, BuildSteps

        is_far = self._plan.has_containers and not workspace.is_seen_by_engine
        site = BuildSite(
            self._context,
            self._machine.endpoint,
            alone=bool(self._machine.buildkit_host),
            registries=self._machine.registries,
            policy=self._machine.policy,
            given=self._given,
            reveal=self._secrets.reveal,
            on_secret=self._secrets.hear,
            fetch_artifact=self._fetch_artifact,
            digest_in_engine=self._digest_in_engine,
            no_outputs="it is kept by an engine that does not see this machine's files" if is_far else "",
        )
        return BuildSteps(builder, workspace, site)

    def _folder_of_builds(self) -> Workspace:
        """The user's folder, which is never written: a private copy of it where builds write files."""
        works = (step.work for step in self._plan.steps)
        if self._given.paths_from is None and any(
            isinstance(work, BuildWork) and work.outputs for work in works
        ):
            from tasks_engine.backends.workspace.private_folder import PrivateFolder

            self._folder.hold(self._machine.endpoint.url if self._machine.endpoint is not None else "")
            return PrivateFolder(self._context, self._folder.workspace)
        from tasks_engine.backends.workspace.user_folder import UserFolder

        return UserFolder(self._context)

    def _fetch_artifact(self, reference: str, into: Path) -> str:
        from tasks_engine.backends.contexts.unpack import unpack_tar
        from tasks_engine.backends.registry import RegistryClient, fetch_artifact

        client = RegistryClient(self._credentials, self._machine.registries)
        try:
            return fetch_artifact(client, reference, into, unpack_tar)
        finally:
            client.close()

    def _digest_in_engine(self, image: Reference) -> str:
        if self._machine.buildkit_host:
            return ""
        from tasks_engine.backends.docker import client as docker
        from tasks_engine.backends.docker.image_digests import registry_digest

        if self._api is not None:
            return registry_digest(self._api, image)
        api = docker.connect(self._docker_endpoint())
        try:
            return registry_digest(api, image)
        finally:
            api.close()

    def _finish_builds(self) -> None:
        if self._build_steps is not None:
            self._build_steps.close()

    def _connected_builder(self) -> Builder:
        from tasks_engine.backends import builds

        if self._builder is None:
            machine = self._machine
            client = builds.connect(machine.buildkit_host, machine.endpoint, machine.buildkit_tls)
            self._builder = builds.Builder(client, self._credentials)
        return self._builder

    def _prepare_pushes(self) -> PushSteps:
        from tasks_engine.backends.push_steps import PushSteps
        from tasks_engine.backends.registry import RegistryClient

        registry = RegistryClient(self._credentials, self._machine.registries)
        if self._machine.buildkit_host:
            return PushSteps(self._api, self._build_steps, None, registry, self._credentials)
        assert self._api is not None
        from tasks_engine.backends.docker import images

        store: ContentPush | None = None
        if self._plan.has_pushes_at_end and images.has_content_store(self._api):
            from tasks_engine.backends.content_push import ContentPush

            store = ContentPush(self._api, self._connected_builder(), registry)
        return PushSteps(self._api, None, store, registry, self._credentials)

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

            remove_labelled(self._api, self._plan.run_id, self._folder.owner)
        self._api.close()

    def _remove_workspace(self) -> None:
        if self._workspace is not None:
            self._workspace.remove()

    def _disconnect(self) -> None:
        if self._push_steps is not None:
            self._push_steps.close()
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
