"""Values of `docker run` options that have a form of their own: mounts, networks, devices, durations. Pure.

The forms are those of Docker's command line; a value that has none of them raises InvalidValue.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tasks_engine.definition.build_values import FALSE, TRUE, InvalidValue
from tasks_engine.plan.make import WORKSPACE

#: where docker clients look for the engine
DOCKER_SOCKET = "/var/run/docker.sock"
_SOCKET_PATHS = (DOCKER_SOCKET, "/run/docker.sock")
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


class MountKind(StrEnum):
    #: a volume without a name, gone with its container
    ANONYMOUS = "anonymous"
    #: a volume of the task or of the engine
    VOLUME = "volume"
    #: the files that all steps share, or a folder of them
    WORKSPACE = "workspace"
    #: the engine itself
    SOCKET = "socket"
    #: a file or folder of the engine's machine
    HOST = "host"
    #: a folder in memory
    TMPFS = "tmpfs"


@dataclass(frozen=True)
class AskedMount:
    """What `--volume` or `--mount` asks for."""

    kind: MountKind
    #: name of a volume, path of the machine, or path below the workspace
    source: str
    #: absolute, inside the container
    target: str
    read_only: bool = False
    #: of `--volume`, such as z or rshared
    modes: tuple[str, ...] = ()
    #: of `--mount`, beside the four above: key -> values
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class AskedNetwork:
    """What `--network` asks for."""

    name: str
    aliases: tuple[str, ...] = ()
    #: ip, ip6, mac-address -> value
    addresses: Mapping[str, str] = field(default_factory=dict)


def read_volume(text: str) -> AskedMount:
    """`[SOURCE:]TARGET[:MODES]`."""
    source, target, modes = _split_volume(text)
    _check_target(target, text)
    names = tuple(filter(None, modes.split(",")))
    read_only = "ro" in names or "readonly" in names
    rest = tuple(name for name in names if name not in ("ro", "rw", "readonly"))
    kind, source = _source(source)
    return AskedMount(kind, source, target, read_only, rest)


def read_mount(text: str) -> AskedMount:
    """`type=…,source=…,target=…` and further pairs with commas between them."""
    values: dict[str, list[str]] = {}
    for pair in _comma_separated(text):
        key, equals, value = pair.partition("=")
        key = _MOUNT_KEYS.get(key.lower(), key.lower())
        if key not in _MOUNT_SWITCHES and not equals:
            raise InvalidValue(f"needs KEY=VALUE, not '{pair}'")
        values.setdefault(key, []).append(value if equals else "true")
    kind_name = values.pop("type", ["volume"])[-1].lower()
    source = values.pop("source", [""])[-1]
    target = values.pop("target", [""])[-1]
    read_only = _switch("readonly", values.pop("readonly", ["false"])[-1])
    _check_target(target, text)
    if unknown := sorted(set(values) - _MOUNT_OPTIONS):
        raise InvalidValue(
            f"knows no key '{unknown[0]}'", "keys are type, source, target, readonly and others"
        )
    if kind_name == "tmpfs":
        kind = MountKind.TMPFS
    elif kind_name == "volume":
        kind = MountKind.VOLUME if source else MountKind.ANONYMOUS
    elif kind_name == "bind":
        kind, source = _source(source if source.startswith("/") else f"./{source}")
    else:
        raise InvalidValue(f"cannot mount type '{kind_name}'", "types are bind, volume and tmpfs")
    options = {key: tuple(each) for key, each in values.items()}
    return AskedMount(kind, source, target, read_only, options=options)


def read_network(text: str) -> AskedNetwork:
    """A name, or `name=…,alias=…` and further pairs."""
    if "=" not in text:
        return AskedNetwork(text)
    name, aliases, addresses = "", [], {}
    for pair in _comma_separated(text):
        key, _, value = pair.partition("=")
        match key.lower():
            case "name":
                name = value
            case "alias":
                aliases.append(value)
            case "ip" | "ip6" | "mac-address":
                addresses[key.lower()] = value
            case _:
                raise InvalidValue(f"knows no key '{key}'", "keys are name, alias, ip, ip6 and mac-address")
    if not name:
        raise InvalidValue(f"needs a name in '{text}'")
    return AskedNetwork(name, tuple(aliases), addresses)


def container_in(text: str) -> str:
    """`NAME` of `container:NAME`; empty for everything else."""
    kind, _, name = text.partition(":")
    return name if kind == "container" else ""


def read_duration(text: str) -> int:
    """Nanoseconds of a duration as Go writes it, such as 1m30s."""
    at = total = 0
    for part in _DURATION.finditer(text):
        if part.start() != at:
            break
        total += int(float(part[1]) * _NANOSECONDS[part[2]])
        at = part.end()
    if text != "0" and (not text or at != len(text)):
        raise InvalidValue(f"cannot read duration '{text}'", "write 500ms, 10s or 1m30s")
    return total


def read_device(text: str) -> tuple[str, str, str]:
    """Path on the machine, in the container, and what may be done, of `PATH[:PATH][:rwm]`."""
    parts = text.split(":")
    rights = "rwm"
    if len(parts) > 1 and parts[-1] and set(parts[-1]) <= set("rwm"):
        rights = parts.pop()
    if not 1 <= len(parts) <= 2 or not parts[0].startswith("/"):
        raise InvalidValue(f"cannot read device '{text}'", "write /dev/x, /dev/x:/dev/y or /dev/x:/dev/y:r")
    return parts[0], parts[-1], rights


_MOUNT_KEYS = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
}
_MOUNT_SWITCHES = frozenset(["readonly", "volume-nocopy", "bind-nonrecursive"])
_MOUNT_OPTIONS = frozenset(
    [
        *("bind-propagation", "bind-nonrecursive", "consistency", "tmpfs-size", "tmpfs-mode"),
        *("volume-nocopy", "volume-driver", "volume-label", "volume-opt"),
    ]
)


def _switch(name: str, value: str) -> bool:
    if value not in TRUE | FALSE:
        raise InvalidValue(f"takes true or false for '{name}', not '{value}'")
    return value in TRUE


def _split_volume(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    if len(parts) == 1:
        return "", text, ""
    if len(parts) == 2:
        return parts[0], parts[1], ""
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    raise InvalidValue(f"cannot read '{text}'", "write SOURCE:TARGET or SOURCE:TARGET:ro")


def _source(source: str) -> tuple[MountKind, str]:
    """What a source stands for; a relative path counts from the workspace, as the original's client ran there."""
    if not source:
        return MountKind.ANONYMOUS, ""
    if not source.startswith(("/", ".")):
        if not _VOLUME_NAME.match(source):
            raise InvalidValue(
                f"cannot use '{source}' as the name of a volume", "a folder begins with / or ./"
            )
        return MountKind.VOLUME, source
    # two slashes at the start would stay two
    path = "/" + posixpath.normpath(posixpath.join(WORKSPACE, source)).lstrip("/")
    if path in _SOCKET_PATHS:
        return MountKind.SOCKET, path
    if path == WORKSPACE or path.startswith(f"{WORKSPACE}/"):
        return MountKind.WORKSPACE, path.removeprefix(WORKSPACE).lstrip("/")
    return MountKind.HOST, path


def _check_target(target: str, text: str) -> None:
    if not target.startswith("/"):
        raise InvalidValue(f"needs an absolute path of the container in '{text}'", "write SOURCE:/TARGET")


def _comma_separated(text: str) -> list[str]:
    """Fields with commas between them; one in double quotes may hold commas."""
    fields = [""]
    quoted = False
    for character in text:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            fields.append("")
        else:
            fields[-1] += character
    return [field for field in fields if field]
