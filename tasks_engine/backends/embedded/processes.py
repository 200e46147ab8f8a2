"""Background processes that outlive the command that started them, and what they leave behind.

A process is known by its id, its start time and the machine's boot: an id alone may belong to somebody else
by now, and somebody else's process must never get a signal of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Condition = Callable[[], bool]

_POLL_S = 0.05


@dataclass(frozen=True)
class ProcessRecord:
    """Which process was started, beyond doubt."""

    pid: int
    #: field 22 of /proc/<pid>/stat: clock ticks since boot
    start_ticks: int
    #: start ticks only mean something within one boot
    boot_id: str


def spawn_detached(
    arguments: Sequence[str], environ: Mapping[str, str], log_file: Path, record_file: Path
) -> ProcessRecord:
    """Start a process in a session of its own, output appended to `log_file`, remembered in `record_file`.

    Errors: OSError where the program cannot be run.
    """
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # not subprocess.Popen: nobody waits for this process, which Popen would complain about
    pid = os.posix_spawn(
        arguments[0],
        list(arguments),
        environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_file), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE),
    )
    record = ProcessRecord(pid, _start_ticks(pid) or 0, _boot_id())
    record_file.write_text(json.dumps(vars(record)) + "\n", encoding="ascii")
    return record


def read_record(record_file: Path) -> ProcessRecord | None:
    """The remembered process; None where there is no readable record."""
    try:
        fields = json.loads(record_file.read_text(encoding="ascii"))
        return ProcessRecord(int(fields["pid"]), int(fields["start_ticks"]), str(fields["boot_id"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_alive(record: ProcessRecord | None) -> bool:
    """Whether that very process still runs; a zombie does not."""
    if record is None or record.pid <= 1 or record.boot_id != _boot_id():
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(record.pid, os.WNOHANG)  # in the process that started it, it would stay a zombie
    return _start_ticks(record.pid) == record.start_ticks


def stop_process(record: ProcessRecord | None, grace_s: float) -> bool:
    """SIGTERM, after `grace_s` SIGKILL to it and its descendants. Returns whether it ended by itself."""
    if record is None or not is_alive(record):
        return True
    os.kill(record.pid, signal.SIGTERM)
    if wait_until(lambda: not is_alive(record), grace_s):
        return True
    kill_all([record.pid, *descendants([record.pid])])
    wait_until(lambda: not is_alive(record), 5)
    return False


def kill_all(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def find_by_argument(argument: str) -> list[int]:
    """Processes that have exactly this argument, such as the shims of one containerd socket."""
    wanted = argument.encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def find_by_root(folder: Path) -> list[int]:
    """Processes whose root file system is an overlay that writes below the folder: containers, wherever they are.

    BuildKit's containers have no shim: when dockerd is killed, nobody else knows of them.
    """
    wanted = f"upperdir={os.path.realpath(folder)}/"
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="replace")
            root = next((line for line in mounts.splitlines() if line.split(" ")[4] == "/"), "")
            if wanted in root.replace("\\040", " "):
                found.append(int(process.name))
    return found


def descendants(roots: Iterable[int]) -> list[int]:
    """Processes below the given ones, parents first."""
    children_by_parent: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        stat = _read_stat(int(folder.name))
        if stat is not None:
            children_by_parent.setdefault(int(stat[1]), []).append(int(folder.name))
    found: list[int] = []
    level = list(roots)
    while level:
        level = [child for parent in level for child in children_by_parent.get(parent, [])]
        found += level
    return found


def mounts_below(folders: Iterable[Path]) -> list[str]:
    """Mount points that are or lie inside the folders, the deepest first."""
    prefixes = [os.path.realpath(folder) + "/" for folder in folders]
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        # proc(5): blanks in paths are written as octal escapes
        path = line.split(" ")[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        if any((path + "/").startswith(prefix) for prefix in prefixes):
            found.append(path)
    return sorted(found, key=lambda path: path.count("/"), reverse=True)


def unmount_below(folders: Iterable[Path]) -> list[str]:
    """Unmount the folders and everything inside them. Returns what could not be unmounted."""
    folders = list(folders)
    for path in mounts_below(folders):
        if subprocess.run(["umount", path], capture_output=True, check=False).returncode != 0:
            subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
    return mounts_below(folders)


def wait_until(condition: Condition, timeout_s: float) -> bool:
    """Whether the condition became true in time."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(_POLL_S)
    return True


def _start_ticks(pid: int) -> int | None:
    stat = _read_stat(pid)
    if stat is None or stat[0] in ("Z", "X"):
        return None
    return int(stat[19])


def _read_stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the third (state) on; None where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # the second field, the name in brackets, may itself hold blanks and brackets
    return text.rpartition(")")[2].split()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
