"""What a daemon says of itself, its cache and its past, as data. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tasks_engine.backends.buildkit.capabilities import Capabilities
from tasks_engine.backends.buildkit.progress import moment
from tasks_engine.backends.buildkit.proto import control_pb2, worker_pb2

_CONTAINERD_LABEL = "org.mobyproject.buildkit.worker.containerd.namespace"

#: "docker-moby": Docker with its own image store; "docker-containerd": Docker with containerd's
DaemonKind = Literal["docker-moby", "docker-containerd", "buildkitd"]


@dataclass(frozen=True)
class GcPolicy:
    """One of the rules by which a worker prunes its cache by itself."""

    everything: bool
    filters: tuple[str, ...]
    #: seconds
    keep_s: float
    #: bytes that are always kept, the most that is kept, and what must stay free on the disk; 0 for no limit
    reserved_bytes: int
    max_used_bytes: int
    min_free_bytes: int


@dataclass(frozen=True)
class Worker:
    """One worker of the daemon."""

    id: str
    labels: dict[str, str]
    #: os/arch[/variant], the native one first
    platforms: tuple[str, ...]
    gc_policies: tuple[GcPolicy, ...] = ()


@dataclass(frozen=True)
class DaemonInfo:
    """What a daemon is and can do, found out by asking it."""

    kind: DaemonKind
    #: as the daemon says it; distributions build without one ("v0.0.0+unknown"), 0.8 has no way to ask: ""
    version: str
    workers: tuple[Worker, ...]
    capabilities: Capabilities


@dataclass(frozen=True)
class CacheRecord:
    """One entry of the build cache."""

    id: str
    #: "regular", "source.local", "source.git.checkout", "exec.cachemount", "frontend", "internal"
    type: str
    description: str
    size_bytes: int
    created_at: datetime | None
    last_used_at: datetime | None
    usage_count: int
    in_use: bool
    shared: bool
    mutable: bool
    parents: tuple[str, ...]


@dataclass(frozen=True)
class HistoryRecord:
    """One build that the daemon remembers. Build arguments are left out: their values are not for everybody."""

    ref: str
    frontend: str
    #: the Dockerfile's name and the stage, where the frontend was asked for one
    dockerfile: str
    target: str
    #: empty when it succeeded or still runs
    error: str
    created_at: datetime | None
    #: None while it runs
    completed_at: datetime | None
    cached_steps: int
    completed_steps: int
    total_steps: int
    image_digest: str | None


def daemon_info(
    workers: Iterable[worker_pb2.WorkerRecord], version: str, capabilities: Capabilities
) -> DaemonInfo:
    """Reads ListWorkers' records."""
    listed = tuple(_worker(record) for record in workers)
    kind: DaemonKind = "buildkitd"
    if "moby" in capabilities.exporters:
        in_containerd = any(_CONTAINERD_LABEL in worker.labels for worker in listed)
        kind = "docker-containerd" if in_containerd else "docker-moby"
    return DaemonInfo(kind, version, listed, capabilities)


def _worker(record: worker_pb2.WorkerRecord) -> Worker:
    platforms = ("/".join(filter(None, (p.os, p.architecture, p.variant))) for p in record.platforms)
    return Worker(
        record.id,
        dict(record.labels),
        tuple(dict.fromkeys(platforms)),
        tuple(
            GcPolicy(
                everything=policy.all,
                filters=tuple(policy.filters),
                keep_s=policy.keep_duration / 1e9,
                reserved_bytes=policy.reserved_space,
                max_used_bytes=policy.max_used_space,
                min_free_bytes=policy.min_free_space,
            )
            for policy in record.gc_policy
        ),
    )


def cache_record(record: control_pb2.UsageRecord) -> CacheRecord:
    """Reads one record of DiskUsage or Prune."""
    return CacheRecord(
        id=record.id,
        type=record.record_type or "regular",
        description=record.description,
        size_bytes=record.size,
        created_at=moment(record.created_at) if record.HasField("created_at") else None,
        last_used_at=moment(record.last_used_at) if record.HasField("last_used_at") else None,
        usage_count=record.usage_count,
        in_use=record.in_use,
        shared=record.shared,
        mutable=record.mutable,
        parents=tuple(record.parents) or ((record.parent,) if record.parent else ()),
    )


def history_record(record: control_pb2.BuildHistoryRecord) -> HistoryRecord:
    """Reads one record of the build history."""
    return HistoryRecord(
        ref=record.ref,
        frontend=record.frontend,
        dockerfile=record.frontend_attrs.get("filename", ""),
        target=record.frontend_attrs.get("target", ""),
        error=record.error.message,
        created_at=moment(record.created_at) if record.HasField("created_at") else None,
        completed_at=moment(record.completed_at) if record.HasField("completed_at") else None,
        cached_steps=record.num_cached_steps,
        completed_steps=record.num_completed_steps,
        total_steps=record.num_total_steps,
        image_digest=record.exporter_response.get("containerimage.digest"),
    )
