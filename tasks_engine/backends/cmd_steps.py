"""`cmd` steps of one run: containers on an engine, with the run's networks, volumes and files."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from docker.api import APIClient

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.docker import containers, convert, images
from tasks_engine.backends.docker.client import translated
from tasks_engine.backends.docker.commands import redirected, step_of
from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.backends.docker.engine_socket import (
    SocketMissed,
    gets_socket,
    socket_hint,
    socket_mount,
    socket_path,
)
from tasks_engine.backends.docker.volumes import TaskVolumes, is_of_another_run, make_shared_volume
from tasks_engine.backends.step_outputs import MAX_OUTPUT_BYTES, OUTPUT_VARIABLE, parse_outputs
from tasks_engine.backends.workspace.user_folder import Workspace
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.command_line import RunIf, echo_output
from tasks_engine.definition.model import HOME, VolumeMount
from tasks_engine.errors import RegistryError, StepFailed, TasksError
from tasks_engine.images.mirrors import mirrored
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.container_values import DOCKER_SOCKET
from tasks_engine.plan.model import CmdWork, Plan, PlannedCommand, PlannedStep
from tasks_engine.plan.policy import forbidden_image, forbidden_in_step
from tasks_engine.plan.request import shared_volume
from tasks_engine.policy import Policy
from tasks_engine.ports import StepOutput

#: what a shell says of a docker client that could not run the container
_CLIENT_FAILED = 125


@dataclass(frozen=True)
class CmdEngine:
    """Where containers run, and what they may do there."""

    api: APIClient
    endpoint: Endpoint
    credentials: DockerConfigCredentials
    policy: Policy
    #: `registry[/folder]` -> what is asked instead
    mirrors: Mapping[str, str]


def prepare_cmd_steps(
    plan: Plan,
    engine: CmdEngine,
    workspace: Workspace,
    files_by_volume: Mapping[str, Mapping[str, bytes]],
    networks: Mapping[str, str],
) -> CmdSteps:
    """Makes the volumes of the run. `networks` is what `make_networks` gave. Raises BackendError."""
    used = _volumes_in_use(plan)
    files = {name: files for name, files in files_by_volume.items() if name in used}
    volumes = TaskVolumes(plan.run_id, files, engine.api)
    if workspace.is_seen_by_engine and shared_volume(plan.run_id) in json.dumps(plan.to_json()):
        make_shared_volume(plan.run_id, workspace.folder(), engine.api)
    return CmdSteps(plan, engine, workspace, volumes, networks)


class CmdSteps:
    """Thread-safe."""

    def __init__(
        self,
        plan: Plan,
        engine: CmdEngine,
        workspace: Workspace,
        volumes: TaskVolumes,
        networks: Mapping[str, str],
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._workspace = workspace
        self._volumes = volumes
        self._networks = networks
        self._containers = containers.Containers(engine.api)
        #: full names of images that builds of this run have made
        self._built: set[str] = set()
        self._lock = threading.Lock()
        #: step -> its containers that are still there, the newest last
        self._present: dict[str, list[str]] = {step.id: [] for step in plan.steps}

    def run(
        self, step: PlannedStep, work: CmdWork, attempt: int, output: StepOutput, cancel: CancelToken
    ) -> Mapping[str, str]:
        """Returns the step's outputs, name -> value. Raises StepFailed, BackendError, or the reason of `cancel`."""
        self._remove_earlier(step.id)
        name = convert.container_name(self._plan, step, attempt)
        if step.detach:
            self._run_commands(step, work, name, output, cancel)
            return {}
        file = _OutputFile(self._workspace)
        step = replace(step, env={**step.env, OUTPUT_VARIABLE: file.path})
        self._run_commands(step, work, name, output, cancel, file)
        return parse_outputs(file.take())

    def built(self, tags: Iterable[str]) -> None:
        """Images that a build of this run has made."""
        with self._lock:
            self._built |= {str(parse_reference(tag)) for tag in tags}

    def _run_commands(
        self,
        step: PlannedStep,
        work: CmdWork,
        name: str,
        output: StepOutput,
        cancel: CancelToken,
        file: _OutputFile | None = None,
    ) -> None:
        if not work.commands:
            self._run_container(step, name, output, cancel, file)
            return
        failure: StepFailed | None = None
        for index, command in enumerate(work.commands):
            if command.run_if is (RunIf.SUCCESS if failure else RunIf.FAILURE):
                continue
            if failure is not None:
                output.write("engine", f"{failure.message}; going on with the next command\n".encode())
            cancel.raise_if_cancelled()
            redirecting = replace(output, write=redirected(output.write, command.redirects))
            try:
                self._run_command(
                    step, work, command, f"{name}.{index}" if index else name, redirecting, cancel, file
                )
                failure = None
            except StepFailed as error:
                failure = error
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Stops what is detached, and returns when the containers that ended are removed."""
        self._containers.close()

    def _run_command(
        self,
        step: PlannedStep,
        work: CmdWork,
        command: PlannedCommand,
        name: str,
        output: StepOutput,
        cancel: CancelToken,
        file: _OutputFile | None,
    ) -> None:
        match command.builtin:
            case "":
                self._run_container(step_of(step, work, command), name, output, cancel, file)
            case "echo":
                output.write("stdout", echo_output(command.args).encode("utf-8", "surrogateescape"))
            case "false":
                raise StepFailed("exit code 1", exit_status=1)

    def _run_container(
        self,
        step: PlannedStep,
        name: str,
        output: StepOutput,
        cancel: CancelToken,
        file: _OutputFile | None,
    ) -> None:
        assert isinstance(step.work, CmdWork)
        self._check_policy(step, step.work)
        around = _Surroundings(self, step)
        body = convert.container_body(self._plan, step, around, self._engine.policy)
        mounts = body["HostConfig"]["Mounts"]
        has_socket = any(mount["Target"] == DOCKER_SOCKET for mount in mounts)
        container = self._create(step, step.work, name, body, output, cancel)
        try:
            cancel.raise_if_cancelled()
            self._workspace.fill(container)
            if file is not None:
                file.make()
            self._volumes.fill([mount.get("Source", "") for mount in mounts], container)
            self._workspace.changed()
        except BaseException:
            self._gone(step.id, container)
            self._containers.remove_soon(container)
            raise
        missed = SocketMissed()

        def write_and_watch(stream: str, data: bytes) -> None:
            missed.see(stream, data)
            output.write(stream, data)

        try:
            if step.detach:
                self._containers.run_detached(
                    container, output.write, stop_timeout_s=_stop_timeout_s(step.work)
                )
            else:
                write = output.write if has_socket else write_and_watch
                self._containers.run(container, write, cancel, keep=step.keep)
        except StepFailed as error:
            if missed:
                raise StepFailed(
                    error.message, exit_status=error.exit_status, hint=socket_hint(self._engine.policy)
                ) from error
            raise
        finally:
            self._workspace.changed()
            if not step.keep and not step.detach:
                self._gone(step.id, container)

    def _check_policy(self, step: PlannedStep, work: CmdWork) -> None:
        """By now the values of secrets are known, which the check of the task's text could not see."""
        policy = self._engine.policy
        if policy == Policy():
            return
        ids = self._plan.step_by_id.keys()
        forbidden = forbidden_in_step(step, policy, ids, {volume.name for volume in self._plan.volumes})
        if forbidden is None and str(parse_reference(work.image)) not in self._built:
            forbidden = forbidden_image(work.image, policy)
        if forbidden is not None:
            raise StepFailed(f"the step {forbidden.message}", exit_status=_CLIENT_FAILED, hint=forbidden.hint)

    def _create(
        self,
        step: PlannedStep,
        work: CmdWork,
        name: str,
        body: dict[str, Any],
        output: StepOutput,
        cancel: CancelToken,
    ) -> str:
        platform = convert.platform_of(work)
        if work.pull:
            body["Image"] = self._pull(work, platform, output, cancel)
        try:
            try:
                container = self._containers.create(name, body, platform)
            except containers.MissingImage:
                body["Image"] = self._pull(work, platform, output, cancel)
                container = self._containers.create(name, body, platform)
        except containers.MissingImage as error:
            raise StepFailed(
                f"the engine has no image {work.image}, though it was pulled", exit_status=_CLIENT_FAILED
            ) from error
        except StepFailed as error:
            path = _Surroundings(self, step).socket_path()
            if "bind source path does not exist" in error.message and error.message.endswith(path):
                raise StepFailed(
                    f"the step would get the engine's socket, and there is none at {path} on the engine's machine",
                    exit_status=_CLIENT_FAILED,
                    hint='policy.docker_socket = "never" in the settings goes without it',
                ) from error
            raise
        with self._lock:
            self._present[step.id].append(container)
        return container

    def _pull(self, work: CmdWork, platform: str, output: StepOutput, cancel: CancelToken) -> str:
        """The name under which the engine has the image then."""
        image = parse_reference(work.image)
        forbidden = forbidden_image(work.image, self._engine.policy)
        if forbidden is not None:  # it may be run because a build of this run has made it, and only then
            raise StepFailed(f"the step {forbidden.message}", exit_status=_CLIENT_FAILED, hint=forbidden.hint)
        try:
            source = mirrored(image, self._engine.mirrors)
        except InvalidReference as error:
            raise RegistryError(str(error), hint="correct registries.mirrors in the settings") from error
        credential = self._engine.credentials.find(source.registry)
        for further in reversed(range(work.download_retries + 1)):
            try:
                images.pull(self._engine.api, source, credential, output, cancel, platform)
                break
            except TasksError as error:
                if not further or cancel.is_cancelled:
                    raise
                output.write("engine", f"{error.message}; trying again\n".encode())
            cancel.wait(work.download_retry_delay_s)
        if source == image:
            return work.image
        if image.digest:
            return str(source)  # nothing can be given a name by digest
        with translated(f"naming {source.familiar} {image.familiar}"):
            self._engine.api.tag(str(source), f"{image.registry}/{image.repository}", image.tag)
        return work.image

    def _remove_earlier(self, step_id: str) -> None:
        """What an earlier attempt at the step has left: kept or detached, it holds its ports and its name."""
        with self._lock:
            earlier = self._present[step_id]
            self._present[step_id] = []
        for container in earlier:
            self._containers.remove(container)

    def _gone(self, step_id: str, container: str) -> None:
        with self._lock:
            if container in self._present[step_id]:
                self._present[step_id].remove(container)

    def _newest(self, name: str) -> str:
        with self._lock:
            if name not in self._present:
                return name  # a container of the engine
            present = self._present[name]
        if not present:
            raise StepFailed(
                f"step '{name}' has no container now",
                exit_status=_CLIENT_FAILED,
                hint="wait for it with 'when', and give it 'detach' or 'keep'",
            )
        return present[-1]


class _OutputFile:
    """Where the commands of one attempt at a step write its outputs."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        # new and not to be guessed, since other steps can write beside it
        self._name = f".tasks-output-{secrets.token_hex(8)}"
        self._is_made = False

    @property
    def path(self) -> str:
        """In a container."""
        return f"{HOME}/{self._name}"

    def make(self) -> None:
        """Before the first container starts."""
        if not self._is_made:
            self._workspace.make_output(self._name)
            self._is_made = True

    def take(self) -> bytes:
        return self._workspace.take_output(self._name, MAX_OUTPUT_BYTES) if self._is_made else b""


class _Surroundings:
    """Implements convert.Surroundings for one step."""

    def __init__(self, steps: CmdSteps, step: PlannedStep) -> None:
        self._steps = steps
        self._step = step

    def mounts(self, step: PlannedStep) -> Sequence[dict[str, Any]]:
        steps = self._steps
        mounts = [*steps._workspace.mounts()]
        assert isinstance(step.work, CmdWork)
        if gets_socket(step.work.image, steps._engine.policy):
            mounts.append(socket_mount(self.socket_path()))
        return [*mounts, *(self._volume_mount(each) for each in step.volume_mounts)]

    def _volume_mount(self, mount: VolumeMount) -> dict[str, Any]:
        return {
            "Type": "volume",
            "Source": self._steps._volumes.name(mount.name),
            "Target": mount.mount_path,
            "VolumeOptions": {"NoCopy": True},
        }

    def network_name(self, name: str) -> str:
        return self._steps._networks.get(name, name)

    def workspace_mount(self, folder: str, *, make: bool = False) -> dict[str, Any]:
        return self._steps._workspace.source(folder, make=make)

    def volume_name(self, name: str) -> str:
        own = self._steps._volumes.name(name)
        if is_of_another_run(own, self._steps._plan.run_id):
            raise StepFailed(
                f"volume '{name}' belongs to another run",
                exit_status=_CLIENT_FAILED,
                hint="for files that outlive a run, take a volume with another name",
            )
        return own

    def container_of(self, name: str) -> str:
        return self._steps._newest(name)

    def socket_path(self) -> str:
        return socket_path(
            self._steps._engine.endpoint, is_on_this_machine=self._steps._workspace.is_seen_by_engine
        )


def _stop_timeout_s(work: CmdWork) -> int | None:
    """How long a detached container may take to end, where its options show that it wants to."""
    values = {option.name: option.value for option in work.options}
    if "stop-timeout" in values:
        return max(0, min(int(values["stop-timeout"]), containers.KILL_GRACE_S))
    return containers.STOP_GRACE_S if "stop-signal" in values else None


def _volumes_in_use(plan: Plan) -> set[str]:
    """Volumes of the task that a container could mount."""
    used = {mount.name for step in plan.steps for mount in step.volume_mounts}
    for step in plan.steps:
        if isinstance(step.work, CmdWork):
            options = [*step.work.options, *(each for one in step.work.commands for each in one.options)]
            asked = [option.value for option in options if option.name in ("volume", "mount")]
            used |= {volume.name for volume in plan.volumes if any(volume.name in text for text in asked)}
    return used
