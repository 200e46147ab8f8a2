"""Logins of registries, from the docker configuration and its credential helpers.

A registry is asked for by name; the whole configuration never leaves this module.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks_engine.backends.buildkit.docker_config import DockerConfig, config_key
from tasks_engine.backends.buildkit.errors import CredentialError
from tasks_engine.backends.credential_arguments import GivenCredential, ValueKind
from tasks_engine.errors import RegistryError


@dataclass(frozen=True)
class Credential:
    username: str
    password: str = field(repr=False)
    #: instead of name and password, at some registries
    identity_token: str = field(default="", repr=False)


class DockerConfigCredentials:
    """Credentials of `config.json`, and those given with the run, which win. A missing file means no logins.

    Thread-safe.
    """

    def __init__(
        self,
        config_folder: Path,
        given: Iterable[GivenCredential] = (),
        on_value: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """`on_value` is told of every password and token that is handed out.

        Raises RegistryError for a given login that needs a vault or an identity: `given_logins` resolves those.
        """
        self._config = DockerConfig(config_folder)
        self._on_value = on_value
        given = tuple(given)
        self._given = {config_key(each.registry): _given_login(each) for each in given}
        self._given_names = frozenset(each.registry for each in given)

    def find(self, registry: str) -> Credential | None:
        """The login for `host[:port]`, None when there is none.

        Raises RegistryError for a damaged configuration or a credential helper that fails.
        """
        credential = self._found(registry)
        if credential is not None:
            self._on_value(
                (credential.password or credential.identity_token).encode("utf-8", "surrogateescape")
            )
        return credential

    def _found(self, registry: str) -> Credential | None:
        key = config_key(registry)
        if key in self._given:
            return self._given[key]
        with _registry_errors():
            found = self._config.find(registry)
        if found is None:
            return None
        if not found.username:
            return Credential("", "", found.secret)
        return Credential(found.username, found.secret)

    def subset(self, registries: Iterable[str]) -> dict[str, Any]:
        """A docker configuration with the logins of these registries, those that were given, and nothing else."""
        auths: dict[str, Any] = {}
        for registry in sorted({*registries, *self._given_names}):
            credential = self.find(registry)
            if credential is not None:
                auths[config_key(registry)] = _auth_entry(credential)
        return {"auths": auths}

    def registries(self) -> list[str]:
        """Names of the registries that the configuration has a login or a helper for."""
        with _registry_errors():
            return self._config.registries()


@contextmanager
def _registry_errors() -> Iterator[None]:
    try:
        yield
    except CredentialError as error:
        raise RegistryError(error.reason, hint=error.hint) from error


def _given_login(given: GivenCredential) -> Credential:
    if (given.username_kind, given.password_kind) != (ValueKind.OPAQUE, ValueKind.OPAQUE):
        raise RegistryError(
            f"the credential for '{given.registry}' needs a vault or an identity, which was not asked",
            hint="give user name and password as text: both types opaque",
        )
    return Credential(given.username, given.password)


def _auth_entry(credential: Credential) -> dict[str, str]:
    if credential.identity_token:
        return {"identitytoken": credential.identity_token}
    login = f"{credential.username}:{credential.password}"
    return {"auth": base64.b64encode(login.encode()).decode()}
