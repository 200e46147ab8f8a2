"""The context of a build: a folder, a git address, a download, an artifact of a registry, or standard input.

Only the text is looked at; nothing is fetched. The rules are acr-builder's, which decides by the beginning and
the end of the text, with three differences: `ssh://` is git too, every git context builds in its folder, and a
download may name a folder as well (`https://host/x.tar.gz#:folder`).
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

_DEVOPS_HOST = "dev.azure.com"
_DEVOPS_OLD_HOSTS = ".visualstudio.com"
_OCI = "oci://"
_CONTROL_ESCAPE = re.compile(r"%(?=[01][0-9A-Fa-f])")


class ContextKind(StrEnum):
    GIT = "git"
    #: a tar archive or a Dockerfile behind an http(s) URL
    HTTP = "http"
    OCI = "oci"
    LOCAL = "local"
    STDIN = "stdin"


@dataclass(frozen=True)
class BuildContext:
    kind: ContextKind
    #: git: the address to fetch from; http: the URL; oci: the artifact, without scheme; local: the folder as written
    address: str
    #: git: branch, tag, commit or full reference; empty: what the server's HEAD is
    ref: str = ""
    #: git and http: the folder below the root, as written; empty for the root
    subdir: str = ""

    @property
    def is_remote(self) -> bool:
        """It must be fetched before the build."""
        return self.kind in (ContextKind.GIT, ContextKind.HTTP, ContextKind.OCI)

    @property
    def build_subdir(self) -> str:
        """The folder of what was fetched in which the Dockerfile is looked for and the build runs."""
        return self.subdir or "."

    @property
    def shown(self) -> str:
        """The address as people may see it: without login, and without the query, which may be a signature."""
        scheme, rest = _split_scheme(self.address)
        if scheme or self.kind is ContextKind.OCI:
            end = _authority_end(rest)
            path, mark, _ = rest[end:].partition("?")
            rest = rest[:end].rpartition("@")[2] + path + ("?…" if mark else "")
        return scheme + rest

    @property
    def doubt(self) -> str:
        """Why it may not be what was meant; empty when there is no doubt."""
        text = self.address.lower()
        if "github" not in text or ".git" in text.replace(".github", ""):
            return ""
        if self.kind is ContextKind.HTTP and "." not in posixpath.basename(text.partition("?")[0]):
            return f"build context '{self.shown}' is a download, not a git repository"
        if self.kind is ContextKind.LOCAL and "github.com" in text:
            return f"build context '{self.shown}' is a folder, not a git repository"
        return ""

    def __str__(self) -> str:
        """A text that reads as the same context; with the login, so only for programs."""
        if self.kind is ContextKind.OCI:
            return _OCI + self.address
        if self.kind is ContextKind.HTTP and self.subdir:
            return f"{self.address}#:{self.subdir.replace('%', '%25')}"
        if self.kind is not ContextKind.GIT:
            return self.address
        address = self.address
        if not _is_git(address, "x"):
            address = address.removeprefix("https://")  # github.com/owner/name, which is git without .git
        fragment = f"{self.ref}:{self.subdir}" if self.subdir else self.ref
        return f"{address}#{fragment.replace('%', '%25')}" if fragment else address


def parse_build_context(text: str) -> BuildContext:
    """The kind and the parts of a context; any text is one."""
    if text == "-":
        return BuildContext(ContextKind.STDIN, text)
    address, mark, fragment = text.partition("#")
    if _is_git(address, fragment if mark else None):
        ref, _, subdir = _decoded(fragment).partition(":")
        return BuildContext(ContextKind.GIT, _git_address(address), ref, subdir)
    if text.startswith(("http://", "https://")):
        if fragment.startswith(":") and len(fragment) > 1:
            return BuildContext(ContextKind.HTTP, address, subdir=_decoded(fragment[1:]))
        return BuildContext(ContextKind.HTTP, text)
    if text[: len(_OCI)].lower() == _OCI:
        return BuildContext(ContextKind.OCI, text[len(_OCI) :])
    return BuildContext(ContextKind.LOCAL, text)


def dockerfile_path(context: BuildContext, folder: str, file: str) -> str:
    """Where the Dockerfile is, seen from where the step runs.

    `folder` holds the local or fetched context; `file` is what `-f` says, if anything. It counts from the
    working directory, but for a remote context from its folder, also when it is absolute.
    """
    if file and not context.is_remote:
        return file
    return posixpath.normpath(posixpath.join(folder, (file or "Dockerfile").lstrip("/")))


def _is_git(address: str, fragment: str | None) -> bool:
    """`fragment` is None where there is no `#`."""
    if address.startswith(("git://", "git@", "ssh://", "github.com/")):
        return True
    scheme, rest = _split_scheme(address)
    if scheme not in ("http://", "https://"):
        return False
    if address.endswith(".git"):
        return fragment != ""
    end = _authority_end(rest)
    host = rest[:end].rpartition("@")[2].lower()
    is_devops = host == _DEVOPS_HOST or host.endswith(_DEVOPS_OLD_HOSTS)
    return is_devops and scheme == "https://" and "/_git/" in rest[end:] and "?" not in rest


def _git_address(address: str) -> str:
    """The address git gets. A lone user name is a token: as a password it also works for LFS files."""
    if address.startswith("github.com/"):
        return f"https://{address}"
    scheme, rest = _split_scheme(address)
    user, at, _ = rest[: _authority_end(rest)].rpartition("@")
    if scheme in ("http://", "https://") and at and user and ":" not in user:
        return f"{scheme}dummy:{rest}"
    return address


def _decoded(fragment: str) -> str:
    """Without percent escapes, but for those of control characters, which no name can hold."""
    return unquote(_CONTROL_ESCAPE.sub("%25", fragment))


def _split_scheme(address: str) -> tuple[str, str]:
    """The scheme with `://`, which may be empty, and the rest."""
    name, mark, rest = address.partition("://")
    return (name + mark, rest) if mark else ("", address)


def _authority_end(rest: str) -> int:
    """Where login, host and port end in what follows the scheme."""
    return min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
