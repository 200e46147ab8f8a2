"""`push` steps of one run.

Content first, tags last: pushes at the plan's end send what their images consist of, under digests alone, and when
all steps have succeeded, `release` writes the tags. What content can be sent so: images in an engine with containerd's
store, read from there, and builds of a standalone BuildKit. Another engine can only push an image with its tag.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tasks_engine.backends.at_once import for_each
from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import BackendError, Canceled, RegistryError, TasksError, TimedOut
from tasks_engine.events import ImagePushed
from tasks_engine.images.reference import parse_reference
from tasks_engine.plan.model import PushWork
from tasks_engine.ports import StepOutput

if TYPE_CHECKING:  # heavy libraries load when a step needs them
    from docker.api import APIClient

    from tasks_engine.backends.build_steps import BuildSteps
    from tasks_engine.backends.content_push import ContentPush
    from tasks_engine.backends.registry import Manifest, RegistryClient

#: images of one step that are pushed at the same time
_IMAGES_AT_ONCE = 5


@dataclass(frozen=True)
class _Sent:
    """An image whose tag waits for the end of the run."""

    step_id: str
    image: str
    #: the step that built it on a standalone daemon; empty for an image of an engine
    maker: str
    #: of its manifest or index; empty where the content could not go first, and comes with the tag
    digest: str = ""
    #: None where it was sent by a standalone daemon
    manifest: Manifest | None = None


class PushSteps:
    """Thread-safe."""

    def __init__(
        self,
        api: APIClient | None,
        alone: BuildSteps | None,
        store: ContentPush | None,
        registry: RegistryClient,
        credentials: DockerConfigCredentials,
    ) -> None:
        """`alone`: the builds of a daemon without a store, which pushes itself what it has built.

        `store`: sends images of an engine that keeps them as registries do.
        """
        self._api = api
        self._alone = alone
        self._store = store
        self._registry = registry
        self._credentials = credentials
        self._sent: list[_Sent] = []
        self._lock = threading.Lock()

    @property
    def sends_content_first(self) -> bool:
        return self._store is not None or self._alone is not None

    @property
    def released(self) -> tuple[str, ...]:
        """Images whose tags `release` will write."""
        return tuple(sent.image for sent in self._sent)

    def push(self, step_id: str, work: PushWork, output: StepOutput, cancel: CancelToken) -> None:
        """Raises StepFailed, BackendError, or the reason of `cancel`."""

        def push(image: str) -> None:
            if work.at_end and self.sends_content_first:
                sent = self._send(step_id, image, work, output, cancel)
                # What was cancelled meanwhile must not be released, whatever the run does without it.
                with self._lock:
                    cancel.raise_if_cancelled()
                    self._sent.append(sent)
            else:
                self._push(step_id, image, work.built_by.get(image, ""), output, cancel)

        for_each(push, work.images, cancel, at_once=_IMAGES_AT_ONCE)

    def release(self, output: Callable[[str], StepOutput], cancel: CancelToken) -> None:
        """Writes the tags of all that was sent.

        A write that has begun is waited for, so that what has moved is known. Raises RegistryError, or an error of the
        class of `cancel`'s reason.
        """
        moved: list[str] = []

        def move(sent: _Sent) -> None:
            if sent.digest:
                self._write_tag(sent, output(sent.step_id))
            else:
                self._push(sent.step_id, sent.image, sent.maker, output(sent.step_id), cancel)
            moved.append(sent.image)

        # What still has content to send may fail for more reasons, so it goes first.
        whole = [sent for sent in self._sent if not sent.digest]
        tags = [sent for sent in self._sent if sent.digest]
        try:
            for_each(move, whole, cancel, at_once=_IMAGES_AT_ONCE, patient=True)
            for_each(move, tags, cancel, at_once=_IMAGES_AT_ONCE, patient=True)
        except TasksError as error:
            left = [sent.image for sent in self._sent if sent.image not in moved]
            message = f"not all tags have moved: {error.message}; moved: {_listed(moved)}; not moved: {_listed(left)}"
            kind = type(error) if isinstance(error, (Canceled, TimedOut)) else RegistryError
            raise kind(message, hint=error.hint or "their content is in the registry: run again") from error

    def _write_tag(self, sent: _Sent, output: StepOutput) -> None:
        reference = parse_reference(sent.image)
        manifest = sent.manifest or self._registry.manifest(replace(reference, tag="", digest=sent.digest))
        self._registry.put_manifest(reference, manifest)
        output.emit(
            ImagePushed(
                step_id=sent.step_id, image=sent.image, digest=sent.digest, size_bytes=len(manifest.data)
            )
        )

    def _push(self, step_id: str, image: str, maker: str, output: StepOutput, cancel: CancelToken) -> None:
        """With its tag."""
        if maker and self._alone is not None:
            digest, size_bytes = self._alone.push(image, maker, output, cancel), 0
        else:
            digest, size_bytes = self._push_from_docker(image, output, cancel)
        output.emit(ImagePushed(step_id=step_id, image=image, digest=digest, size_bytes=size_bytes))

    def close(self) -> None:
        self._registry.close()

    def _send(
        self, step_id: str, image: str, work: PushWork, output: StepOutput, cancel: CancelToken
    ) -> _Sent:
        """Sends content without a tag, as far as that is possible."""
        maker = work.built_by.get(image, "") if self._alone is not None else ""
        later = _Sent(step_id, image, maker)
        output.write("engine", f"pushing {image}, its tag comes last\n".encode())
        try:
            if maker and self._alone is not None:
                # Also asks whether the registry can be reached from here, as the tag will be written from here.
                self._registry.digest(parse_reference(image))
                digest = self._alone.push(image, maker, output, cancel, by_digest=True)
                return replace(later, digest=digest)
            if self._store is not None:
                root = self._store.send(parse_reference(image), output, cancel)
                return replace(later, digest=root.digest, manifest=root)
        except BackendError as error:
            cancel.raise_if_cancelled()
            output.write("engine", f"{error.message}; so all of it comes last\n".encode())
        return later

    def _push_from_docker(self, image: str, output: StepOutput, cancel: CancelToken) -> tuple[str, int]:
        from tasks_engine.backends.docker import images

        assert self._api is not None
        reference = parse_reference(image)
        pushed = images.push(self._api, reference, self._credentials.find(reference.registry), output, cancel)
        return pushed.digest, pushed.size_bytes


def _listed(images: Sequence[str]) -> str:
    return ", ".join(images) or "none"
