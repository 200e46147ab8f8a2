"""Logins, errors and the environment of git."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from tasks_engine.backends.contexts.git_command import (
    GitCommand,
    GitFailed,
    Remote,
    first_problem,
    read_remote,
    without_logins,
)
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import Canceled, SourceError


def command(folder: Path, remote: Remote | None = None, *, trusted: bool = True) -> GitCommand:
    return GitCommand(folder, remote or Remote("https://h/r.git"), CancelToken(), trusted=trusted)


@pytest.mark.parametrize(
    ("address", "remote"),
    [
        ("https://h/r.git", Remote("https://h/r.git")),
        ("https://u:p%40ss@h:1/r.git", Remote("https://h:1/r.git", "u", "p@ss")),
        ("https://u:a:b@h/r.git", Remote("https://h/r.git", "u", "a:b")),
        ("http://dummy:token@h/a@b.git", Remote("http://h/a@b.git", "dummy", "token")),
        ("ssh://git@h/r.git", Remote("ssh://git@h/r.git")),
        ("ssh://git:word@h/r.git", Remote("ssh://git@h/r.git")),
        ("git://u:p@h/r.git", Remote("git://h/r.git")),
        ("git@h:r.git", Remote("git@h:r.git")),
        ("/srv/r@x.git", Remote("/srv/r@x.git")),
    ],
)
def test_a_login_is_taken_out_of_the_address(address: str, remote: Remote) -> None:
    assert read_remote(address) == remote
    assert remote.password == "" or remote.password not in repr(remote)


@pytest.mark.parametrize(
    "address",
    ["-x", "--upload-pack=touch /tmp/x", "https://h/r\n.git", "https://u:%0ahost=evil@h/r.git", "git@h\0:r"],
)
def test_an_address_that_git_could_misread_is_refused(address: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_remote(address)
    assert "evil" not in caught.value.message


def test_a_login_is_good_for_its_host_only(tmp_path: Path) -> None:
    run = command(tmp_path, Remote("https://h.example:8443/o/r.git", "user", "p'a\"s$s\\n%s"))

    def filled(host: str, protocol: str = "https") -> str:
        asked = f"protocol={protocol}\nhost={host}\n\n"
        environ = {**run._git.environment(), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(
            ["git", "credential", "fill"],
            input=asked,
            env=environ,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        return done.stdout

    assert "username=user\npassword=p'a\"s$s\\n%s\n" in filled("h.example:8443")
    for host, protocol in (("h.example", "https"), ("evil.example", "https"), ("h.example:8443", "http")):
        assert "p'a" not in filled(host, protocol)


def test_the_login_stands_in_no_argument_or_setting(tmp_path: Path) -> None:
    run = command(tmp_path, Remote("https://h/r.git", "user", "hunter2"))
    names = [name for name, value in run._git.environment().items() if "hunter2" in value]
    assert names == ["TASKS_GIT_PASSWORD"]


def test_settings_that_the_environment_gives_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "somebody")
    run = command(tmp_path)
    assert run("config", "user.name") == "somebody"
    assert run("config", "core.hooksPath") == "/dev/null"


def test_a_repository_around_us_is_not_touched(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository / ".git" / "index"))
    (tmp_path / "new").mkdir()
    run = command(tmp_path / "new")
    run("init", "--quiet")
    assert run("rev-parse", "--absolute-git-dir") == str(tmp_path / "new" / ".git")


@pytest.mark.parametrize(
    ("trusted", "environ", "begin"),
    [
        (True, {}, "ssh -o BatchMode=yes"),
        (False, {}, "ssh -o StrictHostKeyChecking=yes -o BatchMode=yes"),
        (True, {"GIT_SSH_COMMAND": "ssh -i key"}, "ssh -i key -o BatchMode=yes"),
        (True, {"GIT_SSH": "/a b/ssh"}, "'/a b/ssh' -o BatchMode=yes"),
        (
            True,
            {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "core.sshCommand",
                "GIT_CONFIG_VALUE_0": "ssh -F f",
            },
            "ssh -F f -o BatchMode=yes",
        ),
    ],
)
def test_ssh_never_asks_and_is_as_the_person_has_set_it_up(
    trusted: bool, environ: dict[str, str], begin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    text = command(tmp_path, trusted=trusted)._git.environment()["GIT_SSH_COMMAND"]
    assert text.startswith(begin)
    assert "StrictHostKeyChecking=no" not in text


def test_a_failure_tells_what_git_said_without_logins(tmp_path: Path) -> None:
    run = command(tmp_path, Remote("https://h/r.git", "user", "hunter2"))
    with pytest.raises(GitFailed) as caught:
        run("config", "--file", "/none/hunter2", "a.b", "https://x:hunter2@h/")
    assert "hunter2" not in caught.value.text


def test_git_is_ended_with_all_it_started(tmp_path: Path) -> None:
    cancel = CancelToken()
    run = GitCommand(tmp_path, Remote("https://h/r.git"), cancel, trusted=True)
    threading.Timer(0.3, cancel.cancel).start()
    started = time.monotonic()
    with pytest.raises(Canceled):
        run("-c", f"alias.wait=!echo $$ > {tmp_path}/pid; sleep 100", "wait")
    assert time.monotonic() - started < 10
    pid = (tmp_path / "pid").read_text().strip()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[-1]:
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.01)


def test_without_git_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = command(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="git is not installed"):
        run("version")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hint: x\nfatal: no such thing\n", "no such thing"),
        (
            "Host key verification failed.\r\nfatal: Could not read from remote repository.",
            "Host key verification failed.",
        ),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read",
            "git@h: Permission denied (publickey).",
        ),
        ("warning\nerror: RPC failed\nfatal: early EOF", "RPC failed"),
        ("something else\nmore", "something else"),
        ("", "git told no reason"),
    ],
)
def test_one_line_of_gits_output_is_told(text: str, shown: str) -> None:
    assert first_problem(text) == shown


def test_logins_in_texts_are_hidden() -> None:
    text = "fatal: Authentication failed for 'https://dummy:ABCabc123@host/user/name.git/'"
    assert without_logins(text) == "fatal: Authentication failed for 'https://host/user/name.git/'"
