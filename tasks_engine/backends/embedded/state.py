"""What is remembered between `tasks engine` calls: one small JSON file, and where everything lies.

Says nothing about what is running at the moment; that is asked from the processes themselves.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from tasks_engine.errors import EngineError

#: a Unix socket's address holds 107 bytes and a state folder may lie deep, so sockets live in a short one
RUN_PARENT = Path("/run")


@dataclass(frozen=True)
class EngineFile:
    """Content of `engine.json`."""

    #: unix:///run/tasks-engine-<key>/docker.sock
    docker_host: str
    #: 127.0.0.1:<port>
    registry: str
    #: IPv4 block of the engine's own bridge and networks, such as 172.30.0.0/16
    address_block: str

    @property
    def registry_port(self) -> int:
        return int(self.registry.rpartition(":")[2])


@dataclass(frozen=True)
class EnginePaths:
    """Where one embedded engine keeps its things; all of it derives from the state folder."""

    state_dir: Path

    @property
    def key(self) -> str:
        """Eight characters that tell this state folder's engine from another one's."""
        return hashlib.sha256(str(self.state_dir.absolute()).encode()).hexdigest()[:8]

    @property
    def engine_dir(self) -> Path:
        return self.state_dir / "engine"

    @property
    def engine_file(self) -> Path:
        return self.engine_dir / "engine.json"

    @property
    def lock_file(self) -> Path:
        # beside the folder, not in it: --purge removes the folder while it holds the lock
        return self.state_dir / "engine.lock"

    @property
    def root_dir(self) -> Path:
        """The unpacked packages."""
        return self.engine_dir / "root"

    @property
    def package_cache_dir(self) -> Path:
        return self.engine_dir / "packages"

    @property
    def data_root(self) -> Path:
        """Images, containers and volumes."""
        return self.engine_dir / "data"

    @property
    def network_database(self) -> Path:
        """dockerd's own list of its networks."""
        return self.data_root / "network/files/local-kv.db"

    @property
    def containerd_root(self) -> Path:
        return self.engine_dir / "containerd"

    @property
    def registry_root(self) -> Path:
        return self.engine_dir / "registry"

    @property
    def config_dir(self) -> Path:
        return self.engine_dir / "config"

    @property
    def log_dir(self) -> Path:
        return self.engine_dir / "log"

    @property
    def run_dir(self) -> Path:
        """Sockets, process records and what runc mounts."""
        return RUN_PARENT / f"tasks-engine-{self.key}"

    @property
    def docker_socket(self) -> Path:
        return self.run_dir / "docker.sock"

    @property
    def docker_host(self) -> str:
        return f"unix://{self.docker_socket}"

    @property
    def containerd_socket(self) -> Path:
        return self.run_dir / "containerd.sock"

    @property
    def bridge(self) -> str:
        """Name of the engine's own bridge; the kernel allows 15 characters."""
        return f"tasks-{self.key}"


def read_engine_file(path: Path) -> EngineFile | None:
    """The remembered engine, or None where none was ever started. Errors: EngineError for a damaged file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except PermissionError:
        # root's engine cannot be used by others anyway
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise _damaged(path, "not a JSON object")
    for name in ("docker_host", "registry", "address_block"):
        if not isinstance(fields.get(name), str):
            raise _damaged(path, f"'{name}' is missing or not a text")
    engine = EngineFile(fields["docker_host"], fields["registry"], fields["address_block"])
    if not engine.docker_host.startswith("unix:///"):
        raise _damaged(path, f"'docker_host' is '{engine.docker_host}', not unix:///...")
    if not engine.registry.rpartition(":")[2].isdecimal():
        raise _damaged(path, f"'registry' is '{engine.registry}', not host:port")
    try:
        ipaddress.IPv4Network(engine.address_block)
    except ValueError as error:
        raise _damaged(path, f"'address_block': {error}") from error
    return engine


def write_engine_file(path: Path, engine: EngineFile) -> None:
    """Replace the file in one step: a reader sees the old or the new one, never half of it."""
    fields = {
        "docker_host": engine.docker_host,
        "registry": engine.registry,
        "address_block": engine.address_block,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def _damaged(path: Path, why: str) -> EngineError:
    return EngineError(
        f"the embedded engine's file {path} cannot be read: {why}",
        hint="delete that file and run `tasks engine start`; images are kept",
    )
