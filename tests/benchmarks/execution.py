"""What running steps costs: pushes, the way of a log, the files of a build, the end of a cancelled run."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tasks_engine.backends.embedded.packages import fetch_packages
from tests.benchmarks.measuring import (
    PACKAGES,
    Result,
    at_most,
    compare,
    environ,
    in_turn,
    process,
)

TASKS = str(Path(sys.executable).parent / "tasks")
REGISTRY = os.environ.get("TASKS_TEST_REGISTRY", "")


def pushes(folder: Path, _: str) -> list[Result]:
    """Five new images of 100 MB, which the registry does not have: each round makes its own."""
    docker = unpack_docker(folder)

    def images(name: str) -> list[str]:
        tags = [f"{REGISTRY}/bench/{name}-{number}:{time.time_ns()}" for number in range(5)]
        project = folder / "push"
        project.mkdir(exist_ok=True)
        for tag in tags:
            (project / "big").write_bytes(os.urandom(100_000_000))
            (project / "Dockerfile").write_text("FROM scratch\nCOPY big /\n")
            (project / "task.yaml").write_text(f"steps:\n  - {{id: b, build: '-t {tag} .'}}\n")
            process([TASKS, "run", str(project)], environ(folder))
        return tags

    def ours() -> float:
        tags = images("ours")
        task = folder / "push" / "push.yaml"
        task.write_text(f"steps:\n  - {{id: p, push: [{', '.join(tags)}]}}\n")
        return process([TASKS, "run", str(task)], environ(folder))

    def peer() -> float:
        script = " ".join(f"{docker} push -q {tag} &" for tag in images("peer")) + " wait"
        return process(["sh", "-c", script], environ(folder))

    return [
        compare(
            "5 images of 100 MB, `tasks run` / `docker push` of all at once", *in_turn(ours, peer, 2), 1.1
        )
    ]


def log_path(folder: Path, _: str) -> list[Result]:
    """A step that prints a million lines, 100 MB, to a file, beside `docker logs -f` of the same."""
    docker = unpack_docker(folder)
    line = "x" * 92
    script = "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); cat /tmp/thousand; done"
    prepare = f"j=0; while [ $j -lt 1000 ]; do j=$((j+1)); echo {line} $j; done > /tmp/thousand"
    command = ["busybox", "sh", "-c", f"{prepare}; {script}"]
    project = folder / "log"
    project.mkdir()
    (project / "task.yaml").write_text(f"steps:\n  - id: s\n    cmd: busybox sh -c '{prepare}; {script}'\n")
    peaks: list[float] = []

    def ours() -> float:
        with (folder / "ours.txt").open("wb") as out:
            started = time.perf_counter()
            done = subprocess.Popen([TASKS, "run", str(project)], env=environ(folder), stdout=out, stderr=out)
            _, status, usage = os.wait4(done.pid, 0)
            elapsed = time.perf_counter() - started
        assert status == 0
        peaks.append(usage.ru_maxrss / 1024)
        return elapsed

    def peer() -> float:
        with (folder / "peer.txt").open("wb") as out:
            started = time.perf_counter()
            run = [docker, "run", "-d", *command]
            name = subprocess.run(
                run, env=environ(folder), capture_output=True, check=True, text=True
            ).stdout.strip()
            subprocess.run([docker, "logs", "-f", name], env=environ(folder), stdout=out, check=True)
            elapsed = time.perf_counter() - started
        subprocess.run([docker, "rm", "-f", name], env=environ(folder), capture_output=True, check=True)
        return elapsed

    ratio = compare("a log of 100 MB to a file, `tasks run` / `docker logs -f`", *in_turn(ours, peer, 5), 1.3)
    return [ratio, at_most("peak memory with a log of 100 MB", statistics.median(peaks), 150)]


def file_sync(folder: Path, buildx: str) -> list[Result]:
    """A second, unchanged run of a context of 5,000 files."""
    project = folder / "files"
    for number in range(5000):
        path = project / f"d{number % 50}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n" * 20)
    (project / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (project / "task.yaml").write_text("steps:\n  - {id: b, build: '-t bench/files .'}\n")
    ours, peer = in_turn(
        lambda: process([TASKS, "run", str(project)], environ(folder)),
        lambda: process([buildx, "build", "-q", "-t", "bench/files", str(project)], environ(folder)),
        5,
    )
    return [compare("5,000 files, second run, `tasks run` / `docker buildx build`", ours, peer, 1.5)]


def cancelled_run(folder: Path, _: str) -> list[Result]:
    """From Ctrl-C to the end of a run with ten containers that do not react to signals."""
    project = folder / "ten-up"
    project.mkdir()
    steps = "".join(
        f"  - {{id: s{number}, cmd: 'busybox sh -c \"echo up; sleep 300\"', when: ['-']}}\n"
        for number in range(10)
    )
    (project / "task.yaml").write_text(f"steps:\n{steps}")

    def measured() -> float:
        run = subprocess.Popen(
            [TASKS, "run", str(project), "--json"],
            env=environ(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert run.stdout is not None
        up = 0
        for line in run.stdout:
            event = json.loads(line)
            up += event["type"] == "step_log" and "up" in event.get("text", "")
            if up == 10:
                break
        run.send_signal(signal.SIGINT)
        started = time.perf_counter()
        run.stdout.read()
        assert run.wait() == 130
        return time.perf_counter() - started

    seconds = statistics.median(measured() for _ in range(3))
    return [Result("ten containers, Ctrl-C to the end / 5 s", f"{seconds:.2f} s", "5 s", seconds / 5, 1.0)]


def unpack_docker(folder: Path) -> str:
    fetch_packages(["docker-cli"], "trixie", folder / "docker-cli", lambda _: None, cache_dir=PACKAGES)
    return str(folder / "docker-cli/usr/bin/docker")
