"""The BuildKit client beside `docker buildx build` on the same daemon."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tasks_engine.backends.buildkit import BuildKitClient, BuildOptions
from tests.benchmarks.measuring import (
    ENGINE,
    ROOT,
    Result,
    at_most,
    compare,
    context,
    environ,
    in_turn,
    process,
)

ROUNDS = 5
LOG_BYTES = 100_000_000
ADDRESS = f"docker+{ENGINE}"
ONE_OF_OURS = [sys.executable, str(Path(__file__).with_name("buildkit_process.py")), ADDRESS]
EXAMPLE = ROOT / "tasks_engine/backends/buildkit/examples/build_and_push.py"


def buildkit_client(folder: Path, buildx: str) -> Iterator[Result]:
    """All of it; a few minutes."""
    yield from cached(folder, buildx)
    yield from large_file(folder, buildx)
    yield from many_files(folder, buildx)
    yield from log(folder, buildx)
    yield memory(folder)


def cached(folder: Path, buildx: str) -> list[Result]:
    """The README's script, which pushes what is there already, and a build on an open connection."""
    project = folder / "client-cached"
    context(project, "cached")
    registry = os.environ["TASKS_TEST_REGISTRY"]
    name = f"{registry}/bench/cached:1"
    ours = [sys.executable, str(EXAMPLE), name]
    env = environ(folder) | {"BUILDKIT_HOST": ADDRESS, "PYTHONPATH": str(ROOT)}
    peer = [
        buildx,
        "build",
        "-q",
        "--provenance=false",
        "-o",
        f"type=image,name={name},push=true",
        str(project),
    ]
    script, cold = in_turn(
        lambda: process(ours, env, cwd=project), lambda: process(peer, environ(folder)), ROUNDS
    )
    with BuildKitClient.connect(ADDRESS) as client:
        warm, again = in_turn(
            timed(lambda: client.build(BuildOptions(project))),
            lambda: process([buildx, "build", "-q", "-o", "type=cacheonly", str(project)], environ(folder)),
            ROUNDS,
        )
    return [
        compare("the client's ten-line script, all cached / `docker buildx build --push`", script, cold, 1.4),
        compare("cached build on an open connection / `docker buildx build`", warm, again, 0.5),
    ]


def large_file(folder: Path, buildx: str) -> list[Result]:
    """A file of 500 MB that changes every time."""
    sides = [folder / "client-large", folder / "client-large-peer"]
    for side in sides:
        side.mkdir()
        (side / "Dockerfile").write_text("FROM scratch\nCOPY large /\n")
        write_random(side / "large", 500)

    def changed(side: Path) -> None:
        with (side / "large").open("r+b") as file:
            file.write(os.urandom(4096))

    ours, peer = both(folder, buildx, sides, changed)
    return [compare("context with a file of 500 MB, first time / `docker buildx build`", ours, peer, 1.1)]


def many_files(folder: Path, buildx: str) -> list[Result]:
    """10,000 small files, new every time, and unchanged."""
    sides = [folder / "client-many", folder / "client-many-peer"]
    for side in sides:
        for number in range(10_000):
            place = side / f"d{number % 100}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"f{number}").write_text(f"{side.name} {number}\n" * 20)
        (side / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")

    def renewed(side: Path) -> None:
        now = time.time_ns()
        for path in side.glob("d*/f*"):
            os.utime(path, ns=(now, now))

    first, first_peer = both(folder, buildx, sides, renewed)
    again, again_peer = both(folder, buildx, sides, lambda _: None)
    return [
        compare("context of 10,000 files, first time / `docker buildx build`", first, first_peer, 1.2),
        compare("context of 10,000 files, unchanged / `docker buildx build`", again, again_peer, 1.1),
    ]


def log(folder: Path, buildx: str) -> list[Result]:
    """A step that prints 100 MB, to a file. The peer loses what it has not read soon after the end: by line."""
    project = folder / "client-log"
    project.mkdir()
    output = folder / "client-log.txt"

    def seconds(command: Sequence[str], env: Mapping[str, str]) -> float:
        line = os.urandom(48).hex()
        (project / "Dockerfile").write_text(f"FROM busybox\nRUN yes {line} | head -c {LOG_BYTES}\n")
        started = time.perf_counter()
        subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        elapsed = time.perf_counter() - started
        arrived = output.read_bytes().count(line.encode() + b"\n") * (len(line) + 1) / LOG_BYTES
        shares[command[0]] = min(arrived, shares.get(command[0], 1.0))
        return elapsed / arrived

    shares: dict[str, float] = {}
    script = 'exec "$0" build --progress=plain -o type=cacheonly "$1" 2>"$2"'
    peer = ["sh", "-c", script, buildx, str(project), str(output)]
    ours = [*ONE_OF_OURS, "BUILD", str(project), str(output)]
    measured = in_turn(
        lambda: seconds(ours, script_environ(folder)), lambda: seconds(peer, environ(folder)), ROUNDS
    )
    if shares[ours[0]] < 0.999:
        sys.exit(f"bench: only {shares[ours[0]]:.0%} of the log arrived")
    what = f"log of 100 MB to a file / `docker buildx build --progress=plain` (lost up to {1 - shares['sh']:.0%})"
    return [compare(what, *measured, 1.3)]


def memory(folder: Path) -> Result:
    """Four contexts of 200 MB at once."""
    sides = [folder / f"client-memory-{number}" for number in range(4)]
    for side in sides:
        side.mkdir()
        (side / "Dockerfile").write_text("FROM scratch\nCOPY large /\n")
        write_random(side / "large", 200)
    report = folder / "client-peak"
    command = [*ONE_OF_OURS, "MEMORY", str(report), *map(str, sides)]
    process(command, script_environ(folder))
    return at_most("peak memory of the client sending 4 x 200 MB at once", float(report.read_text()), 200)


def both(
    folder: Path, buildx: str, sides: list[Path], prepare: Callable[[Path], None]
) -> tuple[float, float]:
    """Seconds of a process of ours and of the peer's, each with a context of its own."""

    def ours() -> float:
        prepare(sides[0])
        return process([*ONE_OF_OURS, "BUILD", str(sides[0])], script_environ(folder))

    def peer() -> float:
        prepare(sides[1])
        return process([buildx, "build", "-q", "-o", "type=cacheonly", str(sides[1])], environ(folder))

    return in_turn(ours, peer, ROUNDS)


def script_environ(folder: Path) -> dict[str, str]:
    return environ(folder) | {"PYTHONPATH": str(ROOT)}


def timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


def write_random(path: Path, size_mb: int) -> None:
    with path.open("wb") as file:
        for _ in range(size_mb):
            file.write(os.urandom(1_000_000))
