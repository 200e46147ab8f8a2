"""What a plan may ask for and a run cannot do yet. It is refused by name before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from tasks_engine.definition.build_context import ContextKind, parse_build_context
from tasks_engine.definition.template.secret_text import has_token
from tasks_engine.errors import UsageError
from tasks_engine.plan.make import DEFAULT_NETWORK
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep

#: networks that every engine has
ENGINE_NETWORKS = ("", "bridge", "host", "none")
#: options of `docker run` that a container is made with, beside those that a step has a property for
CONTAINER_OPTIONS = frozenset(
    ["cap-add", "cap-drop", "hostname", "init", "label", "name", "read-only", "tmpfs"]
)

#: what of a build cannot be done -> the flag that asks for it
_BUILD_FLAGS = {
    "secrets": "--secret",
    "ssh": "--ssh",
    "outputs": "--output",
    "attestations": "--attest",
    "cache_to": "--cache-to",
    "annotations": "--annotation",
    "ulimits": "--ulimit",
    "allow": "--allow",
    "build_contexts": "--build-context",
    "cache_from": "--cache-from",
    "add_hosts": "--add-host",
    "no_cache_filter": "--no-cache-filter",
    "shm_size_bytes": "--shm-size",
    "cgroup_parent": "--cgroup-parent",
}


def refuse_unsupported(plan: Plan) -> None:
    """Raises UsageError that names all steps and properties which this version cannot run."""
    found = [f"volume '{volume.name}'" for volume in plan.volumes]
    found += [f"network '{network.name}'" for network in plan.networks if network.name != DEFAULT_NETWORK]
    for step in plan.steps:
        found += [f"{what} of step '{step.id}'" for what in _in_step(step)]
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UsageError(
            f"this version of tasks cannot run everything that the plan has: {', '.join(found[:5])}{more}",
            hint="tasks plan shows the whole plan; README's known limits say what runs",
        )


def unused(plan: Plan) -> tuple[dict[str, str], ...]:
    """Warnings, in the form of a plan's, of what a run goes without."""
    return tuple(
        {
            "code": "plan",
            "message": f"step '{step.id}' is built with the engine's own cache: this version of tasks keeps none "
            "in a registry",
        }
        for step in plan.steps
        if isinstance(step.work, BuildWork) and step.work.cache
    )


def _in_step(step: PlannedStep) -> Iterator[str]:
    if step.network not in (*ENGINE_NETWORKS, DEFAULT_NETWORK):
        yield f"network '{step.network}'"
    if step.isolation not in ("", "default"):
        yield f"isolation '{step.isolation}'"
    if step.volume_mounts:
        yield "volumeMounts"
    if isinstance(step.work, BuildWork):
        yield from _in_build(step.work)
    elif isinstance(step.work, CmdWork):
        if step.work.commands:
            yield "several commands or a redirection"
        for option in step.work.options:
            if option.name not in CONTAINER_OPTIONS:
                yield f"--{option.name}"


def _in_build(work: BuildWork) -> Iterator[str]:
    if parse_build_context(work.context).kind is not ContextKind.LOCAL:
        yield "a context that is no folder"
    if len(work.platforms) > 1:
        yield "several platforms"
    for name, flag in _BUILD_FLAGS.items():
        if getattr(work, name):
            yield f"build flag {flag}"
    if work.run_network != "default":
        yield "build flag --network"
    texts = (work.context, work.dockerfile, work.target, *work.platforms)
    named = (*work.build_args.items(), *work.labels.items())
    if any(map(has_token, (*texts, *chain.from_iterable(named)))):
        yield "a secret in the build"
