"""Starts the real services of the test suite, runs a command among them, and stops them again.

    python runners/local/test_services.py -- pytest …

As root on Debian or Ubuntu it starts, all private to this checkout: the embedded engine with its registry, a
Docker Engine of Debian 12 (20.10, BuildKit 0.8) and a registry that asks for a login. Elsewhere the tests use
the engine that is there, and those that need more are skipped; with CI set a missing service is an error.

The command finds them in its environment: TASKS_TEST_ENGINE, TASKS_TEST_OLD_ENGINE, TASKS_TEST_REGISTRY,
TASKS_TEST_LOGIN_REGISTRY (login `tester`, password `correct horse`), TASKS_TEST_BUILDKIT.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from images import ensure_busybox
from language_server import language_server_environ

from tasks_engine.app import find_engine
from tasks_engine.backends.docker.endpoint import Endpoint, ping
from tasks_engine.backends.embedded.engine import EmbeddedEngine, check_machine
from tasks_engine.backends.embedded.network import (
    bridge_address,
    choose_block,
    ensure_bridge,
    remove_bridges,
    taken_networks,
    user_network_pool,
)
from tasks_engine.backends.embedded.packages import fetch_packages
from tasks_engine.backends.embedded.processes import unmount_below
from tasks_engine.errors import EngineError
from tasks_engine.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
#: packages are kept between runs, everything else is made anew
STATE = ROOT / ".state"
PACKAGES = STATE / "packages"
OLD_SUITE = "bookworm"
OLD_PACKAGES = ("docker.io", "containerd", "runc", "tini")
#: `tester` and `correct horse`, as bcrypt, the only form the registry takes
HTPASSWD = "tester:$2a$05$ztej6ric8wx2SGRH/UVcsuoQ8KmSvpURvitjsF42Csj4KXU1pdVum\n"
READY_WITHIN_S = 60


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped on the way out
    command = sys.argv[sys.argv.index("--") + 1 :]
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "BUILDKIT_"))
    }
    environ |= language_server_environ(say)
    with ExitStack() as services:
        try:
            check_machine()
        except EngineError as error:
            if os.environ.get("CI"):
                raise
            say(f"{error.message}: using the engine that is already there")
            environ |= own_engine()
        else:
            environ |= services.enter_context(private_services())
        say(f"running {' '.join(command)}")
        return subprocess.call(command, cwd=ROOT, env=environ)


def own_engine() -> dict[str, str]:
    """The services a person without root has: the engine they use anyway."""
    engine = find_engine(read_settings(os.environ))
    if engine.endpoint is None:
        return {}
    ensure_busybox(engine.endpoint.url)
    return {
        "TASKS_TEST_ENGINE": engine.endpoint.url,
        "TASKS_TEST_BUILDKIT": f"docker+{engine.endpoint.url}",
    } | ({"TASKS_TEST_REGISTRY": registry} if (registry := os.environ.get("TASKS_REGISTRY")) else {})


@contextmanager
def private_services() -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        engine = stack.enter_context(embedded_engine())
        status = engine.status()
        old_engine = stack.enter_context(old_docker())
        login_registry = stack.enter_context(registry_with_login(engine))
        for url in (status.docker_host, old_engine):
            ensure_busybox(url)
        yield {
            "TASKS_TEST_ENGINE": status.docker_host,
            "TASKS_TEST_OLD_ENGINE": old_engine,
            "TASKS_TEST_REGISTRY": status.registry,
            "TASKS_TEST_LOGIN_REGISTRY": login_registry,
            "TASKS_TEST_BUILDKIT": f"docker+{status.docker_host},docker+{old_engine}",
            "TASKS_TEST_PACKAGE_CACHE": str(PACKAGES),
        }


@contextmanager
def embedded_engine() -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(STATE / "tests", package_cache_dir=PACKAGES)
    try:
        engine.start(say, environ=os.environ, home=Path.home(), force=True)
        yield engine
    finally:
        engine.stop(say, purge=True)


@contextmanager
def old_docker() -> Iterator[str]:
    """Debian 12's engine, unpacked; its address."""
    folder = STATE / "old-docker"
    shutil.rmtree(folder, ignore_errors=True)
    fetch_packages(OLD_PACKAGES, OLD_SUITE, folder / "root", say, cache_dir=PACKAGES)
    run_dir = Path(f"/run/tasks-test-{os.getpid()}")
    run_dir.mkdir(mode=0o700)
    bridge = f"tt{os.getpid()}"
    block = choose_block(taken_networks())
    ensure_bridge(bridge, bridge_address(block))
    config = {
        "hosts": [f"unix://{run_dir}/docker.sock"],
        "data-root": str(folder / "data"),
        "exec-root": str(run_dir / "exec"),
        "pidfile": str(run_dir / "pid"),
        "bridge": bridge,
        "default-address-pools": [{"base": str(user_network_pool(block)), "size": 25}],
        "init-path": str(folder / "root/usr/bin/docker-init"),
        "userland-proxy-path": str(folder / "root/usr/sbin/docker-proxy"),
    }
    (folder / "daemon.json").write_text(json.dumps(config))
    unpacked = f"{folder}/root/usr/sbin:{folder}/root/usr/bin"
    environ = {
        "PATH": f"{unpacked}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
        "BUILDKIT_STEP_LOG_MAX_SIZE": "1073741824",
        "BUILDKIT_STEP_LOG_MAX_SPEED": "1073741824",
    }
    dockerd = [str(folder / "root/usr/sbin/dockerd"), "--config-file", str(folder / "daemon.json")]
    try:
        with process(dockerd, environ, folder / "dockerd.log"):
            endpoint = Endpoint(config["hosts"][0], "the tests")
            wait_until(lambda: bool(ping(endpoint)), "Docker 20.10", folder / "dockerd.log")
            say(f"Docker {ping(endpoint).version} at {endpoint.url}")
            yield endpoint.url
    finally:
        remove_bridges(bridge, folder / "data/network/files/local-kv.db")
        unmount_below([folder, run_dir])
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(run_dir, ignore_errors=True)


@contextmanager
def registry_with_login(engine: EmbeddedEngine) -> Iterator[str]:
    """A registry that wants a login; its address."""
    folder = STATE / "login-registry"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "htpasswd").write_text(HTPASSWD)
    port = free_port()
    config = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    program = str(engine.paths.root_dir / "usr/bin/docker-registry")
    try:
        log = folder / "registry.log"
        with process([program, "serve", str(folder / "config.yml")], dict(os.environ), log):
            wait_until(lambda: answers(port), "the registry with a login", log)
            say(f"a registry that asks for a login at 127.0.0.1:{port}")
            yield f"127.0.0.1:{port}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def process(arguments: list[str], environ: dict[str, str], log: Path) -> Iterator[None]:
    """A process of its own group, ended with the block."""
    with log.open("ab") as output:
        running = subprocess.Popen(
            arguments,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def wait_until(ready: Callable[[], object], what: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (EngineError, OSError):
            pass
        time.sleep(0.1)
    sys.exit(
        f"tests: {what} did not start within {READY_WITHIN_S} s:\n{log.read_text(errors='replace')[-3000:]}"
    )


def answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str) -> None:
    print(f"tests: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
