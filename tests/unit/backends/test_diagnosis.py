"""What `tasks doctor` finds without an engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks_engine.backends.diagnosis import Finding, diagnose
from tasks_engine.backends.run_folder import RunFolder
from tasks_engine.errors import EngineError
from tasks_engine.policy import DockerSocket, Policy
from tasks_engine.settings import RegistrySettings, Settings
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Scripted


@pytest.fixture(autouse=True)
def clean_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an engine of this machine nor what others left in /tmp counts."""
    monkeypatch.setattr("tasks_engine.backends.temporary_folders.abandoned_folders", lambda: iter(()))
    monkeypatch.setattr("tasks_engine.backends.abandoned._current", lambda _: None)


def no_engine() -> tuple[None, str]:
    raise EngineError("there is no engine", hint="start one")


def findings(folder: Path, **changes: object) -> dict[str, Finding]:
    fields = {"registry": "", "buildkit_host": "", "environ": {}, "home": folder, "docker_config_dir": folder}
    settings = Settings(**{"state_dir": folder / "state", **fields, **changes})  # type: ignore[arg-type]
    return {finding.name: finding for finding in diagnose(settings, no_engine)}


def log_in(folder: Path, registry: str, password: str = PASSWORD) -> None:
    import base64
    import json

    login = base64.b64encode(f"{USERNAME}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry: {"auth": login}}}))


def test_a_machine_without_an_engine_is_told_the_fix(tmp_path: Path) -> None:
    assert findings(tmp_path)["engine"] == Finding("engine", "missing", "there is no engine", "start one")


def test_a_registry_that_answers_is_fine(tmp_path: Path) -> None:
    with FakeRegistry().running() as registry:
        found = findings(tmp_path, registry=registry.name)["registry"]
    assert (found.state, found.text) == ("ok", f"{registry.name} answers")


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_registry_that_wants_a_login_is_a_note_or_fine_with_it(tmp_path: Path, auth: str) -> None:
    with FakeRegistry(auth).running() as registry:
        without = findings(tmp_path, registry=registry.name)["registry"]
        log_in(tmp_path, registry.name)
        with_login = findings(tmp_path, registry=registry.name)["registry"]
        log_in(tmp_path, registry.name, "wrong")
        with_wrong = findings(tmp_path, registry=registry.name)["registry"]
    assert (without.state, with_login.state, with_wrong.state) == ("note", "ok", "missing")
    assert "docker login" in without.fix
    assert with_login.text == f"{registry.name} answers, and knows the login"


def test_a_registry_that_fails_is_missing_at_once(tmp_path: Path) -> None:
    with FakeRegistry().running() as registry:
        registry.fail("manifests", Scripted(503), times=99)
        found = findings(tmp_path, registry=registry.name)["registry"]
    assert found.state == "missing"
    assert "503" in found.text


def test_the_settings_of_registries_count(tmp_path: Path) -> None:
    no_certificates = tmp_path / "ca.pem"
    no_certificates.write_text("nothing")
    with FakeRegistry().running() as registry:
        registries = RegistrySettings(ca_files={registry.name: no_certificates})
        found = findings(tmp_path, registry=registry.name, registries=registries)["registry"]
    assert found.state == "missing"
    assert str(no_certificates) in found.text


@pytest.mark.parametrize("name", ["", "Bad Name", "127.0.0.1:1"])
def test_a_registry_that_is_none_has_a_fix(tmp_path: Path, name: str) -> None:
    found = findings(tmp_path, registry=name)["registry"]
    assert found.state == ("missing" if name else "note")
    assert found.fix


def test_the_policy_is_told(tmp_path: Path) -> None:
    assert findings(tmp_path)["policy"] == Finding(
        "policy",
        "ok",
        "steps with the image of a docker client get the engine's socket (docker_socket = auto)",
    )
    policy = Policy(
        DockerSocket.NEVER,
        privileged=False,
        allowed_registries=("r.io",),
        max_cpus=1.5,
        max_memory_bytes=1 << 30,
        max_run_s=600,
    )
    text = findings(tmp_path, policy=policy)["policy"].text
    assert text.split("; ") == [
        "no step gets the engine's socket (docker_socket = never)",
        "no privileged steps",
        "images only from r.io",
        "at most 1.5 processors a step",
        "at most 1.1 GB of memory a step",
        "at most 600 seconds a run",
    ]


def test_a_socket_for_everyone_is_no_good_news(tmp_path: Path) -> None:
    found = findings(tmp_path, policy=Policy(DockerSocket.ALWAYS))["policy"]
    assert (found.state, found.fix) == ("note", 'policy.docker_socket = "auto" in the settings')


def test_what_killed_runs_hold_is_told(tmp_path: Path) -> None:
    assert "left behind" not in findings(tmp_path)
    folder = RunFolder.create(tmp_path / "state/runs", "r1")
    folder.workspace.mkdir()
    assert "left behind" not in findings(tmp_path)

    os.truncate(folder.path / "lock", 0)
    os.utime(folder.path / "lock", (1, 1))
    folder.close()

    found = findings(tmp_path)["left behind"]
    assert found == Finding("left behind", "note", "1 workspace of killed runs r1", "`tasks gc` removes them")
    assert folder.workspace.exists()


def test_a_standalone_builder_moves_tags_together(tmp_path: Path) -> None:
    assert findings(tmp_path, buildkit_host="tcp://127.0.0.1:1")["tags"].state == "ok"
