"""Starts, stops and describes the embedded engine: containerd, dockerd and a registry of our own.

Knows the order of things; what the daemons are told is in `daemons`, what they run from in `packages`.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from tasks_engine.backends.docker.endpoint import (
    Endpoint,
    EngineVersion,
    NoEngineError,
    find_endpoint,
    ping,
)
from tasks_engine.backends.embedded import daemons, network, processes
from tasks_engine.backends.embedded.packages import (
    OnProgress,
    docker_suite,
    fetch_packages,
    install_packages,
)
from tasks_engine.backends.embedded.state import EngineFile, EnginePaths, read_engine_file, write_engine_file
from tasks_engine.errors import EngineError

#: unpacked, never installed; what they download is about DOWNLOAD_MB, what they fill about UNPACKED_MB
PACKAGES = ("docker.io", "containerd", "tini", "docker-registry")
DOWNLOAD_MB = 72
UNPACKED_MB = 330
#: installed with apt where they are missing: small, without services, tied to its libraries
HOST_PACKAGE_BY_PROGRAM = {"runc": "runc", "iptables": "iptables"}
_PROGRAMS = ("usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/docker-init", "usr/bin/docker-registry")
_OLDEST_DOCKER = 26

_PREFERRED_REGISTRY_PORT = 5000
_READY_TIMEOUT_S = 60.0
_DOCKERD_GRACE_S = 30.0
_LOCK_TIMEOUT_S = 1800.0
_LOG_TAIL_LINES = 5
#: a daemon's log is moved aside at a start once it is larger
_LOG_LIMIT_BYTES = 20_000_000


@dataclass(frozen=True)
class EngineStatus:
    """What the embedded engine is doing now."""

    #: whether dockerd and the registry both answer
    running: bool
    #: "" where none was ever started; otherwise its address, also while it is stopped
    docker_host: str
    #: host:port, or ""
    registry: str
    #: whether each of "containerd", "dockerd" and "registry" runs
    is_alive_by_daemon: Mapping[str, bool]
    #: what dockerd says about itself; None while it does not answer
    version: EngineVersion | None
    data_root: Path
    log_dir: Path


class EmbeddedEngine:
    """The engine of one state folder. Calls from several processes at once wait for each other."""

    def __init__(self, state_dir: Path, *, package_cache_dir: Path | None = None) -> None:
        """package_cache_dir: where downloads are kept; None for the state folder."""
        self.paths = EnginePaths(state_dir.absolute())
        self._package_cache_dir = package_cache_dir or self.paths.package_cache_dir

    @property
    def is_unpacked(self) -> bool:
        """Whether a start needs no download."""
        return all((self.paths.root_dir / program).exists() for program in _PROGRAMS)

    def existing_engine(self, environ: Mapping[str, str], home: Path) -> Endpoint | None:
        """An engine of somebody else that `tasks` would use. Errors: EngineError where it does not answer."""
        try:
            endpoint = find_endpoint(environ, home, self.paths.state_dir)
        except NoEngineError:
            return None
        if endpoint.url == self.paths.docker_host:
            return None
        ping(endpoint)
        return endpoint

    def start(
        self,
        on_progress: OnProgress,
        *,
        environ: Mapping[str, str],
        home: Path,
        force: bool = False,
    ) -> Endpoint:
        """The engine to use from now on, running; repairs one that died.

        An engine that is already there is returned untouched, unless `force`. Errors: EngineError.
        """
        if not force:
            existing = self.existing_engine(environ, home)
            if existing is not None:
                on_progress(f"using the engine that is already there: {existing.url} ({existing.origin})")
                return existing
        check_machine()
        with self._locked(on_progress):
            self._unpack(on_progress)
            self._install_host_programs(on_progress)
            self._start_daemons(on_progress, environ)
        return Endpoint(self.paths.docker_host, "embedded engine")

    def stop(self, on_progress: OnProgress, *, purge: bool = False) -> None:
        """Stop all processes and remove bridge, mounts and sockets; images stay, unless `purge`.

        Does nothing where nothing runs. Errors: EngineError.
        """
        if not self.paths.engine_dir.exists() and not self.paths.run_dir.exists():
            on_progress("there is no embedded engine")
            return
        check_machine()
        with self._locked(on_progress):
            self._stop_daemons(on_progress)
            if purge:
                on_progress(f"removing {self.paths.engine_dir}")
                shutil.rmtree(self.paths.engine_dir, ignore_errors=False)

    def status(self) -> EngineStatus:
        """What runs now, asked from the processes. Errors: EngineError for a damaged engine file."""
        remembered = read_engine_file(self.paths.engine_file)
        version = None
        if remembered is not None:
            with contextlib.suppress(EngineError):
                version = ping(Endpoint(remembered.docker_host, "embedded engine"), timeout_s=3)
        registry_answers = remembered is not None and _registry_answers(remembered.registry_port)
        return EngineStatus(
            running=version is not None and registry_answers,
            docker_host=remembered.docker_host if remembered else "",
            registry=remembered.registry if remembered else "",
            is_alive_by_daemon={
                name: processes.is_alive(self._record(name)) for name in ("containerd", "dockerd", "registry")
            },
            version=version,
            data_root=self.paths.data_root,
            log_dir=self.paths.log_dir,
        )

    def disk_use_bytes(self, timeout_s: float = 5.0) -> int | None:
        """What the state folder's engine occupies; None where counting takes longer than `timeout_s`."""
        command = ["du", "--summarize", "--one-file-system", "--block-size=1", str(self.paths.engine_dir)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        size = done.stdout.partition("\t")[0]
        return int(size) if size.isdecimal() else None

    def _unpack(self, on_progress: OnProgress) -> None:
        for leftover in self.paths.engine_dir.glob("root.unpacking-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if self.is_unpacked:
            return
        fresh = self.paths.engine_dir / f"root.unpacking-{os.getpid()}"
        try:
            fetch_packages(PACKAGES, docker_suite(), fresh, on_progress, cache_dir=self._package_cache_dir)
            _check_unpacked(fresh)
            # a folder from an older version of this program that lacks something
            shutil.rmtree(self.paths.root_dir, ignore_errors=True)
            fresh.rename(self.paths.root_dir)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _install_host_programs(self, on_progress: OnProgress) -> None:
        path = daemons.daemon_environ(os.environ, self.paths)["PATH"]
        missing = [
            package
            for program, package in HOST_PACKAGE_BY_PROGRAM.items()
            if not shutil.which(program, path=path)
        ]
        if missing:
            install_packages(missing, on_progress, cache_dir=self._package_cache_dir)

    def _start_daemons(self, on_progress: OnProgress, environ: Mapping[str, str]) -> None:
        paths = self.paths
        remembered = read_engine_file(paths.engine_file)
        docker_answers = self._docker_answers()
        registry_answers = remembered is not None and self._registry_is_ours(remembered.registry_port)
        if docker_answers and registry_answers:
            on_progress("the embedded engine is running")
            return
        for folder in (paths.run_dir, paths.config_dir, paths.log_dir, paths.registry_root):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

        if docker_answers and remembered is not None:
            block = IPv4Network(remembered.address_block)
        else:
            self._stop_docker(on_progress)
            # bridges of an engine that was killed; they would make our own block look taken
            old_block = remembered.address_block if remembered else ""
            network.remove_bridges(paths.bridge, paths.network_database)
            block = network.choose_block(network.taken_networks(), preferred=old_block)
            if old_block not in ("", str(block)):
                on_progress(f"the addresses {old_block} are in use by now: changing to {block}")
                # dockerd would give its bridge and networks their old addresses again
                shutil.rmtree(paths.data_root / "network", ignore_errors=True)
        if registry_answers and remembered is not None:
            port = remembered.registry_port
        else:
            processes.stop_process(self._record("registry"), grace_s=5)
            port = _free_port(remembered.registry_port if remembered else _PREFERRED_REGISTRY_PORT)
        registry = f"127.0.0.1:{port}"
        if remembered is not None and registry != remembered.registry:
            on_progress(
                f"the registry's port {remembered.registry_port} is taken by another program: now {port}"
            )
        write_engine_file(paths.engine_file, EngineFile(paths.docker_host, registry, str(block)))

        daemon_environ = daemons.daemon_environ(environ, paths)
        if not registry_answers:
            self._start_registry(port, daemon_environ)
        if not docker_answers:
            self._start_docker(block, daemon_environ, on_progress)
        self._wait_for("registry", lambda: _registry_answers(port))
        on_progress(f"engine at {paths.docker_host}, registry at {registry}")

    def _start_registry(self, port: int, environ: Mapping[str, str]) -> None:
        config = self.paths.config_dir / "registry.yml"
        config.write_text(daemons.registry_config(self.paths, port), encoding="utf-8")
        self._spawn(
            "registry", [str(self.paths.root_dir / "usr/bin/docker-registry"), "serve", str(config)], environ
        )

    def _start_docker(self, block: IPv4Network, environ: Mapping[str, str], on_progress: OnProgress) -> None:
        paths = self.paths
        network.ensure_bridge(paths.bridge, network.bridge_address(block))
        containerd_file = paths.config_dir / "containerd.toml"
        containerd_file.write_text(daemons.containerd_config(paths), encoding="utf-8")
        dockerd_file = paths.config_dir / "dockerd.json"
        dockerd_file.write_text(daemons.dockerd_config(paths, block), encoding="utf-8")
        on_progress("starting containerd and dockerd")
        containerd = [str(paths.root_dir / "usr/bin/containerd"), "--config", str(containerd_file)]
        self._spawn("containerd", containerd, environ)
        self._wait_for("containerd", lambda: _accepts_connections(paths.containerd_socket))
        dockerd = [str(paths.root_dir / "usr/sbin/dockerd"), "--config-file", str(dockerd_file)]
        self._spawn("dockerd", dockerd, environ)
        self._wait_for("dockerd", lambda: _answers(paths.docker_host))

    def _spawn(self, name: str, arguments: list[str], environ: Mapping[str, str]) -> None:
        log_file = self._log_file(name)
        with contextlib.suppress(FileNotFoundError):
            if log_file.stat().st_size > _LOG_LIMIT_BYTES:
                log_file.replace(log_file.with_suffix(".log.1"))
        try:
            processes.spawn_detached(arguments, environ, log_file, self._record_file(name))
        except OSError as error:
            raise EngineError(
                f"{arguments[0]} cannot be run: {error.strerror}",
                hint="run `tasks engine stop --purge`, then `tasks engine start`: that unpacks it again",
            ) from error

    def _wait_for(self, name: str, is_ready: processes.Condition) -> None:
        record = self._record(name)
        log_file = self._log_file(name)
        if not processes.wait_until(lambda: is_ready() or not processes.is_alive(record), _READY_TIMEOUT_S):
            raise EngineError(f"{name} is not ready after {_READY_TIMEOUT_S:g} s", hint=f"see {log_file}")
        if not processes.is_alive(record):
            raise EngineError(
                f"{name} ended right after its start: {_last_lines(log_file)}",
                hint=f"see {log_file}; inside a container the engine needs a privileged one",
            )

    def _docker_answers(self) -> bool:
        """Whether dockerd and the containerd it depends on are ours, alive and answering."""
        is_alive = all(processes.is_alive(self._record(name)) for name in ("containerd", "dockerd"))
        return is_alive and _answers(self.paths.docker_host)

    def _registry_is_ours(self, port: int) -> bool:
        return processes.is_alive(self._record("registry")) and _registry_answers(port)

    def _stop_docker(self, on_progress: OnProgress) -> None:
        """End dockerd, containerd and the containers that an engine which was killed has left."""
        paths = self.paths
        dockerd = self._record("dockerd")
        if processes.is_alive(dockerd):
            on_progress("stopping dockerd")
        if not processes.stop_process(dockerd, _DOCKERD_GRACE_S):
            on_progress(f"dockerd did not end within {_DOCKERD_GRACE_S:g} s and was killed")
        processes.stop_process(self._record("containerd"), grace_s=10)
        shims = processes.find_by_argument(str(paths.containerd_socket))
        processes.kill_all([*processes.descendants(shims), *shims])
        processes.kill_all(processes.find_by_root(paths.containerd_root))
        left = processes.unmount_below([paths.data_root, paths.containerd_root, paths.run_dir])
        if left:
            raise EngineError(
                f"{left[0]} cannot be unmounted", hint=f"find who uses it with `fuser -m {left[0]}`"
            )
        for leftover in ("docker.sock", "dockerd.pid", "containerd.sock", "containerd.sock.ttrpc"):
            (paths.run_dir / leftover).unlink(missing_ok=True)
        for name in ("dockerd", "containerd"):
            self._record_file(name).unlink(missing_ok=True)

    def _stop_daemons(self, on_progress: OnProgress) -> None:
        self._stop_docker(on_progress)
        processes.stop_process(self._record("registry"), grace_s=5)
        network.remove_bridges(self.paths.bridge, self.paths.network_database)
        shutil.rmtree(self.paths.run_dir, ignore_errors=True)
        on_progress("the embedded engine is stopped")

    def _record_file(self, name: str) -> Path:
        return self.paths.run_dir / f"{name}.process.json"

    def _record(self, name: str) -> processes.ProcessRecord | None:
        return processes.read_record(self._record_file(name))

    def _log_file(self, name: str) -> Path:
        return self.paths.log_dir / f"{name}.log"

    @contextlib.contextmanager
    def _locked(self, on_progress: OnProgress) -> Iterator[None]:
        self.paths.state_dir.mkdir(parents=True, exist_ok=True)
        with self.paths.lock_file.open("w") as lock:
            give_up_at = time.monotonic() + _LOCK_TIMEOUT_S
            is_told = False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up_at:
                        raise EngineError("another `tasks engine` does not come to an end") from None
                    if not is_told:
                        on_progress("waiting for another `tasks engine`")
                    is_told = True
                    time.sleep(0.2)
            yield


def check_machine() -> None:
    """Errors: EngineError where the embedded engine cannot run, with what to install instead."""
    if sys.platform == "darwin":
        raise EngineError(
            "the embedded engine runs on Linux only",
            hint="install and start Docker Desktop, OrbStack or Colima (`brew install colima docker`)",
        )
    if not sys.platform.startswith("linux"):
        raise EngineError(
            "the embedded engine runs on Linux only", hint="install Docker Desktop and run tasks inside WSL 2"
        )
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise EngineError(
            "the embedded engine is made of Debian packages, but apt is missing", hint=_how_to_install()
        )
    if os.geteuid() != 0:
        raise EngineError(
            "the embedded engine needs root",
            hint="run `sudo tasks engine start`, or install rootless Docker "
            "(https://docs.docker.com/engine/security/rootless/)",
        )


def _how_to_install() -> str:
    """The command that installs an engine with this machine's package program."""
    command_by_program = {
        "dnf": "dnf install moby-engine docker-buildx (or podman-docker), then `systemctl start docker`",
        "zypper": "zypper install docker docker-buildx, then `systemctl start docker`",
        "pacman": "pacman -S docker docker-buildx, then `systemctl start docker`",
        "apk": "apk add docker, then `rc-service docker start`",
    }
    for program, command in command_by_program.items():
        if shutil.which(program):
            return f"install an engine: {command}"
    return "install Docker Engine (https://docs.docker.com/engine/install/), or set DOCKER_HOST"


def _check_unpacked(root: Path) -> None:
    """Errors: EngineError where the unpacked engine does not run here or is too old."""
    dockerd = root / "usr/sbin/dockerd"
    try:
        done = subprocess.run([dockerd, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"the unpacked dockerd does not run: {error}") from error
    words = done.stdout.split()  # Docker version 26.1.5+dfsg1, build ...
    major = words[2].partition(".")[0] if len(words) > 2 else ""
    if done.returncode != 0 or not major.isdecimal():
        raise EngineError(f"the unpacked dockerd does not run: {(done.stderr or done.stdout).strip()}")
    if int(major) < _OLDEST_DOCKER:
        raise EngineError(
            f"this release's Docker Engine is {words[2].rstrip(',')}; {_OLDEST_DOCKER} or newer is needed",
            hint="install Docker Engine (https://docs.docker.com/engine/install/), or set DOCKER_HOST",
        )


def _answers(docker_host: str) -> bool:
    try:
        ping(Endpoint(docker_host, "embedded engine"), timeout_s=3)
    except EngineError:
        return False
    return True


def _accepts_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def _registry_answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/v2/")
        answer = connection.getresponse()
        answer.read(1024)
        # any other program may listen on this port; only a registry sends this header
        return answer.getheader("Docker-Distribution-Api-Version") is not None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port(preferred: int) -> int:
    """`preferred` if nobody listens on it, else the first free one after it, else any."""
    for port in (*range(preferred, preferred + 20), 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            # without this the connections of the registry that just ended block its port for a minute
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(candidate.getsockname()[1])
    raise EngineError("no port is free for the registry")


def _last_lines(log_file: Path) -> str:
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no output"
    return " | ".join(lines[-_LOG_TAIL_LINES:]) or "no output"
