"""Names of images in `build` and `push`: normalised and unique, below a registry, and the one of a build's cache."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from tasks_engine.definition.template.secret_text import has_token, replace_tokens
from tasks_engine.images.reference import InvalidReference, Reference, parse_reference

#: what outputs of steps may be in a name: a part of it, a digest, or the digits of one
_STAND_INS = ("x", f"sha256:{'0' * 64}", "0" * 64)


def possible_reference(text: str) -> Reference:
    """The reference that a text is, or may become once its tokens have values. Raises InvalidReference."""
    if not has_token(text):
        return parse_reference(text)
    problem = InvalidReference("")
    for stand_in in reversed(_STAND_INS):
        try:
            return parse_reference(replace_tokens(text, stand_in))
        except InvalidReference as error:
            problem = error
    raise problem


def known_registry(text: str) -> str:
    """The registry of an image; empty when only the values of its tokens will say. Raises InvalidReference."""
    return "" if has_token(text.partition("/")[0]) else possible_reference(text).registry


def unique_images(texts: Iterable[str]) -> tuple[str, ...]:
    """Every image once, in the short form people write, in the order of the first mention.

    A name with a token stays as written: nobody can read it yet. Raises InvalidReference.
    """
    return tuple(dict.fromkeys(text if has_token(text) else parse_reference(text).familiar for text in texts))


def with_registry(tag: str, registry: str, known_registries: Collection[str]) -> str:
    """A tag of a one-shot build: below `registry`, unless it names a known one or begins with `library/`."""
    if not registry or tag.startswith("library/"):
        return tag
    is_known = any(known and tag.startswith(f"{known}/") for known in (registry, *known_registries))
    return tag if is_known else f"{registry}/{tag}"


def cache_image(tags: Sequence[str], *, registry: str, task: str, step: str) -> str:
    """The image that keeps the cache of a build step: the name of a tag, with `cache_TASK_STEP` as its tag.

    The first tag that has a slash, else the first one below `registry`, the run's. Raises InvalidReference
    when there is no such name.
    """
    if not tags:
        raise InvalidReference("the build has no tag")
    name = next((tag for tag in tags if "/" in tag), "")
    if not name and not registry:
        raise InvalidReference("neither a tag nor the run names a registry")
    folder, slash, last = (name or f"{registry}/{tags[0]}").rpartition("/")
    image = f"{folder}{slash}{last.partition('@')[0].partition(':')[0]}:cache_{task}_{step}"
    if not has_token(image):
        parse_reference(image)
    return image
