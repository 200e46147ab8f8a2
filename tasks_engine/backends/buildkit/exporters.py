"""What the daemon does with the result of a build. `type` and `attrs` of an exporter are BuildKit's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tasks_engine.backends.buildkit.destinations import TarDestination


#: whose result comes back to us as one tar
TAR_TYPES = frozenset({"docker", "oci", "tar"})
Compression = Literal["", "uncompressed", "gzip", "estargz", "zstd"]


@dataclass(frozen=True)
class Exporter:
    """One of a build's exporters; the functions of this module make them."""

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict)
    #: where its result goes on this side: a folder for `local`, a destination for the tars, else None
    to: Path | TarDestination | None = None

    def __post_init__(self) -> None:
        if self.type == "local":
            fits = isinstance(self.to, Path)
        elif self.type in TAR_TYPES:
            fits = self.to is not None and not isinstance(self.to, Path)
        else:
            fits = self.to is None
        if not fits:
            raise ValueError(
                f"the exporter '{self.type}' and its destination {self.to!r} do not fit together"
            )

    @property
    def makes_image(self) -> bool:
        """The result is an image, which has digests and may carry attestations."""
        return self.type not in ("local", "tar")


def image(
    names: Sequence[str],
    *,
    push: bool = False,
    push_by_digest: bool = False,
    insecure: bool = False,
    compression: Compression = "",
    compression_level: int | None = None,
    force_compression: bool = False,
    oci_media_types: bool | None = None,
    annotations: Mapping[str, str] | None = None,
    rewrite_timestamp: bool = False,
    store: bool = True,
    unpack: bool = False,
) -> Exporter:
    """Into the daemon's own store, pushed by it if wanted. A Docker needs containerd's image store for this.

    `names` are full, with registry and tag; to push by digest they have no tag. `insecure` pushes to a
    registry without TLS or with a certificate nobody knows. `compression` is that of new layers, with `force`
    of all. Keys of `annotations` may begin with `index:`, `manifest:`, `manifest-descriptor:`. With
    `rewrite_timestamp` no file in the layers is newer than the build's `source_date_epoch`.
    """
    attrs = _named(names)
    if push or push_by_digest:
        attrs["push"] = "true"
    if push_by_digest:
        attrs["push-by-digest"] = "true"
    if insecure:
        attrs["registry.insecure"] = "true"
    if not store:
        attrs["store"] = "false"
    if unpack:
        attrs["unpack"] = "true"
    attrs |= _layers(
        compression, compression_level, force_compression, oci_media_types, annotations, rewrite_timestamp
    )
    return Exporter("image", attrs)


def moby(names: Sequence[str]) -> Exporter:
    """Into the image store of a Docker Engine, under all the names."""
    return Exporter("moby", _named(names))


def docker_tar(
    names: Sequence[str],
    to: TarDestination,
    *,
    compression: Compression = "",
    compression_level: int | None = None,
    force_compression: bool = False,
    annotations: Mapping[str, str] | None = None,
    rewrite_timestamp: bool = False,
) -> Exporter:
    """A tar for `docker load`."""
    layers = _layers(compression, compression_level, force_compression, None, annotations, rewrite_timestamp)
    return Exporter("docker", _named(names) | layers, to)


def oci_tar(
    names: Sequence[str],
    to: TarDestination,
    *,
    compression: Compression = "",
    compression_level: int | None = None,
    force_compression: bool = False,
    annotations: Mapping[str, str] | None = None,
    rewrite_timestamp: bool = False,
) -> Exporter:
    """A tar with the layout of the OCI image specification; the only one for several platforms."""
    layers = _layers(compression, compression_level, force_compression, None, annotations, rewrite_timestamp)
    return Exporter("oci", _named(names) | layers, to)


def files_tar(to: TarDestination) -> Exporter:
    """The result's root file system as a tar."""
    return Exporter("tar", {}, to)


def local(folder: Path) -> Exporter:
    """The result's root file system as files in `folder`, which is made if missing.

    Files that are there already are replaced, others stay. All belong to the user of this process.
    """
    return Exporter("local", {}, folder)


def _named(names: Sequence[str]) -> dict[str, str]:
    if isinstance(names, str):
        raise ValueError(f"names are a list: write [{names!r}]")
    return {"name": ",".join(names)} if names else {}


def _layers(
    compression: Compression,
    level: int | None,
    force: bool,
    oci_media_types: bool | None,
    annotations: Mapping[str, str] | None,
    rewrite_timestamp: bool,
) -> dict[str, str]:
    attrs: dict[str, str] = {}
    if rewrite_timestamp:
        attrs["rewrite-timestamp"] = "true"
    if compression:
        attrs["compression"] = compression
    if level is not None:
        attrs["compression-level"] = str(level)
    if force:
        attrs["force-compression"] = "true"
    if oci_media_types is not None:
        attrs["oci-mediatypes"] = str(oci_media_types).lower()
    for key, value in (annotations or {}).items():
        kind, colon, name = key.rpartition(":")
        attrs[f"annotation-{kind}.{name}" if colon else f"annotation.{key}"] = value
    return attrs
