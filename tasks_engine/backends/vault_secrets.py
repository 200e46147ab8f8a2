"""Secrets of HashiCorp Vault's key-value engine, of both its versions.

Where Vault is and who asks is told by the variables that Vault's own command reads.
Source: Vault's documentation, "Vault CLI", "KV secrets engine" and "/sys/internal/ui/mounts".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tasks_engine.backends.patience import PATIENT, Patience
from tasks_engine.errors import SecretError

_FORM = "vault:MOUNT/PATH#FIELD or vault:MOUNT/PATH?version=N#FIELD"


@dataclass(frozen=True)
class VaultAddress:
    """`MOUNT/PATH` as one path: how much of it names the mount is known by Vault alone."""

    path: str
    name: str
    #: None: the newest one
    version: int | None = None


def parse_vault_address(address: str) -> VaultAddress:
    """Raises SecretError."""
    place, _, name = address.partition(":")[2].partition("#")
    path, _, query = place.strip("/").partition("?")
    version: int | None = None
    try:
        for key, values in parse_qs(query, keep_blank_values=True, strict_parsing=bool(query)).items():
            if key != "version" or len(values) > 1:
                raise ValueError(key)
            version = int(values[0])
    except ValueError:
        raise SecretError(f"'{address}' has something else than a version behind '?'", hint=_FORM) from None
    parts = path.split("/")
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        raise SecretError(f"'{address}' names no mount and path", hint=_FORM)
    if not name:
        raise SecretError(f"'{address}' names no field", hint=_FORM)
    return VaultAddress(path, name, version)


@dataclass(frozen=True)
class VaultResolver:
    """`vault:MOUNT/PATH#FIELD`, with `?version=N` before the `#` for an older version.

    `environ` holds VAULT_ADDR, VAULT_TOKEN (or HOME, with .vault-token in it), VAULT_NAMESPACE, VAULT_CACERT or
    VAULT_CAPATH, VAULT_CLIENT_CERT and VAULT_CLIENT_KEY. A redirect is not followed: the token would go with it.
    """

    environ: Mapping[str, str] = field(repr=False)
    patience: Patience = PATIENT

    def resolve(self, address: str, client_id: str) -> bytes:  # noqa: ARG002 - Vault has no such identities
        wanted = parse_vault_address(address)
        vault = self.environ.get("VAULT_ADDR", "").strip()
        if not urlsplit(vault).hostname:
            raise SecretError(
                "VAULT_ADDR does not say where Vault is", hint="such as: export VAULT_ADDR=https://vault:8200"
            )
        token = self._token()
        return self.patience.call(lambda: self._read(vault, token, wanted))

    def _token(self) -> str:
        token = self.environ.get("VAULT_TOKEN", "").strip()
        if not token:
            home = Path(self.environ.get("HOME") or "/")
            try:
                token = (home / ".vault-token").read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                token = ""
        if not token:
            raise SecretError("there is no token for Vault", hint="set VAULT_TOKEN, or run: vault login")
        if not (token.isascii() and token.isprintable()):
            raise SecretError("the token for Vault has signs that no token has", hint="correct VAULT_TOKEN")
        return token

    def _read(self, vault: str, token: str, wanted: VaultAddress) -> bytes:
        host = urlsplit(vault).netloc.rpartition("@")[2]
        with _told(f"Vault at {host}", wanted):
            data = self._data(vault, token, wanted)
        if wanted.name not in data:
            raise SecretError(
                f"'{wanted.path}' in Vault has no field '{wanted.name}'", hint=f"it has: {_listed(data)}"
            )
        value = data[wanted.name]
        return (value if isinstance(value, str) else json.dumps(value)).encode()

    def _data(self, vault: str, token: str, wanted: VaultAddress) -> Mapping[str, Any]:
        import hvac

        certificate = self.environ.get("VAULT_CLIENT_CERT")
        client = hvac.Client(
            url=vault,
            token=token,
            cert=(certificate, self.environ.get("VAULT_CLIENT_KEY", "")) if certificate else None,
            verify=self.environ.get("VAULT_CACERT") or self.environ.get("VAULT_CAPATH") or True,
            timeout=self.patience.request_s,
            allow_redirects=False,
            namespace=self.environ.get("VAULT_NAMESPACE") or None,
        )
        try:
            return _read_data(client, wanted)
        finally:
            client.adapter.close()


def _read_data(client: Any, wanted: VaultAddress) -> Mapping[str, Any]:
    """The fields of a secret. Raises errors of hvac and requests."""
    from hvac.exceptions import InvalidPath

    mount, is_second = _mount(client, wanted)
    path = wanted.path[len(mount) + 1 :]
    if is_second is not False:
        try:
            answer = client.secrets.kv.v2.read_secret_version(
                path, wanted.version, mount_point=mount, raise_on_deleted_version=True
            )
            return _fields(_fields(answer))
        except InvalidPath:
            if is_second:
                raise
    if wanted.version is not None:
        raise SecretError(
            f"'{mount}' in Vault keeps no versions, or has no version {wanted.version} of '{path}'",
            hint="leave out '?version='",
        )
    return _fields(client.secrets.kv.v1.read_secret(path, mount_point=mount))


def _mount(client: Any, wanted: VaultAddress) -> tuple[str, bool | None]:
    """The path of the mount, and whether it is of the second version; None for a Vault that does not tell."""
    from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest

    first = wanted.path.partition("/")[0]
    try:
        found = _fields(client.adapter.get(f"/v1/sys/internal/ui/mounts/{quote(wanted.path)}"))
    except (Forbidden, InvalidPath, InvalidRequest):
        return first, None
    mount = str(found.get("path", "")).strip("/")
    if not mount or not wanted.path.startswith(f"{mount}/"):
        return first, None
    options = found.get("options")
    return mount, isinstance(options, dict) and options.get("version") == "2"


def _fields(answer: object) -> Mapping[str, Any]:
    """`data` of an answer."""
    if isinstance(answer, dict) and isinstance(answer.get("data"), dict):
        return answer["data"]  # type: ignore[no-any-return]
    if getattr(answer, "is_redirect", False):
        raise SecretError(
            "Vault sends us to another address, which would get the token",
            hint="set VAULT_ADDR to the address of the active server",
        )
    raise SecretError("what answers at VAULT_ADDR is not Vault's key-value engine", hint="correct VAULT_ADDR")


@contextmanager
def _told(vault: str, wanted: VaultAddress) -> Iterator[None]:
    """Tells errors in our words; theirs could hold the token, so they do not even show as the cause."""
    import requests
    from hvac.exceptions import Forbidden, InvalidPath, Unauthorized, VaultError

    try:
        yield
    except (Forbidden, Unauthorized):
        raise SecretError(
            f"{vault} does not let this token read '{wanted.path}'",
            hint="see whether the token is still good: vault token lookup",
        ) from None
    except InvalidPath:
        version = "" if wanted.version is None else f" in version {wanted.version}"
        raise SecretError(
            f"{vault} has no '{wanted.path}'{version}, or it was deleted",
            hint="the path goes without the 'data/' that Vault's HTTP addresses have",
        ) from None
    except VaultError as error:
        if "sealed" in str(error.args[0] or "").lower():
            raise SecretError(f"{vault} is sealed", hint="unseal it: vault operator unseal") from None
        raise SecretError(
            f"{vault} failed to read '{wanted.path}' ({type(error).__name__})", retryable=_passes(error)
        ) from None
    except requests.exceptions.SSLError:
        raise SecretError(
            f"no trusted connection to {vault}", hint="VAULT_CACERT names the file of its authority"
        ) from None
    except requests.Timeout:
        raise SecretError(f"{vault} did not answer", retryable=True) from None
    except requests.ConnectionError:
        raise SecretError(f"{vault} cannot be reached", hint="see VAULT_ADDR", retryable=True) from None
    except (requests.RequestException, OSError, ValueError) as error:
        raise SecretError(
            f"{vault} cannot be asked ({type(error).__name__})", hint="see the variables VAULT_…"
        ) from None


def _passes(error: Any) -> bool:
    from hvac.exceptions import BadGateway, InternalServerError, RateLimitExceeded, UnexpectedError, VaultDown

    # a gateway's timeout (504) is one of those that hvac has no name for
    passing = (BadGateway, InternalServerError, RateLimitExceeded, UnexpectedError, VaultDown)
    return isinstance(error, passing)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"
