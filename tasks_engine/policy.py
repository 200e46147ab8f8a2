"""What the steps of a run may do on the machine that runs them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DockerSocket(StrEnum):
    """Which steps get the engine's socket."""

    #: those whose image's last path part is `docker`, or whose image is a docker client by the settings; none where
    #: privileged steps, the host's network or its files are forbidden, all of which the socket gives
    AUTO = "auto"
    #: all, as in ACR Tasks
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True)
class Policy:
    """Limits of one place where runs run. A task that asks for more is refused before it starts."""

    docker_socket: DockerSocket = DockerSocket.AUTO
    #: further images, by name without tag, that are docker clients
    docker_clients: tuple[str, ...] = ()
    #: `privileged` steps, and options of `docker run` that amount to it
    privileged: bool = True
    #: the network of the machine, for steps and builds
    host_network: bool = True
    #: folders and devices of the machine in steps
    host_files: bool = True
    #: `host[:port][/prefix]` of images that may be run, built upon and pushed; empty: all
    allowed_registries: tuple[str, ...] = ()
    #: of containers, such as runsc; empty: the engine's default
    container_runtime: str = ""
    #: how many processors a step may use at most; 0: all
    max_cpus: float = 0.0
    #: of a step's container; 0: no limit
    max_memory_bytes: int = 0
    #: processes and threads of a step's container; 0: no limit
    max_pids: int = 0
    #: of a run; what comes after it is dropped, and said so; 0: no limit
    max_log_bytes: int = 0
    #: of a run; 0: no limit
    max_run_s: int = 0
