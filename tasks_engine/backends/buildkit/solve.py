"""What to build and what to do with it, as the daemon's SolveRequest. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tasks_engine.backends.buildkit.proto import control_pb2

#: exporters whose result comes back to us as one tar
TAR_EXPORTERS = frozenset({"docker", "oci", "tar"})


@dataclass(frozen=True)
class Exporter:
    """What the daemon does with the result; `type` and `attrs` are BuildKit's words."""

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict)


def moby(tags: Sequence[str]) -> Exporter:
    """Into the image store of a Docker Engine, under all the tags."""
    return Exporter("moby", {"name": ",".join(tags)} if tags else {})


def image(tags: Sequence[str], *, push: bool = False) -> Exporter:
    """Into the daemon's own store, pushed by it if wanted; a Docker needs the containerd store for this."""
    return Exporter("image", {"name": ",".join(tags)} | ({"push": "true"} if push else {}))


def docker_tar(tags: Sequence[str]) -> Exporter:
    """A tar for `docker load`, sent to the sink."""
    return Exporter("docker", {"name": ",".join(tags)} if tags else {})


@dataclass(frozen=True)
class BuildOptions:
    """One build."""

    #: local folder
    context: Path
    #: may lie outside of the context
    dockerfile: Path
    build_args: Mapping[str, str] = field(default_factory=dict)
    #: stage to build; empty for the last one
    target: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    #: os/arch[/variant]; empty for the daemon's own
    platforms: Sequence[str] = ()
    no_cache: bool = False
    #: look base images up in their registry even when the daemon has them
    pull: bool = False
    #: of RUN steps; empty for the daemon's default
    network: Literal["", "none", "host"] = ""
    #: None leaves the result in the cache
    exporter: Exporter | None = None
    #: The daemon keeps the last transferred tree per key and asks only for what changed since. Stable per
    #: context; empty derives one from this machine and the context's path
    shared_key: str = ""


@dataclass(frozen=True)
class BuildResult:
    """What the daemon says of a build that succeeded."""

    #: of the manifest, or of the index when there are several; None when the exporter makes none
    image_digest: str | None
    #: digest of the image's configuration, what `docker images` calls the image id
    image_id: str | None
    #: everything, in BuildKit's words
    exporter_response: Mapping[str, str]


def solve_request(options: BuildOptions, *, ref: str, session_id: str) -> control_pb2.SolveRequest:
    """The request of one build; `ref` names it in Status."""
    request = control_pb2.SolveRequest(
        ref=ref, session=session_id, frontend="dockerfile.v0", frontend_attrs=_frontend_attrs(options)
    )
    if options.network == "host":
        request.entitlements.append("network.host")
    if options.exporter:
        # Daemons before 0.12 know only the old fields, newer ones prefer the list.
        request.exporter_deprecated = options.exporter.type
        request.exporter_attrs_deprecated.update(options.exporter.attrs)
        request.exporters.add(type=options.exporter.type, attrs=options.exporter.attrs)
    return request


def _frontend_attrs(options: BuildOptions) -> dict[str, str]:
    attrs = {"filename": options.dockerfile.name}
    attrs |= {f"build-arg:{name}": value for name, value in options.build_args.items()}
    attrs |= {f"label:{name}": value for name, value in options.labels.items()}
    if options.target:
        attrs["target"] = options.target
    if options.platforms:
        attrs["platform"] = ",".join(options.platforms)
    if options.no_cache:
        attrs["no-cache"] = ""
    if options.pull:
        attrs["image-resolve-mode"] = "pull"
    if options.network:
        attrs["force-network-mode"] = options.network
    return attrs


def build_result(response: Mapping[str, str]) -> BuildResult:
    """Reads SolveResponse's map."""
    digest = response.get("containerimage.digest")
    image_id = response.get("containerimage.config.digest")
    if digest and "containerimage.descriptor" not in response:
        # A graph driver has no manifests: there the one digest is the image id.
        return BuildResult(None, image_id or digest, response)
    return BuildResult(digest, image_id, response)
