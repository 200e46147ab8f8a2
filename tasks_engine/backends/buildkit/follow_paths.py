"""Turns the daemon's followpaths into include patterns: symlinks on the way, and what they lead to.

Reads names and link targets only. A link can not lead out of the folder: absolute targets count from its
root, and `..` stops there.
"""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from tasks_engine.backends.buildkit.patterns import escape, name_matcher, without_nested

_WILDCARD = re.compile(r"(?<!\\)[*?\[]")
#: the daemon gives up on a path with more
_MAX_LINKS = 255
#: nothing on Linux has a longer path, and nobody has links deeper down
_MAX_PATH_CHARS = 4096
_MAX_DEPTH = 200


def resolve_follow_paths(root: str, paths: Iterable[str]) -> list[str]:
    """Include patterns for `paths` below the folder `root`; empty when one of them is the root itself.

    Where a component with wildcards matches a link, all that it matches is included, as the daemon needs the
    link itself; below other matches no links are followed, unless a folder has the very name of the wildcard.
    A path that does not exist stays as it is.
    """
    patterns: list[str] = []
    pending = deque((_clean(path), 0) for path in paths)
    seen: set[str] = set()
    while pending:
        path, links = pending.popleft()
        if path in seen or links > _MAX_LINKS:
            continue
        seen.add(path)
        found, targets = _follow(root, path)
        if not path:
            return []
        patterns += found
        pending.extend((target, links + 1) for target in targets)
    return without_nested(patterns)


def _follow(root: str, path: str) -> tuple[list[str], list[str]]:
    """Patterns to include for the pattern `path`, and the patterns that links on it lead to."""
    if len(path) > _MAX_PATH_CHARS or path.count("/") > _MAX_DEPTH:
        return [path], []
    folder = ""
    components = path.split("/")
    for index, name in enumerate(components):
        rest = "/".join(components[index + 1 :])
        if _WILDCARD.search(name):
            targets = _targets_of_matches(root, folder, name)
            if targets:
                included = "/".join(components[: index + 1])
                return [included], [_clean(posixpath.join(target, rest)) for target in targets]
            folder = posixpath.join(folder, name)
            continue
        name = name.replace("\\", "")
        if name in ("", ".", ".."):
            # Escaped, so it is no way up but a name that nothing has.
            return [path], []
        here = posixpath.join(folder, name)
        target = _link_target(root, here)
        if target is not None:
            return ["/".join((*components[:index], escape(name)))], [
                _clean(posixpath.join(_from_root(folder, target), rest))
            ]
        folder = here
    return [path], []


def _targets_of_matches(root: str, folder: str, wildcard: str) -> list[str]:
    matches = name_matcher(wildcard)
    try:
        names = [path.name for path in Path(root, folder).iterdir()]
    except OSError:
        return []
    targets = ((name, _link_target(root, posixpath.join(folder, name))) for name in sorted(names))
    return [_from_root(folder, target) for name, target in targets if target is not None and matches(name)]


def _link_target(root: str, path: str) -> str | None:
    try:
        return str(Path(root, path).readlink())
    except (OSError, ValueError):  # the latter for a NUL in it
        return None


def _from_root(folder: str, target: str) -> str:
    return escape(target if target.startswith("/") else posixpath.join(folder, target))


def _clean(path: str) -> str:
    """Relative to the root and clean; `..` can not leave it. The root itself is ''."""
    return posixpath.normpath(f"/{path}").lstrip("/")
