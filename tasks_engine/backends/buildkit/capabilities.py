"""What a daemon can do, found out by asking it: versions say little, distributions build without them.

Exporters and kinds of cache are looked up before anything else, so a solve for a frontend that does not exist
tells whether they are known. What an old frontend ignores silently is asked for with a value that a newer one
refuses.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import grpc

from tasks_engine.backends.buildkit.control import Control
from tasks_engine.backends.buildkit.errors import BuildKitError, UnsupportedFeature
from tasks_engine.backends.buildkit.ids import random_id
from tasks_engine.backends.buildkit.proto import control_pb2
from tasks_engine.backends.buildkit.session import Offer, Session
from tasks_engine.backends.buildkit.solve import BuildOptions, folders, solve_request
from tasks_engine.backends.buildkit.temporary import TemporaryFolder

EXPORTERS = ("moby", "image", "docker", "oci", "tar", "local")
CACHE_EXPORTS = ("registry", "inline", "gha", "s3", "azblob")
#: of one message on the session
_OLD_MESSAGE_BYTES, _MESSAGE_BYTES = 4 << 20, 16 << 20
_REFUSED_EXPORTER = re.compile(r'exporter "?([^"]+?)"? could not be found')
_REFUSED_CACHE = re.compile(r'unknown cache exporter: "?([^"]+?)"?$')
#: "#ref:folder" behind what is a git repository for BuildKit
_GIT_FOLDER = re.compile(r"(?:git://|ssh://|git@|github\.com/|https?://[^#]+\.git(?=#))[^#]*#[^:]*:.+")

_READ_CHARS = 2000
_UPGRADE = "a Docker Engine of version 23 or newer, or a buildkitd of its own, can"
_WAY_OUT_BY_EXPORTER: Mapping[str, str] = {
    "image": "switch the Docker Engine to containerd's image store, or export to `moby` and push with Docker",
    "docker": "export to `moby`: the image is then in the Docker Engine",
    "oci": "switch the Docker Engine to containerd's image store, or use a buildkitd of its own",
    "moby": "a buildkitd has no Docker images: export a `docker` tar and load it, or push an `image`",
}


@dataclass(frozen=True)
class Capabilities:
    """What the daemon said."""

    #: types that an exporter may have
    exporters: frozenset[str]
    #: one build may have several exporters
    several_exporters: bool
    #: types that an entry of `cache_to` may have
    cache_exports: frozenset[str]
    #: `contexts` of a build
    named_contexts: bool
    #: `provenance` and `sbom_generator` of a build
    attestations: bool
    #: failures come with the place in the Dockerfile and the exit code; else we read them from texts
    error_details: bool
    #: a folder of a git repository as the context: "repo.git#ref:folder"
    git_folders: bool
    #: ulimits, the size of /dev/shm and the parent cgroup of RUN steps
    step_limits: bool
    #: remembers builds, and the provenance of each
    history: bool
    #: of one message on the session
    max_message_bytes: int

    @property
    def can_push(self) -> bool:
        """The daemon itself pushes to registries."""
        return "image" in self.exporters


class Probe:
    """Asks a daemon as far as somebody wants to know, each thing once. Thread-safe; all raise grpc.RpcError
    and BuildKitError."""

    def __init__(self, control: Control, timeout_s: float) -> None:
        self._control = control
        self._timeout_s = timeout_s
        self._lock = threading.RLock()

    def everything(self) -> Capabilities:
        """All of it, in some ten milliseconds."""
        with self._lock:
            return self._everything

    def require(self, options: BuildOptions) -> None:
        """Raises UnsupportedFeature for what the daemon would silently leave out.

        What it refuses by itself, before any work, is not asked for here: see `unsupported`.
        """
        if any(cache.type == "local" for cache in (*options.cache_from, *options.cache_to)):
            raise UnsupportedFeature("", "keep cache in a local folder", "use a registry, or inline cache")
        with self._lock:
            if options.contexts and not self.named_contexts:
                raise self._error("take named contexts", _UPGRADE)
            if (options.provenance or options.sbom_generator) and not self.attestations:
                raise self._error("make attestations (provenance, SBOM)", _UPGRADE)
            if options.source_date_epoch is not None and not self.is_recent:
                raise self._error("give the result a fixed time", _UPGRADE)
            if len(options.exporters) > 1 and not self.several_exporters:
                raise self._error(
                    "export one build in several ways", "build once for each: the cache is shared"
                )
            if isinstance(options.context, str) and _GIT_FOLDER.match(options.context) and not self.is_recent:
                raise self._error(
                    "take a folder of a git repository", "clone it, and give the local folder as the context"
                )
            limits = (options.ulimits, options.shm_size_bytes, options.cgroup_parent)
            if any(limits) and not self.is_recent:
                raise self._error("set ulimits, the size of /dev/shm or the parent cgroup of steps", _UPGRADE)

    def require_history(self) -> None:
        """Raises UnsupportedFeature."""
        if not self.is_recent:
            raise self._error("remember builds", _UPGRADE)

    @cached_property
    def version(self) -> str | None:
        """None from daemons before 0.11, which can not be asked; much else came with that version."""
        try:
            response = self._control.info(control_pb2.InfoRequest(), timeout=self._timeout_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return None
            raise
        return str(response.buildkit_version.version)

    @property
    def is_recent(self) -> bool:
        """BuildKit 0.11 or newer."""
        return self.version is not None

    @cached_property
    def several_exporters(self) -> bool:
        """An old daemon never sees the list, so does not find fault with its second entry."""
        exporters = [control_pb2.Exporter(type="tar"), control_pb2.Exporter(type="none")]
        request = control_pb2.SolveRequest(exporter_deprecated="tar", exporters=exporters)
        return bool(_REFUSED_EXPORTER.search(self._refusal(request)))

    @cached_property
    def named_contexts(self) -> bool:
        """A source without a scheme is none."""
        return self._frontend_refuses({"context:probe": "none"}, "for probe")

    @cached_property
    def attestations(self) -> bool:
        """There is no such attestation."""
        return self._frontend_refuses({"attest:none": ""}, "unknown attestation type")

    @cached_property
    def _everything(self) -> Capabilities:
        return Capabilities(
            exporters=frozenset(name for name in EXPORTERS if self._has_exporter(name)),
            several_exporters=self.several_exporters,
            cache_exports=frozenset(name for name in CACHE_EXPORTS if self._has_cache_export(name)),
            named_contexts=self.named_contexts,
            attestations=self.attestations,
            error_details=self.is_recent,
            git_folders=self.is_recent,
            step_limits=self.is_recent,
            history=self.is_recent,
            max_message_bytes=_MESSAGE_BYTES if self.is_recent else _OLD_MESSAGE_BYTES,
        )

    def _has_exporter(self, name: str) -> bool:
        exporters = [control_pb2.Exporter(type=name)]
        request = control_pb2.SolveRequest(exporter_deprecated=name, exporters=exporters)
        return not _REFUSED_EXPORTER.search(self._refusal(request))

    def _has_cache_export(self, name: str) -> bool:
        entry = control_pb2.CacheOptionsEntry(type=name)
        request = control_pb2.SolveRequest(cache=control_pb2.CacheOptions(exports=[entry]))
        return not _REFUSED_CACHE.search(self._refusal(request))

    def _frontend_refuses(self, attrs: Mapping[str, str], wording: str) -> bool:
        """Whether the Dockerfile frontend minds these attributes in a build of nothing.

        Raises BuildKitError when it fails in another way, which tells nothing.
        """
        refusal = self._frontend_refusal(attrs)
        if refusal and wording not in refusal:
            raise BuildKitError(f"the BuildKit daemon does not say what it can do: {refusal[:500]}")
        return bool(refusal)

    def _frontend_refusal(self, attrs: Mapping[str, str]) -> str:
        """What it says; "" when it builds."""
        with TemporaryFolder() as folder:
            (folder / "Dockerfile").write_text("FROM scratch AS probe\n")
            options = BuildOptions(context=folder)
            offer = Offer(folder_by_name=folders(options))
            session = Session(offer, shared_key="probe", open_pipe=self._control.open_pipe)
            try:
                request = solve_request(options, ref="")
                request.session = session.id
                request.frontend_attrs.update(attrs)
                return self._refusal(request)
            finally:
                session.close()

    def _refusal(self, request: control_pb2.SolveRequest) -> str:
        """What the daemon says to a solve; without a frontend of its own the request's is one that is unknown."""
        request.ref = random_id()
        request.session = request.session or random_id()
        request.frontend = request.frontend or "none"
        request.internal = True
        try:
            self._control.solve(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            return error.details() or "refused"
        return ""

    def _error(self, feature: str, way_out: str) -> UnsupportedFeature:
        return UnsupportedFeature(self._control.address, feature, way_out)


def unsupported(daemon: str, message: str) -> UnsupportedFeature | None:
    """What a daemon's refusal of a solve says it can not do, if that is what it says."""
    # Its own words, which are short: more would only take time.
    message = message[:_READ_CHARS]
    if exporter := _REFUSED_EXPORTER.search(message):
        way_out = _WAY_OUT_BY_EXPORTER.get(exporter[1], "see `capabilities()` for those it has")
        return UnsupportedFeature(daemon, f"export to '{exporter[1]}'", way_out)
    if cache := _REFUSED_CACHE.search(message):
        return UnsupportedFeature(
            daemon, f"export its cache to '{cache[1]}'", "export it inline, within the image, or not at all"
        )
    return None
