"""The workspace on an engine that does not see our files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import docker.errors
from docker.api import APIClient

from tasks_engine.backends.docker.client import translated
from tasks_engine.backends.docker.convert import RUN_LABEL
from tasks_engine.backends.workspace.archive import pack_files, pack_folder, unpack_folder
from tasks_engine.backends.workspace.output_files import read_output_archive
from tasks_engine.definition.model import HOME
from tasks_engine.errors import DockerError, StepFailed
from tasks_engine.plan.make import WORKSPACE
from tasks_engine.plan.request import shared_volume


class EngineVolumes:
    """Volumes of an engine that does not see our files, filled and read through its archive calls.

    The first container brings the files in. A build after a container gets a fresh copy of them.
    """

    def __init__(
        self, api: APIClient, run_id: str, context: Path, into: Path, docker_config: Mapping[str, Any]
    ) -> None:
        self._api = api
        self._run_id = run_id
        self._context = context
        self._into = into
        self._docker_config = docker_config
        self._lock = Lock()
        #: a container that is never started: archive calls need one that mounts the volumes
        self._keeper: str | None = None
        #: our copy of the volume; None when a container may have changed it since
        self._newest: Path | None = None
        self._copies = 0
        into.mkdir(mode=0o700)
        with translated("making the run's volumes"):
            for name in self._volumes.values():
                api.create_volume(name, labels={RUN_LABEL: run_id})

    @property
    def _volumes(self) -> dict[str, str]:
        """Place in the container -> volume."""
        return {WORKSPACE: shared_volume(self._run_id), HOME: f"tasks-{self._run_id}-home"}

    def mounts(self) -> list[dict[str, Any]]:
        return [
            {"Type": "volume", "Source": name, "Target": target, "VolumeOptions": {"NoCopy": True}}
            for target, name in self._volumes.items()
        ]

    @property
    def is_seen_by_engine(self) -> bool:
        return False

    def source(self, folder: str, *, make: bool = False) -> dict[str, Any]:  # noqa: ARG002
        if folder:
            raise StepFailed(
                f"folder '{folder}' of the workspace cannot be mounted alone: this engine is on another machine, where "
                "the workspace is a volume",
                exit_status=125,
                hint=f"the whole of it is at {WORKSPACE} in every step",
            )
        return {"Type": "volume", "Source": self._volumes[WORKSPACE]}

    def fill(self, container: str) -> None:
        with self._lock:
            if self._keeper is not None:
                return
            with translated("sending the workspace to the engine"):
                image = self._api.inspect_container(container)["Image"]
                body = {
                    "Image": image,
                    "Cmd": ["-"],
                    "Labels": {RUN_LABEL: self._run_id},
                    "HostConfig": {"Mounts": self.mounts(), "NetworkMode": "none"},
                }
                created = self._api.create_container_from_config(  # type: ignore[no-untyped-call]
                    body, f"tasks-{self._run_id}..files"
                )
                keeper = str(created["Id"])
                self._api.put_archive(keeper, WORKSPACE, pack_folder(self._context))
                parent, _, home = HOME.rpartition("/")
                config = {f"{home}/.docker/config.json": json.dumps(dict(self._docker_config)).encode()}
                # as on this machine, steps may run as any user; the engine leaves the folder it unpacks in as it is,
                # so that has to be the one above
                self._api.put_archive(keeper, parent, pack_files(config, 0o644, 0o777))
            self._keeper = keeper

    def changed(self) -> None:
        with self._lock:
            self._newest = None

    def make_output(self, name: str) -> None:
        assert self._keeper is not None, "fill comes before make_output"
        with translated("making the file for a step's outputs"):
            self._api.put_archive(self._keeper, HOME, pack_files({name: b""}, 0o666))

    def take_output(self, name: str, at_most: int) -> bytes:
        """The file stays until the run's volumes are removed."""
        assert self._keeper is not None, "fill comes before take_output"
        with translated("reading a step's outputs from the engine"):
            try:
                chunks, status = self._api.get_archive(self._keeper, f"{HOME}/{name}")
            except docker.errors.NotFound:
                return b""
            return read_output_archive(chunks, status, at_most)

    def folder(self) -> Path:
        with self._lock:
            if self._keeper is None:
                return self._context
            if self._newest is None:
                self._copies += 1
                copy = self._into / str(self._copies)
                with translated("reading the workspace from the engine"):
                    chunks, _ = self._api.get_archive(self._keeper, WORKSPACE)
                    unpack_folder(iter(chunks), WORKSPACE.lstrip("/"), copy)
                self._newest = copy
            return self._newest

    def remove(self) -> None:
        shutil.rmtree(self._into, ignore_errors=True)


def engine_sees(api: APIClient, folder: Path) -> bool:
    """Whether the engine's file system is ours, asked without an image: mounts are checked before images.

    The folder asked about is new, so a folder of the same name elsewhere cannot mislead.
    """
    probe = folder / f".tasks-probe-{os.getpid()}"
    probe.mkdir()
    mount = {"Type": "bind", "Source": str(probe), "Target": WORKSPACE}
    body = {"Image": "tasks-engine.invalid/none:none", "HostConfig": {"Mounts": [mount]}}
    try:
        with translated("asking the engine what files it sees"):
            api.create_container_from_config(body)  # type: ignore[no-untyped-call]
    except (DockerError, docker.errors.APIError) as error:
        return "bind source path does not exist" not in str(error)
    finally:
        probe.rmdir()
    return True
