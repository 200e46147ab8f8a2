"""Secrets of HashiCorp Vault, from a small double of its HTTP interface."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks_engine.backends.patience import Patience
from tasks_engine.backends.vault_secrets import VaultAddress, VaultResolver, parse_vault_address
from tasks_engine.errors import SecretError
from tests.unit.backends.fake_http import Asked, FakeHttp, Said, make_certificate

TOKEN = "hvs.the-token"
VALUE = "the value äö"
IMPATIENT = Patience(tries=3, first_wait_s=0.01, request_s=5)


class FakeVault:
    """KV version 2 at `secret/` and `deep/kv/`, version 1 at `old/`."""

    def __init__(self) -> None:
        self.tells_mounts = True
        #: instead of what else would come
        self.refusals: list[Said] = []
        self.stays = False

    def answer(self, asked: Asked) -> Said:
        if self.refusals:
            return self.refusals[0] if self.stays else self.refusals.pop(0)
        if asked.headers.get("x-vault-token") != TOKEN:
            return Said(403, {"errors": ["permission denied", asked.headers.get("x-vault-token")]})
        path = asked.path.removeprefix("/v1/")
        if path.startswith("sys/internal/ui/mounts/"):
            return self._mount(path.removeprefix("sys/internal/ui/mounts/"))
        if path in ("secret/data/app", "deep/kv/data/app/one"):
            return self._second(asked.values.get("version", "2"))
        if path == "old/app":
            return Said(200, {"data": {"password": VALUE, "number": 5}})
        return Said(404, {"errors": []})

    def _mount(self, path: str) -> Said:
        if not self.tells_mounts:
            return Said(403, {"errors": ["preflight capability check returned 403"]})
        for mount, options in (("secret/", {"version": "2"}), ("deep/kv/", {"version": "2"}), ("old/", None)):
            if path.startswith(mount):
                return Said(200, {"data": {"path": mount, "type": "kv", "options": options}})
        return Said(403, {"errors": ["preflight capability check returned 403"]})

    def _second(self, version: str) -> Said:
        if version in ("0", "2"):
            data = {"password": VALUE, "number": 5, "nested": {"a": [1]}}
        elif version == "1":
            data = {"password": "the first"}
        else:
            return Said(404, {"data": {"data": None, "metadata": {"deletion_time": "2026-01-01"}}})
        return Said(200, {"data": {"data": data, "metadata": {"version": int(version)}}})


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


@pytest.fixture
def http(vault: FakeVault) -> Iterator[FakeHttp]:
    http = FakeHttp(lambda asked: vault.answer(asked))
    yield http
    http.close()


@pytest.fixture
def environ(http: FakeHttp, tmp_path: Path) -> dict[str, str]:
    return {"VAULT_ADDR": f"http://{http.host}", "VAULT_TOKEN": TOKEN, "HOME": str(tmp_path)}


@pytest.fixture
def read(environ: dict[str, str]) -> Callable[[str], str]:
    return lambda address: VaultResolver(environ, IMPATIENT).resolve(address, "").decode()


@pytest.fixture
def refusal(read: Callable[[str], str]) -> Callable[..., SecretError]:
    """The error, after a look that nothing secret is in it or in what it came from."""

    def refusal(address: str = "vault:secret/app#password") -> SecretError:
        with pytest.raises(SecretError) as caught:
            read(address)
        error: BaseException | None = caught.value
        while error is not None:
            assert TOKEN not in str(error) and VALUE not in str(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return caught.value

    return refusal


@pytest.mark.parametrize("tells_mounts", [True, False])
@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("vault:secret/app#password", VALUE),
        ("vault://secret/app#password", VALUE),
        ("VAULT:/secret/app#password", VALUE),
        ("vault:secret/app?version=1#password", "the first"),
        ("vault:secret/app#number", "5"),
        ("vault:secret/app#nested", '{"a": [1]}'),
        ("vault:old/app#password", VALUE),
    ],
)
def test_both_versions_of_the_engine_are_read(
    vault: FakeVault, read: Callable[[str], str], tells_mounts: bool, address: str, value: str
) -> None:
    vault.tells_mounts = tells_mounts
    assert read(address) == value


def test_a_mount_may_have_a_path_of_several_parts(read: Callable[[str], str]) -> None:
    assert read("vault:deep/kv/app/one#password") == VALUE


def test_the_token_may_be_where_a_login_leaves_it(
    environ: dict[str, str], read: Callable[[str], str]
) -> None:
    del environ["VAULT_TOKEN"]
    (Path(environ["HOME"]) / ".vault-token").write_text(f"{TOKEN}\n")
    assert read("vault:secret/app#password") == VALUE


def test_a_namespace_is_told(http: FakeHttp, environ: dict[str, str], read: Callable[[str], str]) -> None:
    environ["VAULT_NAMESPACE"] = "team/a"
    read("vault:secret/app#password")
    assert {each.headers.get("x-vault-namespace") for each in http.asked} == {"team/a"}


def test_over_tls_the_authority_is_the_given_one(
    vault: FakeVault, environ: dict[str, str], read: Callable[[str], str], tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    http = FakeHttp(vault.answer, certificate)
    try:
        environ["VAULT_ADDR"] = f"https://{http.host}"
        with pytest.raises(SecretError, match="no trusted connection"):
            read("vault:secret/app#password")
        assert http.asked == []
        environ["VAULT_CACERT"] = str(certificate)
        assert read("vault:secret/app#password") == VALUE
    finally:
        http.close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("vault:secret/none#password", "has no 'secret/none', or it was deleted"),
        ("vault:secret/app?version=9#password", "has no 'secret/app' in version 9, or it was deleted"),
        ("vault:old/none#password", "has no 'old/none', or it was deleted"),
        ("vault:old/app?version=1#password", "'old' in Vault keeps no versions"),
        ("vault:unknown/app#password", "has no 'unknown/app', or it was deleted"),
    ],
)
def test_what_is_not_there_is_told(refusal: Callable[..., SecretError], address: str, message: str) -> None:
    assert message in refusal(address).message


def test_a_wrong_field_is_told_with_those_there_are(refusal: Callable[..., SecretError]) -> None:
    error = refusal("vault:secret/app#pasword")
    assert error.message == "'secret/app' in Vault has no field 'pasword'"
    assert error.hint == "it has: nested, number, password"


def test_a_token_that_may_not_read_is_told_and_not_tried_again(
    http: FakeHttp, vault: FakeVault, refusal: Callable[..., SecretError]
) -> None:
    vault.refusals, vault.stays = [Said(403, {"errors": [f"no {TOKEN}"]})], True
    assert "does not let this token read 'secret/app'" in refusal().message
    assert len(http.asked) <= 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(vault: FakeVault, read: Callable[[str], str], status: int) -> None:
    vault.refusals = [Said(status, {"errors": ["later"]})] * 2
    assert read("vault:secret/app#password") == VALUE


def test_tries_end(http: FakeHttp, vault: FakeVault, refusal: Callable[..., SecretError]) -> None:
    vault.refusals, vault.stays = [Said(500, {"errors": [TOKEN]})], True
    assert "failed to read 'secret/app' (InternalServerError)" in refusal().message
    assert len(http.asked) == IMPATIENT.tries


def test_a_sealed_vault_is_told_at_once(
    http: FakeHttp, vault: FakeVault, refusal: Callable[..., SecretError]
) -> None:
    vault.refusals, vault.stays = [Said(503, {"errors": ["Vault is sealed"]})], True
    assert refusal().message.endswith("is sealed")
    assert len(http.asked) == 1


def test_a_redirect_does_not_get_the_token(
    http: FakeHttp, vault: FakeVault, refusal: Callable[..., SecretError]
) -> None:
    vault.refusals, vault.stays = [Said(307, b"", {"Location": f"http://{http.host}/v1/other"})], True
    assert "sends us to another address" in refusal().message
    assert all(each.path != "/v1/other" for each in http.asked)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": 1}', b"{}"])
def test_something_else_than_vault_is_told(
    vault: FakeVault, refusal: Callable[..., SecretError], body: bytes
) -> None:
    vault.refusals, vault.stays = [Said(200, body)], True
    assert "is not Vault's key-value engine" in refusal().message


def test_a_vault_that_does_not_answer_is_left(
    environ: dict[str, str], http: FakeHttp, vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(asked: Asked) -> Said:
        http.over.wait(20)
        return Said()

    monkeypatch.setattr(vault, "answer", wait)
    started = time.monotonic()
    with pytest.raises(SecretError, match="did not answer"):
        VaultResolver(environ, Patience(tries=1, request_s=1)).resolve("vault:secret/app#password", "")
    assert time.monotonic() - started < 10


def test_a_vault_that_cannot_be_reached_is_told(
    environ: dict[str, str], refusal: Callable[..., SecretError]
) -> None:
    environ["VAULT_ADDR"] = "http://user:hidden@127.0.0.1:1"
    error = refusal()
    assert error.message == "Vault at 127.0.0.1:1 cannot be reached"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"VAULT_ADDR": ""}, "VAULT_ADDR does not say where Vault is"),
        ({"VAULT_ADDR": "vault:8200"}, "VAULT_ADDR does not say where Vault is"),
        ({"VAULT_TOKEN": ""}, "there is no token for Vault"),
        ({"VAULT_TOKEN": f"a\n{TOKEN}"}, "the token for Vault has signs that no token has"),
        ({"VAULT_TOKEN": f"ä{TOKEN}"}, "the token for Vault has signs that no token has"),
        ({"VAULT_CACERT": "/nowhere", "VAULT_ADDR": "https://127.0.0.1:1"}, "cannot be asked (OSError)"),
    ],
)
def test_settings_that_do_not_work_are_told(
    environ: dict[str, str], refusal: Callable[..., SecretError], changed: dict[str, str], message: str
) -> None:
    environ |= changed
    assert message in refusal().message


def test_the_environment_never_shows(environ: dict[str, str]) -> None:
    assert TOKEN not in repr(VaultResolver(environ))


def test_an_address_has_a_path_a_field_and_perhaps_a_version() -> None:
    assert parse_vault_address("vault:a/b/c?version=3#f") == VaultAddress("a/b/c", "f", 3)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("vault:", "names no mount and path"),
        ("vault:secret#f", "names no mount and path"),
        ("vault:secret//a#f", "names no mount and path"),
        ("vault:secret/../a#f", "names no mount and path"),
        ("vault:secret/a", "names no field"),
        ("vault:secret/a#", "names no field"),
        ("vault:secret/a?version=x#f", "something else than a version"),
        ("vault:secret/a?other=1#f", "something else than a version"),
        ("vault:secret/a?version#f", "something else than a version"),
        ("vault:secret/a?version=1&version=2#f", "something else than a version"),
    ],
)
def test_an_address_of_another_form_is_refused(address: str, message: str) -> None:
    with pytest.raises(SecretError, match=message):
        parse_vault_address(address)
