"""Logins that are given with a run."""

from __future__ import annotations

from typing import Any

from tasks_engine.backends.credential_arguments import CredentialError, parse_credential
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    try:
        credential = parse_credential(vector.input["credential"])
    except CredentialError as error:
        return {"error": error.reason}
    fields = {
        "registry": credential.registry,
        "username": credential.username,
        "userNameProviderType": credential.username_kind.value,
        "password": credential.password,
        "passwordProviderType": credential.password_kind.value,
        "identity": credential.identity,
        "aadResourceId": credential.resource,
    }
    return {"credential": {name: value for name, value in fields.items() if value}}
