"""Logins of registries from docker's configuration: its `config.json` and its credential helpers.

A registry is asked for by name; nothing else of the configuration leaves this module. Source: docker login,
"Credential stores" and "Credential helpers".
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks_engine.backends.buildkit.errors import CredentialError

#: Docker Hub's name in docker's configuration, since before registries had names
HUB_KEY = "https://index.docker.io/v1/"
#: Docker Hub's name in references of images
HUB_HOST = "docker.io"
_HUB_HOSTS = frozenset({HUB_HOST, "index.docker.io", "registry-1.docker.io"})
_HELPER_TIMEOUT_S = 30
#: what no name of a registry has, and a credential helper would take for the end of one
_NOT_IN_NAMES = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True)
class Credential:
    """Login at a registry; for an identity token `username` is empty and `secret` the token."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Credential(username={self.username!r}, secret='***')"


#: host[:port] of a registry ("registry-1.docker.io" for Docker Hub) -> login, None for anonymous. Called from
#: other threads, and again for every retry of the daemon
Credentials = Callable[[str], Credential | None]


def docker_config_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Where docker keeps its configuration: $DOCKER_CONFIG, or .docker in the home folder."""
    return Path(environ.get("DOCKER_CONFIG") or home / ".docker")


def config_key(registry: str) -> str:
    """A registry's name in docker's configuration; Docker Hub has several names elsewhere."""
    return HUB_KEY if registry in _HUB_HOSTS else registry


@dataclass
class _Lookup:
    """What came out for one registry; the lock is held while it is looked up."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    done: bool = False
    found: Credential | None = None
    error: CredentialError | None = None


class DockerConfig:
    """The logins of one configuration folder, which is read once; a missing file means no logins.

    Thread-safe. A credential helper is asked once for each registry, whatever it answers.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Without `folder`, docker's own. Nothing is read yet; raises CredentialError for a missing home."""
        if folder is None:
            try:
                folder = docker_config_folder(os.environ, Path.home())
            except RuntimeError as error:
                raise CredentialError(
                    "there is no home folder, and so no docker configuration", hint="set DOCKER_CONFIG"
                ) from error
        self._path = folder / "config.json"
        self._lock = threading.Lock()
        self._read: Mapping[str, Any] | None = None
        self._lookup_by_key: dict[str, _Lookup] = {}

    def find(self, host: str) -> Credential | None:
        """The login for `host[:port]`, None when there is none.

        Raises CredentialError for a damaged configuration or a credential helper that fails.
        """
        if _NOT_IN_NAMES.search(host):
            return None
        key = config_key(host)
        helper = self._section("credHelpers").get(key) or self._config().get("credsStore")
        if not helper:
            return self._stored(key)
        with self._lock:
            lookup = self._lookup_by_key.setdefault(key, _Lookup())
        with lookup.lock:
            if not lookup.done:
                try:
                    lookup.found = _ask_helper(self._path, str(helper), key)
                except CredentialError as error:
                    lookup.error = error
                lookup.done = True
        if lookup.error:
            # A new one for each caller: an exception carries the traceback of its thread.
            raise CredentialError(lookup.error.reason, hint=lookup.error.hint) from lookup.error
        return lookup.found or self._stored(key)

    def registries(self) -> list[str]:
        """Names of the registries that the configuration has a login or a helper for; raises CredentialError."""
        named = {**self._section("auths"), **self._section("credHelpers")}
        return sorted(HUB_HOST if name == HUB_KEY else name for name in named)

    def _config(self) -> Mapping[str, Any]:
        with self._lock:
            if self._read is None:
                self._read = _read_config(self._path)
            return self._read

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self._config().get(name) or {}
        if not isinstance(section, dict):
            raise CredentialError(
                f"docker's configuration {self._path} has '{name}' that is not a JSON object",
                hint="correct or remove it",
            )
        return section

    def _stored(self, key: str) -> Credential | None:
        auths = self._section("auths")
        for each in (key, f"https://{key}", f"http://{key}", f"https://{key}/v1/", f"https://{key}/v2/"):
            if auths.get(each):
                return self._read_entry(each, auths[each])
        return None

    def _read_entry(self, key: str, entry: object) -> Credential | None:
        if not isinstance(entry, dict):
            raise self._damaged(key)
        if entry.get("identitytoken"):
            return Credential("", str(entry["identitytoken"]))
        if entry.get("username"):
            return Credential(str(entry["username"]), str(entry.get("password", "")))
        if not entry.get("auth"):
            return None
        try:
            username, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (ValueError, TypeError):
            # Not its cause: that would show the password.
            raise self._damaged(key) from None
        if not colon:
            raise self._damaged(key)
        return _login(username, password.rstrip("\0"))

    def _damaged(self, key: str) -> CredentialError:
        return CredentialError(
            f"the login of {key} in {self._path} is damaged", hint=f"run: docker login {key}"
        )


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CredentialError(
            f"docker's configuration {path} cannot be read: {error}", hint="correct or remove it"
        ) from error
    if not isinstance(config, dict):
        raise CredentialError(f"docker's configuration {path} is not a JSON object")
    return config


def _ask_helper(config_path: Path, helper: str, key: str) -> Credential | None:
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        answer = subprocess.run(
            [program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise CredentialError(
            f"{config_path} names the credential helper '{program}', which is not installed",
            hint=f"install it, or remove it from {config_path}",
        ) from error
    except subprocess.TimeoutExpired:
        # Not its cause: that carries what the helper had written.
        raise CredentialError(
            f"credential helper '{program}' did not answer: nothing came for {_HELPER_TIMEOUT_S} seconds"
        ) from None
    except (OSError, ValueError) as error:
        raise CredentialError(f"credential helper '{program}' did not answer: {error}") from error
    if answer.returncode != 0:
        # The texts by which helpers say that there is none. Source: docker-credential-helpers, credentials/error.go.
        said = answer.stdout.decode("utf-8", "replace").strip()
        if said.startswith(("credentials not found", "no credentials")):
            return None
        raise CredentialError(
            f"credential helper '{program}' failed with exit code {answer.returncode}",
            hint=f"try it: echo {key} | {program} get",
        )
    try:
        found = json.loads(answer.stdout)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        # Not its cause: that would show the answer.
        raise CredentialError(f"credential helper '{program}' answered something else than a login") from None
    return _login("" if username == "<token>" else username, secret)


def _login(username: str, secret: str) -> Credential | None:
    """None for two empty texts, which are how a logout may look."""
    return Credential(username, secret) if username or secret else None
