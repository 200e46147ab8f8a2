"""Contexts kept in registries as OCI artifacts: their layers are fetched, checked, and put into a folder.

A layer without a title is an archive and unpacked, and so is a folder that `oras push` has packed; one with a title is
a file of that name. An archive that was pushed as a file and is all there is, is unpacked too: it is the context.
Media types do not decide: `oras push` calls every file a tar. Sources: OCI image-spec, "Annotations"; ORAS.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tasks_engine.backends.registry.client import RegistryClient
from tasks_engine.backends.registry.manifests import Descriptor, Manifest
from tasks_engine.errors import RegistryError, SourceError
from tasks_engine.images.reference import InvalidReference, Reference, parse_reference

SCHEME = "oci://"
MAX_LAYERS = 1000
#: of all layers, as they are sent
MAX_BYTES = 10 << 30
_ATTEMPTS = 3
_CHUNK_BYTES = 1 << 20
_TITLE = "org.opencontainers.image.title"
_UNPACK = "io.deis.oras.content.unpack"
#: titles of archives
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tar.bz2", ".tar.xz")

Unpack = Callable[[BinaryIO, Path], None]


@dataclass(frozen=True)
class _Layer:
    descriptor: Descriptor
    #: where its file goes below the folder; None for an archive
    name: PurePosixPath | None


def fetch_artifact(client: RegistryClient, reference: str, into: Path, unpack: Unpack) -> str:
    """Puts the content of `oci://registry/repository:tag` into the folder `into`, which exists; returns its digest.

    Nothing is written before all layers are there and have their digests. `unpack` gets archives as they are,
    compressed or not, from their first byte, and must itself keep inside the folder. Raises SourceError for what is
    no such artifact, RegistryError for what the registry does, and what `unpack` raises.
    """
    image = _reference(reference)
    manifest = client.manifest(image)
    if manifest.is_index:
        manifest = _only_manifest(client, image, manifest)
    layers = _layers(reference, manifest)
    with ExitStack() as stack:
        files = [
            (layer, stack.enter_context(_fetch(client, image, layer.descriptor, into))) for layer in layers
        ]
        for layer, file in files:
            if layer.name is None:
                unpack(file, into)
            else:
                _write(file, into, layer.name)
    return manifest.digest


def _reference(text: str) -> Reference:
    try:
        return parse_reference(text[len(SCHEME) :] if text.lower().startswith(SCHEME) else text)
    except InvalidReference as error:
        raise SourceError(
            f"'{text}' is no artifact: {error}", hint="the form is oci://REGISTRY/REPOSITORY:TAG"
        ) from error


def _only_manifest(client: RegistryClient, image: Reference, index: Manifest) -> Manifest:
    entries = index.manifests()
    if len(entries) != 1:
        raise SourceError(
            f"{image} is an index of {len(entries)} manifests, and no context",
            hint="name one of them by its digest",
        )
    manifest = client.manifest(replace(image, tag="", digest=entries[0].digest))
    if manifest.is_index:
        raise SourceError(f"{image} is an index of indexes, and no context")
    return manifest


def _layers(reference: str, manifest: Manifest) -> list[_Layer]:
    descriptors = manifest.layers()
    if not descriptors:
        raise SourceError(
            f"{reference} has no layers", hint="push an archive or files, such as with `oras push`"
        )
    if len(descriptors) > MAX_LAYERS:
        raise SourceError(f"{reference} has {len(descriptors)} layers; {MAX_LAYERS} is the limit")
    if sum(each.size_bytes for each in descriptors) > MAX_BYTES:
        raise SourceError(
            f"{reference} is larger than {MAX_BYTES >> 30} GiB, which is the limit of a context"
        )
    is_alone = len(descriptors) == 1
    layers = [
        _Layer(each, None if _is_archive(each, is_alone) else _file_name(reference, each))
        for each in descriptors
    ]
    names = [layer.name for layer in layers if layer.name is not None]
    if len(set(names)) < len(names):
        raise SourceError(f"{reference} has several files of one name")
    return layers


def _is_archive(layer: Descriptor, is_alone: bool) -> bool:
    title = layer.annotations.get(_TITLE, "").lower()
    return not title or layer.annotations.get(_UNPACK) == "true" or (is_alone and title.endswith(_ARCHIVES))


def _file_name(reference: str, layer: Descriptor) -> PurePosixPath:
    """Where a single file goes. Raises SourceError for a name that leads outside."""
    title = layer.annotations[_TITLE]
    name = PurePosixPath(title)
    is_inside = not name.is_absolute() and ".." not in name.parts and name.parts
    if not is_inside or "\0" in title or "\\" in title or len(title) > 4096:
        raise SourceError(
            f"{reference} names a file outside of the context: {title[:100]!r}",
            hint=f"push it again with a relative path as its '{_TITLE}'",
        )
    return name


def _fetch(client: RegistryClient, image: Reference, layer: Descriptor, folder: Path) -> BinaryIO:
    """A file without a name with the whole, checked layer, at its beginning."""
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - its caller closes it
    try:
        for further in reversed(range(_ATTEMPTS)):
            try:
                with client.blob(image, layer.digest, layer.size_bytes) as blob:
                    shutil.copyfileobj(blob, file, _CHUNK_BYTES)
                break
            except RegistryError as error:
                if not error.retryable or not further:
                    raise
            file.seek(0)
            file.truncate()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _write(file: BinaryIO, folder: Path, name: PurePosixPath) -> None:
    """Writes a new file below `folder`, through no links that an archive may have left there."""
    target = folder / name
    try:
        if target.parent.resolve() != folder.resolve() / name.parent:
            raise SourceError(f"the artifact's file '{name}' would be written through a link")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as writer:
            shutil.copyfileobj(file, writer, _CHUNK_BYTES)
    except OSError as error:
        raise SourceError(f"the artifact's file '{name}' cannot be written: {error.strerror}") from error
