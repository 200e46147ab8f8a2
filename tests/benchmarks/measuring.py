"""What the benchmarks share: a figure and its limit, two sides measured in turn, the peer's program."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks_engine.backends.embedded.packages import fetch_packages

ROOT = Path(__file__).resolve().parents[2]
ENGINE = os.environ.get("TASKS_TEST_ENGINE", "")
PACKAGES = Path(os.environ.get("TASKS_TEST_PACKAGE_CACHE") or ROOT / ".state" / "packages")


@dataclass(frozen=True)
class Result:
    what: str
    ours: str
    peer: str
    ratio: float
    limit: float

    @property
    def verdict(self) -> str:
        return "ok" if self.ratio <= self.limit else "OVER"


def context(project: Path, content: str) -> None:
    project.mkdir(parents=True)
    (project / "file").write_text(content)
    (project / "Dockerfile").write_text("FROM busybox\nCOPY file /\nRUN cat /file\n")


def unpack_buildx(folder: Path) -> str:
    fetch_packages(["docker-buildx"], "trixie", folder / "buildx", lambda _: None, cache_dir=PACKAGES)
    return str(folder / "buildx/usr/libexec/docker/cli-plugins/docker-buildx")


def environ(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DOCKER_HOST": ENGINE,
        "TASKS_STATE_DIR": str(folder / "state"),
    }


def process(command: Sequence[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> float:
    """Seconds of a whole process, which must succeed."""
    started = time.perf_counter()
    done = subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    elapsed = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} failed:\n{done.stdout.decode()}\n{done.stderr.decode()}")
    return elapsed


def in_turn(ours: Callable[[], float], peer: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Medians of both, measured A B A B after one round that does not count."""
    ours(), peer()
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def compare(what: str, ours_s: float, peer_s: float, limit: float) -> Result:
    return Result(what, f"{ours_s * 1000:.0f} ms", f"{peer_s * 1000:.0f} ms", ours_s / peer_s, limit)


def at_most(what: str, ours_mb: float, limit_mb: float) -> Result:
    """A peak of memory and what it may be."""
    return Result(
        f"{what} / {limit_mb:.0f} MB", f"{ours_mb:.0f} MB", f"{limit_mb:.0f} MB", ours_mb / limit_mb, 1.0
    )
