"""Secrets of Azure Key Vault, with Azure's own client over a transport that answers as a vault does."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tasks_engine.backends.azure_secrets import (
    KeyVaultAddress,
    KeyVaultResolver,
    find_identity,
    parse_key_vault_address,
)
from tasks_engine.backends.patience import Patience
from tasks_engine.errors import SecretError

pytest.importorskip("azure.keyvault.secrets")
pytest.importorskip("azure.identity")

from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.core.pipeline.transport import HttpTransport
from azure.core.utils import case_insensitive_dict

ADDRESS = "https://my.vault.azure.net/secrets/app"
IMPATIENT = Patience(tries=3, first_wait_s=0.01, request_s=5)
VALUE = "the value äö"
TOKEN = "the-token"


class Answer:
    """What the client reads of an answer."""

    def __init__(self, request: Any, status: int, body: Any, headers: dict[str, str]) -> None:
        self.request = request
        self.status_code = status
        self.headers = case_insensitive_dict({"Content-Type": "application/json", **headers})
        self.reason = "because"
        self.content_type = "application/json"
        self.content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.is_closed = self.is_stream_consumed = True

    def read(self) -> bytes:
        return self.content

    def body(self) -> bytes:
        return self.content

    def text(self, encoding: str | None = None) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)

    def close(self) -> None:
        pass

    def raise_for_status(self) -> None:
        pass


class FakeVault(HttpTransport):
    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: list[tuple[int, Any, dict[str, str]] | Exception] = []
        self.resource = "https://vault.azure.net"

    def send(self, request: Any, **_: Any) -> Any:
        self.asked.append(request)
        if "Authorization" not in request.headers:
            challenge = f'Bearer authorization="https://login.example/tenant", resource="{self.resource}"'
            return Answer(request, 401, {}, {"WWW-Authenticate": challenge})
        answer = self.answers.pop(0) if self.answers else (200, {"value": VALUE, "id": ADDRESS + "/1"}, {})
        if isinstance(answer, Exception):
            raise answer
        return Answer(request, *answer)

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class FakeIdentity:
    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.error: Exception | None = None
        self.closed = 0

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.asked.append(scopes)
        if self.error is not None:
            raise self.error
        return AccessToken(TOKEN, 9_999_999_999)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


@pytest.fixture
def identity() -> FakeIdentity:
    return FakeIdentity()


@pytest.fixture(autouse=True)
def no_remembered_challenges() -> None:
    from azure.keyvault.secrets._shared.http_challenge_cache import clear

    clear()


@pytest.fixture
def read(vault: FakeVault, identity: FakeIdentity) -> Callable[..., str]:
    def read(address: str = ADDRESS, client_id: str = "") -> str:
        resolver = KeyVaultResolver(lambda _: identity, IMPATIENT, {"transport": vault})  # type: ignore[arg-type, return-value]
        return resolver.resolve(address, client_id).decode()

    return read


@pytest.fixture
def refusal(read: Callable[..., str]) -> Callable[..., SecretError]:
    def refusal(address: str = ADDRESS) -> SecretError:
        with pytest.raises(SecretError) as caught:
            read(address)
        assert TOKEN not in str(caught.value) and VALUE not in str(caught.value)
        assert caught.value.__suppress_context__
        return caught.value

    return refusal


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (ADDRESS, "/secrets/app"),
        ("https://MY.vault.azure.net/secrets/App/", "/secrets/app"),
        (f"{ADDRESS}/ABC", "/secrets/app/abc"),
        ("keyvault:my/app", "/secrets/app"),
        ("keyvault:my.vault.azure.net/app/abc", "/secrets/app/abc"),
        (f"keyvault:{ADDRESS}", "/secrets/app"),
    ],
)
def test_a_secret_is_read_with_a_token_for_the_vaults_domain(
    vault: FakeVault, identity: FakeIdentity, read: Callable[..., str], address: str, path: str
) -> None:
    assert read(address) == VALUE
    assert vault.asked[-1].url.startswith(f"https://my.vault.azure.net{path}")
    assert vault.asked[-1].headers["Authorization"] == f"Bearer {TOKEN}"
    assert identity.asked == [("https://vault.azure.net/.default",)]
    assert identity.closed == 1


def test_the_client_id_names_the_identity(vault: FakeVault, identity: FakeIdentity) -> None:
    named: list[str] = []

    def find(client_id: str) -> Any:
        named.append(client_id)
        return identity

    KeyVaultResolver(find, IMPATIENT, {"transport": vault}).resolve(ADDRESS, "id-1")
    assert named == ["id-1"]


def test_a_client_id_is_a_managed_identity_and_nothing_else() -> None:
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    for client_id, kind in (("a-b-c", ManagedIdentityCredential), ("", DefaultAzureCredential)):
        found = find_identity(client_id)
        assert isinstance(found, kind)
        found.close()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "https://my.vault.azure.net does not let this identity read 'app'"),
        (404, "https://my.vault.azure.net has no secret 'app'"),
        (400, "https://my.vault.azure.net failed to read 'app' (HTTP status 400)"),
        (302, "https://my.vault.azure.net failed to read 'app' (HTTP status 302)"),
        (401, "there is no identity that https://my.vault.azure.net accepts"),
    ],
)
def test_a_refusal_is_told_and_not_tried_again(
    vault: FakeVault, refusal: Callable[..., SecretError], status: int, message: str
) -> None:
    said = {"error": {"code": "No", "message": f"not with {TOKEN}"}}
    vault.answers = [(status, said, {"Location": "https://other.example/"})] * 2
    assert refusal().message == message
    assert len(vault.asked) <= 3
    assert all("other.example" not in each.url for each in vault.asked)


@pytest.mark.parametrize("passing", [429, 500, 503, ServiceRequestError("no way there")])
def test_what_may_pass_is_tried_again(
    vault: FakeVault, read: Callable[..., str], passing: int | Exception
) -> None:
    vault.answers = [(passing, {}, {}) if isinstance(passing, int) else passing] * 2
    assert read() == VALUE


def test_tries_end(vault: FakeVault, refusal: Callable[..., SecretError]) -> None:
    vault.answers = [(503, {}, {})] * 3
    assert refusal().message == "https://my.vault.azure.net failed to read 'app' (HTTP status 503)"


def test_no_identity_is_told(identity: FakeIdentity, refusal: Callable[..., SecretError]) -> None:
    identity.error = ClientAuthenticationError(f"nothing works: {TOKEN}")
    assert "no identity" in refusal().message
    assert identity.closed == 1


def test_a_vault_that_wants_a_token_of_another_domain_gets_none(
    vault: FakeVault, identity: FakeIdentity, refusal: Callable[..., SecretError]
) -> None:
    vault.resource = "https://management.azure.com"
    assert "cannot be asked" in refusal().message
    assert identity.asked == []


def test_without_the_extra_it_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., SecretError]
) -> None:
    real = builtins.__import__

    def without_azure(name: str, *rest: Any) -> Any:
        if name.startswith("azure"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_azure)
    assert refusal().hint == "install them: pip install 'tasks-engine[azure]'"


def test_the_libraries_load_only_when_a_secret_is_read() -> None:
    import subprocess

    script = (
        "import sys, tasks_engine.app; from tasks_engine.backends.secrets import all_resolvers;"
        "from pathlib import Path; all_resolvers({}, Path());"
        "print([name for name in sys.modules if name in ('azure', 'hvac', 'requests', 're2')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        (
            "https://Test.vault.azure.net/secrets/One/Two",
            KeyVaultAddress("https://test.vault.azure.net", "one", "two", "https://vault.azure.net"),
        ),
        (
            "https://test.vault.azure.cn/secrets/one/",
            KeyVaultAddress("https://test.vault.azure.cn", "one", "", "https://vault.azure.cn"),
        ),
    ],
)
def test_an_address_has_a_vault_a_name_and_perhaps_a_version(address: str, parsed: KeyVaultAddress) -> None:
    assert parse_key_vault_address(address) == parsed


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://tee",
        "https://t.v.net/secrets",
        "https://t.v.net/secrets/",
        "https://t.v.net/keys/a",
        "https://t.v.net/secrets/a/b/c",
        "https://t.v.net/secrets/a//b",
        "http://t.v.net/secrets/a",
        "https://t/secrets/a",
        "https://u@t.v.net/secrets/a",
        "https://t.v.net/secrets/a?x",
        "https://t.v.net/secrets/a#x",
        "https://t.v.net:x/secrets/a",
        "https://[t.v.net/secrets/a",
        "keyvault:",
        "keyvault:my",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(SecretError, match="is no address of a secret in Azure Key Vault"):
        parse_key_vault_address(address)
