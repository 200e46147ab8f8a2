"""Which process runs a run, told beyond doubt: an id alone may belong to somebody else by now."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunHolder:
    """A process, as its run's lock file names it."""

    pid: int
    #: field 22 of /proc/<pid>/stat: clock ticks since boot
    start_ticks: int
    #: start ticks only mean something within one boot
    boot_id: str
    #: ids only mean something within one name space
    pid_namespace: str

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @property
    def is_comparable(self) -> bool:
        """Whether its id means something to this process: same boot, same name space."""
        return (self.boot_id, self.pid_namespace) == (_boot_id(), _pid_namespace())

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended; False also where that cannot be told."""
        if self.boot_id != _boot_id():
            return True
        return self.is_comparable and _start_ticks(self.pid) != self.start_ticks


def this_process() -> RunHolder:
    return RunHolder(os.getpid(), _start_ticks(os.getpid()) or 0, _boot_id(), _pid_namespace())


def parse_holder(data: bytes) -> RunHolder | None:
    """The process that a lock file names; None where it names none."""
    try:
        fields: Mapping[str, Any] = json.loads(data)
        return RunHolder(
            int(fields["pid"]),
            int(fields["start_ticks"]),
            str(fields["boot_id"]),
            str(fields["pid_namespace"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def stop(holder: RunHolder, timeout_s: float) -> bool:
    """SIGTERM to that very process; whether it ended in time. Raises PermissionError for somebody else's.

    A pidfd cannot come to mean another process while we look.
    """
    try:
        process = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return True
    except OSError as error:
        if error.errno == errno.EINVAL:  # no process id at all
            return True
        raise
    try:
        if holder.is_gone:
            return True
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGTERM)
        poller = select.poll()
        poller.register(process, select.POLLIN)
        return bool(poller.poll(timeout_s * 1000))
    finally:
        os.close(process)


def _start_ticks(pid: int) -> int | None:
    """None where there is no such process, or only a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # the second field, the name in brackets, may itself hold blanks and brackets
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path, a name such as pid:[4026531836]
    except OSError:
        return ""
