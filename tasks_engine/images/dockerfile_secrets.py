"""Which secrets a Dockerfile mounts, and which variables it declares. Pure.

A build argument that is declared stands in the history of the image; a mounted secret does not. Source: Dockerfile
reference, "RUN --mount=type=secret", "ARG" and "Predefined ARGs".
"""

from __future__ import annotations

import posixpath

from tasks_engine.images.dockerfile_lines import Instruction, read_dockerfile

#: build arguments that need no declaration, and then stand in no history
PREDEFINED = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)


def mounted_secrets(text: str) -> frozenset[str]:
    """The ids of `RUN --mount=type=secret`; without one it is the last part of the target."""
    found = set()
    for instruction in read_dockerfile(text).instructions:
        if instruction.keyword == "RUN":
            found |= {_secret_id(mount) for mount in _mounts(instruction)}
    return frozenset(found - {""})


def declared_arguments(text: str) -> frozenset[str]:
    """The names behind ARG, in any stage."""
    return frozenset(
        word.partition("=")[0]
        for instruction in read_dockerfile(text).instructions
        if instruction.keyword == "ARG"
        for word in instruction.words
    )


def _mounts(instruction: Instruction) -> list[str]:
    pairs = (flag.partition("=") for flag in instruction.flags)
    return [value for name, _, value in pairs if name == "--mount"]


def _secret_id(mount: str) -> str:
    """Empty for a mount of another type."""
    fields = {
        key.strip().lower(): value for key, _, value in (each.partition("=") for each in mount.split(","))
    }
    if fields.get("type") != "secret":
        return ""
    target = fields.get("target") or fields.get("dst") or fields.get("destination") or ""
    return fields.get("id") or posixpath.basename(target)
