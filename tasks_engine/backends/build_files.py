"""The files of a build: its context, its Dockerfile and its named contexts, fetched to this machine where they are not.

What is remote is fetched here and not by the daemon: so every daemon takes every kind of context, with the logins of
whoever runs the task, and the Dockerfile can be read for dependencies, secrets and mirrors.
"""

from __future__ import annotations

import posixpath
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tasks_engine.backends.build_places import GivenToBuilds, Places
from tasks_engine.backends.contexts.fetch import fetch_context
from tasks_engine.backends.contexts.local_revision import local_revision
from tasks_engine.backends.contexts.model import FetchedContext, FetchOptions
from tasks_engine.backends.temporary_folders import context_folder
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.build_context import ContextKind, parse_build_context
from tasks_engine.errors import StepFailed
from tasks_engine.plan.model import BuildWork

FetchArtifact = Callable[[str, Path], str]

_NOTHING = "/dev/null"
_IMAGE = "docker-image://"
#: of one file by URL
_MAX_DOCKERFILE_BYTES = 16 << 20


@dataclass(frozen=True)
class BuildFiles:
    context: Path
    dockerfile: Path
    #: of the Dockerfile
    text: str
    #: the commit of the context; empty outside a repository
    git_revision: str = ""
    #: names the context for the daemon, which keeps a copy of it; empty: its path does
    key: str = ""
    #: name -> folder, or `docker-image://reference`
    named: Mapping[str, Path | str] = field(default_factory=dict)
    #: what is amiss although it could be fetched
    warnings: tuple[str, ...] = ()


class BuildFileFinder:
    """Finds the files of the builds of one run. What it fetched stays until `close`. Thread-safe."""

    def __init__(self, given: GivenToBuilds, fetch_artifact: FetchArtifact | None = None) -> None:
        self._given = given
        self._fetch_artifact = fetch_artifact
        self._fetched = ExitStack()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Removes what was fetched."""
        self._fetched.close()

    def find(self, work: BuildWork, places: Places, user_folder: Path, cancel: CancelToken) -> BuildFiles:
        """The files of a build whose addresses hold no tokens any more.

        `user_folder` is the folder that the workspace is a copy of. Raises StepFailed for what is not there,
        SourceError for what cannot be fetched, or the reason of `cancel`.
        """
        context = parse_build_context(work.context)
        warnings: tuple[str, ...] = ()
        revision, key = None, ""
        is_fetched = context.is_remote or (
            context.kind is ContextKind.STDIN and self._given.stdin is not None
        )
        if is_fetched:
            fetched = self._fetch(work.context, cancel)
            folder, revision, warnings, key = (
                fetched.folder,
                fetched.revision,
                fetched.warnings,
                context.shown,
            )
        elif context.kind is ContextKind.STDIN:
            folder = self._empty_for_stdin(work)
        elif work.context == _NOTHING:
            folder = self._empty()
        else:
            folder = places.find(work.context, "build context")
            if not folder.is_dir():
                raise StepFailed(f"build context '{work.context}' is not a folder{self._of_what}")
            # a copy lies below the state folder, which may be part of another repository
            revision = local_revision(user_folder if self._given.paths_from is None else folder)
        dockerfile = self._dockerfile(work, places, folder, cancel, fetched=is_fetched)
        return BuildFiles(
            folder,
            dockerfile,
            _text_of(dockerfile),
            revision.commit if revision is not None else "",
            key,
            {name: self._named(name, source, places, cancel) for name, source in work.build_contexts.items()},
            warnings,
        )

    def with_dockerfile(self, files: BuildFiles, text: str) -> Path:
        """A Dockerfile of that text, with the same name and the same file of ignored paths beside it."""
        folder = self._empty()
        ignored = files.dockerfile.with_name(f"{files.dockerfile.name}.dockerignore")
        if ignored.is_file():
            shutil.copyfile(ignored, folder / ignored.name)
        copy = folder / files.dockerfile.name
        copy.write_text(text, encoding="utf-8", newline="")
        return copy

    def _dockerfile(
        self, work: BuildWork, places: Places, folder: Path, cancel: CancelToken, *, fetched: bool
    ) -> Path:
        if parse_build_context(work.dockerfile).kind is ContextKind.HTTP:
            found = self._fetch(work.dockerfile, cancel).folder / "Dockerfile"
        elif fetched:
            path = posixpath.normpath((work.dockerfile or "Dockerfile").lstrip("/"))
            found = folder / path
            if path.startswith("../") or not found.resolve().is_relative_to(folder.resolve()):
                raise StepFailed(f"Dockerfile '{work.dockerfile}' lies outside of its context")
        elif work.dockerfile:
            found = places.find(work.dockerfile, "Dockerfile")
        else:
            found = folder / "Dockerfile"
        if found.is_file():
            return found
        shown = parse_build_context(work.context).shown
        named = work.dockerfile or posixpath.normpath(f"{shown}/Dockerfile")
        if fetched:
            raise StepFailed(
                f"there is no Dockerfile '{work.dockerfile or 'Dockerfile'}' in {shown}",
                hint="name it with -f; the path counts from the root of the context, or from its folder behind '#:'",
            )
        raise StepFailed(
            f"there is no Dockerfile '{named}'{self._of_what.replace(' of', ' in', 1)}",
            hint="name it with -f; the path counts from the step's working directory"
            if self._given.paths_from is None
            else "name it with -f",
        )

    def _named(self, name: str, source: str, places: Places, cancel: CancelToken) -> Path | str:
        if source.startswith(_IMAGE):
            return source
        if source.startswith(("oci-layout://", "target:", "input:")):
            raise StepFailed(
                f"build context '{name}' cannot be '{source}'",
                hint="it is a folder, an address, or docker-image://IMAGE",
            )
        if parse_build_context(source).is_remote:
            return self._fetch(source, cancel).folder
        folder = places.find(source, f"build context '{name}' at")
        if not folder.is_dir():
            raise StepFailed(f"build context '{name}' at '{source}' is not a folder{self._of_what}")
        return folder

    def _fetch(self, address: str, cancel: CancelToken) -> FetchedContext:
        into = self._empty() / "context"
        options = FetchOptions(
            trusted=self._given.paths_from is not None,
            stdin=self._standard_input if self._given.stdin is not None else None,
            fetch_oci=self._fetch_artifact,
            cancel=cancel,
        )
        return fetch_context(address, into, options)

    def _standard_input(self) -> BinaryIO:
        assert self._given.stdin is not None
        with self._lock:
            return self._fetched.enter_context(self._given.stdin())

    def _empty_for_stdin(self, work: BuildWork) -> Path:
        if not work.dockerfile:
            raise StepFailed(
                "the context is '-', standard input, which a step does not have",
                hint="name a folder as the context, or a Dockerfile with -f to build without any files",
            )
        return self._empty()

    def _empty(self) -> Path:
        with self._lock:
            return self._fetched.enter_context(context_folder())

    @property
    def _of_what(self) -> str:
        return " of the workspace" if self._given.paths_from is None else ""


def _text_of(dockerfile: Path) -> str:
    try:
        with dockerfile.open("rb") as reader:
            return reader.read(_MAX_DOCKERFILE_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise StepFailed(f"the Dockerfile {dockerfile.name} cannot be read: {error.strerror}") from error
