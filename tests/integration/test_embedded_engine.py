"""The embedded engine for real: start, use, restart, kill, repair, stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from runners.local.images import BUSYBOX, ensure_busybox
from tasks_engine.backends.docker.endpoint import find_embedded, ping
from tasks_engine.backends.embedded import processes
from tasks_engine.backends.embedded.engine import EmbeddedEngine

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or os.geteuid() != 0, reason="needs root on Linux"
    ),
]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EmbeddedEngine]:
    cache = os.environ.get("TASKS_TEST_PACKAGE_CACHE")
    engine = EmbeddedEngine(tmp_path / "state", package_cache_dir=Path(cache) if cache else None)
    yield engine
    for log in sorted(engine.paths.log_dir.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")
    engine.stop(print, purge=True)


def start(engine: EmbeddedEngine, progress: list[str] | None = None) -> str:
    lines = progress if progress is not None else []
    # --force: the machine that runs the tests may well have an engine of its own
    return engine.start(lines.append, environ=os.environ, home=Path.home(), force=True).url


def daemon_pid(engine: EmbeddedEngine, name: str) -> int:
    record = processes.read_record(engine.paths.run_dir / f"{name}.process.json")
    assert record is not None
    return record.pid


def run_container(docker_host: str, command: list[str]) -> str:
    client = docker.DockerClient(base_url=docker_host)
    try:
        network = client.networks.create("tasks-test")
        try:
            output: bytes = client.containers.run(BUSYBOX, command, remove=True, network=network.name)
            return output.decode()
        finally:
            network.remove()
    finally:
        client.close()


def test_engine_starts_is_repaired_and_leaves_nothing(engine: EmbeddedEngine) -> None:
    docker_host = start(engine)
    endpoint = find_embedded(engine.paths.state_dir)
    assert endpoint is not None
    assert endpoint.url == docker_host
    assert int(ping(endpoint).version.split(".")[0]) >= 26
    first = engine.status()
    assert first.running

    ensure_busybox(docker_host)
    assert run_container(docker_host, ["echo", "hello"]) == "hello\n"

    # a second start changes nothing
    pids = [daemon_pid(engine, name) for name in ("containerd", "dockerd", "registry")]
    start(engine)
    assert pids == [daemon_pid(engine, name) for name in ("containerd", "dockerd", "registry")]

    # stop and start again: no download, same addresses, images still there
    engine.stop(print)
    assert_nothing_is_left(engine)
    progress: list[str] = []
    start(engine, progress)
    assert not [line for line in progress if "download" in line or "unpack" in line]
    assert engine.status().registry == first.registry
    assert run_container(docker_host, ["echo", "again"]) == "again\n"

    # killed with a container on a network of its own: the next start repairs it, the registry is not touched
    client = docker.DockerClient(base_url=docker_host)
    left_network = client.networks.create("left-behind")
    assert left_network.id is not None
    left_bridge = f"br-{left_network.id[:12]}"
    client.containers.run(BUSYBOX, ["sleep", "1000"], detach=True, network="left-behind")
    client.close()
    registry_pid = daemon_pid(engine, "registry")
    os.kill(daemon_pid(engine, "dockerd"), signal.SIGKILL)
    assert processes.wait_until(lambda: not engine.status().running, 10)
    start(engine)
    assert engine.status().running
    assert daemon_pid(engine, "registry") == registry_pid
    assert run_container(docker_host, ["echo", "repaired"]) == "repaired\n"

    # killed and never repaired: stopping cleans up all the same
    os.kill(daemon_pid(engine, "dockerd"), signal.SIGKILL)
    engine.stop(print)
    assert_nothing_is_left(engine)
    assert left_bridge not in [name for _, name in socket.if_nameindex()]
    engine.stop(print)  # twice is harmless


def test_concurrent_starts_give_one_engine(engine: EmbeddedEngine) -> None:
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(start(engine))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert urls == [engine.paths.docker_host] * 3
    assert len(processes.find_by_argument(str(engine.paths.config_dir / "dockerd.json"))) == 1


def assert_nothing_is_left(engine: EmbeddedEngine) -> None:
    paths = engine.paths
    for argument in ("containerd.toml", "dockerd.json", "registry.yml"):
        assert processes.find_by_argument(str(paths.config_dir / argument)) == []
    assert processes.find_by_argument(str(paths.containerd_socket)) == []
    assert paths.bridge not in [name for _, name in socket.if_nameindex()]
    assert processes.mounts_below([paths.engine_dir, paths.run_dir]) == []
    assert not paths.run_dir.exists()
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert paths.bridge not in rules
