"""The dependency list of built images: for each tag what it was built on, and from which commit. Pure.

A list of this form is what consumers of task runs read; its keys are an interface. Docker Hub is
`registry.hub.docker.com` there, unless a reference spells it in another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    #: None when the base is no image, but the files of a named context
    runtime: ImageDependency | None
    buildtime: tuple[ImageDependency, ...]
    #: the commit of the context; empty outside a repository
    git_revision: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "image": self.image.to_json() if self.image is not None else None,
            "runtime-dependency": self.runtime.to_json() if self.runtime is not None else None,
            "buildtime-dependency": [each.to_json() for each in self.buildtime] or None,
            "git": {"git-head-revision": self.git_revision},
        }


@dataclass(frozen=True)
class SeenImages:
    """What a builder tells of a build besides its Dockerfile."""

    #: full name of an image, as `str(parse_reference(…))` gives it -> digest of what was there
    digest_by_name: Mapping[str, str] = field(default_factory=dict)
    #: name in the Dockerfile, full as above -> the image that was taken instead; None for what is no image
    replaced: Mapping[str, str | None] = field(default_factory=dict)
    #: references that the Dockerfile does not tell of
    others: tuple[str, ...] = ()
    #: of the image that was built; empty when it is not known before a push
    image_digest: str = ""


_NOTHING_SEEN = SeenImages()


def list_dependencies(
    images: DockerfileImages | None,
    tags: Sequence[str],
    git_revision: str = "",
    seen: SeenImages = _NOTHING_SEEN,
) -> tuple[Dependencies, ...]:
    """One entry for each tag, or a single one without an image. Raises InvalidReference for a tag that is none.

    Without `images`, of a Dockerfile that nobody here understands, all that was seen counts as build-time.
    """
    built: list[ImageDependency | None] = [
        replace(parse_image(with_tag(tag)), digest=seen.image_digest) for tag in tags
    ]
    runtime = _taken(images.runtime, seen) if images is not None else None
    named = images.buildtime if images is not None else ()
    taken = filter(None, (_taken(each, seen) for each in named))
    others = (each for each in (_taken(each, seen) for each in seen.others) if each and each != runtime)
    buildtime = tuple(dict.fromkeys((*taken, *others)))
    return tuple(Dependencies(image, runtime, buildtime, git_revision) for image in built or [None])


def _taken(reference: str, seen: SeenImages) -> ImageDependency | None:
    """The image behind a name of the Dockerfile, with its digest where that is known."""
    name = str(parse_reference(reference))
    taken = seen.replaced.get(name, reference)
    if taken is None:
        return None
    found = parse_image(taken)
    digest = found.digest or seen.digest_by_name.get(str(parse_reference(taken)), "")
    return replace(found, digest=digest)


def parse_image(reference: str) -> ImageDependency:
    """The parts of a reference; without tag and digest the tag is `latest`. Raises InvalidReference."""
    parsed = parse_reference(reference)
    name = reference.partition("@")[0].removesuffix(f":{parsed.tag}")
    if name in (parsed.repository, parsed.repository.removeprefix("library/")):
        registry, repository = HUB, parsed.repository
    else:
        registry, _, repository = name.partition("/")
    return ImageDependency(registry, repository, parsed.tag, parsed.digest, reference)
