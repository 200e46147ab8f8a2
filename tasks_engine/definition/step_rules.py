"""Rules of a step that no schema can say, but for what its texts mean. Every problem is told, not only the first."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tasks_engine.definition import environment
from tasks_engine.definition.misplaced import misplaced_rule, origin, right_places
from tasks_engine.definition.model import StepKind
from tasks_engine.definition.step_notes import StepNotes
from tasks_engine.definition.structure import Path
from tasks_engine.definition.template.secret_text import has_secret, has_token, mask_tokens
from tasks_engine.definition.words import shorten

#: the invisible root of the graph in the original; nobody may take its name, but to wait for it means to start at once
ROOT_ID = "acb_root"
STARTS_AT_ONCE = "-"
#: of all steps together
MAX_VARIABLES = 2_000_000
_CACHE_VALUES = ("enabled", "disabled")
#: texts of a step that may come from a secret, and from an output of a step
_SECRET_TEXTS = frozenset(["build", "cmd", "env"])
_OUTPUT_TEXTS = _SECRET_TEXTS | {"push"}
#: property -> the only kinds of steps it means something for
_KINDS_OF = {
    "detach": (StepKind.CMD,),
    "entryPoint": (StepKind.CMD,),
    "keep": (StepKind.CMD,),
    "pull": (StepKind.CMD,),
    "user": (StepKind.CMD,),
    "ports": (StepKind.CMD,),
    "expose": (StepKind.CMD,),
    "privileged": (StepKind.CMD,),
    "disableWorkingDirectoryOverride": (StepKind.CMD,),
    "repeat": (StepKind.CMD, StepKind.BUILD),
    "retries": (StepKind.CMD, StepKind.BUILD),
    "cache": (StepKind.BUILD,),
}
_NO_EFFECT = {
    "exitedWith": "the original reads it and does nothing with it",
    "exitedWithout": "the original reads it and does nothing with it",
    "secret": "secrets belong into the task's list 'secrets', files of them into 'volumes'",
}


def kinds_of(step: StepNotes) -> list[StepKind]:
    """What the step is said to do; a right one has one kind."""
    return [kind for kind in StepKind if step.data.get(kind)]


def check_step(step: StepNotes) -> None:
    """Notes what is wrong with a step of any kind."""
    _check_kind_and_id(step)
    _check_mounts(step)
    _check_when(step)
    _check_cache(step)
    _check_tokens(step)


def check_step_of_kind(step: StepNotes, kind: StepKind, env: Mapping[str, str]) -> None:
    """Notes what is wrong or of no use in a step of this kind with this environment."""
    _warn_of_idle_properties(step, kind)
    _count_variables(step, env)
    _check_env(step, kind, env)


def _check_kind_and_id(step: StepNotes) -> None:
    kinds = kinds_of(step)
    if len(kinds) > 1:
        step.problem(
            f"step '{step.id}' has {_join(kinds)}, but a step does one thing",
            (),
            hint="make a step of each; the second waits for the first by itself",
            rule="step-multiple-kinds",
        )
    if re.search(r"\s", step.id):
        step.problem(
            f"step id '{step.id}' contains a blank",
            ("id",),
            hint="use '-' or '_'",
            rule="step-id-whitespace",
        )
    if not kinds:
        step.problem(
            f"step '{step.id}' does nothing: it needs build, push or cmd", ("id",), rule="step-no-kind"
        )
    if step.id == ROOT_ID:
        step.problem(f"step id '{ROOT_ID}' is reserved", ("id",), rule="step-reserved-id")
    if step.first[step.id] < step.index:
        line = step.structure.line(("steps", step.first[step.id], "id"))
        step.problem(
            f"step id '{step.id}' is already taken",
            ("id",),
            hint=f"the first one is in line {line}",
            rule="step-duplicate-id",
        )


def _check_mounts(step: StepNotes) -> None:
    mounts = step.data.get("volumeMounts", ())
    if mounts and step.data.get("push"):
        step.problem(
            "a push step has no container to mount volumes in",
            ("volumeMounts",),
            rule="mount-on-push-step",
        )
    paths: set[str] = set()
    for position, mount in enumerate(mounts):
        at: Path = ("volumeMounts", position)
        name, path = mount.get("name", ""), mount.get("mountPath", "")
        if not name or not path:
            step.problem("a mount needs a name and a mountPath", at, rule="mount-incomplete")
            continue
        if name not in step.around.volume_names:
            guess = step.guess(name, step.around.volume_names)
            step.problem(
                f"there is no volume '{name}'",
                (*at, "name"),
                hint=f"did you mean '{guess}'?" if guess else "declare it under 'volumes' of the task",
                rule="mount-unknown-volume",
            )
        if path in paths:
            step.problem(
                f"a second volume is mounted at '{path}'", (*at, "mountPath"), rule="mount-duplicate-path"
            )
        paths.add(path)


def _check_when(step: StepNotes) -> None:
    parents = step.data.get("when", ())
    for position, parent in enumerate(parents):
        at: Path = ("when", position)
        if parent == STARTS_AT_ONCE:
            if len(parents) > 1:
                step.problem(
                    "'-' (start at once) stands alone or not at all", at, rule="when-immediate-not-alone"
                )
        elif parent == step.id:
            step.problem(f"step '{parent}' waits for itself", at, rule="when-self")
        elif not parent:
            step.problem("an empty id in 'when'", at, rule="when-empty-id")
        elif step.first.get(parent, step.index) >= step.index and parent != ROOT_ID:
            _unknown_parent(step, parent, at)


def _unknown_parent(step: StepNotes, parent: str, at: Path) -> None:
    if parent in step.first:
        line = step.structure.line(("steps", step.first[parent]))
        message = f"step '{step.id}' waits for '{parent}', which is defined later (line {line})"
        hint = "a step can only wait for steps written before it: move that one up"
    else:
        message = f"step '{step.id}' waits for '{parent}', which no earlier step defines"
        hint = _guess_id(step, parent)
    step.problem(message, at, hint=hint, rule="when-unknown-id")


def _guess_id(step: StepNotes, wanted: str) -> str:
    guess = step.guess(wanted, step.ids[max(0, step.index - 1000) : step.index])
    if guess:
        line = step.structure.line(("steps", step.first[guess]))
        return f"did you mean '{guess}' (line {line})?"
    shown = ", ".join(f"'{shorten(each)}'" for each in step.ids[: min(step.index, 10)])
    return f"earlier steps: {shown}" if shown else "no step stands before this one"


def _check_cache(step: StepNotes) -> None:
    cache = step.data.get("cache", "")
    if cache and cache.lower() not in _CACHE_VALUES:
        step.problem(f"cache must be enabled or disabled, not '{cache}'", ("cache",), rule="cache-bad-value")


def _check_tokens(step: StepNotes) -> None:
    """Only texts that nobody has to understand before the step starts may come from a secret or an output."""
    for name, value in step.data.items():
        if name in _SECRET_TEXTS:
            continue
        values = value if isinstance(value, list) else (value,)
        for position, each in enumerate(values):
            texts = each.values() if isinstance(each, dict) else (each,)
            for text in texts:
                if not isinstance(text, str) or not has_token(text):
                    continue
                if name in _OUTPUT_TEXTS and not has_secret(text):
                    continue
                at: Path = (name, position) if isinstance(value, list) else (name,)
                step.problem(
                    f"'{name}' must not come from {origin(text)}",
                    at,
                    hint=right_places(text),
                    rule=misplaced_rule(text),
                )
                break


def _warn_of_idle_properties(step: StepNotes, kind: StepKind) -> None:
    for name, why in _NO_EFFECT.items():
        if step.data.get(name):
            step.warn(f"'{name}' has no effect", (name,), hint=why)
    for name, kinds in _KINDS_OF.items():
        if step.data.get(name) and kind not in kinds:
            step.warn(f"'{name}' has no effect on a {kind} step", (name,))
    isolation = step.data.get("isolation", "")
    if isolation.lower() not in ("", "default"):
        step.warn(f"isolation '{isolation}' is for Windows containers, which do not run here", ("isolation",))
    if step.data.get("network") and kind is StepKind.PUSH:
        step.warn("'network' has no effect on a push step", ("network",))


def _count_variables(step: StepNotes, env: Mapping[str, str]) -> None:
    """Each step has a copy of what it inherits, so that few lines can stand for very much."""
    before = step.result.variables
    step.result.variables += len(env)
    if before <= MAX_VARIABLES < step.result.variables:
        step.problem(
            f"the steps up to '{step.id}' have more than {MAX_VARIABLES} variables, inherited ones included",
            (),
            hint="give a variable only to the steps that need it",
            rule="env-too-large",
        )


def _check_env(step: StepNotes, kind: StepKind, env: Mapping[str, str]) -> None:
    for position, entry in enumerate(step.data.get("env", ())):
        fault = environment.fault_of_name(entry)
        if fault:
            step.problem(
                f"environment entry '{shorten(mask_tokens(entry))}' {fault}",
                ("env", position),
                hint="write NAME=value"
                + (f", where only the value comes from {origin(entry)}" if has_token(entry) else ""),
                rule=misplaced_rule(entry) if has_token(entry) else "env-malformed",
            )
        elif "=" not in entry:
            step.warn(
                f"environment entry '{entry}' has no value and is left out",
                ("env", position),
                hint=f'write "{entry}=value", or "{entry}=" for an empty one',
            )
    if kind is StepKind.BUILD and env.get("DOCKER_BUILDKIT") == "0":
        step.warn(
            "DOCKER_BUILDKIT=0 has no effect: builds always use BuildKit",
            ("env",),
            hint="Dockerfiles of the classic builder work as they are",
        )


def _join(names: list[StepKind]) -> str:
    return " and ".join(f"'{name}'" for name in names)
