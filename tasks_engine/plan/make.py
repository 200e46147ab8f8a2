"""`make_plan`: a Task becomes a Plan. Defaults are filled, names normalised, the graph is closed."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks_engine.definition.build_string import BuildArguments
from tasks_engine.definition.image_names import cache_image, unique_images
from tasks_engine.definition.model import Network, Step, StepKind, Task
from tasks_engine.definition.step_rules import ROOT_ID, STARTS_AT_ONCE
from tasks_engine.definition.template.secret_text import has_token, step_output, tokens_in
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.commands import OptionValues, cmd_work, option_values
from tasks_engine.plan.model import BuildWork, Plan, PlannedStep, PushWork, Work
from tasks_engine.plan.request import RunRequest

WORKSPACE = "/workspace"
DEFAULT_STEP_TIMEOUT_S = 600
DEFAULT_RETRY_DELAY_S = 5
DEFAULT_NETWORK = "acb_default_network"


def make_plan(task: Task, request: RunRequest) -> Plan:
    """The plan of a task that `load_task` accepted; there is nothing left that could be wrong."""
    maker = _Maker(task, request)
    steps = _with_pushes_at_end([maker.step(index) for index in range(len(task.steps))])
    return Plan(
        run_id=request.run_id,
        task=request.task,
        registry=request.registry,
        steps=steps,
        task_version=task.version,
        task_name=request.task_name,
        networks=maker.networks,
        volumes=task.volumes,
        secrets=tuple(secret.id for secret in task.secrets),
        keep_going=request.keep_going,
        warnings=(*(warning.to_json() for warning in task.warnings), *maker.warnings),
    )


class _Maker:
    def __init__(self, task: Task, request: RunRequest) -> None:
        self._task = task
        self._request = request
        self.networks = _networks(task, request)
        defaults = [network.name for network in self.networks if network.is_default]
        self._default_network = defaults[-1] if defaults else ""
        self._run_images = {
            _full(command.image) for step in task.steps for command in step.commands if command.image
        }
        #: steps whose outputs name an image that a step runs
        self._runs_outputs_of = {step_id for image in self._run_images for step_id, _ in _outputs_in(image)}
        #: full name of an image -> the last step before that builds it
        self._built_by: dict[str, str] = {}
        self.warnings: list[Mapping[str, Any]] = []

    def step(self, index: int) -> PlannedStep:
        step = self._task.steps[index]
        given = option_values(step)
        work = self._work(step, given)
        is_push = step.kind is StepKind.PUSH
        return PlannedStep(
            id=step.id,
            kind=step.kind,
            depends_on=_parents(self._task.steps, index),
            timeout_s=step.timeout or self._task.step_timeout or DEFAULT_STEP_TIMEOUT_S,
            retries=0 if is_push else step.retries,  # a push has its own
            retry_delay_s=step.retry_delay or DEFAULT_RETRY_DELAY_S,
            ignore_errors=step.ignore_errors,
            detach=step.detach or given.switch("detach"),
            env={**step.env, **given.env} if given.env else step.env,
            working_directory=self._working_directory(step, given),
            work=work,
            retry_on_errors=step.retry_on_errors,
            repeat=0 if is_push else step.repeat,
            start_delay_s=step.start_delay,
            keep=step.keep,
            network=given.last("network") or step.network or self._default_network,
            ports=(*step.ports, *given.all("publish")),
            expose=(*step.expose, *given.all("expose")),
            privileged=step.privileged or given.switch("privileged"),
            isolation=given.last("isolation") or step.isolation,
            cpus=given.last("cpus") or step.cpus,
            volume_mounts=step.volume_mounts,
        )

    def _work(self, step: Step, given: OptionValues) -> Work:
        if step.build is not None:
            return self._build(step, step.build)
        if step.kind is StepKind.PUSH:
            makers = {image: self._maker(image) for image in step.push}
            return PushWork(
                images=step.push, built_by={image: maker for image, maker in makers.items() if maker}
            )
        return cmd_work(step, given)

    def _maker(self, image: str) -> str:
        """The step that builds an image; empty when none does, or only values that come later will tell."""
        maker = self._built_by.get(_full(image), "")
        for step in self._task.steps if not maker and has_token(image) else ():
            if step.kind is StepKind.BUILD and image == step_output(step.id, "image").token:
                return step.id
        return maker

    def _build(self, step: Step, arguments: BuildArguments) -> BuildWork:
        tags = unique_images(arguments.tags)
        names = {_full(tag) for tag in tags}
        self._built_by.update(dict.fromkeys(names, step.id))
        return BuildWork(
            context=arguments.context,
            dockerfile=arguments.dockerfile,
            tags=tags,
            build_args={
                name: step.env.get(name, "") if value is None else value
                for name, value in arguments.build_args.items()
                if value is not None or name in step.env
            },
            labels=arguments.labels,
            target=arguments.target,
            platforms=arguments.platforms,
            no_cache=arguments.no_cache,
            pull=arguments.pull,
            runs_later=not names.isdisjoint(self._run_images) or step.id in self._runs_outputs_of,
            cache=self._cache(step, arguments),
            no_cache_filter=arguments.no_cache_filter,
            secrets=arguments.secrets,
            ssh=arguments.ssh,
            build_contexts=arguments.build_contexts,
            cache_from=arguments.cache_from,
            cache_to=arguments.cache_to,
            outputs=arguments.outputs,
            attestations=arguments.attestations,
            annotations=arguments.annotations,
            add_hosts=arguments.add_hosts,
            run_network=arguments.network,
            ulimits=arguments.ulimits,
            shm_size_bytes=arguments.shm_size_bytes,
            cgroup_parent=arguments.cgroup_parent,
            allow=arguments.allow,
        )

    def _cache(self, step: Step, arguments: BuildArguments) -> str:
        """The image that keeps the cache; without a usable name the build goes on as if not cached."""
        if not step.cache:
            return ""
        request = self._request
        try:
            return cache_image(
                arguments.tags, registry=request.registry, task=request.task_name, step=step.id
            )
        except InvalidReference as error:
            self.warnings.append(
                {
                    "code": "plan",
                    "message": f"step '{step.id}' is built without a cache in the registry: {error}",
                    "hint": "give the build a tag with a registry, or the run one: --registry HOST",
                }
            )
            return ""

    def _working_directory(self, step: Step, given: OptionValues) -> str:
        written = given.last("workdir")
        if not written and step.disable_working_directory_override:
            return ""
        path = written or step.working_directory or self._task.working_directory
        return posixpath.normpath(posixpath.join(WORKSPACE, path or self._request.working_directory))


def _networks(task: Task, request: RunRequest) -> tuple[Network, ...]:
    """The task's networks, and the one of the request; without any a network for this run."""
    networks = task.networks
    if request.network:
        networks = (*networks, Network(request.network, "external", skip_creation=True, is_default=True))
    return networks or (Network(DEFAULT_NETWORK, "bridge", is_default=True),)


def _parents(steps: tuple[Step, ...], index: int) -> tuple[str, ...]:
    """Ids a step waits for: what `when` lists, else the step written before it."""
    when = steps[index].when
    if when is None:
        return (steps[index - 1].id,) if index else ()
    return tuple(dict.fromkeys(parent for parent in when if parent not in (STARTS_AT_ONCE, ROOT_ID)))


def _with_pushes_at_end(steps: list[PlannedStep]) -> tuple[PlannedStep, ...]:
    """Marks the pushes that only such pushes wait for. One whose failure is ignored must not hold up the others."""
    waited_for: set[str] = set()
    for index, step in reversed(list(enumerate(steps))):
        if isinstance(step.work, PushWork) and step.id not in waited_for and not step.ignore_errors:
            steps[index] = replace(step, work=replace(step.work, at_end=True))
        else:
            waited_for.update(step.depends_on)
    return tuple(steps)


def _full(image: str) -> str:
    """The full name, for comparing; one with the output of a step is the same only where it is written the same."""
    return image if has_token(image) else str(parse_reference(image))


def _outputs_in(image: str) -> list[tuple[str, str]]:
    """Step and name of the outputs that an image is named by."""
    return [
        (names[0], names[1]) for token in tokens_in(image) for kind, *names in token.names if kind == "output"
    ]
