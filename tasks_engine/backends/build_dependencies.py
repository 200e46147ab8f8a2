"""What built images depend on: the Dockerfile says which images, the builder says with which digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks_engine.backends.build_files import BuildFiles
from tasks_engine.backends.buildkit import BuildSources
from tasks_engine.images.dependencies import Dependencies, SeenImages, list_dependencies
from tasks_engine.images.dockerfile import DEFAULT_PLATFORM, scan_dockerfile
from tasks_engine.images.dockerfile_images import DockerfileError, DockerfileImages
from tasks_engine.images.mirrors import mirrored
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.model import BuildWork

_IMAGE = "docker-image://"


def scanned(work: BuildWork, text: str) -> DockerfileImages | None:
    """The images of a Dockerfile; None for one that only its own frontend understands."""
    platform = next((each for each in work.platforms if "/" in each), DEFAULT_PLATFORM)
    try:
        return scan_dockerfile(text, build_args=work.build_args, target=work.target, platform=platform)
    except DockerfileError:
        return None


def names_used(images: DockerfileImages | None) -> frozenset[str]:
    """Full names of the images that a build of the target needs, as far as the Dockerfile tells."""
    if images is None:
        return frozenset()
    return frozenset(
        _full(use.written)
        for use in images.uses
        if use.written != "scratch" and (use.stage < 0 or images.stages[use.stage].needed)
    )


def dependencies_of(
    work: BuildWork, files: BuildFiles, sources: BuildSources, digest: str, mirrors: Mapping[str, str]
) -> Sequence[Dependencies]:
    """One entry for each tag, under the names that the author wrote. `digest` is that of the image, if known."""
    images = scanned(work, files.text)
    digest_by_name = {_full(source.reference): source.digest for source in sources.images}
    replaced = _replaced(files)
    known: set[str] = set()
    for name in (*_named(images), *filter(None, replaced.values())):
        asked = str(mirrored(parse_reference(name), mirrors))
        known |= {_full(name), asked}
        digest_by_name.setdefault(_full(name), digest_by_name.get(asked, ""))
    frontend = str(mirrored(parse_reference(images.frontend), mirrors)) if images and images.frontend else ""
    scanners = ("buildkit-syft-scanner", "docker/dockerfile")  # tools of the builder, in no image
    others = [
        parse_reference(source.reference).familiar
        for source in sources.images
        if _full(source.reference) not in known | {frontend}
        and not any(each in source.reference for each in scanners)
    ]
    seen = SeenImages(digest_by_name, replaced, tuple(dict.fromkeys(others)), digest)
    return list_dependencies(images, work.tags, files.git_revision, seen)


def _named(images: DockerfileImages | None) -> tuple[str, ...]:
    return (images.runtime, *images.buildtime) if images is not None else ()


def _replaced(files: BuildFiles) -> dict[str, str | None]:
    """Full name in the Dockerfile -> the image of the named context, or None for its files."""
    return {
        _full(name): source.removeprefix(_IMAGE) if isinstance(source, str) else None
        for name, source in files.named.items()
    }


def _full(name: str) -> str:
    try:
        return str(parse_reference(name))
    except InvalidReference:  # a builder may have names of its own
        return name
