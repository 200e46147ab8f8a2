"""A stand-alone BuildKit client on grpcio; it knows nothing of the rest of this project.

Names are loaded when they are first used: importing the package does not import grpcio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_engine.backends.buildkit.build import Build
    from tasks_engine.backends.buildkit.client import BuildKitClient, DaemonInfo, Worker
    from tasks_engine.backends.buildkit.errors import (
        BuildCanceled,
        BuildFailed,
        BuildKitError,
        ConnectError,
        ConnectionLost,
        ContextError,
        DaemonLost,
    )
    from tasks_engine.backends.buildkit.progress import (
        BuildWarning,
        Event,
        LogClipped,
        LogOutput,
        TransferChanged,
        VertexChanged,
    )
    from tasks_engine.backends.buildkit.session import Credential
    from tasks_engine.backends.buildkit.solve import (
        BuildOptions,
        BuildResult,
        Exporter,
        docker_tar,
        image,
        moby,
    )

_NAMES_BY_MODULE = {
    "build": ("Build",),
    "client": ("BuildKitClient", "DaemonInfo", "Worker"),
    "errors": (
        "BuildCanceled",
        "BuildFailed",
        "BuildKitError",
        "ConnectError",
        "ConnectionLost",
        "ContextError",
        "DaemonLost",
    ),
    "progress": ("BuildWarning", "Event", "LogClipped", "LogOutput", "TransferChanged", "VertexChanged"),
    "session": ("Credential",),
    "solve": ("BuildOptions", "BuildResult", "Exporter", "docker_tar", "image", "moby"),
}
_MODULE_BY_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = [
    "Build",
    "BuildCanceled",
    "BuildFailed",
    "BuildKitClient",
    "BuildKitError",
    "BuildOptions",
    "BuildResult",
    "BuildWarning",
    "ConnectError",
    "ConnectionLost",
    "ContextError",
    "Credential",
    "DaemonInfo",
    "DaemonLost",
    "Event",
    "Exporter",
    "LogClipped",
    "LogOutput",
    "TransferChanged",
    "VertexChanged",
    "Worker",
    "docker_tar",
    "image",
    "moby",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
