"""Secrets and SSH agents of a build."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tasks_engine.backends import buildkit
from tasks_engine.backends.build_access import BuildAccess, build_access, with_secret_arguments
from tasks_engine.backends.build_places import WorkspacePlaces
from tasks_engine.definition.build_attributes import BuildSecret
from tasks_engine.definition.build_values import SshForward
from tasks_engine.definition.template.secret_text import secret
from tasks_engine.errors import StepFailed
from tests.unit.backends.build_scene import build_step, build_work

TOKEN = secret("s").token


def access(workspace: Path, env: dict[str, str] | None = None, working_directory: str = "/workspace", **work):
    made = build_work(**work)
    step = build_step(made, working_directory, env=env or {})
    return build_access(step, made, WorkspacePlaces(workspace, working_directory))


def test_a_secret_comes_from_a_file_or_from_the_environment_of_the_step(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "token").write_bytes(b"from\xff file\n")
    (tmp_path / "sub" / "c").write_bytes(b"by name")
    secrets = (BuildSecret("a", file="token"), BuildSecret("b", env="B"), BuildSecret("c"), BuildSecret("d"))

    found = access(tmp_path, {"B": "from env", "d": "v\udcff"}, "/workspace/sub", secrets=secrets)

    assert {name: value.data for name, value in found.secrets.items()} == {
        "a": b"from\xff file\n",
        "b": b"from env",
        "c": b"by name",
        "d": b"v\xff",
    }
    assert "from" not in repr(found)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (BuildSecret("a", file="/etc/passwd"), "outside of /workspace"),
        (BuildSecret("a", file="../x"), "outside of /workspace"),
        (BuildSecret("a", file="absent"), "No such file"),
        (BuildSecret("a", file="folder"), "the secret's file folder cannot be read: Is a directory"),
        (BuildSecret("a", file="large"), "too large"),
        (BuildSecret("a", env="NONE"), "variable 'NONE', which the step does not have"),
        (BuildSecret("a"), "neither a variable of the step nor a file"),
    ],
)
def test_a_secret_that_cannot_be_had_fails_the_step(tmp_path, wanted, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(bytes(600 * 1024))

    with pytest.raises(StepFailed, match=message):
        access(tmp_path, secrets=(wanted,))


def test_the_environment_of_the_machine_is_not_that_of_the_step(tmp_path, monkeypatch):
    monkeypatch.setenv("A_SECRET_OF_THE_MACHINE", "x")

    with pytest.raises(StepFailed):
        access(tmp_path, secrets=(BuildSecret("a", env="A_SECRET_OF_THE_MACHINE"),))


def test_keys_come_from_the_workspace_and_the_agent_from_who_runs_it(tmp_path, monkeypatch):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    (tmp_path / "key").write_bytes(pem)
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")

    found = access(tmp_path, ssh=(SshForward("default"), SshForward("mine", ("key",))))

    assert found.ssh["default"] == buildkit.AgentSocket(Path("/agent"))
    assert isinstance(found.ssh["mine"], buildkit.PrivateKeys)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (SshForward("default"), "SSH_AUTH_SOCK is not set"),
        (SshForward("a", ("/root/.ssh/id",)), "outside of /workspace"),
        (SshForward("a", ("absent",)), "absent"),
    ],
)
def test_an_agent_that_cannot_be_used_fails_the_step(tmp_path, monkeypatch, forward, message):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    with pytest.raises(StepFailed, match=message):
        access(tmp_path, ssh=(forward,))


def reveal(text: str) -> str:
    return text.replace(TOKEN, "hidden")


def test_a_secret_argument_becomes_the_secret_that_the_dockerfile_mounts():
    work = build_work(build_args={"A": f"x{TOKEN}", "B": "plain"})

    made, found = with_secret_arguments(
        work, BuildAccess(), "FROM a\nRUN --mount=type=secret,id=A x\n", reveal, in_history=False
    )

    assert made.build_args == {"B": "plain"}
    assert found.secrets["A"].data == b"xhidden"


def test_a_secret_argument_that_history_would_show_is_refused():
    work = build_work(build_args={"A": TOKEN})

    with pytest.raises(StepFailed, match="argument 'A' is a secret") as caught:
        with_secret_arguments(work, BuildAccess(), "FROM a\nARG A\n", reveal, in_history=False)

    assert "--mount=type=secret,id=A" in caught.value.hint
    assert "hidden" not in str(caught.value)


def test_who_insists_gets_it_into_the_history():
    made, _ = with_secret_arguments(
        build_work(build_args={"A": TOKEN}), BuildAccess(), "FROM a\nARG A\n", reveal, in_history=True
    )

    assert made.build_args == {"A": "hidden"}


def test_a_proxy_with_a_password_is_in_no_history_unless_it_is_declared():
    work = build_work(build_args={"HTTPS_PROXY": TOKEN})

    made, _ = with_secret_arguments(work, BuildAccess(), "FROM a\n", reveal, in_history=False)

    assert made.build_args == {"HTTPS_PROXY": "hidden"}
    with pytest.raises(StepFailed):
        with_secret_arguments(work, BuildAccess(), "FROM a\nARG HTTPS_PROXY\n", reveal, in_history=False)


def test_a_value_that_cannot_be_text_stays_as_it_is(tmp_path):
    (tmp_path / "binary").write_bytes(base64.b64decode("AP8="))

    assert access(tmp_path, secrets=(BuildSecret("a", file="binary"),)).secrets["a"].data == b"\x00\xff"
