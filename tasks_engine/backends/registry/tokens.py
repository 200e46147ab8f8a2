"""Logs in at registries: Basic, or bearer tokens, which are kept until they expire.

A registry names the server that gives tokens for it. A login goes there over TLS only, or over plain HTTP to this
machine, to the registry's own host where that is plain itself, or to a host that the settings name as insecure.

Sources: Distribution's specifications "Token Authentication" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from urllib.parse import quote, urlencode

from tasks_engine.backends.credentials import Credential
from tasks_engine.backends.registry.addresses import Url, parse_url
from tasks_engine.backends.registry.answers import (
    Challenge,
    read_challenges,
    read_json_object,
    retry_after_s,
)
from tasks_engine.backends.registry.connections import Answer, Connections
from tasks_engine.backends.registry.failures import Refused, status_error
from tasks_engine.backends.registry.sites import Site, Sites
from tasks_engine.errors import RegistryError

_CLIENT_ID = "tasks-engine"
_MAX_ANSWER_BYTES = 1 << 20
#: of a token whose server does not say it. Source: "Token Authentication", `expires_in`
_DEFAULT_EXPIRES_IN_S = 60
_LONGEST_EXPIRES_IN_S = 24 * 3600
#: how long before its end a token is not used any more
_MARGIN_S = 10
#: what a header may hold
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")


class FindsCredentials(Protocol):
    def find(self, registry: str) -> Credential | None:
        """The login for `host[:port]`, None when there is none. Raises RegistryError."""


@dataclass(frozen=True)
class _Token:
    #: value of Authorization
    header: str = field(repr=False)
    #: of the clock
    ends_at_s: float


@dataclass
class _TokenSlot:
    """A token for one registry and scope; the lock is held while it is fetched."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: _Token | None = None


class Logins:
    """Values of Authorization headers. Thread-safe."""

    def __init__(
        self,
        credentials: FindsCredentials,
        sites: Sites,
        connections: Connections,
        *,
        timeout_s: float,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._credentials = credentials
        self._sites = sites
        self._connections = connections
        self._timeout_s = timeout_s
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        #: registry -> how it wants a login
        self._challenge_by_registry: dict[str, Challenge] = {}
        #: (registry, scope we want) -> scope that the registry asked for
        self._scope_by_wanted: dict[tuple[str, str], str] = {}
        self._slot_by_scope: dict[tuple[str, str], _TokenSlot] = {}

    def header(self, site: Site, scope: str) -> str:
        """For a request with `scope`; empty as long as the registry wants no login. Raises RegistryError."""
        with self._lock:
            challenge = self._challenge_by_registry.get(site.name)
        if challenge is None:
            return ""
        if challenge.scheme == "basic":
            return self._basic(site)
        return self._bearer(site, challenge, scope, refused="")

    def answer(self, site: Site, values: list[str], scope: str, refused: str) -> str:
        """For a request that was refused, with `refused`, if any, by the challenges in `values` of WWW-Authenticate.

        Raises RegistryError when there is no login to give, or the refused one was all there is.
        """
        challenges = {challenge.scheme: challenge for challenge in reversed(read_challenges(values))}
        challenge = challenges.get("bearer") or challenges.get("basic")
        if challenge is None:
            raise RegistryError(
                f"registry {site.name} wants a login of a kind that tasks does not know",
                hint="known are Basic and Bearer; check that this is a registry",
            )
        with self._lock:
            self._challenge_by_registry[site.name] = challenge
            if challenge.parameters.get("scope"):
                self._scope_by_wanted[site.name, scope] = challenge.parameters["scope"]
        if challenge.scheme == "bearer":
            return self._bearer(site, challenge, scope, refused)
        header = self._basic(site)
        if header == refused:
            raise Refused(site.name, has_login=True)
        return header

    def _basic(self, site: Site) -> str:
        credential = self._credentials.find(site.name)
        if credential is None or not credential.username:
            raise Refused(site.name, has_login=False)
        return _basic(credential)

    def _bearer(self, site: Site, challenge: Challenge, wanted: str, refused: str) -> str:
        with self._lock:
            scope = self._scope_by_wanted.get((site.name, wanted), wanted)
            slot = self._slot_by_scope.setdefault((site.name, scope), _TokenSlot())
        with slot.lock:
            token = slot.token
            if token is None or token.header == refused or token.ends_at_s <= self._clock():
                slot.token = token = self._fetch(site, challenge, scope)
        return token.header

    def _fetch(self, site: Site, challenge: Challenge, scope: str) -> _Token:
        realm = parse_url(challenge.parameters.get("realm", ""))
        if realm is None:
            raise RegistryError(
                f"registry {site.name} names a token server whose address cannot be read",
                hint="check that this is a registry",
            )
        if realm.scheme == "http" and not self._sites.may_send_plainly(site, realm):
            raise RegistryError(
                f"registry {site.name} names token server {realm.host}, which speaks plain HTTP: no login goes there",
                hint=f'if you trust the network, add "{realm.host}" to registries.insecure in the settings',
            )
        credential = self._credentials.find(site.name)
        asked_at_s = self._clock()
        with self._ask(site, realm, challenge.parameters.get("service", ""), scope, credential) as answer:
            return _token(site, answer, asked_at_s, self._now(), has_login=credential is not None)

    def _ask(self, site: Site, realm: Url, service: str, scope: str, credential: Credential | None) -> Answer:
        fields = [("service", service)] if service else []
        fields += [("scope", scope)] if scope else []
        method, body, headers = "GET", None, {}
        if credential is not None and credential.identity_token:
            fields = [
                ("grant_type", "refresh_token"),
                ("client_id", _CLIENT_ID),
                ("refresh_token", credential.identity_token),
                *fields,
            ]
            method, body = "POST", urlencode(fields, errors="replace").encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            query = urlencode(fields, quote_via=quote, errors="replace")
            realm = realm.at(f"{realm.target}{'&' if '?' in realm.target else '?'}{query}")
            if credential is not None:
                headers["Authorization"] = _basic(credential)
        return self._connections.send(
            method,
            realm,
            headers,
            context=self._sites.context_for(site, realm),
            deadline_s=time.monotonic() + self._timeout_s,
            idle_s=self._timeout_s,
            body=body,
        )


def _basic(credential: Credential) -> str:
    login = f"{credential.username}:{credential.password}".encode("utf-8", "replace")
    return "Basic " + base64.b64encode(login).decode()


def _token(site: Site, answer: Answer, asked_at_s: float, now: datetime, *, has_login: bool) -> _Token:
    """Raises RegistryError. What the server says is not shown: it could be the password."""
    place = f"registry {site.name}: its token server {answer.url.host}"
    if answer.status in (400, 401, 403):
        raise Refused(site.name, has_login=has_login)
    if answer.status != 200:
        raise status_error(
            f"{place} answered {answer.status} instead of a token",
            answer.status,
            retry_after_s(answer.headers.get("retry-after", ""), now),
        )
    content = read_json_object(answer.read(_MAX_ANSWER_BYTES))
    if content is None:
        raise RegistryError(
            f"{place} answered something that is not JSON", hint="check that this is a registry"
        )
    token = content.get("token") or content.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RegistryError(f"{place} answered without a token", hint="check that this is a registry")
    return _Token(f"Bearer {token}", asked_at_s + _expires_in_s(content) - _MARGIN_S)


def _expires_in_s(content: Mapping[str, object]) -> float:
    seconds = content.get("expires_in")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 1:
        return _DEFAULT_EXPIRES_IN_S
    return min(seconds, _LONGEST_EXPIRES_IN_S)
