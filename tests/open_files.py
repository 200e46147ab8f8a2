"""What this process has open, for tests of leaks."""

from __future__ import annotations

import contextlib
import os


def open_files() -> set[tuple[str, str]]:
    """(number, what it stands for) of every descriptor, but for the pollers that gRPC keeps.

    What is new between two looks is a leak; what gRPC closes late, of an earlier test, is none.
    """
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add((fd, os.readlink(f"/proc/self/fd/{fd}")))
    return {(fd, target) for fd, target in found if not target.startswith("anon_inode:")}
