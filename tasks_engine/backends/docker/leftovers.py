"""Removes what a run made on an engine, found by its labels: at its end, or after its process died."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import docker.errors
from docker.api import APIClient

from tasks_engine.backends.docker.client import translated
from tasks_engine.backends.docker.convert import OWNER_LABEL, RUN_LABEL


@dataclass(frozen=True)
class Leftovers:
    """What one run has on an engine."""

    #: id -> name
    containers: Mapping[str, str] = field(default_factory=dict)
    #: id -> name
    networks: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks or self.volumes)

    @property
    def names(self) -> tuple[str, ...]:
        """Such as `container tasks-x-build`."""
        named = (
            ("container", self.containers.values()),
            ("network", self.networks.values()),
            ("volume", self.volumes),
        )
        return tuple(f"{kind} {name}" for kind, names in named for name in names)


def find_labelled(api: APIClient, run_id: str, owner: str) -> Leftovers:
    """What a run of this owner has on an engine; what carries another owner's name is not ours to see.

    Raises BackendError.
    """
    return _find(api, f"{RUN_LABEL}={run_id}", owner).get(run_id, Leftovers())


def find_owned(api: APIClient, owner: str) -> Mapping[str, Leftovers]:
    """Run id -> what it has on an engine, of all runs that carry this owner's name. Raises BackendError."""
    return _find(api, f"{OWNER_LABEL}={owner}", owner)


def remove_labelled(api: APIClient, run_id: str, owner: str) -> None:
    """Removes containers (running or not), then networks and volumes, of a run. Raises BackendError."""
    remove(api, find_labelled(api, run_id, owner))


def remove(api: APIClient, found: Leftovers) -> None:
    """What is gone already is fine. Raises BackendError."""
    if found.containers:
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="remove") as pool:
            list(pool.map(lambda container: remove_container(api, container), found.containers))
    with translated("removing what the run made"):
        for network in found.networks:
            _ignoring_missing(lambda each: _remove_network(api, each), network)
        for volume in found.volumes:
            _ignoring_missing(api.remove_volume, volume)


def _remove_network(api: APIClient, network: str) -> None:
    """Also one that a container of somebody else has joined, which loses it."""
    try:
        api.remove_network(network)
    except docker.errors.APIError as error:
        if error.status_code not in (403, 409):  # it has endpoints
            raise
        for container in api.inspect_network(network).get("Containers") or ():
            _ignoring_missing(
                lambda each: api.disconnect_container_from_network(each, network, force=True), container
            )
        api.remove_network(network)


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


def _find(api: APIClient, label: str, owner: str) -> dict[str, Leftovers]:
    filters = {"label": label}
    with translated("listing what runs made"):
        containers = _by_run(api.containers(all=True, filters=filters), owner)
        networks = _by_run(api.networks(filters=filters), owner)
        volumes = _by_run(api.volumes(filters=filters)["Volumes"] or [], owner)
    return {
        run_id: Leftovers(
            {str(each["Id"]): _container_name(each) for each in containers.get(run_id, ())},
            {str(each["Id"]): str(each["Name"]) for each in networks.get(run_id, ())},
            tuple(str(each["Name"]) for each in volumes.get(run_id, ())),
        )
        for run_id in {**containers, **networks, **volumes}
    }


def _by_run(found: Iterable[Mapping[str, Any]], owner: str) -> dict[str, list[Mapping[str, Any]]]:
    """By run id; without those of other owners. What says no owner was made by an older version."""
    by_run: dict[str, list[Mapping[str, Any]]] = {}
    for each in found:
        labels = each.get("Labels") or {}
        if RUN_LABEL in labels and labels.get(OWNER_LABEL, owner) == owner:
            by_run.setdefault(str(labels[RUN_LABEL]), []).append(each)
    return by_run


def _container_name(container: Mapping[str, Any]) -> str:
    names = container.get("Names") or ()
    return str(names[0]).lstrip("/") if names else str(container["Id"])[:12]


def _ignoring_missing(remove: Callable[[str], object], name: str) -> None:
    try:
        remove(name)
    except docker.errors.NotFound:
        return
