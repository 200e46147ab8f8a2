"""`push` steps of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.cancel import CancelToken
from tasks_engine.events import ImagePushed
from tasks_engine.images.reference import parse_reference
from tasks_engine.plan.model import PushWork
from tasks_engine.ports import StepOutput

if TYPE_CHECKING:  # heavy libraries load when a step needs them
    from docker.api import APIClient

    from tasks_engine.backends.build_steps import BuildSteps


class PushSteps:
    """Thread-safe."""

    def __init__(
        self, api: APIClient | None, alone: BuildSteps | None, credentials: DockerConfigCredentials
    ) -> None:
        """`alone`: the builds of a daemon without a store, which pushes itself what it has built."""
        self._api = api
        self._alone = alone
        self._credentials = credentials

    def push(self, step_id: str, work: PushWork, output: StepOutput, cancel: CancelToken) -> None:
        """Raises StepFailed, BackendError, or the reason of `cancel`."""
        for image in work.images:
            cancel.raise_if_cancelled()
            maker = work.built_by.get(image)
            if self._alone is not None and maker is not None:
                digest, size_bytes = self._alone.push(image, maker, output, cancel), 0
            else:
                digest, size_bytes = self._push_from_docker(image, output, cancel)
            output.emit(ImagePushed(step_id=step_id, image=image, digest=digest, size_bytes=size_bytes))

    def _push_from_docker(self, image: str, output: StepOutput, cancel: CancelToken) -> tuple[str, int]:
        from tasks_engine.backends.docker import images

        assert self._api is not None
        reference = parse_reference(image)
        pushed = images.push(self._api, reference, self._credentials.find(reference.registry), output, cancel)
        return pushed.digest, pushed.size_bytes
