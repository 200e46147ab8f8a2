"""Temporary folders of this program, and those that killed processes left behind."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks_engine.backends.buildkit.temporary import PREFIX as BUILDKIT_PREFIX
from tasks_engine.backends.buildkit.temporary import TemporaryFolder

#: of fetched contexts
CONTEXT_PREFIX = "tasks-fetched-"
PREFIXES = (CONTEXT_PREFIX, BUILDKIT_PREFIX)
#: between being made and being locked a folder is not yet old
_YOUNG_S = 60.0


def context_folder() -> TemporaryFolder:
    """An empty folder for a fetched context; a context manager that gives its path."""
    return TemporaryFolder(CONTEXT_PREFIX, Path(tempfile.gettempdir()))


def abandoned_folders(min_age_s: float = _YOUNG_S) -> Iterator[Path]:
    """Folders of this user that no process holds; they stay locked by us while the caller looks at each."""
    parents = dict.fromkeys((Path("/tmp"), Path(tempfile.gettempdir())))  # noqa: S108 - where they are made
    for parent in parents:
        for path in sorted(each for prefix in PREFIXES for each in parent.glob(f"{prefix}*")):
            with _locked(path, min_age_s) as is_ours:
                if is_ours:
                    yield path


@contextmanager
def _locked(path: Path, min_age_s: float) -> Iterator[bool]:
    """Whether the folder could be locked: then the process that made it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        status = os.fstat(descriptor)
        is_candidate = (
            status.st_uid == os.geteuid()
            and stat.S_IMODE(status.st_mode) == 0o700
            and time.time() - status.st_mtime >= min_age_s
        )
        yield is_candidate and _take(descriptor)
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
