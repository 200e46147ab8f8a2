"""Volumes of one run on an engine: those of the task with their files, and the shared one where steps name it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock

from docker.api import APIClient

from tasks_engine.backends.docker.client import translated
from tasks_engine.backends.docker.convert import RUN_LABEL
from tasks_engine.backends.docker.leftovers import remove_container
from tasks_engine.backends.workspace.archive import pack_files
from tasks_engine.plan.request import shared_volume

#: where the container that fills the volumes sees one of them
_FILLED_AT = "/tasks-volume"
_NAME_OF_A_RUN = re.compile(r"tasks-(.+)-(?:workspace|home|volume-[a-zA-Z0-9_-]+)\Z")


class TaskVolumes:
    """Thread-safe.

    A volume is filled when the first container needs it: another one of the same image, which is never started, takes
    the files. So no image of ours and no shell is needed, and nothing of them lies on this machine.
    """

    def __init__(
        self, run_id: str, files_by_volume: Mapping[str, Mapping[str, bytes]], api: APIClient
    ) -> None:
        """Makes the volumes. Raises BackendError."""
        self._run_id = run_id
        self._api = api
        self._lock = Lock()
        #: name on the engine -> file -> content, of those that are still empty
        self._waiting = {self._own_name(volume): files for volume, files in files_by_volume.items()}
        self._names = frozenset(files_by_volume)
        with translated("making the volumes of the task"):
            for name in self._waiting:
                api.create_volume(name, labels={RUN_LABEL: run_id})

    def name(self, volume: str) -> str:
        """On the engine; the name of a volume that is not the task's stays."""
        return self._own_name(volume) if volume in self._names else volume

    def fill(self, names: Iterable[str], container: str) -> None:
        """Fills those of the engine's volumes that are the task's and still empty, for a container of this run.

        Raises BackendError.
        """
        with self._lock:
            for name in sorted(self._waiting.keys() & set(names)):
                with translated("filling a volume of the task"):
                    self._fill(name, str(self._api.inspect_container(container)["Image"]))
                del self._waiting[name]

    def _own_name(self, volume: str) -> str:
        return f"tasks-{self._run_id}-volume-{volume}"

    def _fill(self, name: str, image: str) -> None:
        mount = {"Type": "volume", "Source": name, "Target": _FILLED_AT, "VolumeOptions": {"NoCopy": True}}
        body = {
            "Image": image,
            "Cmd": ["-"],
            "Labels": {RUN_LABEL: self._run_id},
            "HostConfig": {"Mounts": [mount], "NetworkMode": "none"},
        }
        created = self._api.create_container_from_config(body)  # type: ignore[no-untyped-call]
        filler = str(created["Id"])
        try:
            self._api.put_archive(filler, _FILLED_AT, pack_files(self._waiting[name], 0o644))
        finally:
            remove_container(self._api, filler)


def is_of_another_run(name: str, run_id: str) -> bool:
    """Whether the name of a volume is one that another run on this engine may have, with its secrets or files."""
    return _NAME_OF_A_RUN.match(name) is not None and not name.startswith(f"tasks-{run_id}-")


def make_shared_volume(run_id: str, folder: Path, api: APIClient) -> None:
    """Gives a folder that the engine sees the name of the shared volume. Raises BackendError."""
    bound = {"type": "none", "o": "bind", "device": str(folder)}
    with translated("making the shared volume"):
        api.create_volume(
            shared_volume(run_id), driver="local", driver_opts=bound, labels={RUN_LABEL: run_id}
        )
