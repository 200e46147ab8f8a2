"""A BuildKit client that stands alone; it knows nothing of the rest of this project.

Names are loaded when they are first used: importing the package does not import grpcio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_engine.backends.buildkit.build import Build
    from tasks_engine.backends.buildkit.build_secrets import (
        Secret,
        SecretEnv,
        SecretFile,
        SecretValue,
        parse_secret,
    )
    from tasks_engine.backends.buildkit.capabilities import Capabilities
    from tasks_engine.backends.buildkit.client import BuildKitClient
    from tasks_engine.backends.buildkit.destinations import TarDestination, TarWriter, ToFile, ToPath
    from tasks_engine.backends.buildkit.docker_config import Credential, Credentials, DockerConfig
    from tasks_engine.backends.buildkit.docker_load import DockerLoad, load_into_docker
    from tasks_engine.backends.buildkit.errors import (
        BuildCanceled,
        BuildFailed,
        BuildKitError,
        BuildTimedOut,
        ConnectError,
        ConnectionLost,
        ContextError,
        CredentialError,
        DaemonLost,
        ExportError,
        SecretError,
        SshError,
        UnsupportedFeature,
    )
    from tasks_engine.backends.buildkit.exporters import (
        Exporter,
        docker_tar,
        files_tar,
        image,
        local,
        moby,
        oci_tar,
    )
    from tasks_engine.backends.buildkit.logs import LogLine, LogLines
    from tasks_engine.backends.buildkit.progress import (
        BuildWarning,
        Event,
        LogClipped,
        LogOutput,
        TransferChanged,
        VertexChanged,
    )
    from tasks_engine.backends.buildkit.records import (
        CacheRecord,
        DaemonInfo,
        GcPolicy,
        HistoryRecord,
        Worker,
    )
    from tasks_engine.backends.buildkit.solve import (
        BuildOptions,
        BuildResult,
        Cache,
        inline_cache,
        registry_cache,
    )
    from tasks_engine.backends.buildkit.sources import BuildSources, GitSource, ImageSource, UrlSource
    from tasks_engine.backends.buildkit.ssh_agent import Agent, AgentSocket, agent_from_environment, parse_ssh
    from tasks_engine.backends.buildkit.ssh_keys import PrivateKeys
    from tasks_engine.backends.buildkit.tls import TlsFiles

_NAMES_BY_MODULE = {
    "build": "Build",
    "build_secrets": "Secret SecretEnv SecretFile SecretValue parse_secret",
    "capabilities": "Capabilities",
    "client": "BuildKitClient",
    "destinations": "TarDestination TarWriter ToFile ToPath",
    "docker_config": "Credential Credentials DockerConfig",
    "docker_load": "DockerLoad load_into_docker",
    "errors": "BuildCanceled BuildFailed BuildKitError BuildTimedOut ConnectError ConnectionLost "
    "ContextError CredentialError DaemonLost ExportError SecretError SshError UnsupportedFeature",
    "exporters": "Exporter docker_tar files_tar image local moby oci_tar",
    "logs": "LogLine LogLines",
    "progress": "BuildWarning Event LogClipped LogOutput TransferChanged VertexChanged",
    "records": "CacheRecord DaemonInfo GcPolicy HistoryRecord Worker",
    "solve": "BuildOptions BuildResult Cache inline_cache registry_cache",
    "sources": "BuildSources GitSource ImageSource UrlSource",
    "ssh_agent": "Agent AgentSocket agent_from_environment parse_ssh",
    "ssh_keys": "PrivateKeys",
    "tls": "TlsFiles",
}
_MODULE_BY_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}

__all__ = [
    "Agent",
    "AgentSocket",
    "Build",
    "BuildCanceled",
    "BuildFailed",
    "BuildKitClient",
    "BuildKitError",
    "BuildOptions",
    "BuildResult",
    "BuildSources",
    "BuildTimedOut",
    "BuildWarning",
    "Cache",
    "CacheRecord",
    "Capabilities",
    "ConnectError",
    "ConnectionLost",
    "ContextError",
    "Credential",
    "CredentialError",
    "Credentials",
    "DaemonInfo",
    "DaemonLost",
    "DockerConfig",
    "DockerLoad",
    "Event",
    "ExportError",
    "Exporter",
    "GcPolicy",
    "GitSource",
    "HistoryRecord",
    "ImageSource",
    "LogClipped",
    "LogLine",
    "LogLines",
    "LogOutput",
    "PrivateKeys",
    "Secret",
    "SecretEnv",
    "SecretError",
    "SecretFile",
    "SecretValue",
    "SshError",
    "TarDestination",
    "TarWriter",
    "TlsFiles",
    "ToFile",
    "ToPath",
    "TransferChanged",
    "UnsupportedFeature",
    "UrlSource",
    "VertexChanged",
    "Worker",
    "agent_from_environment",
    "docker_tar",
    "files_tar",
    "image",
    "inline_cache",
    "load_into_docker",
    "local",
    "moby",
    "oci_tar",
    "parse_secret",
    "parse_ssh",
    "registry_cache",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
