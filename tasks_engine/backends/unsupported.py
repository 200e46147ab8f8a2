"""What a plan may ask for and a run cannot do yet. It is refused by name before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from tasks_engine.backends.docker.container_options import CONTAINER_OPTIONS, IDLE_OPTIONS
from tasks_engine.definition.step_texts import OPTIONS_OF_STEPS
from tasks_engine.definition.template.secret_text import has_secret, has_token
from tasks_engine.errors import UsageError
from tasks_engine.plan.model import BuildWork, CmdWork, ContainerOption, Plan, PlannedStep

#: of `_shown_texts`
_PLACES_OF_OUTPUTS = ("Dockerfile's name", "tags", "target", "labels", "annotations", "image of the cache")


def refuse_unsupported(plan: Plan) -> None:
    """Raises UsageError that names all steps and properties which this version cannot run."""
    found: list[str] = []
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
    defaults = {network.name for network in plan.networks if network.is_default}
    return tuple(
        {"code": "plan", "message": message} for step in plan.steps for message in _idle_in(step, defaults)
    )


def _idle_in(step: PlannedStep, defaults: Collection[str]) -> Iterator[str]:
    if isinstance(step.work, BuildWork):
        if step.network not in ("", "default", "bridge", "host", "none") and step.network not in defaults:
            yield (
                f"network '{step.network}' of step '{step.id}' has no effect: a build knows the networks default, host "
                "and none"
            )
        if step.volume_mounts:
            yield f"volumeMounts of step '{step.id}' have no effect: a build sees no volumes"
    elif isinstance(step.work, CmdWork):
        for option in _options(step.work):
            if option.name in IDLE_OPTIONS and option.name != "name":
                yield f"--{option.name} of step '{step.id}' has no effect: {IDLE_OPTIONS[option.name]}"


def _options(work: CmdWork) -> Iterator[ContainerOption]:
    yield from work.options
    for command in work.commands:
        yield from command.options


def _in_step(step: PlannedStep) -> Iterator[str]:
    if step.isolation.lower() not in ("", "default"):
        yield f"isolation '{step.isolation}' (for Windows containers)"
    if isinstance(step.work, BuildWork):
        yield from _in_build(step.work)
    elif isinstance(step.work, CmdWork):
        for option in _options(step.work):
            if option.name == "isolation" and option.value.lower() not in ("", "default"):
                yield f"isolation '{option.value}' (for Windows containers)"
            elif option.name not in CONTAINER_OPTIONS | OPTIONS_OF_STEPS | IDLE_OPTIONS.keys():
                yield f"--{option.name}"


def _in_build(work: BuildWork) -> Iterator[str]:
    """A secret may be where no image shows it: in addresses, caches and, as the Dockerfile decides, build arguments.

    An output of a step may also be where nothing has to be checked before the step starts.
    """
    for what, found in _shown_texts(work).items():
        texts = list(found)
        if any(map(has_secret, texts)):
            yield f"a secret in the {what}"
        elif any(map(has_token, texts)) and what not in _PLACES_OF_OUTPUTS:
            yield f"an output of a step in the {what}"


def _shown_texts(work: BuildWork) -> dict[str, Iterable[str]]:
    """What of a build ends up in the image, or in messages."""
    return {
        "Dockerfile's name": (work.dockerfile,),
        "tags": work.tags,
        "target": (work.target, *work.no_cache_filter),
        "platforms": work.platforms,
        "labels": chain.from_iterable(work.labels.items()),
        "annotations": chain.from_iterable((each.key, each.value) for each in work.annotations),
        "names of build arguments": work.build_args,
        "names of build contexts": work.build_contexts,
        "build secrets": chain.from_iterable((each.id, each.file, each.env) for each in work.secrets),
        "ssh forwards": chain.from_iterable((each.id, *each.paths) for each in work.ssh),
        "hosts": chain.from_iterable((each.name, each.address) for each in work.add_hosts),
        "outputs": chain.from_iterable(
            (each.destination, *each.attributes.values()) for each in work.outputs
        ),
        "attestations": chain.from_iterable(each.attributes.values() for each in work.attestations),
        "image of the cache": (work.cache,),
        "options": (work.run_network, work.cgroup_parent, *work.allow),
    }
