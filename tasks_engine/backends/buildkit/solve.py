"""What to build, as the daemon's SolveRequest. Pure."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tasks_engine.backends.buildkit.errors import BuildKitError
from tasks_engine.backends.buildkit.exporters import Exporter
from tasks_engine.backends.buildkit.proto import control_pb2

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True)
class Cache:
    """One place to take build cache from or to put it; `type` and `attrs` are BuildKit's words."""

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict)


def registry_cache(ref: str, *, mode: Literal["", "min", "max"] = "", insecure: bool = False) -> Cache:
    """Cache in a registry. `mode`, for exports: "min" the layers of the result, "max" those of all stages."""
    attrs = {"ref": ref}
    if mode:
        attrs["mode"] = mode
    if insecure:
        attrs["registry.insecure"] = "true"
    return Cache("registry", attrs)


def inline_cache() -> Cache:
    """For exports: within the image itself, which is then what to import from."""
    return Cache("inline")


@dataclass(frozen=True)
class BuildOptions:
    """One build."""

    #: local folder, or the URL of a git repository or a tar, which the daemon fetches itself:
    #: "https://host/repo.git#ref:folder"
    context: Path | str
    #: a local file, which may lie outside of the context; or, for a context by URL, a path within that, for a
    #: tar with `context_folder` within that folder
    dockerfile: Path | str = "Dockerfile"
    #: folder of a tar given by URL that is the context
    context_folder: str = ""
    #: name -> local folder, "docker-image://reference", URL of a git repository as for `context`, or of another
    #: file, which is not unpacked: the context then has that file alone; for FROM, COPY --from, mounts
    contexts: Mapping[str, Path | str] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    #: stage to build; empty for the last one
    target: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    #: os/arch[/variant]; empty for the daemon's own
    platforms: Sequence[str] = ()
    #: True for all stages, else the names of those that take nothing from the cache
    no_cache: bool | Sequence[str] = False
    #: look base images up in their registry even when the daemon has them
    pull: bool = False
    #: take base images that the daemon's store has without asking their registry, as `docker build` does in a Docker
    #: Engine; without it what the registry has now comes first
    prefer_local: bool = False
    #: (host name, IP address)
    add_hosts: Sequence[tuple[str, str]] = ()
    #: of RUN steps; empty for the daemon's default
    network: Literal["", "none", "host", "sandbox"] = ""
    #: what steps may do beyond the ordinary: "network.host", "security.insecure"; the former is implied by `network`
    entitlements: Sequence[str] = ()
    shm_size_bytes: int | None = None
    #: name -> (soft, hard)
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    cgroup_parent: str = ""
    #: of RUN steps
    hostname: str = ""
    cache_from: Sequence[Cache] = ()
    cache_to: Sequence[Cache] = ()
    #: how much provenance to attach to the image; "" attaches none
    provenance: Literal["", "min", "max"] = ""
    #: image of the scanner whose SBOM is attached to the image; empty for none
    sbom_generator: str = ""
    #: seconds since 1970 that the image gets as its time; what exporters with `rewrite_timestamp` make has no
    #: file that is newer
    source_date_epoch: int | None = None
    #: several where the daemon can; none leaves the result in the cache
    exporters: Sequence[Exporter] = ()
    #: The daemon keeps the last transferred tree of a context and asks only for what changed since. Stable
    #: per context; empty derives one from the context's path
    shared_key: str = ""

    def __post_init__(self) -> None:
        for name in ("platforms", "no_cache", "entitlements", "add_hosts"):
            if isinstance(getattr(self, name), str):
                raise ValueError(f"`{name}` is a text, and must be a list of them")

    @property
    def local_dockerfile(self) -> Path | None:
        """The Dockerfile that is sent from here; None when it is in a remote context."""
        if isinstance(self.dockerfile, Path):
            return self.dockerfile
        return self.context / self.dockerfile if isinstance(self.context, Path) else None


@dataclass(frozen=True)
class BuildResult:
    """What the daemon says of a build that succeeded."""

    #: the daemon's name of the build, in its history
    ref: str
    #: of the manifest, or of the index when there are several; None when the exporter makes none
    image_digest: str | None
    #: digest of the image's configuration, what `docker images` calls the image id
    image_id: str | None
    #: everything, in BuildKit's words
    exporter_response: Mapping[str, str]


def shared_key(options: BuildOptions) -> str:
    """Tells the daemon's copy of a context from those of other contexts, users and machines: it updates its own."""
    place = options.shared_key or (
        str(options.context.resolve()) if isinstance(options.context, Path) else ""
    )
    return _digest(f"{socket.gethostname()}\0{os.getuid()}\0{place}")


def folders(options: BuildOptions) -> dict[str, Path]:
    """Name -> folder, of what the daemon may ask for. Names are stable: it keeps copies by them."""
    named: dict[str, Path] = {}
    if isinstance(options.context, Path):
        named["context"] = options.context
    if options.local_dockerfile is not None:
        named[_name("dockerfile", options.local_dockerfile.parent)] = options.local_dockerfile.parent
    for source in options.contexts.values():
        if isinstance(source, Path):
            named[_name("context", source)] = source
    return named


def solve_request(options: BuildOptions, *, ref: str) -> control_pb2.SolveRequest:
    """The request of one build, but for its session; `ref` names it in Status."""
    request = control_pb2.SolveRequest(
        ref=ref,
        frontend="dockerfile.v0",
        frontend_attrs=_frontend_attrs(options),
        entitlements=_entitlements(options),
        cache=control_pb2.CacheOptions(
            imports=[_entry(cache) for cache in options.cache_from],
            exports=[_entry(cache) for cache in options.cache_to],
        ),
        exporters=[control_pb2.Exporter(type=each.type, attrs=each.attrs) for each in options.exporters],
    )
    if options.exporters:
        # Daemons before 0.12 know only the old fields, newer ones prefer the list.
        request.exporter_deprecated = options.exporters[0].type
        request.exporter_attrs_deprecated.update(options.exporters[0].attrs)
    return request


def _frontend_attrs(options: BuildOptions) -> dict[str, str]:
    attrs = _sources(options)
    attrs |= {f"build-arg:{name}": value for name, value in options.build_args.items()}
    attrs |= {f"label:{name}": value for name, value in options.labels.items()}
    if options.target:
        attrs["target"] = options.target
    if options.platforms:
        attrs["platform"] = ",".join(options.platforms)
    if options.no_cache:
        attrs["no-cache"] = "" if options.no_cache is True else ",".join(options.no_cache)
    if options.pull:
        attrs["image-resolve-mode"] = "pull"
    elif options.prefer_local:
        attrs["image-resolve-mode"] = "local"
    if options.cache_from:
        # The same as in the request, which is what the frontend reads.
        attrs["cache-imports"] = json.dumps(
            [{"Type": cache.type, "Attrs": dict(cache.attrs)} for cache in options.cache_from]
        )
    if options.provenance:
        attrs["attest:provenance"] = f"mode={options.provenance}"
    if options.sbom_generator:
        attrs["attest:sbom"] = _csv([f"generator={options.sbom_generator}"])
    if options.source_date_epoch is not None:
        attrs["build-arg:SOURCE_DATE_EPOCH"] = str(options.source_date_epoch)
    return attrs | _container(options)


def _container(options: BuildOptions) -> dict[str, str]:
    """What RUN steps find around them."""
    attrs = {}
    if options.add_hosts:
        attrs["add-hosts"] = _csv([f"{name}={address.strip('[]')}" for name, address in options.add_hosts])
    if options.network:
        attrs["force-network-mode"] = options.network
    if options.shm_size_bytes is not None:
        attrs["shm-size"] = str(options.shm_size_bytes)
    if options.ulimits:
        attrs["ulimit"] = _csv([f"{name}={soft}:{hard}" for name, (soft, hard) in options.ulimits.items()])
    if options.cgroup_parent:
        attrs["cgroup-parent"] = options.cgroup_parent
    if options.hostname:
        attrs["hostname"] = options.hostname
    return attrs


def _sources(options: BuildOptions) -> dict[str, str]:
    attrs = {}
    if isinstance(options.context, str):
        attrs["context"] = options.context
    if options.local_dockerfile is not None:
        attrs["dockerfilekey"] = _name("dockerfile", options.local_dockerfile.parent)
        attrs["filename"] = options.local_dockerfile.name
    else:
        attrs["filename"] = posixpath.join(options.context_folder, options.dockerfile)
    if options.context_folder:
        attrs["contextsubdir"] = options.context_folder
    for name, source in options.contexts.items():
        attrs[f"context:{name}"] = f"local:{_name('context', source)}" if isinstance(source, Path) else source
    return attrs


def _entitlements(options: BuildOptions) -> list[str]:
    implied = ("network.host",) if options.network == "host" else ()
    return list(dict.fromkeys((*options.entitlements, *implied)))


def _entry(cache: Cache) -> control_pb2.CacheOptionsEntry:
    return control_pb2.CacheOptionsEntry(type=cache.type, attrs=cache.attrs)


def _name(kind: str, folder: Path) -> str:
    return f"{kind}-{_digest(str(folder.resolve()))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _csv(fields: Sequence[str]) -> str:
    """Fields with commas are quoted, as Go's reader of CSV wants it."""
    import csv
    import io

    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def build_result(ref: str, response: Mapping[str, str]) -> BuildResult:
    """Reads SolveResponse's map. Raises BuildKitError for a digest that is none."""
    digest = response.get("containerimage.digest")
    image_id = response.get("containerimage.config.digest")
    for each in (digest, image_id):
        if each and not _DIGEST.fullmatch(each):
            raise BuildKitError(
                f"the build succeeded, but the daemon calls its image {each!r}, which is no digest"
            )
    if digest and "containerimage.descriptor" not in response:
        # A graph driver has no manifests: there the one digest is the image id.
        return BuildResult(ref, None, image_id or digest, response)
    return BuildResult(ref, digest, image_id, response)
