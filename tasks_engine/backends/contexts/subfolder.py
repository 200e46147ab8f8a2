"""Finds a folder below a root that somebody else has filled."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from tasks_engine.errors import SourceError

_MAX_LINKS = 40  # as Linux follows


def folder_inside(root: Path, written: str, shown: str) -> Path:
    """The folder `written` below `root`, without links on its way; `shown` names the context in errors.

    Links are followed as if the root were that of the file system, so they cannot lead out. A `..` that leaves the
    root is only let pass in a link. Raises SourceError.
    """
    problem = f"folder '{written}' of {shown}"
    path: list[str] = []
    pending = deque((name, True) for name in written.split("/"))
    links = 0
    while pending:
        name, is_written = pending.popleft()
        if name in ("", "."):
            continue
        if name == "..":
            if not path and is_written:
                raise SourceError(f"{problem} leads outside", hint="name a folder below its root")
            path = path[:-1]
            continue
        entry = root.joinpath(*path, name)
        try:
            is_link = entry.is_symlink()
        except (OSError, ValueError) as error:
            raise SourceError(f"{problem} is no path: {error}") from error
        if not is_link:
            path.append(name)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise SourceError(f"{problem} has too many links on its way")
        target = os.readlink(entry)  # noqa: PTH115 - keeps a leading slash and dots as they are
        if target.startswith("/"):
            path = []
        pending.extendleft((each, False) for each in reversed(target.split("/")))
    folder = root.joinpath(*path)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise SourceError(f"{problem} {what}", hint="name a folder below its root")
    return folder
