"""Names of images at the mirrors of their registries. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_engine.images.reference import InvalidReference, Reference, normal_registry, parse_reference


def mirrored(reference: Reference, mirrors: Mapping[str, str]) -> Reference:
    """The name to ask for instead: of `mirrors`, the longest `registry[/folder]` that fits is replaced by its value.

    Tag and digest stay. Names that lie at a mirror already stay as they are, so doing it twice is doing it once.
    Raises InvalidReference for a mirror that gives no name of an image.
    """
    name = f"{reference.registry.lower()}/{reference.repository}"
    if any(_is_below(name, _normal(mirror)) for mirror in mirrors.values()):
        return reference
    fitting = [(key, mirror) for key, mirror in mirrors.items() if _is_below(name, _normal(key))]
    if not fitting:
        return reference
    key, mirror = max(fitting, key=lambda pair: len(_normal(pair[0])))
    rest = name[len(_normal(key)) :]
    suffix = str(reference)[len(f"{reference.registry}/{reference.repository}") :]
    try:
        return parse_reference(f"{mirror.rstrip('/')}{rest}{suffix}")
    except InvalidReference as error:
        raise InvalidReference(
            f"mirror '{mirror}' of '{key}' gives no image for {reference}: {error}"
        ) from error


def mirrored_name(text: str, mirrors: Mapping[str, str]) -> str:
    """The same for a name as people write it; what no mirror is for, and what is no name, stays letter for letter."""
    try:
        reference = parse_reference(text)
    except InvalidReference:
        return text
    found = mirrored(reference, mirrors)
    return text if found == reference else str(found)


def _normal(prefix: str) -> str:
    """`registry[/folder]` as it stands in full names."""
    registry, slash, folder = prefix.strip("/").partition("/")
    return f"{normal_registry(registry)}{slash}{folder}"


def _is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}/")
