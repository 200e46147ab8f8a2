"""A private copy of the context on this machine, bind-mounted into every container."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks_engine.backends.workspace.output_files import make_output_file, take_output_file
from tasks_engine.backends.workspace.private_copy import make_private_copy, remove_private_copy
from tasks_engine.definition.model import HOME
from tasks_engine.errors import StoreError
from tasks_engine.plan.make import WORKSPACE


class SharedFolder:
    """A private copy of the context on this machine, bind-mounted into every container."""

    def __init__(self, context: Path, into: Path, docker_config: Mapping[str, Any]) -> None:
        self._into = into
        self._copy = make_private_copy(context, into)
        self._home = into / "home"
        try:
            (self._home / ".docker").mkdir(parents=True)
            # steps may run as any user; the folder above is ours alone
            self._home.chmod(0o777)
            config = self._home / ".docker" / "config.json"
            config.write_text(json.dumps(docker_config))
            config.chmod(0o644)
        except OSError as error:
            raise StoreError(f"the run's home folder cannot be made: {error}") from error

    def mounts(self) -> list[dict[str, Any]]:
        return [
            {"Type": "bind", "Source": str(self._copy.path), "Target": WORKSPACE},
            {"Type": "bind", "Source": str(self._home), "Target": HOME},
        ]

    @property
    def is_seen_by_engine(self) -> bool:
        return True

    def source(self, folder: str, *, make: bool = False) -> dict[str, Any]:
        if make:
            _make_folder(self._copy.path, folder)
        return {"Type": "bind", "Source": str(self._copy.path / folder)}

    def fill(self, container: str) -> None:
        pass

    def changed(self) -> None:
        pass

    def make_output(self, name: str) -> None:
        make_output_file(self._home, name)

    def take_output(self, name: str, at_most: int) -> bytes:
        return take_output_file(self._home, name, at_most)

    def folder(self) -> Path:
        return self._copy.path

    def remove(self) -> None:
        remove_private_copy(self._into)


def _make_folder(root: Path, folder: str) -> None:
    """Makes what is missing of a path below `root`, and follows no link: steps write there. What is there stays."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in Path(folder).parts:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=at)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
    except OSError:
        return  # a file or a link: the engine says what it thinks of it
    finally:
        os.close(at)
