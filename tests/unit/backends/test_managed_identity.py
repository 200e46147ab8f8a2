"""Tokens of managed identities, and what registries give for them: doubles of both, the registry over TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks_engine.backends.managed_identity import ManagedIdentity
from tasks_engine.backends.patience import Patience
from tasks_engine.errors import RegistryError
from tests.unit.backends.fake_http import Asked, FakeHttp, Said, make_certificate

IMPATIENT = Patience(tries=3, first_wait_s=0.01, request_s=5)
RESOURCE = "https://management.azure.com"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


class Azure:
    """An endpoint of identities and a registry."""

    def __init__(self, certificate: Path) -> None:
        self.certificate = certificate
        self.token: list[Said] = []
        self.refresh: list[Said] = []
        self.endpoint = FakeHttp(
            lambda _: self.token.pop(0) if self.token else Said(200, {"access_token": "aad"})
        )
        self.registry = FakeHttp(self._exchange, certificate)
        self.environ = {"MSI_ENDPOINT": f"http://{self.endpoint.host}/token"}

    def _exchange(self, asked: Asked) -> Said:
        if self.refresh:
            return self.refresh.pop(0)
        assert asked.path == "/oauth2/exchange"
        return Said(200, {"refresh_token": f"for {asked.values['access_token']}"})

    def password(self, registry: str = "", client_id: str = "") -> str:
        identity = ManagedIdentity(self.environ, IMPATIENT, self.certificate)
        return identity.registry_password(registry or self.registry.host, RESOURCE, client_id)


@pytest.fixture
def azure(certificate: Path) -> Iterator[Azure]:
    azure = Azure(certificate)
    yield azure
    azure.endpoint.close()
    azure.registry.close()


@pytest.fixture
def refusal(azure: Azure) -> Callable[..., RegistryError]:
    def refusal(registry: str = "") -> RegistryError:
        with pytest.raises(RegistryError) as caught:
            azure.password(registry)
        assert "aad" not in str(caught.value) and caught.value.__suppress_context__ | (
            caught.value.__context__ is None
        )
        return caught.value

    return refusal


def test_a_token_of_the_identity_becomes_a_password(azure: Azure) -> None:
    assert azure.password() == "for aad"
    (asked,) = azure.registry.asked
    assert (asked.method, asked.values["grant_type"], asked.values["service"]) == (
        "POST",
        "access_token",
        azure.registry.host,
    )


@pytest.mark.parametrize(
    ("names", "values", "headers"),
    [
        ("MSI_ENDPOINT", {"api-version": "2018-02-01", "client_id": "me"}, {"metadata": "true"}),
        ("MSI_ENDPOINT MSI_SECRET", {"api-version": "2017-09-01", "clientid": "me"}, {"secret": "hush"}),
        (
            "IDENTITY_ENDPOINT IDENTITY_HEADER MSI_ENDPOINT",
            {"api-version": "2019-08-01", "client_id": "me"},
            {"x-identity-header": "hush"},
        ),
    ],
)
def test_each_kind_of_endpoint_is_asked_in_its_way(
    azure: Azure, names: str, values: dict[str, str], headers: dict[str, str]
) -> None:
    url = f"http://{azure.endpoint.host}/token"
    azure.environ = {name: url if name.endswith("ENDPOINT") else "hush" for name in names.split()}
    azure.password(client_id="me")
    (asked,) = azure.endpoint.asked
    assert asked.values == {"resource": RESOURCE, **values}
    assert headers.items() <= asked.headers.items()


def test_without_a_client_id_the_machine_s_own_identity_is_asked_for(azure: Azure) -> None:
    azure.password()
    assert azure.endpoint.asked[0].values.keys() == {"resource", "api-version"}


def test_what_may_pass_is_tried_again(azure: Azure) -> None:
    azure.token = [Said(429), Said(503)]
    azure.refresh = [Said(500)]
    assert azure.password() == "for aad"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Said(400, {"error": "no"}), "refused with HTTP status 400"),
        (Said(200, b"nonsense"), "answered something else than JSON"),
        (Said(200, []), "answered without 'access_token'"),
        (Said(200, {"access_token": 5}), "answered without 'access_token'"),
        (Said(302, b"", {"Location": "http://127.0.0.1:1/"}), "sends us to another address"),
    ],
)
def test_an_endpoint_that_gives_no_token_is_told(
    azure: Azure, refusal: Callable[..., RegistryError], said: Said, message: str
) -> None:
    azure.token = [said]
    assert message in refusal().message
    assert azure.registry.asked == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Said(401, {"errors": ["aad"]}), "refused with HTTP status 401"),
        (Said(307, b"", {"Location": "https://127.0.0.1:1/"}), "sends us to another address"),
        (Said(200, {}), "answered without 'refresh_token'"),
    ],
)
def test_a_registry_that_gives_no_password_is_told(
    azure: Azure, refusal: Callable[..., RegistryError], said: Said, message: str
) -> None:
    azure.refresh = [said]
    assert message in refusal().message
    assert len(azure.registry.asked) == 1


def test_a_machine_without_identity_is_told(azure: Azure, refusal: Callable[..., RegistryError]) -> None:
    azure.environ = {"MSI_ENDPOINT": "http://127.0.0.1:1/token"}
    assert "cannot be reached" in refusal().message


def test_a_registry_that_nobody_vouches_for_gets_no_token(azure: Azure) -> None:
    with pytest.raises(RegistryError, match="no trusted connection"):
        ManagedIdentity(azure.environ, IMPATIENT).registry_password(azure.registry.host, RESOURCE, "")
    assert azure.registry.asked == []


@pytest.mark.parametrize("registry", ["a b", "evil.example/@r", "user@r", "r?x", "r#x", "r:x", ""])
def test_what_is_no_name_of_a_registry_gets_no_token(azure: Azure, registry: str) -> None:
    with pytest.raises(RegistryError, match="no name of a registry"):
        ManagedIdentity(azure.environ, IMPATIENT).registry_password(registry, RESOURCE, "")
    assert azure.endpoint.asked == []


def test_the_environment_never_shows() -> None:
    assert "hush" not in repr(ManagedIdentity({"MSI_SECRET": "hush"}))
