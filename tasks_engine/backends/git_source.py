"""Fetches a git context, `URL#ref:folder`, into a folder. The address may come from anybody.

Only network protocols are allowed, no hook runs, nothing asks at the terminal, and logins in an address never
show in an error.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tasks_engine.errors import SourceError

if TYPE_CHECKING:
    from git import Git

_TIME_LIMIT_S = 600
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "http:https:ssh:git",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.hooksPath",
    "GIT_CONFIG_VALUE_0": os.devnull,
}
_GIT_ADDRESS = re.compile(r"https?://[^#]+\.git\Z|git://|ssh://|git@|github\.com/")
_LOGIN = re.compile(r"(\w+://)[^/@\s]+@")


@dataclass(frozen=True)
class GitContext:
    url: str
    #: branch, tag, commit or full reference; empty: what the server's HEAD is
    ref: str
    #: below the root; empty for the root
    folder: str

    @property
    def shown(self) -> str:
        """The address without a login."""
        return _LOGIN.sub(r"\1", self.url)


def parse_git_context(text: str) -> GitContext | None:
    """The parts of a git context; None for an address of another kind."""
    address, _, fragment = text.partition("#")
    if not _GIT_ADDRESS.match(address):
        return None
    if address.startswith("github.com/"):
        address = f"https://{address}"
    ref, _, folder = fragment.partition(":")
    return GitContext(address, unquote(ref), unquote(folder))


def fetch_git(context: GitContext, into: Path) -> Path:
    """The checked-out folder, below `into`, which is an empty folder. Raises SourceError."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import git  # a tenth of a second; only for git contexts

    command = git.Git(into)
    command.update_environment(**_ENVIRONMENT)
    try:
        command.init("--quiet", "--template=")
        _fetch(command, context)
    except git.GitCommandNotFound as error:
        raise SourceError(f"{context.shown} needs git, which is not installed", hint="install git") from error
    except git.GitCommandError as error:
        raise SourceError(
            f"{context.shown} cannot be fetched{f' at {context.ref}' if context.ref else ''}: {_reason(error)}",
            hint="check the address and the reference after '#'; a private one needs a login git knows of",
            retryable=True,
        ) from error
    folder = (into / context.folder).resolve()
    if not folder.is_relative_to(into.resolve()):
        raise SourceError(f"folder '{context.folder}' leads outside of {context.shown}")
    if not folder.is_dir():
        raise SourceError(f"{context.shown} has no folder '{context.folder}'")
    return folder


def _fetch(command: Git, context: GitContext) -> None:
    """One commit where the server gives a single one, else everything, to find an abbreviated commit."""
    import git

    try:
        command.fetch(
            "--quiet", "--depth=1", "--", context.url, context.ref or "HEAD", kill_after_timeout=_TIME_LIMIT_S
        )
        command.checkout("--quiet", "--detach", "FETCH_HEAD")
    except git.GitCommandError:
        if not re.fullmatch(r"[0-9a-f]{4,64}", context.ref):
            raise
        everything = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        command.fetch("--quiet", "--", context.url, *everything, kill_after_timeout=_TIME_LIMIT_S)
        command.checkout("--quiet", "--detach", context.ref)


def _reason(error: Exception) -> str:
    text = str(getattr(error, "stderr", "")).strip().removeprefix("stderr:").strip(" \n'")
    lines = [line for line in text.splitlines() if line.startswith(("fatal:", "error:"))] or text.splitlines()
    return _LOGIN.sub(r"\1", lines[0] if lines else "git did not end in time")
