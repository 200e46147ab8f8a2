"""How each registry is reached: its address, scheme and certificates. Found out once per registry. Thread-safe."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_engine.backends.registry.addresses import Host, PlainHosts, Url, api_host
from tasks_engine.backends.registry.connections import Connections
from tasks_engine.errors import RegistryError
from tasks_engine.settings import RegistrySettings

if TYPE_CHECKING:
    import ssl

#: to find out how a registry is reached
_PROBE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Site:
    """A registry that can be asked."""

    #: its name in references
    name: str
    #: of its API, "https://host/v2/"
    url: Url
    context: ssl.SSLContext | None = field(repr=False)

    @property
    def is_plain(self) -> bool:
        return self.url.scheme == "http"


class Sites:
    def __init__(self, registries: RegistrySettings, connections: Connections) -> None:
        self._ca_files: Mapping[Host | None, Path] = {
            api_host(name): path for name, path in registries.ca_files.items()
        }
        self._plain = PlainHosts.of(registries.insecure)
        self._connections = connections
        self._lock = threading.Lock()
        self._site_by_name: dict[str, Site] = {}
        self._context_by_key: dict[tuple[Path | None, bool], ssl.SSLContext] = {}

    def find(self, registry: str) -> Site:
        """Raises RegistryError for a name that is none, or a registry that cannot be reached."""
        with self._lock:
            known = self._site_by_name.get(registry)
        if known is not None:
            return known
        host = api_host(registry)
        if host is None:
            raise RegistryError(f"'{registry}' is not the name of a registry", hint="the form is HOST[:PORT]")
        found = self._reach(registry, host)
        with self._lock:
            return self._site_by_name.setdefault(registry, found)

    def may_send_plainly(self, site: Site, url: Url) -> bool:
        """A registry over plain HTTP is trusted with its own host; others need a reason of their own."""
        return self._plain.holds(url.host) or (site.is_plain and url.host.name == site.url.host.name)

    def context_for(self, site: Site, url: Url) -> ssl.SSLContext | None:
        """Whom to trust at an address that a registry names: an authority of that host, or of the registry."""
        if url.scheme != "https":
            return None
        if url.host == site.url.host and site.context is not None:
            return site.context
        ca_file = self._ca_file(url.host) or self._ca_file(site.url.host)
        is_same_machine = url.host.name == site.url.host.name
        unchecked = self._plain.holds(url.host) or (is_same_machine and self._plain.holds(site.url.host))
        return self._trust(ca_file, checked=ca_file is not None or not unchecked)

    def _reach(self, registry: str, host: Host) -> Site:
        ca_file = self._ca_file(host)
        if not self._plain.holds(host):
            return Site(registry, Url("https", host, "/v2/"), self._trust(ca_file, checked=True))
        # An operator who says insecure, or this machine, needs no certificate; one whose authority is named does.
        secure = Site(registry, Url("https", host, "/v2/"), self._trust(ca_file, checked=ca_file is not None))
        plain = Site(registry, Url("http", host, "/v2/"), None)
        # Without a port these are two doors, and the locked one is better. With one there is a single door, and
        # a server of plain HTTP may wait for ever for the end of what begins like TLS.
        failures: list[RegistryError] = []
        for site in (secure, plain) if host.port is None else (plain, secure):
            try:
                if self._answers(site):
                    return site
            except RegistryError as error:
                failures.append(error)
        if not failures:
            raise RegistryError(f"{host} answers, but not as a registry", hint="check its name and port")
        raise next(filter(_is_of_certificate, failures), failures[0])

    def _answers(self, site: Site) -> bool:
        """As a registry does. Nothing secret is sent. Raises RegistryError."""
        answer = self._connections.send(
            "GET",
            site.url,
            {},
            context=site.context,
            deadline_s=time.monotonic() + _PROBE_TIMEOUT_S,
            idle_s=_PROBE_TIMEOUT_S,
        )
        with answer:
            answer.read(1 << 20)
            return answer.status in (200, 401, 403, 429) or answer.status >= 500

    def _ca_file(self, host: Host) -> Path | None:
        return self._ca_files.get(host)

    def _trust(self, ca_file: Path | None, *, checked: bool) -> ssl.SSLContext:
        import ssl

        with self._lock:
            context = self._context_by_key.get((ca_file, checked))
        if context is not None:
            return context
        try:
            context = ssl.create_default_context()
            if ca_file is not None:
                context.load_verify_locations(ca_file)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise RegistryError(
                f"certificates in {ca_file} cannot be read: {reason}",
                hint="registries.ca_files in the settings names that file: it must hold PEM certificates",
            ) from error
        if not checked:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        with self._lock:
            return self._context_by_key.setdefault((ca_file, checked), context)


def _is_of_certificate(error: RegistryError) -> bool:
    import ssl

    return isinstance(error.__cause__, ssl.SSLCertVerificationError)
