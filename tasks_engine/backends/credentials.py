"""Logins of registries, from the docker configuration and its credential helpers.

A registry is asked for by name; the whole configuration never leaves this module.
"""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks_engine.backends.credential_arguments import GivenCredential, ValueKind
from tasks_engine.errors import RegistryError
from tasks_engine.images.reference import DOCKER_HUB

#: Docker Hub's name in docker's configuration, since before registries had names
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_HELPER_TIMEOUT_S = 30


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

    def __init__(self, config_folder: Path, given: Iterable[GivenCredential] = ()) -> None:
        """Raises RegistryError for a given login that needs a vault or an identity."""
        self._path = config_folder / "config.json"
        self._given = {_key(each.registry): _given_login(each) for each in given}

    def find(self, registry: str) -> Credential | None:
        """The login for `host[:port]`, None when there is none.

        Raises RegistryError for a damaged configuration or a credential helper that fails.
        """
        key = _key(registry)
        if key in self._given:
            return self._given[key]
        helper = self._config.get("credHelpers", {}).get(key) or self._config.get("credsStore")
        if helper:
            found = self._ask_helper(str(helper), key)
            if found is not None:
                return found
        for each in (key, f"https://{key}", f"http://{key}", f"https://{key}/v1/", f"https://{key}/v2/"):
            entry = self._config.get("auths", {}).get(each)
            if entry:
                return self._read_entry(each, entry)
        return None

    def subset(self, registries: Iterable[str]) -> dict[str, Any]:
        """A docker configuration with the logins of these registries and nothing else."""
        auths: dict[str, Any] = {}
        for registry in sorted(registries):
            credential = self.find(registry)
            if credential is not None:
                auths[_key(registry)] = _auth_entry(credential)
        return {"auths": auths}

    def registries(self) -> list[str]:
        """Names of the registries that the configuration has a login or a helper for."""
        named = {**self._config.get("auths", {}), **self._config.get("credHelpers", {})}
        return sorted(DOCKER_HUB if name == _HUB_KEY else name for name in named)

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        try:
            config = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RegistryError(
                f"docker's configuration {self._path} cannot be read: {error}", hint="correct or remove it"
            ) from error
        if not isinstance(config, dict):
            raise RegistryError(f"docker's configuration {self._path} is not a JSON object")
        return config

    def _read_entry(self, key: str, entry: Mapping[str, Any]) -> Credential | None:
        if entry.get("identitytoken"):
            return Credential("", "", str(entry["identitytoken"]))
        if entry.get("username"):
            return Credential(str(entry["username"]), str(entry.get("password", "")))
        if not entry.get("auth"):
            return None
        try:
            username, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, TypeError):
            colon = ""
        if not colon:
            raise RegistryError(
                f"the login of {key} in {self._path} is damaged", hint=f"run: docker login {key}"
            )
        return Credential(username, password.rstrip("\0"))

    def _ask_helper(self, helper: str, key: str) -> Credential | None:
        program = f"docker-credential-{helper}"
        try:
            answer = subprocess.run(
                [program, "get"],
                input=key.encode(),
                capture_output=True,
                timeout=_HELPER_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise RegistryError(
                f"{self._path} names the credential helper '{program}', which is not installed",
                hint=f"install it, or remove it from {self._path}",
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RegistryError(f"credential helper '{program}' did not answer: {error}") from error
        if answer.returncode != 0:
            return None  # "credentials not found": helpers have no other way to say it
        try:
            found = json.loads(answer.stdout)
            username, secret = str(found["Username"]), str(found["Secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(
                f"credential helper '{program}' answered something else than a login"
            ) from error
        return Credential("", "", secret) if username == "<token>" else Credential(username, secret)


def _key(registry: str) -> str:
    """A registry's name in docker's configuration."""
    return _HUB_KEY if registry in _HUB_HOSTS else registry


def _given_login(given: GivenCredential) -> Credential:
    if (given.username_kind, given.password_kind) != (ValueKind.OPAQUE, ValueKind.OPAQUE):
        raise RegistryError(
            f"the credential for '{given.registry}' needs a vault or an identity, which this version of tasks lacks",
            hint="give user name and password as text: both types opaque",
        )
    return Credential(given.username, given.password)


def _auth_entry(credential: Credential) -> dict[str, str]:
    if credential.identity_token:
        return {"identitytoken": credential.identity_token}
    login = f"{credential.username}:{credential.password}"
    return {"auth": base64.b64encode(login.encode()).decode()}
