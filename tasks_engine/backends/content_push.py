"""Sends images of an engine's store to registries without their tags.

BuildKit does it where what it sends is the image itself, byte by byte. Images that it did not make, and those for
several platforms, would come out with another digest: their content is read from the store and sent from here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

from docker.api import APIClient

from tasks_engine.backends.at_once import for_each
from tasks_engine.backends.builds import Builder
from tasks_engine.backends.docker import images
from tasks_engine.backends.engine_content import ImageContent, read_image
from tasks_engine.backends.registry import Descriptor, Manifest, RegistryClient
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import BackendError, StepFailed
from tasks_engine.events import StepProgress
from tasks_engine.images.reference import Reference
from tasks_engine.ports import StepOutput

_BLOBS_AT_ONCE = 3


class ContentPush:
    """Thread-safe."""

    def __init__(self, api: APIClient, store: Builder, registry: RegistryClient) -> None:
        self._api = api
        self._store = store
        self._registry = registry
        self._lock = threading.Lock()
        self._lock_by_place: dict[str, threading.Lock] = {}

    def send(self, image: Reference, output: StepOutput, cancel: CancelToken) -> Manifest:
        """The image's manifest or index; it and all that belongs to it are in the registry when this returns.

        Raises StepFailed for an image that the engine does not have, BackendError, or the reason of `cancel`.
        """
        content = read_image(self._store, images.image_id(self._api, image))
        root = content.root
        # Several tags of one repository send their content once.
        with self._alone_with(f"{image.registry}/{image.repository}@{root.digest}"):
            if self._registry.digest(replace(image, tag="", digest=root.digest)) is not None:
                self._tell(image, root.digest, "cached", 0, 0, output)
            elif root.is_index or not self._pushed_by_daemon(image, root, output, cancel):
                self._copy(image, content, output, cancel)
        return root

    def _pushed_by_daemon(
        self, image: Reference, root: Manifest, output: StepOutput, cancel: CancelToken
    ) -> bool:
        try:
            return self._store.push_stored(image, output, cancel) == root.digest
        except (StepFailed, BackendError):
            # It may know another way to the registry than we do, or none. If ours fails too, that is told.
            cancel.raise_if_cancelled()
            return False

    def _copy(self, image: Reference, content: ImageContent, output: StepOutput, cancel: CancelToken) -> None:
        def copy(blob: Descriptor) -> None:
            self._copy_blob(image, blob, output, cancel)

        for_each(copy, content.blobs, cancel, at_once=_BLOBS_AT_ONCE)
        for manifest in content.manifests:
            cancel.raise_if_cancelled()
            self._registry.put_manifest(replace(image, tag="", digest=manifest.digest), manifest)

    def _copy_blob(self, image: Reference, blob: Descriptor, output: StepOutput, cancel: CancelToken) -> None:
        def pieces() -> Iterator[bytes]:
            sent = 0
            for piece in self._store.read_content(blob.digest):
                cancel.raise_if_cancelled()
                yield piece
                sent += len(piece)
                self._tell(image, blob.digest, "running", sent, blob.size_bytes, output)

        with self._alone_with(f"{image.registry}/{image.repository}@{blob.digest}"):
            if self._registry.blob_exists(image, blob.digest):
                self._tell(image, blob.digest, "cached", blob.size_bytes, blob.size_bytes, output)
                return
            self._registry.upload_blob(image, blob, pieces)
        self._tell(image, blob.digest, "done", blob.size_bytes, blob.size_bytes, output)

    def _alone_with(self, place: str) -> threading.Lock:
        """Held while something is sent to a place."""
        with self._lock:
            return self._lock_by_place.setdefault(place, threading.Lock())

    def _tell(
        self, image: Reference, digest: str, state: str, current: int, total: int, output: StepOutput
    ) -> None:
        output.emit(
            StepProgress(
                step_id=output.step_id,
                item=f"{image.familiar} {digest}",
                parent=image.familiar,
                name=f"{'already there' if state == 'cached' else 'pushing'} {digest[7:19]}",
                state=state,
                current=current,
                total=total,
            )
        )
