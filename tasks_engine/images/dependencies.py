"""The dependency list of built images: for each tag what it was built on, and from which commit. Pure.

A list of this form is what consumers of task runs read; its keys are an interface. Docker Hub is
`registry.hub.docker.com` there, unless a reference spells it in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks_engine.images.dockerfile_images import DockerfileImages, with_tag
from tasks_engine.images.reference import parse_reference

HUB = "registry.hub.docker.com"


@dataclass(frozen=True)
class ImageDependency:
    registry: str
    #: with `library/` for official images of Docker Hub
    repository: str
    tag: str
    digest: str
    #: as it was written
    reference: str

    def to_json(self) -> dict[str, str]:
        """Without the tag if there is none; the digest is always there."""
        tag = {"tag": self.tag} if self.tag else {}
        return (
            {"registry": self.registry, "repository": self.repository}
            | tag
            | {"digest": self.digest, "reference": self.reference}
        )


@dataclass(frozen=True)
class Dependencies:
    #: None when the build gives its image no tag
    image: ImageDependency | None
    runtime: ImageDependency
    buildtime: tuple[ImageDependency, ...]
    #: the commit of the context; empty outside a repository
    git_revision: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "image": self.image.to_json() if self.image is not None else None,
            "runtime-dependency": self.runtime.to_json(),
            "buildtime-dependency": [each.to_json() for each in self.buildtime] or None,
            "git": {"git-head-revision": self.git_revision},
        }


def list_dependencies(
    images: DockerfileImages, tags: Sequence[str], git_revision: str = ""
) -> tuple[Dependencies, ...]:
    """One entry for each tag, or a single one without an image. Raises InvalidReference for a tag that is none."""
    built: Sequence[ImageDependency | None] = [parse_image(with_tag(tag)) for tag in tags] or [None]
    runtime = parse_image(images.runtime)
    buildtime = tuple(parse_image(reference) for reference in images.buildtime)
    return tuple(Dependencies(image, runtime, buildtime, git_revision) for image in built)


def parse_image(reference: str) -> ImageDependency:
    """The parts of a reference; without tag and digest the tag is `latest`. Raises InvalidReference."""
    parsed = parse_reference(reference)
    name = reference.partition("@")[0].removesuffix(f":{parsed.tag}")
    if name in (parsed.repository, parsed.repository.removeprefix("library/")):
        registry, repository = HUB, parsed.repository
    else:
        registry, _, repository = name.partition("/")
    return ImageDependency(registry, repository, parsed.tag, parsed.digest, reference)
