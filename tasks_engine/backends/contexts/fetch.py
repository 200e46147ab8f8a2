"""The one door: tells what an address means and fetches it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from tasks_engine.backends.contexts.local_revision import is_bare_repository, local_revision
from tasks_engine.backends.contexts.model import FetchedContext, FetchOptions
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.build_context import BuildContext, ContextKind, parse_build_context
from tasks_engine.errors import SourceError, UsageError

_FILE = "file://"
_NOTHING = FetchOptions()


def fetch_context(address: str, into: Path, options: FetchOptions = _NOTHING) -> FetchedContext:
    """Fetches the context at `address` into the folder `into`, which is new or empty; a local folder stays where it is.

    Raises UsageError for a local address that cannot be meant, SourceError, or, when the time limit passed or
    `options.cancel` fired, its reason. After an error nothing of the context is left in `into`.
    """
    context = _read(address, options)
    if context.kind is ContextKind.LOCAL:
        return _local(context, into, options)
    into.mkdir(exist_ok=True)
    with options.cancel.child(options.time_limit_s, f"fetching {context.shown}") as cancel:
        match context.kind:
            case ContextKind.GIT:
                from tasks_engine.backends.contexts.git_fetch import fetch_git

                return fetch_git(context, into, cancel, trusted=options.trusted)
            case ContextKind.HTTP:
                from tasks_engine.backends.contexts.download import fetch_download

                return fetch_download(context, into, cancel, options.time_limit_s)
            case ContextKind.OCI:
                return _fetch_artifact(context, into, options)
            case _:
                return _unpack_stdin(into, options, cancel)


def _read(address: str, options: FetchOptions) -> BuildContext:
    """What an address means to whoever gave it. Raises SourceError for what only trusted people may name."""
    context = parse_build_context(address)
    if context.kind not in (ContextKind.LOCAL, ContextKind.STDIN) or address == os.devnull:
        return context
    if not options.trusted:
        raise SourceError(
            f"context '{address}' is not a remote one",
            hint="give the address of a git repository or an archive",
        )
    if context.kind is ContextKind.STDIN:
        return context
    return _local_repository(address, options.current) or context


def _local_repository(address: str, current: Path) -> BuildContext | None:
    """A repository on this machine: `file://…`, a bare one, or a folder with `#reference` behind it."""
    path, mark, fragment = address.removeprefix(_FILE).partition("#")
    if address.startswith(_FILE):
        path = unquote(path)
    elif (current / address).is_dir():
        if not is_bare_repository(current / address):
            return None
        path, fragment = address, ""
    elif not mark:
        return None
    folder = (current / path).resolve()
    if not folder.is_dir():
        return None
    ref, _, subdir = unquote(fragment).partition(":")
    return BuildContext(ContextKind.GIT, str(folder), ref, subdir)


def _local(context: BuildContext, into: Path, options: FetchOptions) -> FetchedContext:
    if context.address == os.devnull:
        into.mkdir(exist_ok=True)
        return FetchedContext(into, None, os.devnull)
    folder = (options.current / context.address).resolve()
    if folder.is_dir():
        return FetchedContext(folder, local_revision(folder), context.address)
    what = "is a file" if folder.exists() else "does not exist"
    raise UsageError(
        f"context '{context.address}' {what}", hint="the context is a folder: tasks run FILE FOLDER"
    )


def _unpack_stdin(into: Path, options: FetchOptions, cancel: CancelToken) -> FetchedContext:
    from tasks_engine.backends.contexts.cleared import cleared_on_error
    from tasks_engine.backends.contexts.decompress import Counted
    from tasks_engine.backends.contexts.unpack import unpack_tar

    if options.stdin is None:
        raise SourceError("there is no standard input to read the context '-' from")
    with cleared_on_error(into):
        try:
            unpack_tar(Counted(options.stdin(), lambda _: cancel.raise_if_cancelled()), into)  # type: ignore[arg-type]
        except SourceError as error:
            raise SourceError(f"context on standard input: {error.message}", hint=error.hint) from error
    return FetchedContext(into, None, "<stdin>")


def _fetch_artifact(context: BuildContext, into: Path, options: FetchOptions) -> FetchedContext:
    from tasks_engine.backends.contexts.cleared import cleared_on_error

    if options.fetch_oci is None:
        raise SourceError(f"oci://{context.shown} cannot be fetched here: there is no registry client")
    with cleared_on_error(into):
        digest = options.fetch_oci(context.address, into)
    return FetchedContext(into, None, f"oci://{context.shown} ({digest})")
