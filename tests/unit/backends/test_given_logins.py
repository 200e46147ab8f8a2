from __future__ import annotations

from pathlib import Path

import pytest

from tasks_engine.backends.credential_arguments import GivenCredential, ValueKind
from tasks_engine.backends.credentials import Credential, DockerConfigCredentials
from tasks_engine.backends.given_logins import resolve_logins
from tasks_engine.backends.managed_identity import TOKEN_USER, ManagedIdentity
from tasks_engine.errors import RegistryError, SecretError

OPAQUE = GivenCredential("r.example", "me", ValueKind.OPAQUE, "pw-1", ValueKind.OPAQUE)
FROM_VAULT = GivenCredential(
    "r.example", "x:user", ValueKind.VAULT_SECRET, "x:password", ValueKind.VAULT_SECRET, "id-1"
)
IDENTITY = GivenCredential("r.example", identity="id-1", resource="https://x")


class Vault:
    """Answers with the address and who asks."""

    def resolve(self, address: str, client_id: str) -> bytes:
        if address == "x:none":
            raise SecretError("there is none", hint="look elsewhere")
        if address == "x:bytes":
            return b"\xff"
        return f"{address} for {client_id}\n".encode()


class Identity(ManagedIdentity):
    def registry_password(self, registry: str, resource: str, client_id: str) -> str:
        if registry == "broken.example":
            raise RegistryError("refused")
        return f"{registry} {resource} {client_id}"


def resolve(*given: GivenCredential) -> tuple[list[GivenCredential], list[bytes]]:
    told: list[bytes] = []
    return resolve_logins(given, {"x": Vault()}, Identity({}), told.append), told


def test_a_login_as_text_stays_and_its_password_is_told_for_masking() -> None:
    assert resolve(OPAQUE) == ([OPAQUE], [b"pw-1"])


def test_user_and_password_come_from_a_vault_with_the_identity_of_the_login() -> None:
    (login,), told = resolve(FROM_VAULT)
    assert (login.username, login.password) == ("x:user for id-1", "x:password for id-1")
    assert told == [b"x:password for id-1", b"x:user for id-1"]


def test_one_of_the_two_may_be_text() -> None:
    mixed = GivenCredential("r", "me", ValueKind.OPAQUE, "x:password", ValueKind.VAULT_SECRET, "id-1")
    (login,), told = resolve(mixed)
    assert (login.username, login.password) == ("me", "x:password for id-1")
    assert told == [b"x:password for id-1"]


def test_an_identity_logs_in_with_a_token() -> None:
    (login,), told = resolve(IDENTITY)
    assert (login.username, login.password) == (TOKEN_USER, "r.example https://x id-1")
    assert told == [b"r.example https://x id-1"]


def test_of_two_logins_of_a_registry_the_last_is_asked_for() -> None:
    assert resolve(FROM_VAULT, OPAQUE) == ([OPAQUE], [b"pw-1"])


def test_what_was_resolved_is_a_login_of_the_registry(tmp_path: Path) -> None:
    logins, _ = resolve(IDENTITY)
    told: list[bytes] = []
    credentials = DockerConfigCredentials(tmp_path, logins, told.append)
    assert credentials.find("r.example") == Credential(TOKEN_USER, "r.example https://x id-1")
    assert told == [b"r.example https://x id-1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            GivenCredential("r", "me", ValueKind.OPAQUE, "x:none", ValueKind.VAULT_SECRET, "i"),
            "there is none",
        ),
        (
            GivenCredential("r", "me", ValueKind.OPAQUE, "x:bytes", ValueKind.VAULT_SECRET, "i"),
            "its secret is no text",
        ),
        (
            GivenCredential("r", "me", ValueKind.OPAQUE, "y:a", ValueKind.VAULT_SECRET, "i"),
            "nothing here can read 'y:a'",
        ),
        (GivenCredential("broken.example", identity="i", resource="x"), "refused"),
    ],
)
def test_a_login_that_cannot_be_had_is_told_with_its_registry(given: GivenCredential, message: str) -> None:
    with pytest.raises(RegistryError) as caught:
        resolve(OPAQUE, given)
    assert caught.value.message == f"login for '{given.registry}': {message}"
