"""`cmd` steps of one run: containers on an engine, with the run's network and files."""

from __future__ import annotations

from docker.api import APIClient

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.docker import containers, convert, images
from tasks_engine.backends.docker.client import translated
from tasks_engine.backends.workspace.user_folder import Workspace
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import TasksError
from tasks_engine.images.reference import parse_reference
from tasks_engine.plan.model import CmdWork, Plan, PlannedStep
from tasks_engine.policy import Policy
from tasks_engine.ports import StepOutput


class CmdSteps:
    """Thread-safe."""

    def __init__(
        self,
        plan: Plan,
        api: APIClient,
        workspace: Workspace,
        credentials: DockerConfigCredentials,
        policy: Policy,
    ) -> None:
        self._plan = plan
        self._api = api
        self._workspace = workspace
        self._credentials = credentials
        self._policy = policy
        self._containers = containers.Containers(api)

    def run(
        self, step: PlannedStep, work: CmdWork, attempt: int, output: StepOutput, cancel: CancelToken
    ) -> None:
        """Raises StepFailed, BackendError, or the reason of `cancel`."""
        name = convert.container_name(self._plan, step, attempt)
        body = convert.container_body(self._plan, step, self._workspace.mounts())
        if work.pull:
            self._pull(work, output, cancel)
        try:
            container = self._containers.create(name, body)
        except containers.MissingImage:
            self._pull(work, output, cancel)
            container = self._containers.create(name, body)
        cancel.raise_if_cancelled()
        self._workspace.fill(container)
        self._workspace.changed()
        if step.detach:
            self._containers.run_detached(container, output.write)
            return
        try:
            self._containers.run(container, output.write, cancel)
        finally:
            self._workspace.changed()

    def close(self) -> None:
        """Returns when the containers that ended are removed."""
        self._containers.close()

    def _pull(self, work: CmdWork, output: StepOutput, cancel: CancelToken) -> None:
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


def make_network(plan: Plan, api: APIClient) -> None:
    """The network that the run's containers share. Raises BackendError."""
    with translated("making the run's network"):
        api.create_network(convert.network_name(plan.run_id), labels={convert.RUN_LABEL: plan.run_id})
