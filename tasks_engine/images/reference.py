"""Image references, read and normalised as Docker does.

Grammar: github.com/distribution/reference. `busybox` is `docker.io/library/busybox`; the part before the
first slash is a registry when it has a dot or a colon, or is `localhost`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
_HUB_ALIASES = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_REGISTRY = re.compile(
    r"(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*"
    r"[A-Za-z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?\Z"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}\Z")


class InvalidReference(ValueError):
    """A text that is no image reference; the message says why."""


@dataclass(frozen=True)
class Reference:
    registry: str
    #: with `library/` for official images of Docker Hub
    repository: str
    tag: str
    digest: str

    def __str__(self) -> str:
        """The full form, which names the same image everywhere."""
        return f"{self.registry}/{self.repository}{self._suffix}"

    @property
    def familiar(self) -> str:
        """The short form people write: without Docker Hub's registry and `library/` where they go without saying."""
        if self.registry != DOCKER_HUB:
            return str(self)
        short = f"{self.repository.removeprefix('library/')}{self._suffix}"
        try:
            is_same = parse_reference(short) == self
        except InvalidReference:  # what stands before the first slash looks like a registry and is none
            is_same = False
        return short if is_same else str(self)

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """The parts of a reference; without tag and digest the tag is `latest`. Raises InvalidReference."""
    name, at, digest = text.partition("@")
    if at and not _DIGEST.match(digest):
        raise InvalidReference(f"'{digest}' is not a digest")
    head, slash, rest = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost" or head != head.lower()):
        registry, path = head, rest
    else:
        registry, path = DOCKER_HUB, name
    path, colon, tag = path.partition(":")
    if colon and not _TAG.match(tag):
        raise InvalidReference(f"'{tag}' is not a tag")
    registry = DOCKER_HUB if registry in _HUB_ALIASES else registry
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    if not _REGISTRY.match(registry):
        raise InvalidReference(f"'{registry}' is not a registry")
    if not _REPOSITORY.match(path) or len(path) > 255:
        raise InvalidReference(_name_problem(path.removeprefix("library/")))
    return Reference(registry, path, tag or ("" if digest else "latest"), digest)


def normal_registry(name: str) -> str:
    """A registry's name in lower case; Docker Hub has several names, and this is the one that references have."""
    lower = name.lower()
    return DOCKER_HUB if lower in _HUB_ALIASES else lower


def _name_problem(path: str) -> str:
    if not path:
        return "the image has no name"
    if path != path.lower():
        return f"image name '{path}' must be lower case"
    return f"'{path}' is not an image name"
