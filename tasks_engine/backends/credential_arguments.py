"""Logins given with a run: JSON objects as the original's `--credential` takes them.

Three kinds: user and password as text ("opaque"); one of them at an address of a vault ("vaultsecret", read with an
identity); and a managed identity alone. Keys and types are compared without case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tasks_engine.errors import UsageError


class ValueKind(StrEnum):
    OPAQUE = "opaque"
    VAULT_SECRET = "vaultsecret"  # noqa: S105 - a kind, not a secret
    NONE = ""


@dataclass(frozen=True)
class GivenCredential:
    registry: str
    username: str = ""
    username_kind: ValueKind = ValueKind.NONE
    password: str = field(default="", repr=False)
    password_kind: ValueKind = ValueKind.NONE
    #: client id of the identity that reads the vault, or that logs in itself
    identity: str = ""
    #: what an identity that logs in itself asks a token for
    resource: str = ""


class CredentialError(UsageError):
    """`reason` names what is wrong, as in `credential-no-registry`."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(
            message,
            hint='such as {"registry": "HOST", "username": "NAME", "userNameProviderType": "opaque", '
            '"password": "…", "passwordProviderType": "opaque"}',
        )
        self.reason = reason


def parse_credential(argument: str) -> GivenCredential:
    """The login an argument describes; `@FILE` stands for the content of a file. Raises UsageError."""
    if argument.startswith("@"):
        try:
            argument = Path(argument[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--credential {argument}: the file cannot be read") from error
    fields = _fields(argument)
    registry = fields.get("registry", "")
    if not registry:
        raise CredentialError("a credential names no registry", "credential-no-registry")
    username_kind = _kind(fields.get("usernameprovidertype", ""), registry)
    password_kind = _kind(fields.get("passwordprovidertype", ""), registry)
    credential = GivenCredential(
        registry,
        fields.get("username", ""),
        username_kind,
        fields.get("password", ""),
        password_kind,
        fields.get("identity", ""),
        fields.get("aadresourceid", ""),
    )
    if username_kind is ValueKind.NONE and password_kind is ValueKind.NONE:
        _need(credential.identity, registry, "identity")
        _need(credential.resource, registry, "resource")
        return GivenCredential(registry, identity=credential.identity, resource=credential.resource)
    if ValueKind.NONE in (username_kind, password_kind):
        raise _unclassifiable(registry)
    _need(credential.username, registry, "username")
    _need(credential.password, registry, "password")
    uses_vault = ValueKind.VAULT_SECRET in (username_kind, password_kind)
    if uses_vault:
        _need(credential.identity, registry, "identity")
    identity = credential.identity if uses_vault else ""
    return GivenCredential(
        registry, credential.username, username_kind, credential.password, password_kind, identity
    )


def _fields(argument: str) -> Mapping[str, str]:
    try:
        data = json.loads(argument)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not all(isinstance(each, (str, type(None))) for each in data.values()):
        # the text may hold a password: it is not shown
        raise CredentialError("a credential is a JSON object of texts", "credential-json")
    return {name.lower(): value or "" for name, value in data.items()}


def _kind(text: str, registry: str) -> ValueKind:
    try:
        return ValueKind(text.lower())
    except ValueError:
        raise _unclassifiable(registry) from None


def _unclassifiable(registry: str) -> CredentialError:
    return CredentialError(
        f"the credential for '{registry}' needs userNameProviderType and passwordProviderType, each opaque or "
        "vaultsecret, or neither of them and an identity",
        "credential-unclassifiable",
    )


def _need(value: str, registry: str, what: str) -> None:
    if not value:
        raise CredentialError(f"the credential for '{registry}' has no {what}", f"credential-no-{what}")
