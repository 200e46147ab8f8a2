"""One run on disk: `plan.json`, `events.jsonl`, `log`, and what must still be removed.

<state folder>/runs/<run id>/
    lock            held by the process that runs it; free means that process is gone
    plan.json       the plan
    events.jsonl    one event a line, in order
    log             output of all steps, byte by byte; step_log events say which bytes are whose
    engine.json     while the run may hold things on an engine: its address
    workspace/      the private copy of the context, while it is needed
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks_engine.errors import StoreError
from tasks_engine.events import RunEvent, to_json
from tasks_engine.plan.model import Plan


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
            folder._log = _append(path / "log")
            folder._events = _append(path / "events.jsonl")
        except FileExistsError as error:
            raise StoreError(f"there is already a run {run_id} in {runs}") from error
        except OSError as error:
            raise _no_store(path, error) from error
        return folder

    @property
    def log_path(self) -> Path:
        return self.path / "log"

    @property
    def workspace(self) -> Path:
        return self.path / "workspace"

    def write_plan(self, plan: Plan) -> None:
        self._write("plan.json", plan.to_json())

    def hold(self, docker_url: str) -> None:
        """Notes that the run may hold things on an engine from here on, until `release`."""
        self._write("engine.json", {"docker_host": docker_url})

    def release(self) -> None:
        (self.path / "engine.json").unlink(missing_ok=True)

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

    def _write(self, name: str, data: Any) -> None:
        temporary = self.path / f"{name}.new"
        try:
            temporary.write_text(json.dumps(data, indent=2) + "\n")
            temporary.replace(self.path / name)
        except OSError as error:
            raise _no_store(self.path / name, error) from error


def abandoned_runs(runs: Path) -> Iterator[RunFolder]:
    """Runs that still hold things though their process is gone, each locked by us; close them when done."""
    for marker in sorted(runs.glob("*/engine.json")):
        try:
            yield RunFolder(marker.parent, _lock(marker.parent))
        except OSError:
            continue  # alive, or not ours


def held_on(folder: RunFolder) -> str:
    """The address of the engine an abandoned run holds things on; empty when that is not readable."""
    try:
        return str(json.loads((folder.path / "engine.json").read_bytes())["docker_host"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


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
