"""Manifests and indexes: what they list, and the one for a platform. Pure.

Sources: OCI image-spec, "Image Manifest" and "Image Index"; Docker's manifest version 2, schema 2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks_engine.backends.registry.answers import read_json_object
from tasks_engine.errors import RegistryError
from tasks_engine.images.dockerfile_variables import platform_values

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
_INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)

MAX_MANIFEST_BYTES = 4 << 20
_MAX_ENTRIES = 10_000
_HEX_DIGITS = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]+)")
#: variants of 32-bit ARM, each of which can run those before it
_ARM_VARIANTS = ("v5", "v6", "v7", "v8")
_AMD64_VARIANTS = ("", "v2", "v3", "v4")


@dataclass(frozen=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True)
class Descriptor:
    """An entry of a manifest or index."""

    media_type: str
    digest: str
    size_bytes: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None


@dataclass(frozen=True)
class Manifest:
    """A manifest or an index, byte for byte."""

    media_type: str
    digest: str
    data: bytes = field(repr=False)

    @classmethod
    def of(cls, media_type: str, data: bytes) -> Manifest:
        """With the digest that its bytes have."""
        return cls(media_type, digest_of(data), data)

    @property
    def is_index(self) -> bool:
        return self.media_type in _INDEX_TYPES

    def content(self) -> Mapping[str, Any]:
        """Its JSON. Raises RegistryError when it is none."""
        content = read_json_object(self.data)
        if content is None:
            raise RegistryError(f"manifest {self.digest} is not a JSON object", hint="push the image again")
        return content

    def config(self) -> Descriptor:
        """Of a manifest. Raises RegistryError when it does not say it as it should."""
        return _descriptor(self.content().get("config"), self.digest)

    def layers(self) -> tuple[Descriptor, ...]:
        """Of a manifest. Raises RegistryError when it does not list them as it should."""
        return self._entries("layers")

    def manifests(self) -> tuple[Descriptor, ...]:
        """Of an index. Raises RegistryError when it does not list them as it should."""
        return self._entries("manifests")

    def _entries(self, name: str) -> tuple[Descriptor, ...]:
        entries = self.content().get(name)
        if not isinstance(entries, list) or len(entries) > _MAX_ENTRIES:
            raise RegistryError(
                f"manifest {self.digest} has no list '{name}' that could be read", hint="push the image again"
            )
        return tuple(_descriptor(entry, self.digest) for entry in entries)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def is_digest(text: str) -> bool:
    """Of an algorithm that can be checked."""
    match = _DIGEST.fullmatch(text)
    return match is not None and len(match[2]) == _HEX_DIGITS[match[1]]


def parse_platform(text: str) -> Platform:
    """Of `linux/arm64/v8` and the like; spellings of the same platform give the same."""
    values = platform_values("", text)
    return Platform(values["OS"], values["ARCH"], values["VARIANT"])


def select_platform(entries: Sequence[Descriptor], platform: Platform) -> Descriptor | None:
    """The entry that fits a platform best: its own, else the newest variant that it can run."""
    for variant in _runnable_variants(platform):
        wanted = Platform(platform.os, platform.architecture, variant)
        for entry in entries:
            if entry.platform == wanted:
                return entry
    return None


def _runnable_variants(platform: Platform) -> Sequence[str]:
    order = {"arm": _ARM_VARIANTS, "amd64": _AMD64_VARIANTS}.get(platform.architecture, ())
    if platform.variant not in order:
        return (platform.variant,)
    return order[order.index(platform.variant) :: -1]


def _descriptor(entry: object, manifest: str) -> Descriptor:
    if isinstance(entry, dict):
        media_type, digest = entry.get("mediaType", ""), entry.get("digest")
        size: Any = entry.get("size")
        is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 0
        if is_size and isinstance(media_type, str) and isinstance(digest, str) and is_digest(digest):
            platform = _platform(entry.get("platform"))
            return Descriptor(media_type, digest, size, _texts(entry.get("annotations")), platform)
    raise RegistryError(
        f"manifest {manifest} has an entry without digest or size", hint="push the image again"
    )


def _texts(value: object) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in pairs if isinstance(text, str)}


def _platform(value: object) -> Platform | None:
    texts = _texts(value)
    if not texts.get("os") or not texts.get("architecture"):
        return None
    parts = (texts["os"], texts["architecture"], texts.get("variant", ""))
    return parse_platform("/".join(filter(None, parts)))
