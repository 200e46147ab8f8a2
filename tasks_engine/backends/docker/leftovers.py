"""Removes what a run made on an engine, found by its label: at its end, or after its process died."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import docker.errors
from docker.api import APIClient

from tasks_engine.backends.docker.client import translated
from tasks_engine.backends.docker.convert import RUN_LABEL


def remove_labelled(api: APIClient, run_id: str) -> None:
    """Removes containers (running or not), then networks and volumes, of a run. Raises BackendError."""
    filters = {"label": f"{RUN_LABEL}={run_id}"}
    with translated("removing what the run made"):
        containers = [str(each["Id"]) for each in api.containers(all=True, filters=filters, quiet=True)]
        if containers:
            with ThreadPoolExecutor(max_workers=8, thread_name_prefix="remove") as pool:
                list(pool.map(lambda container: remove_container(api, container), containers))
        for network in api.networks(filters=filters):
            _ignoring_missing(api.remove_network, str(network["Id"]))
        for volume in api.volumes(filters=filters)["Volumes"] or []:
            _ignoring_missing(api.remove_volume, str(volume["Name"]))


def remove_container(api: APIClient, container: str) -> None:
    """Kills and removes a container; one that is gone or being removed is fine. Raises BackendError."""
    with translated("removing a container"):
        try:
            api.remove_container(container, v=True, force=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            if error.status_code != 409:  # somebody else is removing it
                raise


def _ignoring_missing(remove: Callable[[str], object], name: str) -> None:
    try:
        remove(name)
    except docker.errors.NotFound:
        return
