"""Values of `docker build` flags that have a form of their own, one reader for each form.

A reader takes the value of one use of a flag and gives the items it stands for. The token of a secret may
stand anywhere in a value; what holds one is not checked, since nobody can read it yet.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from tasks_engine.definition.template.secret_text import has_token
from tasks_engine.images.reference import InvalidReference, parse_reference

#: spellings of Go's strconv.ParseBool
TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})
FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})

# as Go knows them, and names of old
_SYSTEM_NAMES = (
    "aix android darwin dragonfly freebsd hurd illumos ios js linux macos nacl netbsd openbsd plan9 solaris "
    "wasi wasip1 windows zos"
)
_ARCHITECTURE_NAMES = (
    "386 aarch64 amd64 arm arm64 armbe armel armhf i386 loong64 mips mips64 mips64le mipsle ppc ppc64 ppc64le "
    "riscv riscv64 s390 s390x sparc sparc64 wasm x86-64 x86_64"
)
_SYSTEMS = frozenset(_SYSTEM_NAMES.split())
_ARCHITECTURES = frozenset(_ARCHITECTURE_NAMES.split())
_PLATFORM = re.compile(r"([A-Za-z0-9_.-]+)(?:\([^()/]*\))?(/[A-Za-z0-9_.-]+){0,2}\Z")
_PLATFORM_FORMS = "write os/architecture[/variant], such as linux/amd64 or linux/arm/v7, several with commas"
_NETWORKS = ("default", "none", "host")
_LIMIT_NAMES = (
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
)
_LIMIT = re.compile(r"-?[0-9]{1,18}\Z")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,9})?) ?(?:b|([kmgtp])(?:i?b)?)?\Z", re.IGNORECASE)
_ANNOTATION_KIND = re.compile(
    r"(?:manifest|index|manifest-descriptor|index-descriptor)(?:\[[A-Za-z0-9_/-]+\])?\Z"
)
_ENTITLEMENTS = ("network.host", "security.insecure", "device", "buildx.local.delete")


class InvalidValue(ValueError):
    """`message` goes on behind the name of the flag: "takes true or false"."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True)
class SshForward:
    """An SSH agent or keys for `RUN --mount=type=ssh`."""

    id: str
    #: sockets or key files; none: the agent of whoever builds
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotation:
    key: str
    value: str
    #: what gets it, such as `index` or `manifest[linux/amd64]`; none: the manifest
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostEntry:
    """A line of `/etc/hosts` while the build runs."""

    name: str
    #: an IP address without brackets, or `host-gateway`
    address: str


@dataclass(frozen=True)
class Ulimit:
    """-1 is unlimited."""

    name: str
    soft: int
    hard: int


def read_text(value: str) -> tuple[str, ...]:
    return (value,)


def read_switch(value: str) -> tuple[bool, ...]:
    if value not in TRUE and value not in FALSE:
        raise InvalidValue(f"takes true or false, not '{value}'")
    return (value in TRUE,)


def read_dockerfile(value: str) -> tuple[str, ...]:
    if value == "-":
        raise InvalidValue("cannot read standard input, which a step does not have", "name a file")
    return (value,)


def read_assignment(value: str) -> tuple[tuple[str, str | None], ...]:
    """Name and value; the value is None where there is no `=`."""
    name, equals, text = value.partition("=")
    if not name:
        raise InvalidValue("needs a name before '='")
    return ((name, text if equals else None),)


def read_platforms(value: str) -> tuple[str, ...]:
    """Platforms as written: `os/architecture/variant`, the last two optional, or `local`, the engine's own."""
    platforms = tuple(each.strip() for each in value.split(",")) if value else ()
    for platform in platforms:
        if not has_token(platform):
            _check_platform(platform)
    return platforms


def _check_platform(platform: str) -> None:
    match = _PLATFORM.match(platform)
    if match is None:
        raise InvalidValue(f"cannot read platform '{platform}'", _PLATFORM_FORMS)
    first = match[1].lower()
    is_single = match[2] is None
    if first in _SYSTEMS or (is_single and (first in _ARCHITECTURES or first == "local")):
        return
    if first in _ARCHITECTURES:
        raise InvalidValue(f"needs the operating system first in '{platform}'", _PLATFORM_FORMS)
    raise InvalidValue(f"knows no platform '{platform}'", _PLATFORM_FORMS)


def read_stages(value: str) -> tuple[str, ...]:
    return tuple(filter(None, value.split(",")))


def read_network(value: str) -> tuple[str, ...]:
    if value and value not in _NETWORKS and not has_token(value):
        raise InvalidValue(
            f"cannot use network '{value}'",
            f"a build knows the networks {', '.join(_NETWORKS)}, and no others",
        )
    return (value,) if value else ()


def read_ssh(value: str) -> tuple[SshForward, ...]:
    if not value:
        return ()
    name, _, paths = value.partition("=")
    if not name:
        raise InvalidValue("needs an id before '='", "write default, or ID=PATH")
    return (SshForward(name, tuple(filter(None, paths.split(",")))),)


def read_named_context(value: str) -> tuple[tuple[str, str], ...]:
    """The name a Dockerfile uses, and where it comes from: a folder, an address, or `docker-image://…`."""
    if not value:
        return ()
    name, equals, source = value.partition("=")
    if not equals or not name:
        raise InvalidValue(f"needs a name in '{value}'", "write NAME=FOLDER, or NAME=docker-image://IMAGE")
    if has_token(name):
        return ((name, source),)
    try:
        return ((parse_reference(name).familiar.removesuffix(":latest"), source),)
    except InvalidReference as error:
        raise InvalidValue(
            f"has no usable name: {error}", "a name is written like that of an image"
        ) from error


def read_host(value: str) -> tuple[HostEntry, ...]:
    """`name:address` or `name=address`, several with commas."""
    return tuple(map(_host, filter(None, value.split(","))))


def _host(entry: str) -> HostEntry:
    name, mark, address = entry.partition("=")
    if not mark:
        name, _, address = entry.partition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if not name or ":" in name or not (address == "host-gateway" or has_token(entry) or _is_address(address)):
        raise InvalidValue(f"cannot read '{entry}'", "write NAME:IP-ADDRESS, or NAME:host-gateway")
    return HostEntry(name, address)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def read_ulimit(value: str) -> tuple[Ulimit, ...]:
    name, _, limits = value.partition("=")
    soft, _, hard = limits.partition(":")
    hard = hard or soft
    if name not in _LIMIT_NAMES.split():
        raise InvalidValue(f"knows no limit '{name}'", f"limits are {_LIMIT_NAMES}")
    if not _LIMIT.match(soft) or not _LIMIT.match(hard):
        raise InvalidValue(f"cannot read '{value}'", f"write {name}=SOFT or {name}=SOFT:HARD, as numbers")
    limit = Ulimit(name, int(soft), int(hard))
    if limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard):
        raise InvalidValue(f"has a soft limit above the hard one in '{value}'")
    return (limit,)


def read_size(value: str) -> tuple[int, ...]:
    """Bytes; units are powers of 1024."""
    match = _SIZE.match(value)
    if match is None:
        raise InvalidValue(f"cannot read size '{value}'", "write bytes, or a number with k, m or g")
    power = "bkmgtp".index((match[2] or "b").lower())
    whole, _, fraction = match[1].partition(".")
    scale = 1024**power
    size = int(whole) * scale + int(fraction or "0") * scale // 10 ** len(fraction)
    if size >= 1 << 63:
        raise InvalidValue(f"cannot be as much as '{value}'")
    return (size,)


def read_annotation(value: str) -> tuple[Annotation, ...]:
    """`[kind[,kind]:]key=value`."""
    if not value:
        return ()
    name, equals, text = value.partition("=")
    kinds, colon, key = name.partition(":") if ":" in name else ("", "", name)
    if not equals or not key:
        raise InvalidValue(f"needs a key in '{value}'", "write KEY=VALUE, or index:KEY=VALUE")
    for kind in kinds.split(",") if colon else ():
        if not _ANNOTATION_KIND.match(kind):
            raise InvalidValue(f"knows no kind '{kind}'", "before the ':' stands manifest or index")
    return (Annotation(key, text, tuple(kinds.split(",")) if colon else ()),)


def read_entitlement(value: str) -> tuple[str, ...]:
    name = value.partition("=")[0]
    if name and name not in _ENTITLEMENTS and not has_token(name):
        raise InvalidValue(f"knows no '{name}'", f"it takes {', '.join(_ENTITLEMENTS)}")
    return (value,) if value else ()
