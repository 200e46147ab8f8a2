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

from tasks_engine.backends.buildkit.patterns import compile_patterns, escape, without_nested

_WILDCARD = re.compile(r"(?<!\\)[*?\[]")
#: Linux gives up on a path after this many links as well
_MAX_LINKS = 40


def resolve_follow_paths(root: str, paths: Iterable[str]) -> list[str]:
    """Include patterns for `paths` below the folder `root`; empty when one of them is the root itself.

    Only the last component of a path may have wildcards. A path that does not exist stays as it is.
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
    folder = ""
    components = path.split("/")
    for index, name in enumerate(components):
        rest = "/".join(components[index + 1 :])
        if _WILDCARD.search(name):
            return [path], [
                _clean(posixpath.join(target, rest)) for target in _targets_of_matches(root, folder, name)
            ]
        name = name.replace("\\", "")
        here = posixpath.join(folder, name)
        target = _link_target(root, here)
        if target is not None:
            return [escape(here)], [_clean(posixpath.join(_from_root(folder, target), rest))]
        folder = here
    return [path], []


def _targets_of_matches(root: str, folder: str, wildcard: str) -> list[str]:
    matcher = compile_patterns([wildcard])
    try:
        names = [path.name for path in Path(root, folder).iterdir()]
    except OSError:
        return []
    targets = ((name, _link_target(root, posixpath.join(folder, name))) for name in sorted(names))
    return [
        _from_root(folder, target)
        for name, target in targets
        if target is not None and matcher.match(name, matcher.nothing())[0]
    ]


def _link_target(root: str, path: str) -> str | None:
    try:
        return str(Path(root, path).readlink())
    except OSError:
        return None


def _from_root(folder: str, target: str) -> str:
    return escape(target if target.startswith("/") else posixpath.join(folder, target))


def _clean(path: str) -> str:
    """Relative to the root and clean; `..` can not leave it. The root itself is ''."""
    return posixpath.normpath(f"/{path}").lstrip("/")
