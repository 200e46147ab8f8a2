"""Where registries are, and over what they may be asked. Pure.

Source of the rule for plain HTTP: dockerd, "insecure registries": names of this machine, and what an operator named.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from urllib.parse import urljoin

from tasks_engine.images.reference import DOCKER_HUB

#: where Docker Hub's API is
_HUB_API = "registry-1.docker.io"
_PORT_BY_SCHEME = {"http": 80, "https": 443}
_HOST = re.compile(r"([A-Za-z0-9_.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_URL = re.compile(r"(https?)://([^/?#]+)((?:/[^?#]*)?)((?:\?[^#]*)?)", re.IGNORECASE)
_UNSENDABLE = re.compile(r'[^\x21-\x7e]|[\\"<>^`{|}]')


@dataclass(frozen=True)
class Host:
    #: in lower case, an IPv6 address without its brackets
    name: str
    #: None: that of the scheme
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """On this machine by its very name, whatever a name server says."""
        try:
            return ipaddress.ip_address(self.name).is_loopback
        except ValueError:
            return self.name == "localhost"


@dataclass(frozen=True)
class Url:
    #: "http" or "https"
    scheme: str
    host: Host
    #: path and query as they are sent, "/v2/?n=1"
    target: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.target}"

    @property
    def port(self) -> int:
        return self.host.port or _PORT_BY_SCHEME[self.scheme]

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, name and port: who gets what is sent there."""
        return self.scheme, self.host.name, self.port

    def at(self, target: str) -> Url:
        """Another path and query at the same place."""
        return replace(self, target=target)


@dataclass(frozen=True)
class PlainHosts:
    """Which hosts may be asked over plain HTTP: this machine, and those of the settings."""

    names: frozenset[str]

    @classmethod
    def of(cls, insecure: Collection[str]) -> PlainHosts:
        return cls(frozenset(name.lower() for name in insecure))

    def holds(self, host: Host) -> bool:
        return host.is_loopback or str(host) in self.names


def api_host(registry: str) -> Host | None:
    """Host of a registry's API, by its name in references; None for a name that is none."""
    return parse_host(_HUB_API if registry == DOCKER_HUB else registry)


def parse_host(text: str) -> Host | None:
    match = _HOST.fullmatch(text)
    if match is None or (match[2] and not 0 < int(match[2]) < 1 << 16):
        return None
    return Host(match[1].strip("[]").lower(), int(match[2]) if match[2] else None)


def parse_url(text: str) -> Url | None:
    """None for what is not http or https, or has a user, a fragment or a character that wants escaping."""
    match = _URL.fullmatch(text)
    if match is None or _UNSENDABLE.search(text):
        return None
    host = parse_host(match[2])
    if host is None:
        return None
    scheme = match[1].lower()
    if host.port == _PORT_BY_SCHEME[scheme]:
        host = Host(host.name)
    return Url(scheme, host, (match[3] or "/") + match[4])


def resolve(url: Url, location: str) -> Url | None:
    """Where `location`, absolute or relative, leads from `url`; None where it leads nowhere."""
    location = location.strip()
    try:
        return parse_url(urljoin(str(url), location)) if location else None
    except ValueError:
        return None
