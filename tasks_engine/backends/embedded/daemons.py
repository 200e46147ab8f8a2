"""Configuration files, arguments and environment of containerd, dockerd and the registry. Pure.

containerd is a process of ours, not dockerd's child: dockerd would silently use the machine's own containerd
if one is running, and so mix its containers with somebody else's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import IPv4Network

from tasks_engine.backends.embedded.network import user_network_pool
from tasks_engine.backends.embedded.state import EnginePaths

#: what BuildKit clips a step's log at. Its defaults lose output of long builds; -1 would lose all of it
_STEP_LOG_LIMIT = "1073741824"


def containerd_config(paths: EnginePaths) -> str:
    """TOML for containerd 1.6 and newer."""
    return "\n".join(
        [
            "version = 2",
            f"root = {_toml(paths.containerd_root)}",
            f"state = {_toml(paths.run_dir / 'containerd')}",
            # the part for Kubernetes listens on a port and looks for CNI plugins
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
            "[grpc]",
            f"address = {_toml(paths.containerd_socket)}",
            "[ttrpc]",
            f"address = {_toml(str(paths.containerd_socket) + '.ttrpc')}",
            "",
        ]
    )


def dockerd_config(paths: EnginePaths, block: IPv4Network) -> str:
    """JSON for Docker Engine 26 and newer."""
    bin_dir, sbin_dir = paths.root_dir / "usr/bin", paths.root_dir / "usr/sbin"
    settings = {
        "hosts": [paths.docker_host],
        "containerd": str(paths.containerd_socket),
        "data-root": str(paths.data_root),
        "exec-root": str(paths.run_dir / "exec"),
        "pidfile": str(paths.run_dir / "dockerd.pid"),
        "bridge": paths.bridge,
        # /25 leaves 256 user networks; a run has at most a few
        "default-address-pools": [{"base": str(user_network_pool(block)), "size": 25}],
        # pushing multi-platform results and attestations needs this image store
        "features": {"containerd-snapshotter": True},
        "init-path": str(bin_dir / "docker-init"),
        "userland-proxy-path": str(sbin_dir / "docker-proxy"),
    }
    return json.dumps(settings, indent=2) + "\n"


def registry_config(paths: EnginePaths, port: int) -> str:
    """YAML (of which JSON is a part) for Distribution 2.8 and newer."""
    settings = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(paths.registry_root)},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    return json.dumps(settings, indent=2) + "\n"


def daemon_environ(environ: Mapping[str, str], paths: EnginePaths) -> dict[str, str]:
    """The caller's environment, so that proxies hold, without variables that configure the daemons."""
    ours = ("DOCKER_", "REGISTRY_", "BUILDKIT_", "CONTAINERD_", "OTEL_", "NOTIFY_SOCKET", "LISTEN_")
    kept = {name: value for name, value in environ.items() if not name.startswith(ours)}
    unpacked = f"{paths.root_dir}/usr/sbin:{paths.root_dir}/usr/bin"
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        **kept,
        "PATH": f"{unpacked}:{kept.get('PATH', '')}:{system}",
        "BUILDKIT_STEP_LOG_MAX_SIZE": _STEP_LOG_LIMIT,
        "BUILDKIT_STEP_LOG_MAX_SPEED": _STEP_LOG_LIMIT,
    }


def _toml(value: object) -> str:
    # a JSON string is a TOML basic string
    return json.dumps(str(value), ensure_ascii=False)
