"""A planned build as options of the BuildKit client."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tasks_engine.backends import buildkit
from tasks_engine.backends.build_cache import BuildCache
from tasks_engine.backends.build_files import BuildFiles
from tasks_engine.backends.build_places import Places
from tasks_engine.definition.build_attributes import Attestation, BuildOutput
from tasks_engine.definition.build_context import ContextKind, parse_build_context
from tasks_engine.definition.build_values import Annotation
from tasks_engine.errors import StepFailed
from tasks_engine.images.reference import parse_reference
from tasks_engine.plan.model import BuildWork, PlannedStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: scanner of `--sbom=true`, as docker's
_SBOM_SCANNER = "docker/buildkit-syft-scanner:stable-1"
_HOST_GATEWAY = "host-gateway"
_HOST_GATEWAY_LABEL = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"
#: attributes of an image that `--output type=image` may set
_IMAGE_ATTRIBUTES = (
    "compression", "compression-level", "force-compression", "oci-mediatypes", "rewrite-timestamp",
)  # fmt: skip


def build_options(
    step: PlannedStep,
    work: BuildWork,
    files: BuildFiles,
    cache: BuildCache,
    user_folder: Path,
    info: Callable[[], buildkit.DaemonInfo],
    *,
    alone: bool = False,
) -> buildkit.BuildOptions:
    """The options of one build, without exporters. Nothing in `work` holds a token any more.

    A daemon that is not `alone` finds the engine's images, those of earlier steps among them.

    `user_folder` is the folder that the workspace is a copy of: its name keys what the daemon remembers. `info` is
    asked when it is needed. Raises StepFailed for what the daemon cannot do.
    """
    provenance, scanner = _attestations(work.attestations)
    return buildkit.BuildOptions(
        context=files.context,
        dockerfile=files.dockerfile,
        contexts=dict(files.named),
        build_args=work.build_args,
        target=work.target,
        labels=work.labels,
        platforms=_platforms(work.platforms, info),
        no_cache=work.no_cache or work.no_cache_filter,
        pull=work.pull,
        prefer_local=not alone,
        add_hosts=[(each.name, _address(each.address, info)) for each in work.add_hosts],
        network=_network(step, work),
        entitlements=[each for each in work.allow if each in ("network.host", "security.insecure")],
        shm_size_bytes=work.shm_size_bytes or None,
        ulimits={each.name: (each.soft, each.hard) for each in work.ulimits},
        cgroup_parent=work.cgroup_parent,
        cache_from=cache.imports,
        cache_to=cache.exports,
        provenance=provenance,
        sbom_generator=scanner,
        shared_key=files.key or _shared_key(user_folder, step.working_directory, work.context),
    )


def full_names(tags: Iterable[str]) -> list[str]:
    """Names with registry and tag, which BuildKit takes as they are."""
    return [str(parse_reference(tag)) for tag in tags]


def with_image_settings(
    exporter: buildkit.Exporter, work: BuildWork, can_annotate: Callable[[], bool]
) -> buildkit.Exporter:
    """The exporter of the image with annotations, and with what `--output type=image` says of it. Raises StepFailed."""
    attributes = _annotations(work.annotations)
    for output in work.outputs:
        if output.type in ("image", "registry"):
            attributes |= {
                name: value for name, value in output.attributes.items() if name in _IMAGE_ATTRIBUTES
            }
    if not attributes:
        return exporter
    if not can_annotate():
        what = "annotations" if work.annotations else "settings of an image's layers"
        raise StepFailed(
            f"the engine cannot give images {what}",
            hint="switch the Docker Engine to containerd's image store, or use a buildkitd of its own",
        )
    return replace(exporter, attrs={**exporter.attrs, **attributes})


def file_exporters(work: BuildWork, places: Places) -> list[buildkit.Exporter]:
    """What `--output` asks for besides the image. Raises StepFailed."""
    return [
        _file_exporter(output, work, places)
        for output in work.outputs
        if output.type not in ("image", "registry", "cacheonly")
    ]


def _file_exporter(output: BuildOutput, work: BuildWork, places: Places) -> buildkit.Exporter:
    if output.destination in ("", "-"):
        raise StepFailed(
            f"the output of type '{output.type}' has no destination",
            hint=f"name a file or folder: --output type={output.type},dest=PATH",
        )
    to = places.find(output.destination, "output")
    if output.type == "local":
        return buildkit.Exporter("local", output.attributes, to)
    if output.type not in ("tar", "oci", "docker"):
        raise StepFailed(
            f"there is no output of type '{output.type}'", hint="types are local, tar, oci, docker and image"
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    names = {"name": ",".join(full_names(work.tags))} if work.tags and output.type != "tar" else {}
    return buildkit.Exporter(output.type, {**names, **output.attributes}, buildkit.ToPath(to))


def _annotations(annotations: Sequence[Annotation]) -> dict[str, str]:
    return {
        f"annotation-{kind}.{each.key}" if kind else f"annotation.{each.key}": each.value
        for each in annotations
        for kind in each.kinds or ("",)
    }


def _attestations(attestations: Sequence[Attestation]) -> tuple[Literal["", "min", "max"], str]:
    """How much provenance, and the image of the scanner. Raises StepFailed."""
    provenance: Literal["", "min", "max"] = ""
    scanner = ""
    for each in attestations:
        if each.disabled:
            continue
        attributes: Mapping[str, str] = each.attributes
        if each.type == "sbom":
            scanner = attributes.get("generator") or _SBOM_SCANNER
        elif each.type == "provenance":
            mode = attributes.get("mode") or "min"
            if mode not in ("min", "max"):
                raise StepFailed(f"there is no provenance of mode '{mode}'", hint="modes are min and max")
            provenance = "max" if mode == "max" else "min"
        else:
            raise StepFailed(
                f"there is no attestation of type '{each.type}'", hint="types are provenance and sbom"
            )
    return provenance, scanner


def _platforms(platforms: Sequence[str], info: Callable[[], buildkit.DaemonInfo]) -> tuple[str, ...]:
    """`local` is the daemon's own, which has no other name when it stands alone."""
    if list(platforms) == ["local"]:
        return ()
    if "local" in platforms:
        own = next((each.platforms[0] for each in info().workers if each.platforms), "linux/amd64")
        platforms = [own if each == "local" else each for each in platforms]
    if len(platforms) > 1 and not info().capabilities.can_push:
        raise StepFailed(
            f"the engine cannot keep an image for {len(platforms)} platforms: {', '.join(platforms)}",
            hint="switch the Docker Engine to containerd's image store, use a buildkitd of its own (BUILDKIT_HOST), or "
            "build one platform a step",
        )
    return tuple(dict.fromkeys(platforms))


def _address(address: str, info: Callable[[], buildkit.DaemonInfo]) -> str:
    if address != _HOST_GATEWAY:
        return address
    for worker in info().workers:
        if found := worker.labels.get(_HOST_GATEWAY_LABEL):
            return found
    raise StepFailed(
        "the engine does not say which address 'host-gateway' is in a build",
        hint="write the IP address of the machine instead: --add-host NAME:ADDRESS",
    )


def _network(step: PlannedStep, work: BuildWork) -> Literal["", "none", "host"]:
    """Of RUN: the flag, else the step's network as far as a build knows it."""
    for name in (work.run_network, step.network):
        if name in ("none", "host"):
            return "none" if name == "none" else "host"
        if name not in ("", "default"):
            break
    return ""


def _shared_key(user_folder: Path, working_directory: str, path: str) -> str:
    """The same for the same folder of the same machine, so that only changes are sent."""
    if parse_build_context(path).kind is not ContextKind.LOCAL:
        path = parse_build_context(path).shown
    identity = "\0".join((socket.gethostname(), str(user_folder.resolve()), working_directory, path))
    return hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:32]
