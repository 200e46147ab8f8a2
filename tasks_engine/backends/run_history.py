"""Runs of this machine as their folders tell them: listed, found, read while they go on, and kept within bounds.

Nothing here trusts a folder to be whole: a run may be written just now, or its process may have been killed in
the middle of a line.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks_engine.backends.run_folder import index_folder, is_alive, locked
from tasks_engine.errors import StoreError, UsageError
from tasks_engine.events import RunEvent, Status, from_json
from tasks_engine.settings import HistorySettings

#: what a run is whose process ended without saying how
ABANDONED = "abandoned"
STATUSES = (*(status.value for status in Status if status is not Status.SKIPPED), ABANDONED)
NEWEST = "last"
#: a first line or a last one longer than this is not read
_MAX_LINE_BYTES = 16 << 20
_READ_BYTES = 4096
_MAX_NAMED = 5
#: another process holds the index only for moments; one that was stopped must not stop us
_INDEX_PATIENCE_S = 0.2


@dataclass(frozen=True)
class RunSummary:
    """What the two ends of a run's events say."""

    id: str
    #: of Status, or ABANDONED
    status: str
    #: the task file, as it was called
    task: str
    #: the folder of its files
    context: str
    started_at: datetime | None
    #: of an abandoned run: its last sign of life
    finished_at: datetime | None
    error: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        moments = {"started_at": self.started_at, "finished_at": self.finished_at}
        return {
            "id": self.id,
            "status": self.status,
            "task": self.task,
            "context": self.context,
            **{name: at.isoformat() if at else None for name, at in moments.items()},
            **({"error": self.error} if self.error else {}),
        }


def run_names(runs: Path) -> list[str]:
    """Ids of all runs, the newest first."""
    try:
        with os.scandir(runs) as entries:
            found = [(_began_ns(entry), entry.name) for entry in entries if entry.name[0] != "."]
    except OSError:
        return []
    return [name for _, name in sorted(found, reverse=True)]


def list_runs(runs: Path, *, status: str = "", task: str = "", top: int = 0) -> list[RunSummary]:
    """The newest first; `top` 0: all. `task` is the name of a task, or of its file."""
    found: list[RunSummary] = []
    for name in run_names(runs):
        if top and len(found) >= top:
            break
        summary = summarize(runs / name)
        if summary is None or (status and summary.status != status):
            continue
        if task and not _is_of_task(runs / name, summary, task):
            continue
        found.append(summary)
    return found


def find_run(runs: Path, wanted: str = NEWEST) -> Path:
    """The folder of a run by its id, the beginning of one that is its alone, or `last`.

    Raises UsageError, which names those that are meant or near.
    """
    names = run_names(runs)
    if not names:
        raise UsageError(f"there are no runs in {runs}", hint="`tasks run` makes one")
    if wanted in names:
        return runs / wanted
    if wanted in ("", NEWEST):
        return runs / names[0]
    meant = [name for name in names if name.startswith(wanted)]
    if len(meant) == 1:
        return runs / meant[0]
    if meant:
        more = ", …" if len(meant) > _MAX_NAMED else ""
        raise UsageError(
            f"'{wanted}' may be any of {len(meant)} runs: {', '.join(meant[:_MAX_NAMED])}{more}",
            hint="write more of its id",
        )
    import difflib  # only for those who mistyped

    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the newest: {', '.join(names[:_MAX_NAMED])}"
    raise UsageError(f"there is no run '{wanted}'", hint=hint)


def summarize(run: Path) -> RunSummary | None:
    """None for a folder that is gone. Reads both ends of the events, however long they are."""
    first, last = _ends(run)
    is_finished = last.get("type") == "run_finished"
    was_alive = False
    if not is_finished:
        was_alive = is_alive(run)
        # It may have ended between the two looks.
        first, last = _ends(run)
        is_finished = last.get("type") == "run_finished"
        if not first and not run.is_dir():
            return None
    if is_finished:
        status = str(last.get("status"))
    elif was_alive:
        status = (Status.RUNNING if first else Status.QUEUED).value
    else:
        status = ABANDONED
    error = last.get("error") if is_finished else None
    return RunSummary(
        id=run.name,
        status=status,
        task=str(first.get("task", "")),
        context=str(first.get("context", "")),
        started_at=_moment(first),
        finished_at=_moment(last) if is_finished or not was_alive else None,
        error=error if isinstance(error, dict) else None,
    )


class EventReader:
    """The events of a run, as far as they are written: each call of `read` goes on where the last one ended.

    Lines that are not whole yet wait; events of versions that this program does not know are left out.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / "events.jsonl"
        self._offset = 0

    def read(self) -> Iterator[RunEvent]:
        try:
            with self._path.open("rb") as reader:
                reader.seek(self._offset)
                for line in reader:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    with suppress(ValueError, TypeError, AttributeError):
                        yield from_json(json.loads(line))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read: {error.strerror}") from error


def read_request(run: Path) -> Mapping[str, Any]:
    """What the run was asked for; empty where that is not kept."""
    try:
        request = json.loads((run / "request.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return request if isinstance(request, dict) else {}


# --- bounds -------------------------------------------------------------------------------------------------------


def note_started(runs: Path, run_id: str) -> None:
    """Puts a run into the index, in the order of starts. Fails silently: the index is a help, `rebuild` makes it."""
    with suppress(OSError), _index(runs) as index:
        if index is not None and index.stat().st_size:
            _append_lines(index, [(run_id, 0)])
        elif index is not None:
            _write(index, _scan(runs))


def keep_within(runs: Path, bounds: HistorySettings, just_finished: str = "") -> list[tuple[str, int]]:
    """Removes the oldest finished runs beyond the bounds; what went, as (id, bytes). Never the newest, nor one that
    is alive or still holds things on an engine.

    Looks at the index alone, so it costs the same with ten runs and with ten thousand. A disk that refuses is left
    to the next one.
    """
    removed: list[tuple[str, int]] = []
    doomed: list[Path] = []
    with suppress(OSError), _index(runs) as index:
        if index is None:
            return removed
        size_by_id, lines = _read(index)
        if just_finished:
            entry = (just_finished, folder_bytes(runs / just_finished))
            size_by_id.update([entry])
            _append_lines(index, [entry])
            lines += 1
        removed, doomed = _take_oldest(runs, size_by_id, bounds)
        if removed or lines > 2 * len(size_by_id) + 100:
            _write(index, size_by_id)
    for folder in doomed:
        shutil.rmtree(folder, ignore_errors=True)
    return removed


def beyond_bounds(runs: Path, bounds: HistorySettings) -> list[tuple[str, int]]:
    """What `rebuild` and `keep_within` would remove, as (id, bytes); changes nothing."""
    return _oldest(runs, _scan(runs), bounds)


def rebuild(runs: Path) -> None:
    """Makes the index anew from the folders, and finishes removals that were cut off."""
    for folder in removing_folder(runs).glob("*"):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError), _index(runs) as index:
        if index is not None:
            _write(index, _scan(runs))


def folder_bytes(run: Path) -> int:
    """Bytes of a run's own files; what is below them is gone when the run ends."""
    try:
        with os.scandir(run) as entries:
            return sum(
                entry.stat(follow_symlinks=False).st_size
                for entry in entries
                if entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return 0


def removing_folder(runs: Path) -> Path:
    """Where runs are on their way out: they are moved there at once and removed after."""
    return index_folder(runs) / "removing"


def _take_oldest(
    runs: Path, size_by_id: dict[str, int], bounds: HistorySettings
) -> tuple[list[tuple[str, int]], list[Path]]:
    """Moves what is beyond the bounds away and takes it out of `size_by_id`; what went, and where it lies."""
    removed: list[tuple[str, int]] = []
    doomed: list[Path] = []
    for name, size in _oldest(runs, size_by_id, bounds):
        run = runs / name
        if not run.exists():
            del size_by_id[name]
            continue
        folder = locked(run) if is_removable(run) else None
        if folder is None:
            continue
        try:
            away = removing_folder(runs) / f"{name}.{os.getpid()}"
            away.parent.mkdir(exist_ok=True, mode=0o700)
            run.rename(away)
        except OSError:
            continue
        finally:
            folder.close()
        doomed.append(away)
        removed.append((name, size))
        del size_by_id[name]
    return removed, doomed


def _oldest(runs: Path, size_by_id: Mapping[str, int], bounds: HistorySettings) -> list[tuple[str, int]]:
    """The first ones, so many that the rest is within the bounds; the newest always stays."""
    count, total = len(size_by_id), sum(size_by_id.values())
    if count <= bounds.keep_runs and total <= bounds.keep_bytes:
        return []
    entries = list(size_by_id.items())
    chosen: list[tuple[str, int]] = []
    for name, size in entries[:-1]:
        if count <= bounds.keep_runs and total <= bounds.keep_bytes:
            break
        if not is_removable(runs / name):
            continue
        chosen.append((name, size))
        count, total = count - 1, total - size
    return chosen


def is_settled(run: Path) -> bool:
    """Whether a run's folder says that it left nothing behind. Also of one that is alive: then it means nothing."""
    try:
        names = os.listdir(run)  # noqa: PTH208 - of thousands
    except OSError:
        return True
    return not any(name in ("engine.json", "workspace") or name.endswith(".new") for name in names)


def is_removable(run: Path) -> bool:
    """Whether nothing of a run would be lost but its record."""
    return is_settled(run) and not is_alive(run)


@contextmanager
def _index(runs: Path) -> Iterator[Path | None]:
    """The index, for us alone; None when another process keeps it too long."""
    folder = index_folder(runs)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        give_up_at = time.monotonic() + _INDEX_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    yield None
                    return
                time.sleep(0.005)
        path = folder / "sizes"
        path.touch(mode=0o600)
        yield path
    finally:
        os.close(descriptor)


def _scan(runs: Path) -> dict[str, int]:
    return {name: folder_bytes(runs / name) for name in reversed(run_names(runs))}


def _read(index: Path) -> tuple[dict[str, int], int]:
    """Id -> bytes in the order of starts, and how many lines there were; the last word on a run counts."""
    words = index.read_text(encoding="utf-8", errors="replace").split()
    try:
        return dict(zip(words[::2], map(int, words[1::2]), strict=True)), len(words) // 2
    except ValueError:
        return {}, 0  # damaged: it fills again, and `rebuild` finds the rest


def _append_lines(index: Path, entries: Iterable[tuple[str, int]]) -> None:
    with index.open("a", encoding="utf-8") as writer:
        writer.write("".join(f"{name} {size}\n" for name, size in entries))


def _write(index: Path, size_by_id: Mapping[str, int]) -> None:
    new = index.with_name("sizes.new")
    new.write_text("".join(f"{name} {size}\n" for name, size in size_by_id.items()), encoding="utf-8")
    new.replace(index)


# --- both ends of the events ----------------------------------------------------------------------------------------


def _began_ns(entry: os.DirEntry[str]) -> int:
    """When a run began: its lock file is written then, and never again."""
    try:
        return os.stat(f"{entry.path}/lock").st_mtime_ns  # noqa: PTH116 - twice as fast as a Path, of thousands
    except OSError:
        with suppress(OSError):
            return entry.stat().st_mtime_ns
        return 0


def _is_of_task(run: Path, summary: RunSummary, task: str) -> bool:
    named = summary.task
    if task in (named, Path(named).name):
        return True
    return bool(read_request(run).get("task_name") == task)


def _ends(run: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The first event and the last one that is whole; empty where there is none."""
    try:
        descriptor = os.open(f"{run}/events.jsonl", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}, {}
    try:
        size = os.fstat(descriptor).st_size
        return _first_event(descriptor, size), _last_event(descriptor, size)
    finally:
        os.close(descriptor)


def _first_event(descriptor: int, size: int) -> Mapping[str, Any]:
    want = _READ_BYTES
    while True:
        data = os.pread(descriptor, want, 0)
        end = data.find(b"\n")
        if end >= 0:
            return _event(data[:end])
        if want >= min(size, _MAX_LINE_BYTES):
            return {}
        want *= 16


def _last_event(descriptor: int, size: int) -> Mapping[str, Any]:
    """The last whole line; what stands behind the last line break was torn off."""
    want = _READ_BYTES
    while True:
        data = os.pread(descriptor, want, max(0, size - want))
        end = data.rfind(b"\n")
        begin = data.rfind(b"\n", 0, max(end, 0))
        if end >= 0 and (begin >= 0 or want >= size):
            return _event(data[begin + 1 : end])
        if want >= min(size, _MAX_LINE_BYTES):
            return {}
        want *= 16


def _event(line: bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _moment(event: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(event["at"])
    except (KeyError, TypeError, ValueError):
        return None
