"""A task of one build and one push, from the arguments of `tasks build`. Reads nothing but what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks_engine.definition.build_string import BuildArguments, BuildStringError, parse_build_words
from tasks_engine.definition.expand import expand_text
from tasks_engine.definition.model import Inputs, Step, StepKind, Task
from tasks_engine.definition.template.secret_text import find_mark, secret_value
from tasks_engine.errors import DefinitionError, DefinitionErrors, UsageError
from tasks_engine.images.reference import DOCKER_HUB, InvalidReference, parse_reference

#: as for the one-shot builds of the original
_BUILD_TIMEOUT_S = 8 * 60 * 60
_PUSH_TIMEOUT_S = 60 * 60


@dataclass(frozen=True)
class AskedBuild:
    """What a command line asks for."""

    #: flags and context of `docker build`, but for the images
    words: Sequence[str]
    #: as written, templates and aliases included
    images: Sequence[str] = ()
    #: `NAME=VALUE`, or `NAME` for a variable of the environment
    secret_build_args: Sequence[str] = ()
    #: goes in front of images without a registry; empty: they stay on the engine
    registry: str = ""
    #: None: if an image names a registry
    push: bool | None = None
    timeout_s: int = 0


@dataclass(frozen=True)
class BuildTask:
    task: Task
    #: name -> value of what the task has tokens for
    secret_values: Mapping[str, str] = field(repr=False)


def build_task(asked: AskedBuild, environ: Mapping[str, str], inputs: Inputs) -> BuildTask:
    """Raises UsageError for what cannot be meant."""
    arguments = _arguments(asked.words)
    tags = [_with_registry(each, asked.registry) for each in _rendered(asked.images, inputs)]
    build_args, values = _build_args(arguments, asked.secret_build_args, environ)
    env = {}
    for secret in arguments.secrets:
        variable = secret.env or ("" if secret.file else secret.id)
        if variable in environ:
            env[variable] = secret_value(variable).token
            values[variable] = environ[variable]
        elif secret.env:
            raise UsageError(
                f"secret '{secret.id}': there is no variable '{secret.env}' in the environment",
                hint=f"export it, or write --secret id={secret.id},src=FILE",
            )
    arguments = replace(arguments, tags=tuple(dict.fromkeys(tags)), build_args=build_args)
    steps = [
        Step(
            "build", StepKind.BUILD, 1, build=arguments, env=env, timeout=asked.timeout_s or _BUILD_TIMEOUT_S
        )
    ]
    pushed = _pushed(tags, asked.push)
    if pushed:
        steps.append(Step("push", StepKind.PUSH, 1, push=pushed, timeout=asked.timeout_s or _PUSH_TIMEOUT_S))
    warnings = tuple(DefinitionError(each.message, hint=each.hint) for each in arguments.warnings)
    return BuildTask(Task("v1.1.0", tuple(steps), warnings=warnings), values)


def _arguments(words: Sequence[str]) -> BuildArguments:
    for word in words:
        if find_mark(word) >= 0:
            raise UsageError("an argument holds a character that tasks keeps for itself (U+F5EC0 or U+F5EC1)")
    try:
        return parse_build_words(words)
    except BuildStringError as error:
        raise UsageError(error.message.replace("build flag '", "option '"), hint=error.hint) from error


def _rendered(images: Sequence[str], inputs: Inputs) -> list[str]:
    """With values in place of templates and aliases, such as {{.Run.ID}} and $ID."""
    if not any("{{" in image or "$" in image for image in images):
        return list(images)
    if any("\n" in image for image in images):
        raise UsageError("the name of an image holds a line break")
    text = "version: v1.1.0\n" + "\n".join(images)
    try:
        rendered = expand_text(text, "--image", inputs, None).source.text.split("\n")
    except DefinitionErrors as errors:
        error = errors.problems[0]
        raise UsageError(f"--image: {error.message}", hint=error.hint) from errors
    return rendered[1 : len(images) + 1]


def _with_registry(image: str, registry: str) -> str:
    try:
        reference = parse_reference(image)
        if (
            registry
            and reference.registry == DOCKER_HUB
            and not image.startswith((f"{DOCKER_HUB}/", "library/"))
        ):
            reference = parse_reference(f"{registry}/{image}")
    except InvalidReference as error:
        raise UsageError(f"--image '{image}': {error}", hint="write NAME:TAG, or HOST/NAME:TAG") from error
    if reference.digest:
        raise UsageError(f"--image '{image}' has a digest, which only the build can tell")
    return reference.familiar


def _build_args(
    arguments: BuildArguments, secrets: Sequence[str], environ: Mapping[str, str]
) -> tuple[dict[str, str | None], dict[str, str]]:
    """The arguments, with tokens for secret ones; and the values of these by name."""
    found: dict[str, str | None] = {}
    for name, value in arguments.build_args.items():
        if value is None and name not in environ:
            continue  # the Dockerfile's own default holds
        found[name] = environ[name] if value is None else value
    values: dict[str, str] = {}
    for each in secrets:
        name, equals, value = each.partition("=")
        if not name:
            raise UsageError("--secret-build-arg takes NAME=VALUE, or NAME for a variable of the environment")
        if not equals and name not in environ:
            raise UsageError(f"--secret-build-arg {name}: there is no variable '{name}' in the environment")
        values[f"build-arg {name}"] = value if equals else environ[name]
        found[name] = secret_value(f"build-arg {name}").token
    return found, values


def _pushed(tags: Sequence[str], push: bool | None) -> tuple[str, ...]:
    if push is False:
        return ()
    if push and not tags:
        raise UsageError("--push needs an image", hint="name it: -t HOST/NAME:TAG")
    if push:
        return tuple(dict.fromkeys(tags))
    return tuple(dict.fromkeys(tag for tag in tags if parse_reference(tag).registry != DOCKER_HUB))
