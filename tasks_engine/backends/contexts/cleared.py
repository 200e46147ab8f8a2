"""Leaves no half-fetched context behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def cleared_on_error(folder: Path) -> Iterator[None]:
    """When the block raises, `folder` is empty afterwards."""
    try:
        yield
    except BaseException:
        empty_folder(folder)
        raise


def empty_folder(folder: Path) -> None:
    """Removes what is in a folder, as far as that is possible."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with suppress(OSError):
                entry.unlink()
