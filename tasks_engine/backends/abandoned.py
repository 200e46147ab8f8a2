"""Removes what killed processes left behind: on engines, in the state folder, among temporary files, old runs.

What is alive holds a lock, which ends with its process; nothing that is locked is touched. On an engine that
others use, too, only what carries this state folder's name is ours.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_engine.backends.docker.endpoint import Endpoint, find_endpoint, ping
from tasks_engine.backends.run_folder import (
    RunFolder,
    abandoned_runs,
    held_on,
    is_alive,
    locked,
    owner_name,
)
from tasks_engine.errors import BackendError, EngineError, StoreError
from tasks_engine.settings import Settings

if TYPE_CHECKING:  # heavy; most runs find nothing to remove
    from docker.api import APIClient

    from tasks_engine.backends.docker.leftovers import Leftovers


@dataclass(frozen=True)
class Garbage:
    """One thing that went, or would go."""

    #: "container", "network", "volume", "workspace", "run", "temporary folder" or "build cache"
    kind: str
    name: str
    #: the run it belonged to; empty for what belongs to none
    run_id: str = ""
    #: 0 where nobody counted
    size_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "run_id": self.run_id, "size_bytes": self.size_bytes}


@dataclass
class Collected:
    garbage: list[Garbage] = field(default_factory=list)
    #: what could not be removed, and why
    problems: list[BackendError] = field(default_factory=list)


def remove_abandoned(settings: Settings) -> None:
    """Removes what runs left behind whose process was killed, before another run begins.

    Only where that is quick: on the engine that is in use, and on those behind a socket of this machine. The
    rest is for `collect`; what fails now is tried again by the next command.
    """
    for folder in abandoned_runs(settings.runs_dir):
        try:
            endpoint = _engine_of(folder, settings)
            if endpoint.url.startswith("unix://") or endpoint == _current(settings):
                _clean(folder, endpoint, Collected(), dry_run=False)
        except BackendError:
            continue
        finally:
            folder.close()


def collect(settings: Settings, *, dry_run: bool) -> Collected:
    """Removes everything that is left of dead runs and processes, and finished runs beyond the bounds.

    Looks at every run, and at the engine in use for things of runs whose folder is gone. `dry_run` only tells.
    """
    from tasks_engine.backends import run_history

    collected = Collected()
    runs = settings.runs_dir
    for name in reversed(run_history.run_names(runs)):
        if not run_history.is_settled(runs / name):
            _collect_run(runs / name, settings, collected, dry_run=dry_run)
    _collect_from_engine(settings, collected, dry_run=dry_run)
    _collect_temporary_folders(collected, dry_run=dry_run)
    if dry_run:
        old = run_history.beyond_bounds(runs, settings.history)
    else:
        run_history.rebuild(runs)
        old = run_history.keep_within(runs, settings.history)
    collected.garbage += [Garbage("run", name, name, size) for name, size in old]
    return collected


def _collect_run(run: Path, settings: Settings, collected: Collected, *, dry_run: bool) -> None:
    folder = locked(run)
    if folder is None:
        return
    try:
        with _noted(collected, f"what run {run.name} left"):
            endpoint = _engine_of(folder, settings) if folder.is_holding else None
            _clean(folder, endpoint, collected, dry_run=dry_run)
    finally:
        folder.close()


def _clean(folder: RunFolder, endpoint: Endpoint | None, collected: Collected, *, dry_run: bool) -> None:
    """Everything but the record of a dead run, which is locked by us."""
    from tasks_engine.backends.workspace.private_copy import remove_private_copy

    if endpoint is not None:
        from tasks_engine.backends.docker.leftovers import find_labelled

        with _connected(endpoint) as api:
            found = find_labelled(api, folder.path.name, folder.owner)
            _remove(api, folder.path.name, found, collected, dry_run=dry_run)
    if folder.workspace.exists():
        if not dry_run:
            remove_private_copy(folder.workspace)
        collected.garbage.append(Garbage("workspace", str(folder.workspace), folder.path.name))
    if not dry_run:
        for half_written in folder.path.glob("*.new"):
            half_written.unlink(missing_ok=True)
        folder.release()


def _collect_from_engine(settings: Settings, collected: Collected, *, dry_run: bool) -> None:
    """Things that carry our name, of runs whose folder somebody removed."""
    endpoint = _current(settings)
    if endpoint is None or not settings.runs_dir.exists():
        return
    from tasks_engine.backends.docker.leftovers import find_owned

    with _noted(collected, "what runs left on the engine"), _connected(endpoint) as api:
        for run_id, found in find_owned(api, owner_name(settings.runs_dir)).items():
            run = settings.runs_dir / run_id
            # A run makes its folder before anything on an engine.
            if not run.exists() or (not is_alive(run) and not (run / "engine.json").exists()):
                _remove(api, run_id, found, collected, dry_run=dry_run)


def _collect_temporary_folders(collected: Collected, *, dry_run: bool) -> None:
    from tasks_engine.backends.temporary_folders import abandoned_folders

    for path in abandoned_folders():
        if not dry_run:
            shutil.rmtree(path, ignore_errors=True)
        collected.garbage.append(Garbage("temporary folder", str(path)))


def _remove(api: APIClient, run_id: str, found: Leftovers, collected: Collected, *, dry_run: bool) -> None:
    if not dry_run:
        from tasks_engine.backends.docker.leftovers import remove

        remove(api, found)
    for name in found.names:
        kind, _, rest = name.partition(" ")
        collected.garbage.append(Garbage(kind, rest, run_id))


def _engine_of(folder: RunFolder, settings: Settings) -> Endpoint:
    """The engine a run holds things on, with the certificates of the one in use if it is that. Raises EngineError."""
    url = held_on(folder)
    current = _current(settings)
    if current is not None and (not url or current.url == url):
        return current
    if not url:
        raise EngineError("nobody knows on which engine it ran: its note is damaged, and no engine is in use")
    return Endpoint(url, "an earlier run")


def _current(settings: Settings) -> Endpoint | None:
    try:
        return find_endpoint(settings.environ, settings.home, settings.state_dir)
    except EngineError:
        return None


@contextmanager
def _connected(endpoint: Endpoint) -> Iterator[APIClient]:
    from tasks_engine.backends.docker.client import connect

    ping(endpoint)  # one that hangs or is gone is given up soon
    api = connect(endpoint)
    try:
        yield api
    finally:
        api.close()


@contextmanager
def _noted(collected: Collected, what: str) -> Iterator[None]:
    """Errors of the block are kept, and the rest goes on."""
    try:
        yield
    except BackendError as error:
        error.message = f"{what} could not be removed: {error.message}"
        collected.problems.append(error)
    except OSError as error:
        collected.problems.append(StoreError(f"{what} could not be removed: {error}"))
