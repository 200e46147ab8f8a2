"""Runs git on what strangers wrote: no hooks, no prompts, no protocol that runs commands, no login in sight.

A login goes to git through a credential helper that is a few words of shell and reads it from the environment, so it
stands in no argument, no file and no error. The helper answers for its own host only, also after a redirect.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tasks_engine.cancel import CancelToken
from tasks_engine.errors import SourceError

NETWORK_PROTOCOLS = ("http", "https", "ssh", "git")
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$TASKS_GIT_USER" "$TASKS_GIT_PASSWORD"; }; f'
)
#: set while git runs one of its own hooks; they would turn our git to the repository around it
_FOREIGN = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_NAMESPACE", "GIT_COMMON_DIR"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH", "GIT_SHALLOW_FILE"),
)
_LOGIN = re.compile(r"(\w+://)[^/@\s']+@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: behind these git itself only says that it could not read
_SSH_PROBLEMS = ("Host key verification failed", "Permission denied", "Could not resolve hostname")
_MAX_REASON = 300


@dataclass(frozen=True)
class Remote:
    """An address and, apart from it, the login that stood in it."""

    address: str
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """`scheme://host:port`, where the login is good."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"


def read_remote(address: str) -> Remote:
    """Parts an address from its login. Raises SourceError for what git could misread."""
    if _CONTROL.search(address) or address.startswith("-"):
        raise SourceError("the address of a git context holds a control character or begins with '-'")
    scheme, mark, rest = address.partition("://")
    if not mark or scheme not in NETWORK_PROTOCOLS:
        return Remote(address)
    authority, slash, path = rest.partition("/")
    login, at, host = authority.rpartition("@")
    if not at:
        return Remote(address)
    user, _, password = login.partition(":")
    if scheme == "ssh":
        return Remote(f"ssh://{user}@{host}{slash}{path}" if user else f"ssh://{host}{slash}{path}")
    bare = f"{scheme}://{host}{slash}{path}"
    if scheme == "git":
        return Remote(bare)
    user, password = unquote(user), unquote(password)
    if _CONTROL.search(user + password):
        raise SourceError(f"the login of {bare} holds a control character")
    return Remote(bare, user, password)


class GitFailed(Exception):
    """A git command failed; `text` is what it said."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class GitCommand:
    """Runs git in one folder. Raises SourceError when there is no git, GitFailed, or the reason of `cancel`."""

    def __init__(self, folder: Path, remote: Remote, cancel: CancelToken, *, trusted: bool) -> None:
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        import git  # a tenth of a second; only for git contexts

        self.has_lfs = shutil.which("git-lfs") is not None
        self._git = git.Git(folder)
        self._remote = remote
        self._cancel = cancel
        self._git.update_environment(**self._environment(trusted=trusted))

    def __call__(self, *arguments: str, protocols: Sequence[str] = NETWORK_PROTOCOLS) -> str:
        """Standard output of `git ARGUMENTS`, without its last line break."""
        import git

        command = [*_without_foreign(os.environ), "git", *arguments]
        try:
            process = self._git.execute(
                command,
                as_process=True,
                env={"GIT_ALLOW_PROTOCOL": ":".join(protocols)},
                # a group of its own: what git starts can be ended with it
                start_new_session=True,
            )
        except git.GitCommandNotFound as error:
            raise SourceError(
                "git is not installed, and this context needs it", hint="install git"
            ) from error
        assert process.proc is not None  # only after it was waited for
        stdout, stderr, status = _finish(process.proc, self._cancel)
        self._cancel.raise_if_cancelled()
        if status != 0:
            raise GitFailed(self._clean(stderr.decode("utf-8", "replace")))
        return stdout.decode("utf-8", "surrogateescape").removesuffix("\n")

    def _clean(self, text: str) -> str:
        for secret in filter(None, (self._remote.password,)):
            text = text.replace(secret, "***")
        return without_logins(text)

    def _environment(self, *, trusted: bool) -> dict[str, str]:
        settings = [
            ("core.hooksPath", os.devnull),
            ("core.askPass", ""),
            ("core.fsmonitor", "false"),
            ("advice.detachedHead", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            # a server that falls silent
            ("http.lowSpeedLimit", "100"),
            ("http.lowSpeedTime", "60"),
        ]
        if self.has_lfs:  # its files are fetched at the end, all at once
            settings += [
                ("filter.lfs.required", "true"),
                ("filter.lfs.clean", "git-lfs clean -- %f"),
                ("filter.lfs.smudge", "git-lfs smudge --skip -- %f"),
                ("filter.lfs.process", "git-lfs filter-process --skip"),
            ]
        environ = {
            "GIT_TERMINAL_PROMPT": "0",
            # Empty ones ask nobody. One that answers nothing would be asked by git-lfs for ever.
            "GIT_ASKPASS": "",
            "SSH_ASKPASS": "",
            "GCM_INTERACTIVE": "never",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": self._ssh_command(trusted=trusted),
        }
        if self._remote.password or self._remote.user:
            name = f"credential.{self._remote.host}.helper"
            settings += [(name, ""), (name, _HELPER)]  # the empty one drops helpers set elsewhere
            environ |= {"TASKS_GIT_USER": self._remote.user, "TASKS_GIT_PASSWORD": self._remote.password}
        return environ | _numbered(settings)

    def _ssh_command(self, *, trusted: bool) -> str:
        """Never asks. Keys of hosts are checked: as the person's settings say, or strictly for anybody's address."""
        command = os.environ.get("GIT_SSH_COMMAND", "")
        if not command and (program := os.environ.get("GIT_SSH", "")):
            command = shlex.quote(program)
        strictly = "" if trusted else " -o StrictHostKeyChecking=yes"
        # A master connection that stays would keep our pipes open.
        settled = "-o BatchMode=yes -o ConnectTimeout=30 -o ControlMaster=no"
        return f"{command or self._configured_ssh()}{strictly} {settled}"

    def _configured_ssh(self) -> str:
        _, text, _ = self._git.execute(
            ["git", "config", "--get", "core.sshCommand"], with_extended_output=True, with_exceptions=False
        )
        return str(text).strip() or "ssh"


def without_logins(text: str) -> str:
    """The text without the logins in its addresses."""
    return _LOGIN.sub(r"\1", text)


def first_problem(text: str) -> str:
    """The line of git's output that says what is wrong."""
    lines = text.strip().splitlines()
    of_ssh = [line for line in lines if any(text in line for text in _SSH_PROBLEMS)]
    of_git = [line for line in lines if line.startswith(("fatal:", "error:"))]
    line = (of_ssh or of_git or lines or ["git told no reason"])[0].strip()
    return line.removeprefix("fatal: ").removeprefix("error: ")[:_MAX_REASON]


def _finish(process: subprocess.Popen[Any], cancel: CancelToken) -> tuple[bytes, bytes, int]:
    """Waits for a process; ends it with all it has started when `cancel` fires or we are interrupted."""

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    try:
        with cancel.calling(kill):
            stdout, stderr = process.communicate()
    except BaseException:
        kill()
        process.communicate()
        raise
    return stdout, stderr, process.returncode


def _numbered(settings: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Settings as the environment gives them to git, behind those that are there."""
    text = os.environ.get("GIT_CONFIG_COUNT", "")
    first = int(text) if text.isascii() and text.isdigit() else 0
    environ = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (name, value) in enumerate(settings, first):
        environ |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return environ


def _without_foreign(environ: Mapping[str, str]) -> list[str]:
    """Words before a command that take variables from it; none where there are none."""
    found = [word for name in _FOREIGN if name in environ for word in ("-u", name)]
    return ["env", *found] if found else []
