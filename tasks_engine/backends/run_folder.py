"""One run on disk: `plan.json`, `events.jsonl`, `log`, and what must still be removed.

<state folder>/runs/<run id>/
    lock            held by the process that runs it, which it names; free means that process is gone
    request.json    what it was asked for, without secrets: enough to run it again
    task.yaml       the task file, where it came from standard input
    plan.json       the plan
    events.jsonl    one event a line, in order
    log             output of all steps, byte by byte; step_log events say which bytes are whose
    engine.json     while the run may hold things on an engine: its address
    workspace/      the private copy of the context, while it is needed
<state folder>/runs-index/
    owner           names this state folder on engines, which others may use, too
    holding/<id>    runs that have an engine.json: they are found without a look at all the others
    sizes           see run_history
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_engine.backends.run_holder import RunHolder, parse_holder, this_process
from tasks_engine.errors import StoreError
from tasks_engine.events import RunEvent, to_json

if TYPE_CHECKING:  # commands that list runs need not know what is in them
    from tasks_engine.backends.run_request import KeptRequest
    from tasks_engine.plan.model import Plan

#: a folder without a named holder is that of a run just beginning, this long
BIRTH_S = 60.0


class RunFolder:
    """Keeps one run; the EventStore port. Open while the run lasts."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._log = -1
        self._events = -1
        self._offset = 0
        self._pending: list[bytes] = []

    @classmethod
    def create(cls, runs: Path, run_id: str) -> RunFolder:
        """A new folder, locked. Raises StoreError when the id is taken or the disk does not let us."""
        path = runs / run_id
        try:
            runs.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.mkdir(mode=0o700)
            folder = cls(path, _lock(path))
            os.pwrite(folder._lock, this_process().to_line(), 0)
            folder._log = _append(path / "log")
            folder._events = _append(path / "events.jsonl")
        except FileExistsError as error:
            raise StoreError(f"there is already a run {run_id} in {runs}") from error
        except OSError as error:
            raise _no_store(path, error) from error
        return folder

    @cached_property
    def owner(self) -> str:
        """The state folder it is in, as engines are told. Raises StoreError."""
        return owner_name(self.path.parent)

    @property
    def log_path(self) -> Path:
        return self.path / "log"

    @property
    def workspace(self) -> Path:
        return self.path / "workspace"

    def write_plan(self, plan: Plan) -> None:
        self._write("plan.json", plan.to_json())

    def write_request(self, request: KeptRequest, task_text: str) -> None:
        """Keeps what the run was asked for, and the task file if it came from standard input. Raises StoreError."""
        self._write("request.json", request.to_json())
        if request.has_task_text:
            path = task_text_of(self.path)
            try:
                path.write_text(task_text, encoding="utf-8")
            except OSError as error:
                raise _no_store(path, error) from error

    def hold(self, docker_url: str) -> None:
        """Notes that the run may hold things on an engine from here on, until `release`."""
        marker = _holding(self.path)
        try:
            marker.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            marker.touch(mode=0o600)
        except OSError as error:
            raise _no_store(marker, error) from error
        self._write("engine.json", {"docker_host": docker_url})

    def release(self) -> None:
        (self.path / "engine.json").unlink(missing_ok=True)
        _holding(self.path).unlink(missing_ok=True)

    @property
    def is_holding(self) -> bool:
        return (self.path / "engine.json").exists()

    def append_log(self, data: bytes) -> int:
        offset = self._offset
        try:
            view = memoryview(data)
            while view:
                written = os.write(self._log, view)
                self._offset += written
                view = view[written:]
        except OSError as error:
            raise _no_store(self.log_path, error) from error
        return offset

    def append_event(self, event: RunEvent) -> None:
        self._pending.append(json.dumps(to_json(event), separators=(",", ":")).encode() + b"\n")

    def flush(self) -> None:
        """One write for all events since the last one; a torn last line is cut off again."""
        data = b"".join(self._pending)
        self._pending.clear()
        try:
            written = os.write(self._events, data)
            if written < len(data):
                kept = data.rfind(b"\n", 0, written) + 1
                os.ftruncate(self._events, os.fstat(self._events).st_size - (written - kept))
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise _no_store(self.path / "events.jsonl", error) from error

    def discard(self) -> None:
        """Closes and removes a run that never began."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        for descriptor in (self._log, self._events, self._lock):
            with suppress(OSError):
                os.close(descriptor)
        self._log = self._events = self._lock = -1

    def _write(self, name: str, data: Any) -> None:
        temporary = self.path / f"{name}.new"
        try:
            temporary.write_text(json.dumps(data, indent=2) + "\n")
            temporary.replace(self.path / name)
        except OSError as error:
            raise _no_store(self.path / name, error) from error


def abandoned_runs(runs: Path) -> Iterator[RunFolder]:
    """Runs that still hold things though their process is gone, each locked by us; close them when done.

    Looks only at those that are noted as holding something, however many others there are.
    """
    for marker in sorted(_holding(runs / "any").parent.glob("*")):
        folder = locked(runs / marker.name)
        if folder is not None:
            yield folder
        elif not (runs / marker.name).exists():
            marker.unlink(missing_ok=True)


def locked(path: Path) -> RunFolder | None:
    """A run whose process is gone, locked by us; None for one that is alive or not ours. Close it when done."""
    if not path.is_dir() or is_alive(path):
        return None
    try:
        return RunFolder(path, _lock(path))
    except OSError:
        return None


def is_alive(path: Path) -> bool:
    """Whether the process of a run still runs. Disturbs no other process."""
    try:
        descriptor = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _is_young(path)
    try:
        status = os.fstat(descriptor)
        if not status.st_size and time.time() - status.st_mtime < BIRTH_S:
            return True  # it is about to take its lock: we must not take that, even for a moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            holder = parse_holder(os.pread(descriptor, 1024, 0))
            # somebody else may hold it just now to clean up behind a dead process
            return holder is None or not holder.is_gone
        return False
    finally:
        os.close(descriptor)


def holder_of(path: Path) -> RunHolder | None:
    """The process that a run's lock file names."""
    try:
        return parse_holder((path / "lock").read_bytes())
    except OSError:
        return None


def held_on(folder: RunFolder) -> str:
    """The address of the engine an abandoned run holds things on; empty when that is not readable."""
    try:
        return str(json.loads((folder.path / "engine.json").read_bytes())["docker_host"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def task_text_of(run: Path) -> Path:
    """Where the task file of a run is that came from standard input."""
    return run / "task.yaml"


def owner_name(runs: Path) -> str:
    """What names this state folder on engines that others use, too. Made when it is first asked for.

    Chance makes it unique; host and path are in it, so that a copied state folder is another one.
    Raises StoreError.
    """
    path = index_folder(runs) / "owner"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            own = path.with_name(f"owner.{os.getpid()}")
            own.write_text(os.urandom(16).hex())
            with suppress(FileExistsError):
                path.hardlink_to(own)  # all of several first runs get the same
            own.unlink()
        chance = path.read_text()
    except OSError as error:
        raise _no_store(path, error) from error
    place = f"{chance}\0{socket.gethostname()}\0{os.path.realpath(runs)}"
    return hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:24]


def index_folder(runs: Path) -> Path:
    return runs.with_name(f"{runs.name}-index")


def _holding(run: Path) -> Path:
    return index_folder(run.parent) / "holding" / run.name


def _is_young(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < BIRTH_S
    except OSError:
        return False


def _lock(path: Path) -> int:
    descriptor = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _append(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _no_store(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be written: {error.strerror or error}",
        hint="check free space and permissions, or choose another folder with TASKS_STATE_DIR",
    )
