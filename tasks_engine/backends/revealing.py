"""A planned step with values in the place of its tokens: the last thing before it is handed to an engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tasks_engine.backends.secrets import SecretBook
from tasks_engine.definition.template.secret_text import has_secret, has_token
from tasks_engine.definition.words import shorten
from tasks_engine.errors import StepFailed
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.model import BuildWork, CmdWork, ContainerOption, PlannedStep, PushWork
from tasks_engine.plan.policy import forbidden_image
from tasks_engine.policy import Policy

#: as a docker client says that a container cannot run
_EXIT_STATUS = 125
_IMAGE = "docker-image://"


def revealed(step: PlannedStep, book: SecretBook) -> PlannedStep:
    """The step with values in the place of tokens; to be handed to an engine and nowhere else.

    Secrets that a build is given besides its environment keep their tokens: its Dockerfile decides what becomes of
    them. So do its addresses and caches. Raises SecretError; StepFailed for an output that its step did not write, or
    that makes no name of an image.
    """
    env = {name: book.reveal(value) for name, value in step.env.items()}
    match step.work:
        case BuildWork() as work:
            return replace(step, env=env, work=_revealed_build(work, book))
        case CmdWork() as work:
            return replace(step, env=env, work=_revealed_cmd(work, book))
        case PushWork() as work:
            return replace(step, env=env, work=_revealed_push(work, book))


def refuse_forbidden_outputs(planned: PlannedStep, step: PlannedStep, policy: Policy) -> None:
    """Raises StepFailed for an image that outputs of steps name and the policy of the machine forbids.

    Images of `cmd` steps are looked at when their containers are made.
    """
    images: list[str] = []
    match planned.work, step.work:
        case PushWork(images=written), PushWork(images=named):
            images = list(named) if any(map(has_token, written)) else []
        case BuildWork(build_contexts=written), BuildWork(build_contexts=named):
            images = [
                source.removeprefix(_IMAGE)
                for name, source in named.items()
                if has_token(written[name]) and source.startswith(_IMAGE)
            ]
    for image in images:
        forbidden = forbidden_image(_image(image), policy)
        if forbidden is not None:
            raise StepFailed(f"the step {forbidden.message}", exit_status=_EXIT_STATUS, hint=forbidden.hint)


def _revealed_build(work: BuildWork, book: SecretBook) -> BuildWork:
    """With outputs of steps; secrets in it keep their tokens."""

    def known(text: str) -> str:
        return text if has_secret(text) else book.reveal(text)

    def known_values(texts: Mapping[str, str]) -> dict[str, str]:
        return {known(name): known(text) for name, text in texts.items()}

    return replace(
        work,
        context=known(work.context),
        dockerfile=known(work.dockerfile),
        tags=_revealed_images(work.tags, book),
        build_args={name: known(text) for name, text in work.build_args.items()},
        labels=known_values(work.labels),
        target=known(work.target),
        no_cache_filter=tuple(map(known, work.no_cache_filter)),
        cache=_revealed_image(work.cache, book),
        build_contexts={name: known(source) for name, source in work.build_contexts.items()},
        annotations=tuple(
            replace(each, key=known(each.key), value=known(each.value)) for each in work.annotations
        ),
    )


def _revealed_cmd(work: CmdWork, book: SecretBook) -> CmdWork:
    return replace(
        work,
        image=_revealed_image(work.image, book),
        args=tuple(map(book.reveal, work.args)),
        options=_revealed_options(work.options, book),
        commands=tuple(
            replace(
                each,
                image=_revealed_image(each.image, book),
                args=tuple(map(book.reveal, each.args)),
                options=_revealed_options(each.options, book),
            )
            for each in work.commands
        ),
    )


def _revealed_push(work: PushWork, book: SecretBook) -> PushWork:
    return replace(
        work,
        images=_revealed_images(work.images, book),
        built_by={_revealed_image(image, book): maker for image, maker in work.built_by.items()},
    )


def _revealed_options(options: tuple[ContainerOption, ...], book: SecretBook) -> tuple[ContainerOption, ...]:
    return tuple(replace(each, value=book.reveal(each.value)) for each in options)


def _revealed_images(images: Iterable[str], book: SecretBook) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_revealed_image(image, book) for image in images))


def _revealed_image(image: str, book: SecretBook) -> str:
    if not has_token(image):
        return image
    return parse_reference(_image(book.reveal(image))).familiar


def _image(text: str) -> str:
    """The text, if it is the name of an image. Raises StepFailed."""
    try:
        parse_reference(text)
    except InvalidReference as error:
        raise StepFailed(
            f"'{shorten(text)}', made of outputs of earlier steps, is not an image reference: {shorten(str(error))}",
            exit_status=_EXIT_STATUS,
        ) from error
    return text
