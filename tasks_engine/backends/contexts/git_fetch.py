"""Fetches a git context: one commit where the server gives a single one, its submodules and its LFS files.

The clone keeps its `.git` folder, so that builds can tell their version from it; it is as shallow as the clone, and
holds no login. Only network protocols are used, for submodules too; the repository itself may be a folder of this
machine when a trusted person names one.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks_engine.backends.contexts.cleared import cleared_on_error
from tasks_engine.backends.contexts.git_command import (
    NETWORK_PROTOCOLS,
    GitCommand,
    GitFailed,
    first_problem,
    read_remote,
)
from tasks_engine.backends.contexts.model import FetchedContext, Revision
from tasks_engine.backends.contexts.subfolder import folder_inside
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.build_context import BuildContext
from tasks_engine.errors import SourceError

TRIES = 3
_PAUSE_S = 0.5
_COMMIT_BEGIN = re.compile(r"[0-9a-fA-F]{4,64}\Z")
#: what no reference holds (git check-ref-format), and what would be read as something else
_NO_REFERENCE = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|\A[-+/]")
_FETCHED = re.compile(r"[0-9a-f]+\t[^\t]*\t(?:(branch|tag) )?'(.*)' of ")
#: in git's words, in lower case: what may pass
_PASSING = (
    *("could not resolve host", "temporary failure in name resolution", "connection refused", "timed out"),
    *("connection reset", "connection closed", "failed to connect", "couldn't connect", "unable to connect"),
    *("early eof", "unexpected disconnect", "hung up unexpectedly", "rpc failed", "network is unreachable"),
    *("no route to host", "returned error: 5", "returned error: 429", "empty reply from server"),
)
_NOT_PASSING = ("remote error:", "permission denied", "host key verification", "not our ref")
#: in git's words -> how to mend it
_HINTS = (
    (
        "host key verification failed",
        "accept the host's key first: connect to it once with ssh, or add it to ~/.ssh/known_hosts",
    ),
    ("not allowed", "repositories and submodules come over https, http, ssh or git"),
    ("couldn't find remote ref", "check the branch, tag or commit after '#'"),
    ("authentication failed", "check the login; a token goes into the address: https://TOKEN@HOST/…"),
    ("could not read username", "a private repository needs a login: https://TOKEN@HOST/…"),
    ("permission denied", "check the login, or the key of ssh"),
    ("returned error: 403", "check that the login may read this repository"),
    ("safe.directory", "git refuses folders of other users: see safe.directory of git config"),
)


def fetch_git(context: BuildContext, into: Path, cancel: CancelToken, *, trusted: bool) -> FetchedContext:
    """The folder that a git context names, below the empty folder `into`.

    A network that fails is asked again. Raises SourceError, or the reason of `cancel`; `into` is empty then.
    """
    if _NO_REFERENCE.search(context.ref):
        raise SourceError(
            f"'{context.ref}' is no branch, tag or commit", hint="what stands after '#' is reference:folder"
        )
    for attempt in range(1, TRIES + 1):
        try:
            with cleared_on_error(into):
                return _Fetching(context, into, cancel, trusted=trusted).run()
        except GitFailed as error:
            problem = _explained(error, context)
            if not problem.retryable or attempt == TRIES:
                raise problem from error
        cancel.wait(_PAUSE_S * attempt)
    raise AssertionError("the last attempt returns or raises")


def _explained(error: GitFailed, context: BuildContext) -> SourceError:
    text = error.text.lower()
    at = f" at '{context.ref}'" if context.ref else ""
    hint = next(
        (hint for words, hint in _HINTS if words in text), "check the address and what stands after '#'"
    )
    return SourceError(
        f"{context.shown} cannot be fetched{at}: {first_problem(error.text)}",
        hint=hint,
        retryable=_may_pass(error),
    )


def _may_pass(error: GitFailed) -> bool:
    text = error.text.lower()
    return any(words in text for words in _PASSING) and not any(words in text for words in _NOT_PASSING)


@dataclass(frozen=True)
class _Found:
    """What the server gave for a reference."""

    #: what git calls it here
    name: str
    branch: str = ""
    tag: str = ""


class _Fetching:
    """One attempt. Raises SourceError and GitFailed."""

    def __init__(self, context: BuildContext, into: Path, cancel: CancelToken, *, trusted: bool) -> None:
        self._context = context
        self._into = into
        self._remote = read_remote(context.address)
        self._is_local = context.address.startswith("/")
        protocols = (*NETWORK_PROTOCOLS, "file") if self._is_local and trusted else NETWORK_PROTOCOLS
        self._protocols: Sequence[str] = protocols
        self._git = GitCommand(into, self._remote, cancel, trusted=trusted)

    def run(self) -> FetchedContext:
        git = self._git
        git("init", "--quiet", "--template=")
        git("remote", "add", "--", "origin", self._remote.address)
        found = self._fetch()
        if found.branch and found.branch == self._context.ref:
            git("checkout", "--quiet", "-B", found.branch, "--track", f"refs/remotes/origin/{found.branch}")
        else:
            git("checkout", "--quiet", "--detach", found.name, "--")
        commit = git("rev-parse", "--verify", "HEAD^{commit}")
        self._fetch_submodules()
        warnings = self._fetch_large_files()
        folder = folder_inside(self._into, self._context.subdir, self._context.shown)
        repository = "" if self._is_local else self._remote.address
        revision = Revision(commit, found.branch, found.tag, repository)
        return FetchedContext(folder, revision, self._context.shown, warnings)

    def _fetch(self) -> _Found:
        """Makes the reference known here. Servers that give no single commits give all of them."""
        reference = self._context.ref
        may_be_commit = _COMMIT_BEGIN.match(reference) is not None
        wanted = ("--no-tags", "--no-recurse-submodules", "--", "origin", reference or "HEAD")
        try:
            self._git("fetch", "--quiet", "--depth=1", *wanted, protocols=self._protocols)
        except GitFailed as error:
            if _may_pass(error) or ("find remote ref" in error.text and not may_be_commit):
                raise
            if not may_be_commit:
                self._git("fetch", "--quiet", *wanted, protocols=self._protocols)
                return self._described()
            self._git(
                *("fetch", "--quiet", "--tags", "--no-recurse-submodules", "--", "origin"),
                protocols=self._protocols,
            )
            return _Found(self._resolved(reference))
        return self._described()

    def _resolved(self, reference: str) -> str:
        try:
            return self._git("rev-parse", "--verify", f"{reference}^{{commit}}")
        except GitFailed as error:
            raise GitFailed(
                f"fatal: couldn't find remote ref {reference}, nor a commit of this name"
            ) from error

    def _described(self) -> _Found:
        """The server's kind of what was fetched, which git notes down."""
        text = (self._into / ".git" / "FETCH_HEAD").read_text("utf-8", "surrogateescape")
        match = _FETCHED.match(text)
        kind, name = match.groups() if match else (None, "")
        if not self._context.ref:
            return _Found("FETCH_HEAD")
        return _Found(
            "FETCH_HEAD", branch=name if kind == "branch" else "", tag=name if kind == "tag" else ""
        )

    def _fetch_submodules(self) -> None:
        if not (self._into / ".gitmodules").exists():
            return
        update = ("submodule", "--quiet", "update", "--init", "--recursive")
        try:
            self._git(*update, "--depth=1")
        except GitFailed as error:
            if _may_pass(error):
                raise
            # a server that gives only the ends of its branches
            self._git("submodule", "--quiet", "deinit", "--force", "--all")
            shutil.rmtree(self._into / ".git" / "modules", ignore_errors=True)
            self._git(*update)

    def _fetch_large_files(self) -> tuple[str, ...]:
        """Fetches LFS files, or says that there are only pointers."""
        folders = [".", *self._submodules()]
        pointers = {folder: self._large_files(folder) for folder in folders}
        count = sum(map(len, pointers.values()))
        if not count:
            return ()
        if not self._git.has_lfs:
            what = "1 file is only a pointer" if count == 1 else f"{count} files are only pointers"
            return (f"{what}, because git-lfs is not installed: {self._context.shown}",)
        for folder, files in pointers.items():
            if files:
                self._check_lfs_address(folder)
                self._git("-C", folder, "lfs", "pull")
        return ()

    def _submodules(self) -> list[str]:
        if not (self._into / ".gitmodules").exists():
            return []
        text = self._git(
            *("submodule", "--quiet", "foreach", "--recursive"), r'printf "%s\0" "$toplevel/$sm_path"'
        )
        return text.split("\0")[:-1]

    def _large_files(self, folder: str) -> list[str]:
        return self._git("-C", folder, "ls-files", "-z", ":(attr:filter=lfs)").split("\0")[:-1]

    def _check_lfs_address(self, folder: str) -> None:
        """The repository may say where its LFS files are, but not on this machine."""
        if not (self._into / folder / ".lfsconfig").is_file():
            return
        try:
            listed = self._git("-C", folder, "config", "--file", ".lfsconfig", "--get-regexp", r"url$")
        except GitFailed:
            return
        for line in listed.splitlines():
            address = line.partition(" ")[2]
            if not address.startswith(("https://", "http://", "ssh://", "git@")):
                raise SourceError(
                    f".lfsconfig of {self._context.shown} names an address that is not allowed: "
                    f"{read_remote(address).address}",
                    hint="LFS files come over https, http or ssh",
                )
