"""Calls of an engine in one form: those of the original as they were recorded, and those of ours.

What is compared, and what is left out, stands in exec.py.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tasks_engine.backends.docker.convert import STEP_LABEL, network_name
from tasks_engine.backends.step_outputs import OUTPUT_VARIABLE
from tasks_engine.definition.build_context import parse_build_context
from tasks_engine.definition.build_string import parse_build_words
from tasks_engine.definition.model import HOME
from tasks_engine.plan.container_values import DOCKER_SOCKET
from tasks_engine.plan.make import DEFAULT_NETWORK, WORKSPACE
from tasks_engine.plan.request import shared_volume
from tests.conformance.readers.builds import full_image
from tests.conformance.vectors import Vector

#: the name of the workspace's volume in the vectors
WORKSPACE_VOLUME = "acb_vol_<uuid>"
#: what every container of the original has
_BASE_MOUNTS = (WORKSPACE, HOME, DOCKER_SOCKET)
_BUILDERS = ("docker", "buildx")


def fetched_text(path: str) -> str:
    """The Dockerfile at that path of a context that was fetched."""
    return f"FROM scratch\n# {path or 'Dockerfile'}\n"


# --- what the engine was asked ----------------------------------------------------------------------------------------


def calls_of_ours(calls: Sequence[Mapping[str, Any]], run_id: str) -> Iterator[dict[str, Any]]:
    """What a scripted engine wrote down, without what only this project asks."""
    for call in calls:
        match call["op"]:
            case "run-step":
                yield _with_exit(_our_container(call["body"], run_id), call)
            case "network-create":
                body = call["body"]
                made = {
                    "op": "network-create",
                    "name": own_name(body["Name"], run_id),
                    "driver": body.get("Driver") or "",
                    "ipv6": bool(body.get("EnableIPv6")),
                }
                yield _with_exit(made, call)
            case "volume-create":
                if call["name"] == shared_volume(run_id):
                    yield _with_exit({"op": "volume-create", "name": WORKSPACE_VOLUME}, call)
            case "put-files":
                if call["volume"].startswith(f"tasks-{run_id}-volume-"):
                    name = own_name(call["volume"], run_id)
                    yield {"op": "fill-secret-volume", "volume": name, "files": call["files"]}
            case "pull" | "push":
                yield _with_exit({"op": call["op"], "image": full_image(call["image"])}, call)
            case _:
                yield dict(call)


def _our_container(body: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    host = body["HostConfig"]
    volumes = [
        f"{own_name(mount['Source'], run_id)}:{mount['Target']}"
        if mount["Type"] == "volume" and mount["Target"] not in _BASE_MOUNTS
        else mount["Target"]
        for mount in host["Mounts"]
    ]
    env = dict(each.partition("=")[::2] for each in body["Env"])
    env.pop(OUTPUT_VARIABLE, None)
    return {
        "op": "run-step",
        "step": body["Labels"][STEP_LABEL],
        "image": full_image(body["Image"]),
        "args": [own_name(each, run_id) for each in body.get("Cmd", ())],
        "env": env,
        "volumes": sorted(volumes),
        "workdir": body["WorkingDir"],
        "network": own_name(host["NetworkMode"], run_id),
        "ports": sorted(
            f"{binding['HostPort']}:{port}"
            for port, each in host.get("PortBindings", {}).items()
            for binding in each
        ),
        "expose": sorted(body["ExposedPorts"]),
        "user": body["User"],
        "entrypoint": body.get("Entrypoint", [""])[0],
        "cpus": host.get("NanoCpus", 0) / 1e9,
        "privileged": host.get("Privileged", False),
    }


def own_name(name: str, run_id: str) -> str:
    """The name in the task of what has one of the run's own on the engine."""
    own = network_name(run_id)
    if name == own:
        return DEFAULT_NETWORK
    if name == shared_volume(run_id):
        return WORKSPACE_VOLUME
    return name.removeprefix(f"{own}-").removeprefix("volume-") if name.startswith(f"{own}-") else name


def build_call(**parts: Any) -> dict[str, Any]:
    return {"op": "build", **parts}


def _with_exit(call: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    return {**call, "exit": told["exit"]} if told.get("exit") else call


# --- what the original asked ------------------------------------------------------------------------------------------


def calls_of_original(vector: Vector, *, has_containers: bool) -> Iterator[dict[str, Any]]:
    """The recorded calls. Networks are made where steps run containers, which builds are not."""
    scanned: Mapping[str, Any] = {}
    for call in vector.wanted.get("calls", ()):
        match call["op"]:
            case "scan":
                scanned = call
            case "run-step" if call["image"] in _BUILDERS and call["args"][0] == "build":
                yield _wanted_build(call, scanned, vector.input.get("files", {}))
            case "run-step":
                yield _with_exit(_wanted_container(call), call)
            case "network-create" if has_containers:
                name, *options = call["args"]
                made = {
                    "op": "network-create",
                    "name": name,
                    "driver": options[options.index("--driver") + 1] if "--driver" in options else "",
                    "ipv6": "--ipv6" in options,
                }
                yield _with_exit(made, call)
            case "volume-create":
                yield _with_exit({"op": "volume-create", "name": call["name"]}, call)
            case "fill-secret-volume":
                files = [each.removeprefix(f"{call['volume']}/") for each in call["files"]]
                yield {"op": "fill-secret-volume", "volume": call["volume"], "files": sorted(files)}
            case "pull" | "push":
                yield _with_exit({"op": call["op"], "image": full_image(call["image"])}, call)
            case "login":
                yield {
                    "op": "login",
                    "registry": call["registry"],
                    "username": call["username"],
                    "password": call["stdin"].removesuffix("\n"),
                }


def _wanted_container(call: Mapping[str, Any]) -> dict[str, Any]:
    env = dict(each.partition("=")[::2] for each in call["env"])
    volumes = [each.rpartition(":")[2] if index < 3 else each for index, each in enumerate(call["volumes"])]
    ports = [each if ":" in each else f":{each}" for each in call.get("ports", ())]
    exposed = [*call.get("expose", ()), *(each.rpartition(":")[2] for each in ports)]
    return {
        "op": "run-step",
        "step": call["name"],
        "image": full_image(call["image"]),
        "args": call.get("args", []),
        "env": env,
        "volumes": sorted(volumes),
        "workdir": call.get("workdir", ""),
        "network": call["network"],
        "ports": sorted(map(_with_protocol, ports)),
        "expose": sorted(set(map(_with_protocol, exposed))),
        "user": call.get("user", ""),
        "entrypoint": call.get("entrypoint", ""),
        "cpus": float(call.get("cpus", 0)),
        "privileged": call.get("privileged", False),
    }


def _with_protocol(port: str) -> str:
    return port if "/" in port else f"{port}/tcp"


def _wanted_build(
    call: Mapping[str, Any], scanned: Mapping[str, Any], files: Mapping[str, str]
) -> dict[str, Any]:
    arguments = parse_build_words([each for each in call["args"][1:] if each != "--load"])
    build = build_call(
        tags=list(map(full_image, arguments.tags)),
        target=arguments.target,
        build_args=dict(arguments.build_args),
        caches_in=[each.attributes["ref"] for each in arguments.cache_to],
    )
    # what the original cannot fetch beforehand is left to docker
    contexts = (scanned["args"][-1], arguments.context)
    if address := next((each for each in contexts if parse_build_context(each).is_remote), ""):
        folder = posixpath.relpath(call["workdir"], f"{WORKSPACE}/{call['name']}")
        subfolder = "." if folder.startswith("..") else folder
        return {
            **build,
            "address": address,
            "subfolder": subfolder,
            "dockerfile": fetched_text(arguments.dockerfile),
        }
    folder = posixpath.relpath(
        posixpath.normpath(posixpath.join(call["workdir"], arguments.context)), WORKSPACE
    )
    below = "" if folder == "." else f"{folder}/"
    dockerfile = posixpath.relpath(
        posixpath.join(call["workdir"], arguments.dockerfile or f"{arguments.context}/Dockerfile"), WORKSPACE
    )
    return {
        **build,
        "files": sorted(name.removeprefix(below) for name in files if name.startswith(below)),
        "dockerfile": files[dockerfile],
    }


# --- order ------------------------------------------------------------------------------------------------------------


def ordered(calls: list[dict[str, Any]], vector: Vector) -> list[dict[str, Any]]:
    """The calls, those of a group that goes on at the same time in the order of their text."""
    if vector.expect.get("order") == "partial":
        return sorted(calls, key=_text)
    groups = groupby(calls, key=lambda call: _AT_ONCE.get(call["op"], id(call)))
    return [
        call
        for key, group in groups
        for call in (sorted(group, key=_rank) if key in _AT_ONCE.values() else group)
    ]


_AT_ONCE = {"push": "pushes", "volume-create": "set-up", "network-create": "set-up"}


def _rank(call: Mapping[str, Any]) -> tuple[str, ...]:
    """Networks are made in their order."""
    if call["op"] == "network-create":
        return ("1",)
    return ("0" if call["op"] == "volume-create" else "2", _text(call))


def _text(call: Mapping[str, Any]) -> str:
    return json.dumps(call, sort_keys=True)
