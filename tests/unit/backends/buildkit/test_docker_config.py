from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks_engine.backends.buildkit import docker_config
from tasks_engine.backends.buildkit.docker_config import Credential, DockerConfig, docker_config_folder
from tasks_engine.backends.buildkit.errors import CredentialError


def login(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.fixture
def config(tmp_path: Path) -> Callable[[object], DockerConfig]:
    def make(content: object) -> DockerConfig:
        (tmp_path / "config.json").write_text(json.dumps(content))
        return DockerConfig(tmp_path)

    return make


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Installs docker-credential-test; each of its runs adds a line to the file that is returned."""

    def make(script: str) -> Path:
        runs = tmp_path / "runs"
        runs.touch()
        program = tmp_path / "docker-credential-test"
        program.write_text(f'#!/bin/sh\nread host\necho "$* $host" >> {runs}\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return runs

    return make


ANSWER = 'echo "{\\"Username\\": \\"u\\", \\"Secret\\": \\"for $host\\"}"'
#: a helper that has no such login
UNKNOWN = "echo credentials not found in native keychain; exit 1"


def test_folder_is_docker_config_or_in_the_home() -> None:
    assert docker_config_folder({}, Path("/home/me")) == Path("/home/me/.docker")
    assert docker_config_folder({"DOCKER_CONFIG": ""}, Path("/home/me")) == Path("/home/me/.docker")
    assert docker_config_folder({"DOCKER_CONFIG": "/etc/d"}, Path("/home/me")) == Path("/etc/d")


def test_own_folder_is_found_by_itself(config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config({"auths": {"r.example": login("me", "pw")}})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert DockerConfig().find("r.example") == Credential("me", "pw")


def test_missing_configuration_means_no_logins(tmp_path: Path) -> None:
    assert DockerConfig(tmp_path / "nowhere").find("r.example") is None
    assert DockerConfig(tmp_path / "nowhere").registries() == []


@pytest.mark.parametrize(
    "name",
    ["r.example", "https://r.example", "http://r.example", "https://r.example/v1/", "https://r.example/v2/"],
)
def test_login_may_stand_under_a_url(config, name: str) -> None:
    assert config({"auths": {name: login("me", "a:b")}}).find("r.example") == Credential("me", "a:b")


@pytest.mark.parametrize("host", ["registry-1.docker.io", "docker.io", "index.docker.io"])
def test_docker_hub_has_an_old_name(config, host: str) -> None:
    found = config({"auths": {"https://index.docker.io/v1/": login("me", "pw")}}).find(host)
    assert found == Credential("me", "pw")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"identitytoken": "t"}, Credential("", "t")),
        ({**login("me", "pw"), "identitytoken": "t"}, Credential("", "t")),
        ({"username": "me", "password": "pw"}, Credential("me", "pw")),
        ({"auth": base64.b64encode(b"me:pw\0\0").decode()}, Credential("me", "pw")),
        (login("", ""), None),
        ({"auth": ""}, None),
        ({"email": "me@example"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_entry_is_read_as_docker_writes_it(config, entry: object, expected: Credential | None) -> None:
    assert config({"auths": {"r.example": entry}}).find("r.example") == expected


@pytest.mark.parametrize(
    "entry",
    [{"auth": "%%%"}, {"auth": "bm9jb2xvbg=="}, {"auth": 7}, {"auth": "é"}, {"auth": "//8="}, ["x"], "text"],
)
def test_damaged_login_says_how_to_renew_it(config, entry: object) -> None:
    with pytest.raises(CredentialError, match=r"the login of r\.example in .* is damaged") as caught:
        config({"auths": {"r.example": entry}}).find("r.example")
    assert caught.value.hint == "run: docker login r.example"
    assert str(caught.value).endswith("; run: docker login r.example")


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\udcff", "[" * 200_000])
def test_damaged_configuration_is_told_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CredentialError, match=r"docker's configuration .*/config\.json"):
        DockerConfig(tmp_path).find("r.example")


@pytest.mark.parametrize("section", ["auths", "credHelpers"])
def test_section_that_is_no_object_is_told_by_name(config, section: str) -> None:
    with pytest.raises(CredentialError, match=f"has '{section}' that is not a JSON object"):
        config({section: ["r.example"]}).find("r.example")


def test_registries_are_those_with_a_login_or_a_helper(config) -> None:
    content = {
        "auths": {"https://index.docker.io/v1/": {}, "b.example": {}},
        "credHelpers": {"a.example": "test"},
    }
    assert config(content).registries() == ["a.example", "b.example", "docker.io"]


def test_helper_of_a_registry_goes_before_the_store_for_all(config, helper) -> None:
    runs = helper(ANSWER)
    found = config({"credHelpers": {"r.example": "test"}, "credsStore": "absent"}).find("r.example")
    assert found == Credential("u", "for r.example")
    assert runs.read_text() == "get r.example\n"


def test_helper_is_asked_for_docker_hub_by_its_old_name(config, helper) -> None:
    runs = helper(ANSWER)
    config({"credsStore": "test"}).find("registry-1.docker.io")
    assert runs.read_text() == "get https://index.docker.io/v1/\n"


def test_helper_may_answer_an_identity_token(config, helper) -> None:
    helper("""echo '{"Username": "<token>", "Secret": "t"}'""")
    assert config({"credsStore": "test"}).find("r.example") == Credential("", "t")


def test_login_in_the_file_counts_where_the_helper_knows_none(config, helper) -> None:
    helper(UNKNOWN)
    content = {"credsStore": "test", "auths": {"r.example": login("me", "pw")}}
    assert config(content).find("r.example") == Credential("me", "pw")


@pytest.mark.parametrize("script", [ANSWER, UNKNOWN])
def test_helper_is_asked_once_for_each_registry(config, helper, script: str) -> None:
    runs = helper(script)
    logins = config({"credsStore": "test"})
    answers = [logins.find(host) for host in ("a.example", "b.example", "a.example", "b.example")]
    assert answers[:2] == answers[2:]
    assert runs.read_text() == "get a.example\nget b.example\n"


def test_failed_helper_is_asked_once_and_told_each_time(config, helper) -> None:
    runs = helper("echo nonsense")
    logins = config({"credsStore": "test"})
    for _ in range(3):
        with pytest.raises(CredentialError, match="'docker-credential-test' answered something else"):
            logins.find("r.example")
    assert runs.read_text() == "get r.example\n"


def test_threads_share_one_answer_of_the_helper(config, helper) -> None:
    runs = helper(ANSWER)
    logins = config({"credsStore": "test"})
    together = threading.Barrier(8)

    def find(_number: int) -> Credential | None:
        together.wait(5)
        return logins.find("r.example")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(find, range(8))) == {Credential("u", "for r.example")}
    assert runs.read_text() == "get r.example\n"


@pytest.mark.parametrize(
    "script", ["echo 'hunter2'", "echo '{}'", "echo '[]'", """echo '{"Secret": "hunter2"}'"""]
)
def test_nonsense_of_a_helper_is_told_without_it(config, helper, script: str) -> None:
    helper(script)
    with pytest.raises(CredentialError, match="docker-credential-test") as caught:
        config({"credsStore": "test"}).find("r.example")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__.__cause__ is None


def test_helper_that_hangs_is_ended(config, helper, monkeypatch: pytest.MonkeyPatch) -> None:
    helper("exec sleep 60")
    monkeypatch.setattr(docker_config, "_HELPER_TIMEOUT_S", 0.1)
    with pytest.raises(CredentialError, match="'docker-credential-test' did not answer"):
        config({"credsStore": "test"}).find("r.example")


def test_helper_that_is_not_installed_is_told_by_name(config) -> None:
    with pytest.raises(
        CredentialError, match="'docker-credential-absent', which is not installed; install it"
    ):
        config({"credsStore": "absent"}).find("r.example")


def test_helper_with_an_impossible_name_is_told(config) -> None:
    with pytest.raises(CredentialError, match="did not answer"):
        config({"credsStore": "a\0b"}).find("r.example")


@pytest.mark.parametrize("host", ["r.example\nother.example", "r.example\0", "a b", "\x1b[0m"])
def test_host_that_is_none_has_no_login_and_reaches_no_helper(config, helper, host: str) -> None:
    runs = helper(ANSWER)
    assert config({"credsStore": "test"}).find(host) is None
    assert runs.read_text() == ""


def test_secret_never_shows_in_a_repr() -> None:
    assert repr(Credential("me", "hunter2")) == "Credential(username='me', secret='***')"


def test_helper_that_fails_otherwise_is_told(config, helper) -> None:
    helper("echo error: the keychain is locked; exit 1")
    with pytest.raises(CredentialError, match="exit code 1") as told:
        config({"credsStore": "test"}).find("r.example")
    assert "locked" not in str(told.value)
    assert "docker-credential-test get" in told.value.hint
