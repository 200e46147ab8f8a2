"""What a build has read: images of every kind, git repositories, files by URL.

From the provenance that newer daemons keep with every build, whether it was attached to an image or not; from
the names of the build's steps where there is none. Source of the fields: SLSA provenance v0.2 and v1, and the
package URLs that BuildKit writes into it (`pkg:docker/name@tag?platform=os%2Farch`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from tasks_engine.backends.buildkit.control import Control, answers
from tasks_engine.backends.buildkit.errors import BuildKitError
from tasks_engine.backends.buildkit.progress import Step
from tasks_engine.backends.buildkit.proto import content_pb2, control_pb2

#: a record is written when its build ends, which is just before or after we hear of it
_RECORD_WITHIN_S = 2.0
_MAX_PROVENANCE_BYTES = 64 << 20
_HUB = "docker.io"

_METADATA = re.compile(r"\[(?:internal|context \S+)\] load metadata for (\S+)")
_FROM = re.compile(r"(?:\[[^\]]*\] )?FROM (\S+)")
_GIT = re.compile(r"\[internal\] load git source (\S+)")
_URL = re.compile(r"(?:\[[^\]]*\] ADD (?:--\S+ )*)?(https?://\S+)(?: .*)?")
_COMMIT = re.compile(rb"^([0-9a-f]{40})\t", re.MULTILINE)


@dataclass(frozen=True, order=True)
class ImageSource:
    """An image of a FROM, COPY --from, mount, named context or frontend."""

    #: with registry and tag, or with the digest it was asked for by: "docker.io/library/alpine:3.20"
    reference: str
    #: os/arch[/variant]; empty when the daemon does not say
    platform: str
    #: of the manifest or index that the reference led to; empty when the daemon does not say
    digest: str


@dataclass(frozen=True, order=True)
class GitSource:
    """A git repository."""

    #: with "#ref" and folder, as it was asked for
    url: str
    #: empty when the daemon does not say
    commit: str


@dataclass(frozen=True, order=True)
class UrlSource:
    """A file fetched by URL."""

    url: str
    #: sha256:…; empty when the daemon does not say
    digest: str


@dataclass(frozen=True)
class BuildSources:
    """All that a build has read but for local folders, sorted, each thing once."""

    images: tuple[ImageSource, ...] = ()
    repositories: tuple[GitSource, ...] = ()
    files: tuple[UrlSource, ...] = ()


def read_sources(control: Control, ref: str, steps: Iterable[Step], *, timeout_s: float) -> BuildSources:
    """Sources of the build `ref`, from its provenance or else from its `steps`. Raises BuildKitError."""
    provenances = list(_provenances(control, ref, timeout_s))
    if not provenances:
        return sources_of_steps(steps)
    found = [source for provenance in provenances for source in sources_of_provenance(provenance)]
    return _sorted(found)


def _provenances(control: Control, ref: str, timeout_s: float) -> Iterator[Mapping[str, Any]]:
    """One for each platform; none from a daemon that keeps none."""
    record = _record(control, ref, timeout_s)
    if record is None:
        return
    for result in (record.result, *record.results.values()):
        for attestation in result.attestations:
            if "provenance" in attestation.annotations.get("in-toto.io/predicate-type", ""):
                yield _read_json(control, attestation, timeout_s)


def _record(control: Control, ref: str, timeout_s: float) -> control_pb2.BuildHistoryRecord | None:
    deadline_s = time.monotonic() + _RECORD_WITHIN_S
    request = control_pb2.BuildHistoryRequest(ref=ref, early_exit=True)
    while True:
        with answers("its history"):
            events = list(control.history(request, timeout=timeout_s))
        complete: list[control_pb2.BuildHistoryRecord] = [
            event.record for event in events if event.type == control_pb2.BuildHistoryEvent.COMPLETE
        ]
        if complete:
            return complete[-1]
        if not events or time.monotonic() > deadline_s:
            return None
        time.sleep(0.05)


def _read_json(control: Control, descriptor: control_pb2.Descriptor, timeout_s: float) -> Mapping[str, Any]:
    request = content_pb2.ReadContentRequest(digest=descriptor.digest)
    data = bytearray()
    with answers("a build's provenance"):
        for piece in control.read_content(request, timeout=timeout_s):
            data += piece.data
            if len(data) > _MAX_PROVENANCE_BYTES:
                raise BuildKitError(f"the provenance {descriptor.digest} is too large to be read")
    try:
        decoded = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BuildKitError(f"the provenance {descriptor.digest} is not JSON") from error
    return decoded if isinstance(decoded, dict) else {}


# --- pure -------------------------------------------------------------------------------------------------------


def sources_of_provenance(provenance: Mapping[str, Any]) -> list[ImageSource | GitSource | UrlSource]:
    """Those of one provenance; what cannot be read is left out."""
    definition = provenance.get("buildDefinition")
    listed = definition.get("resolvedDependencies") if isinstance(definition, dict) else None
    materials = listed or provenance.get("materials")
    found = []
    for material in materials if isinstance(materials, list) else ():
        uri = material.get("uri") if isinstance(material, dict) else None
        digests = material.get("digest") if isinstance(material, dict) else None
        if isinstance(uri, str):
            found.append(_source(uri, digests if isinstance(digests, dict) else {}))
    return found


def _source(uri: str, digests: Mapping[str, object]) -> ImageSource | GitSource | UrlSource:
    def digest(algorithm: str) -> str:
        value = digests.get(algorithm)
        return value if isinstance(value, str) else ""

    sha256 = f"sha256:{digest('sha256')}" if digest("sha256") else ""
    if uri.startswith("pkg:docker/"):
        path, _, query = uri.removeprefix("pkg:docker/").partition("?")
        qualifiers = parse_qs(query)
        name, _, version = path.partition("@")
        asked_digest = qualifiers.get("digest", [""])[0]
        suffix = f":{unquote(version)}" if version else ""
        if asked_digest:
            suffix += f"@{asked_digest}"
        platform = qualifiers.get("platform", [""])[0]
        return ImageSource(full_name(unquote(name)) + suffix, platform, sha256 or asked_digest)
    if digest("sha1") or not uri.startswith(("http://", "https://")):
        return GitSource(uri, digest("sha1"))
    return UrlSource(uri, sha256)


def sources_of_steps(steps: Iterable[Step]) -> BuildSources:
    """What names of steps tell: an image's digest only where the daemon resolved it, no platforms."""
    digest_by_reference: dict[str, str] = {}
    others: list[GitSource | UrlSource] = []
    for step in steps:
        if match := _METADATA.fullmatch(step.name) or _FROM.fullmatch(step.name):
            reference, _, digest = match[1].partition("@")
            name = reference if digest or ":" in reference.rpartition("/")[2] else f"{reference}:latest"
            digest_by_reference[name] = digest or digest_by_reference.get(name, "")
        elif match := _GIT.fullmatch(step.name):
            commit = _COMMIT.search(step.output)
            others.append(GitSource(match[1], commit[1].decode() if commit else ""))
        elif match := _URL.fullmatch(step.name):
            others.append(UrlSource(match[1], ""))
    images = [ImageSource(name, "", digest) for name, digest in digest_by_reference.items()]
    return _sorted([*images, *others])


def full_name(name: str) -> str:
    """A repository with its registry: "alpine" is "docker.io/library/alpine"."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"{_HUB}/{name}" if slash else f"{_HUB}/library/{name}"


def _sorted(found: Iterable[ImageSource | GitSource | UrlSource]) -> BuildSources:
    unique = set(found)
    return BuildSources(
        images=tuple(sorted(source for source in unique if isinstance(source, ImageSource))),
        repositories=tuple(sorted(source for source in unique if isinstance(source, GitSource))),
        files=tuple(sorted(source for source in unique if isinstance(source, UrlSource))),
    )
