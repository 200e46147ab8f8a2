"""Logins from docker's configuration."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tasks_engine.backends.credential_arguments import GivenCredential, ValueKind
from tasks_engine.backends.credentials import Credential, DockerConfigCredentials
from tasks_engine.errors import RegistryError


def login(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.fixture
def config(tmp_path: Path):
    def make(content: dict) -> DockerConfigCredentials:
        (tmp_path / "config.json").write_text(json.dumps(content))
        return DockerConfigCredentials(tmp_path)

    return make


@pytest.fixture
def helper(tmp_path: Path, monkeypatch):
    def make(script: str) -> None:
        program = tmp_path / "docker-credential-test"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return make


def test_no_configuration_means_no_logins(tmp_path):
    assert DockerConfigCredentials(tmp_path / "nowhere").find("docker.io") is None


def test_a_login_is_found_by_host_and_port(config):
    found = config({"auths": {"127.0.0.1:5000": login("me", "a:b")}}).find("127.0.0.1:5000")

    assert found == Credential("me", "a:b")


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_an_old_name_in_the_configuration(config, name):
    assert config({"auths": {"https://index.docker.io/v1/": login("me", "pw")}}).find(name) == Credential(
        "me", "pw"
    )


def test_an_identity_token_stands_in_for_a_password(config):
    found = config({"auths": {"r.example": {"identitytoken": "token"}}}).find("r.example")

    assert found == Credential("", "", "token")


def test_a_subset_holds_the_logins_that_were_given_with_the_run(config, tmp_path):
    config({"auths": {"a.example": login("a", "1")}})
    given = GivenCredential("given.example", "me", ValueKind.OPAQUE, "pw", ValueKind.OPAQUE)
    credentials = DockerConfigCredentials(tmp_path, [given])

    assert credentials.subset(["b.example"]) == {"auths": {"given.example": login("me", "pw")}}


def test_a_subset_holds_nothing_but_what_was_asked_for(config):
    credentials = config({"auths": {"a.example": login("a", "1"), "b.example": login("b", "2")}})

    assert credentials.subset(["a.example", "c.example"]) == {"auths": {"a.example": login("a", "1")}}


def test_a_helper_is_asked_for_its_registry(config, helper):
    helper('read host; echo "{\\"Username\\": \\"u\\", \\"Secret\\": \\"for $host\\"}"')

    found = config({"credHelpers": {"r.example": "test"}}).find("r.example")

    assert found == Credential("u", "for r.example")


def test_a_helper_that_knows_nothing_means_no_login(config, helper):
    helper("echo credentials not found in native keychain; exit 1")

    assert config({"credsStore": "test"}).find("r.example") is None


@pytest.mark.parametrize("script", ["echo nonsense", "echo '{}'", "echo '[]'"])
def test_a_helper_that_answers_nonsense_is_told_by_name(config, helper, script):
    helper(script)

    with pytest.raises(RegistryError, match="docker-credential-test"):
        config({"credsStore": "test"}).find("r.example")


def test_a_helper_that_is_not_installed_is_told_by_name(config):
    with pytest.raises(RegistryError, match="docker-credential-absent"):
        config({"credsStore": "absent"}).find("r.example")


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_damaged_configuration_is_told_with_its_path(tmp_path, text):
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(RegistryError, match=r"config\.json"):
        DockerConfigCredentials(tmp_path).find("r.example")


def test_a_damaged_login_says_how_to_renew_it(config):
    with pytest.raises(RegistryError, match="damaged") as caught:
        config({"auths": {"r.example": {"auth": "%%%"}}}).find("r.example")

    assert caught.value.hint == "run: docker login r.example"


def test_a_password_never_shows_in_a_repr():
    assert "secret" not in repr(Credential("me", "secret", "secret token"))


GIVEN = GivenCredential("r.example", "given", ValueKind.OPAQUE, "pw", ValueKind.OPAQUE)


def test_a_login_given_with_the_run_wins(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"r.example": login("me", "old")}}))

    credentials = DockerConfigCredentials(tmp_path, [GIVEN])

    assert credentials.find("r.example") == Credential("given", "pw")
    assert credentials.subset(["r.example"]) == {"auths": {"r.example": login("given", "pw")}}


def test_a_given_login_needs_no_configuration(tmp_path):
    (tmp_path / "config.json").write_text("{")

    assert DockerConfigCredentials(tmp_path, [GIVEN]).find("r.example") == Credential("given", "pw")


def test_of_two_given_logins_of_a_registry_the_last_counts(tmp_path):
    later = GivenCredential("r.example", "later", ValueKind.OPAQUE, "pw", ValueKind.OPAQUE)

    assert DockerConfigCredentials(tmp_path, [GIVEN, later]).find("r.example") == Credential("later", "pw")


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_a_given_login_of_docker_hub_is_found_under_each_of_its_names(tmp_path, name):
    given = GivenCredential(name, "me", ValueKind.OPAQUE, "pw", ValueKind.OPAQUE)

    assert DockerConfigCredentials(tmp_path, [given]).find("docker.io") == Credential("me", "pw")


@pytest.mark.parametrize(
    "given",
    [
        GivenCredential("r.example", "me", ValueKind.OPAQUE, "https://v", ValueKind.VAULT_SECRET, "id"),
        GivenCredential("r.example", identity="id", resource="https://x"),
    ],
)
def test_a_given_login_that_needs_a_vault_is_refused(tmp_path, given):
    with pytest.raises(RegistryError, match=r"the credential for 'r\.example' needs a vault or an identity"):
        DockerConfigCredentials(tmp_path, [given])
