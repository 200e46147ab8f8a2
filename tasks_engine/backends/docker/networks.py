"""Networks of one run on an engine. Made under names that no other run has, removed by their label."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from docker.api import APIClient
from docker.types import IPAMConfig, IPAMPool

from tasks_engine.backends.docker.client import translated
from tasks_engine.backends.docker.convert import RUN_LABEL, network_name
from tasks_engine.definition.model import Network
from tasks_engine.errors import DockerError
from tasks_engine.plan.make import DEFAULT_NETWORK
from tasks_engine.plan.model import Plan

_UNSAFE = re.compile(r"[^a-zA-Z0-9_.-]")


def network_names(plan: Plan) -> Mapping[str, str]:
    """Name in the task -> name on the engine; those that exist already keep theirs."""
    names: dict[str, str] = {}
    for index, network in enumerate(plan.networks):
        if network.skip_creation:
            names[network.name] = network.name
        elif network.name == DEFAULT_NETWORK:
            names[network.name] = network_name(plan.run_id)
        else:
            safe = _UNSAFE.sub("-", network.name)
            place = "" if safe and safe == network.name else f"{index}-"
            names[network.name] = f"{network_name(plan.run_id)}-{place}{safe}"
    return names


def make_networks(plan: Plan, api: APIClient) -> Mapping[str, str]:
    """Makes the networks of a run, in their order, and returns `network_names`.

    Raises DockerError for one that cannot be made, or that should exist and does not; EngineError.
    """
    names = network_names(plan)
    for network in plan.networks:
        if network.skip_creation:
            _check_existing(network.name, api)
        else:
            _make(plan.run_id, network, names[network.name], api)
    return names


def _make(run_id: str, network: Network, name: str, api: APIClient) -> None:
    shown = f"network '{network.name}'"
    options = _ipv6_options(run_id, network) if network.ipv6 else {}
    try:
        with translated(f"making {shown}"):
            api.create_network(name, driver=network.driver or None, labels={RUN_LABEL: run_id}, **options)
    except DockerError as error:
        raise DockerError(error.message, hint=_hint(network, error.message)) from error


def _ipv6_options(run_id: str, network: Network) -> dict[str, Any]:
    """Engines before 27 choose no IPv6 addresses themselves: a unique local prefix (RFC 4193) of the run's own."""
    digest = hashlib.sha256(f"{run_id}/{network.name}".encode()).hexdigest()
    subnet = f"fd{digest[:2]}:{digest[2:6]}:{digest[6:10]}:{digest[10:14]}::/64"
    return {"enable_ipv6": True, "ipam": IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])}


def _check_existing(name: str, api: APIClient) -> None:
    try:
        with translated(f"looking for network '{name}'"):
            api.inspect_network(name)
    except DockerError as error:
        raise DockerError(
            error.message,
            hint="skipCreation says that it exists: make it first, or leave skipCreation out",
        ) from error


def _hint(network: Network, message: str) -> str:
    if "plugin" in message:
        return f"this engine has no network driver '{network.driver}': bridge is one that every engine has"
    if "address pool" in message:
        return "too many networks use up the engine's addresses: remove old ones with docker network prune"
    return ""
