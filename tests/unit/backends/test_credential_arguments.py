from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks_engine.backends.credential_arguments import (
    CredentialError,
    GivenCredential,
    ValueKind,
    parse_credential,
)
from tasks_engine.errors import ExitCode, UsageError

OPAQUE = {
    "registry": "r.io",
    "username": "me",
    "userNameProviderType": "opaque",
    "password": "s3cret",
    "passwordProviderType": "opaque",
}


def parse(**fields: object) -> GivenCredential:
    return parse_credential(json.dumps(fields))


def test_a_user_and_a_password_may_be_given_as_text() -> None:
    assert parse(**OPAQUE) == GivenCredential("r.io", "me", ValueKind.OPAQUE, "s3cret", ValueKind.OPAQUE)


def test_keys_and_types_are_known_in_any_case() -> None:
    fields = {name.upper(): value for name, value in OPAQUE.items()} | {"USERNAMEPROVIDERTYPE": "OPAQUE"}
    assert parse(**fields) == parse(**OPAQUE)


@pytest.mark.parametrize(
    "changes",
    [
        {"passwordProviderType": "vaultsecret"},
        {"userNameProviderType": "VaultSecret"},
        {"userNameProviderType": "vaultsecret", "passwordProviderType": "vaultsecret"},
    ],
)
def test_one_of_them_may_stand_in_a_vault_that_an_identity_reads(changes: dict[str, str]) -> None:
    found = parse(**{**OPAQUE, **changes, "identity": "id"})
    assert found.identity == "id"
    assert ValueKind.VAULT_SECRET in (found.username_kind, found.password_kind)


def test_an_identity_may_log_in_itself() -> None:
    assert parse(registry="r.io", identity="id", aadResourceId="https://x") == GivenCredential(
        "r.io", identity="id", resource="https://x"
    )


@pytest.mark.parametrize("value", [None, ""])
def test_a_null_or_empty_field_is_absent(value: str | None) -> None:
    fields = {"registry": "r.io", "identity": "id", "aadResourceId": "x", "passwordProviderType": value}
    assert parse(**fields).identity == "id"


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        ({}, "credential-no-registry", "a credential names no registry"),
        ({"registry": ""}, "credential-no-registry", "a credential names no registry"),
        ({**OPAQUE, "username": ""}, "credential-no-username", "the credential for 'r.io' has no username"),
        ({**OPAQUE, "password": ""}, "credential-no-password", "the credential for 'r.io' has no password"),
        (
            {**OPAQUE, "passwordProviderType": "vaultsecret"},
            "credential-no-identity",
            "the credential for 'r.io' has no identity",
        ),
        (
            {"registry": "r.io", "aadResourceId": "x"},
            "credential-no-identity",
            "the credential for 'r.io' has no identity",
        ),
        (
            {"registry": "r.io", "identity": "x"},
            "credential-no-resource",
            "the credential for 'r.io' has no resource",
        ),
    ],
)
def test_what_is_missing_is_told(fields: dict[str, str], reason: str, message: str) -> None:
    with pytest.raises(CredentialError) as caught:
        parse(**fields)
    assert (caught.value.reason, caught.value.message) == (reason, message)
    assert "userNameProviderType" in caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    "changes",
    [{"passwordProviderType": "other"}, {"userNameProviderType": ""}, {"passwordProviderType": ""}],
)
def test_types_that_say_nothing_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(CredentialError, match="opaque or vaultsecret") as caught:
        parse(**{**OPAQUE, **changes, "identity": "id"})
    assert caught.value.reason == "credential-unclassifiable"


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "s3cret",
        "[]",
        "null",
        '"s3cret"',
        '{"password": "s3cret"',
        '{"password": 5}',
        '{"password": ["s3cret"]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_json_object_of_texts_is_refused_without_showing_it(argument: str) -> None:
    with pytest.raises(CredentialError, match="a credential is a JSON object of texts") as caught:
        parse_credential(argument)
    assert "s3cret" not in str(caught.value)
    assert caught.value.reason == "credential-json"


def test_a_credential_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "login").write_text(json.dumps(OPAQUE))
    assert parse_credential(f"@{tmp_path}/login") == parse(**OPAQUE)


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "login").write_bytes(content)
    with pytest.raises(UsageError, match="the file cannot be read"):
        parse_credential(f"@{tmp_path}/login")


def test_a_password_never_shows() -> None:
    assert "s3cret" not in repr(parse(**OPAQUE))
