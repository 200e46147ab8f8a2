"""Which steps get the engine's own socket, and where it is on the engine's machine."""

from __future__ import annotations

from typing import Any

from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.container_values import DOCKER_SOCKET
from tasks_engine.policy import DockerSocket, Policy

#: what docker clients print that find no engine there
_COMPLAINTS = (b"docker daemon at unix:///var/run/docker.sock", b"/var/run/docker.sock: connect:")


def gets_socket(image: str, policy: Policy) -> bool:
    """Whether a step with this image gets the socket without asking for it."""
    if policy.docker_socket is not DockerSocket.AUTO:
        return policy.docker_socket is DockerSocket.ALWAYS
    if not (policy.privileged and policy.host_files and policy.host_network):
        # Whoever has the socket has all of these, and anybody can call an image docker.
        return False
    name = _name(image)
    return name.rpartition("/")[2] == "docker" or name in map(_name, policy.docker_clients)


def socket_path(endpoint: Endpoint, *, is_on_this_machine: bool) -> str:
    """The engine's socket as the engine sees it: on another machine, or behind TCP, it is at the usual place."""
    if is_on_this_machine and endpoint.url.startswith("unix://"):
        return endpoint.url.removeprefix("unix://")
    return DOCKER_SOCKET


def socket_mount(path: str) -> dict[str, Any]:
    """Engine API, Mount."""
    return {"Type": "bind", "Source": path, "Target": DOCKER_SOCKET}


class SocketMissed:
    """Watches what a step without the socket prints, for the complaint of a docker client."""

    def __init__(self) -> None:
        self._tails: dict[str, bytes] = {}

    def see(self, stream: str, data: bytes) -> None:
        # the complaint is the last thing such a step prints, so its end is enough
        if stream != "engine":
            self._tails[stream] = (self._tails.get(stream, b"") + data[-2048:])[-2048:]

    def __bool__(self) -> bool:
        return any(words in tail.lower() for tail in self._tails.values() for words in _COMPLAINTS)


def socket_hint(policy: Policy) -> str:
    if policy.docker_socket is DockerSocket.NEVER:
        return "the step has no docker socket: policy.docker_socket is never in the settings of this machine"
    if not (policy.privileged and policy.host_files and policy.host_network):
        return (
            "the step has no docker socket: the settings of this machine forbid what it would give; "
            'policy.docker_socket = "always" gives it nevertheless'
        )
    return (
        "the step has no docker socket: mount it (-v /var/run/docker.sock:/var/run/docker.sock), name the image in "
        'policy.docker_clients of the settings, or set policy.docker_socket = "always"'
    )


def _name(image: str) -> str:
    try:
        reference = parse_reference(image)
    except InvalidReference:
        return image
    return f"{reference.registry}/{reference.repository}"
