"""Which digests of registries an engine remembers for its images."""

from __future__ import annotations

import docker.errors
from docker.api import APIClient

from tasks_engine.backends.docker.client import translated
from tasks_engine.images.reference import InvalidReference, Reference, parse_reference


def registry_digest(api: APIClient, image: Reference) -> str:
    """The digest that an image had in its registry when it was pulled or pushed; empty when there is none.

    Raises BackendError.
    """
    with translated(f"looking up the digest of {image.familiar}"):
        try:
            known = api.inspect_image(str(image)).get("RepoDigests") or ()  # type: ignore[no-untyped-call]
        except docker.errors.ImageNotFound:
            return ""
    for each in known:
        try:
            found = parse_reference(str(each))
        except InvalidReference:
            continue
        if (found.registry, found.repository) == (image.registry, image.repository):
            return found.digest
    return ""
