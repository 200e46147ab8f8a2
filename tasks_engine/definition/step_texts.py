"""What the texts of a step mean: `cmd`, `build` and `push`. What is wrong with them is noted at its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tasks_engine.definition.image_names import possible_reference, unique_images
from tasks_engine.definition.misplaced import misplaced_rule, origin
from tasks_engine.definition.model import HOME
from tasks_engine.definition.step_notes import StepNotes
from tasks_engine.definition.structure import Path
from tasks_engine.definition.template.secret_text import has_secret, has_token, mask_tokens
from tasks_engine.definition.words import WordError, shorten
from tasks_engine.images.reference import InvalidReference

if TYPE_CHECKING:
    from tasks_engine.definition.build_string import BuildArguments
    from tasks_engine.definition.command_line import Command, CommandLine

#: options of docker run for which steps have a property
OPTIONS_OF_STEPS = frozenset(
    [
        "cpus",
        "detach",
        "entrypoint",
        "env",
        "expose",
        "isolation",
        "network",
        "privileged",
        "publish",
        "pull",
        "user",
        "workdir",
    ]
)
#: variables of one step whose absence is told
_MAX_UNSET = 20
_LONGEST_REASON = 120
_WORD = re.compile(r"\S+")
#: the flag of a tag, to the end of what stands before that
_TAG_FLAG = re.compile(r"""(?:\s|^)(?:-[a-zA-Z]*t|--tag|--image)[\s='"]*\Z""")
_LONGEST_FLAG = 20
#: places of a tag that are looked at for the one behind its flag
_MAX_PLACES = 50


def read_cmd(step: StepNotes, env: Mapping[str, str]) -> CommandLine | None:
    """What a `cmd` step runs; None when something is wrong with it."""
    from tasks_engine.definition.command_line import parse_command_line

    text = step.data["cmd"]
    try:
        line = parse_command_line(
            text, env, home=env.get("HOME", HOME), image_aliases=step.around.image_aliases
        )
    except WordError as error:
        step.problem_in_text(error.message, "cmd", error.offset, error.length, error.hint)
        return None
    for command in line.commands:
        if command.image:
            _check_image(step, command.image, ("cmd",), command.image_offset)
        _check_options(step, command)
    for variable in line.unset[:_MAX_UNSET]:
        in_braces = text.startswith("${", variable.offset)
        step.result.warnings.append(
            step.structure.problem_in_text(
                f"${variable.name} is not set in the environment of the step and becomes nothing",
                (*step.path, "cmd"),
                variable.offset,
                len(variable.name) + (3 if in_braces else 1),
                hint="for a variable of the container, use single quotes: sh -c '…'",
                rule="unset-variable",
            )
        )
    return line


def read_build(step: StepNotes, env: Mapping[str, str]) -> BuildArguments | None:
    """What a `build` step builds; None when its text cannot be read."""
    from tasks_engine.definition.build_string import BuildStringError, parse_build_string

    text = step.data["build"]
    try:
        arguments = parse_build_string(text, env)
    except BuildStringError as error:
        step.problem_in_text(error.message, "build", error.offset, len(error.word), error.hint)
        return None
    if arguments.extra_contexts:
        extra = arguments.extra_contexts[0]
        step.problem(
            f"build takes one context, but '{extra}' and '{arguments.context}' stand here",
            ("build",),
            hint="put values with blanks in quotes",
            rule="build-two-contexts",
        )
    for tag in arguments.tags:
        _check_image(step, tag, ("build",))
    for warning in arguments.warnings:
        step.result.warnings.append(
            step.structure.problem_in_text(
                warning.message,
                (*step.path, "build"),
                warning.offset or 0,
                len(warning.word),
                hint=warning.hint,
            )
        )
    return arguments


def read_push(step: StepNotes) -> tuple[str, ...]:
    """The images of a `push` step, each once; none when something is wrong with one."""
    images = step.data["push"]
    for position, image in enumerate(images):
        if has_secret(image):
            return ()
        _check_image(step, image, ("push", position))
        if "@" in image:
            step.problem(
                f"'{mask_tokens(image)}' names a digest, but a push needs a tag",
                ("push", position),
                rule="image-reference",
            )
    try:
        return unique_images(images)
    except InvalidReference:
        return ()


def _check_options(step: StepNotes, command: Command) -> None:
    """What the plan has to understand must not come from a secret or an output of a step."""
    for option in command.options:
        text = option.value.partition("=")[0] if option.name == "env" else option.value
        if option.name in OPTIONS_OF_STEPS and has_token(text):
            step.problem_in_text(
                f"docker run option '--{option.name}' must not come from {origin(text)}",
                "cmd",
                option.offset,
                _length_of_word(step.data["cmd"], option.offset),
                f"{origin(text)} may stand in arguments, and in values of --env",
                rule=misplaced_rule(text),
            )


def _check_image(step: StepNotes, image: str, at: Path, offset: int = -1) -> None:
    if has_secret(image):
        step.problem(
            f"the image name '{mask_tokens(image)}' must not come from a secret",
            at,
            hint="the plan has to know the images of a run: give it with --set",
            rule="secret-misplaced",
        )
        return
    try:
        possible_reference(image)
    except InvalidReference as error:
        message = f"'{shorten(mask_tokens(image))}' is not an image reference: {_shortened(error)}"
        empty_registry = "is $Registry empty? Give --registry HOST or set TASKS_REGISTRY"
        hint = empty_registry if image.startswith("/") else ""
        if len(at) > 1:
            step.problem(message, at, hint=hint, rule="image-reference")
            return
        kind = str(at[0])
        text = step.data[kind]
        start = offset if offset >= 0 else _offset_of_tag(text, image)
        length = len(image) if text.startswith(image, start) else _length_of_word(text, start)
        place = start if start >= 0 else None
        step.problem_in_text(message, kind, place, length, hint, rule="image-reference")


def _shortened(error: InvalidReference) -> str:
    """What is wrong with an image, which may be of any length."""
    reason = str(error)
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"


def _length_of_word(text: str, offset: int) -> int:
    word = _WORD.match(text, offset)
    return word.end() - offset if word is not None else 1


def _offset_of_tag(text: str, tag: str) -> int:
    """Where a tag stands behind its flag, else where it stands first; -1 when it is spelled otherwise."""
    at = first = text.find(tag)
    for _ in range(_MAX_PLACES):
        if at < 0 or _TAG_FLAG.search(text, max(0, at - _LONGEST_FLAG), at):
            break
        at = text.find(tag, at + 1)
    return at if at >= 0 else first
