"""The content of an engine's image, as a registry wants it: manifests and blobs, read from the engine's store.

Only engines with containerd's store keep images in that form. Source: OCI image-spec, "Image Layout".
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks_engine.backends.builds import Builder
from tasks_engine.backends.registry.manifests import MAX_MANIFEST_BYTES, Descriptor, Manifest
from tasks_engine.errors import BuildKitError, RegistryError

#: manifests of one image; a hostile index must not keep us busy
_MAX_MANIFESTS = 1000


@dataclass(frozen=True)
class ImageContent:
    #: each after those it lists; the image's own is the last
    manifests: tuple[Manifest, ...]
    #: configurations and layers, each once
    blobs: tuple[Descriptor, ...]

    @property
    def root(self) -> Manifest:
        return self.manifests[-1]


def read_image(store: Builder, digest: str) -> ImageContent:
    """What belongs to the image of a manifest or index. Raises BuildKitError when the engine does not have it all."""
    manifests: dict[str, Manifest] = {}
    blobs: dict[str, Descriptor] = {}

    def visit(digest: str) -> None:
        if digest in manifests or len(manifests) >= _MAX_MANIFESTS:
            return
        manifest = _read_manifest(store, digest)
        if manifest.is_index:
            for entry in manifest.manifests():
                visit(entry.digest)
        else:
            for blob in (manifest.config(), *manifest.layers()):
                blobs.setdefault(blob.digest, blob)
        manifests[digest] = manifest

    try:
        visit(digest)
    except RegistryError as error:
        raise BuildKitError(f"the engine's image {digest} cannot be read: {error.message}") from error
    except RecursionError as error:
        raise BuildKitError(f"the engine's image {digest} is an index of indexes without an end") from error
    return ImageContent(tuple(manifests.values()), tuple(blobs.values()))


def _read_manifest(store: Builder, digest: str) -> Manifest:
    data = bytearray()
    for piece in store.read_content(digest):
        data += piece
        if len(data) > MAX_MANIFEST_BYTES:
            raise BuildKitError(f"manifest {digest} of the engine is larger than any should be")
    found = Manifest.of("", bytes(data))
    if found.digest != digest:
        raise BuildKitError(f"manifest {digest} of the engine has another digest, {found.digest}")
    media_type = found.content().get("mediaType")
    if not isinstance(media_type, str):
        raise BuildKitError(f"manifest {digest} of the engine does not say what it is")
    return Manifest(media_type, digest, bytes(data))
