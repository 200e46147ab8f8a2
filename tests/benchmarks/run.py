"""`make bench`: what tasks costs, beside its peers in the same run. Prints a table of ratios.

    python -m tests.benchmarks.run [--write] [--only NAME]     with the services of runners/local/test_services.py

Machines differ and are noisy: only the ratios mean something. Pairs are measured in turn, A B A B, and the
medians are compared. `--write` keeps the table in RESULTS.md; `--only` measures one of the groups.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import docker

from tasks_engine.backends import buildkit
from tests.benchmarks.buildkit_client import buildkit_client
from tests.benchmarks.execution import cancelled_run, file_sync, log_path, pushes
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
    unpack_buildx,
)

RESULTS = Path(__file__).parent / "RESULTS.md"
BIN = Path(sys.executable).parent
TASKS = str(BIN / "tasks")


def main() -> int:
    if not ENGINE:
        sys.exit("bench: run it with `make bench`, which starts the services")
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="tasks-bench-") as name:
        folder = Path(name)
        buildx = unpack_buildx(folder)
        groups = (
            startup,
            task_language,
            sequential_steps,
            cached_build,
            parallel_builds,
            memory,
            buildkit_client,
            pushes,
            log_path,
            file_sync,
            cancelled_run,
        )
        only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
        for measure in groups:
            if only not in ("", measure.__name__):
                continue
            for result in measure(folder, buildx):
                results.append(result)
                print(row(result), flush=True)
    if "--write" in sys.argv and not only:
        write(results)
    return 0


def startup(folder: Path, _: str) -> list[Result]:
    task = folder / "twenty.yaml"
    steps = "".join(f"  - {{id: s{n}, cmd: 'busybox echo {n}', env: [A={n}]}}\n" for n in range(20))
    task.write_text(f"version: v1.1.0\nsteps:\n{steps}")
    bare = [sys.executable, "-c", "pass"]
    version, base = in_turn(lambda: process([TASKS, "--version"]), lambda: process(bare), 15)
    validate, base2 = in_turn(lambda: process([TASKS, "validate", str(task)]), lambda: process(bare), 15)
    return [
        compare("`tasks --version` / `python3 -c pass`", version, base, 4),
        compare("`tasks validate` of 20 steps / `python3 -c pass`", validate, base2, 14),
    ]


def task_language(_: Path, __: str) -> list[Result]:
    """Reading and planning task files, each time in a new process, beside libyaml's own nodes of the text."""
    script = [sys.executable, str(Path(__file__).with_name("task_language.py"))]

    def measured(steps: int, rounds: int = 5) -> dict[str, float]:
        each = [json.loads(subprocess.check_output([*script, str(steps)], cwd=ROOT)) for _ in range(rounds)]
        return {name: statistics.median(figures[name] for figures in each) for name in each[0]}

    small, large, few = measured(1000), measured(10_000), measured(20, 9)
    return [
        compare(
            "10,000 steps: load, check and plan / YAML to nodes", large["load_s"], large["yaml_s"], 2.5 / 0.65
        ),
        compare("10,000 steps / 1,000 steps", large["load_s"], small["load_s"], 12),
        Result(
            "20 steps, load to plan / 30 ms",
            f"{few['load_s'] * 1000:.0f} ms",
            "30 ms",
            few["load_s"] / 0.03,
            1.0,
        ),
        Result(
            "peak memory of 10,000 steps / 400 MB",
            f"{large['peak_mb']:.0f} MB",
            "400 MB",
            large["peak_mb"] / 400,
            1.0,
        ),
    ]


def sequential_steps(folder: Path, _: str) -> list[Result]:
    project = folder / "ten"
    project.mkdir()
    steps = "".join(f"  - {{id: s{n}, cmd: busybox true}}\n" for n in range(10))
    (project / "task.yaml").write_text(f"steps:\n{steps}")
    ours, bare = in_turn(lambda: run_span(project, folder), bare_containers, 5)
    return [compare("10 `cmd` steps, RunStarted to RunFinished / bare Docker API", ours, bare, 1.10)]


def cached_build(folder: Path, buildx: str) -> list[Result]:
    project = folder / "cached"
    context(project, "one")
    (project / "task.yaml").write_text("steps:\n  - {id: b, build: '-t bench/one .'}\n")
    process(run_command(project), environ(folder))
    ours, peer = in_turn(
        lambda: process(run_command(project), environ(folder)),
        lambda: process([buildx, "build", "-q", "-t", "bench/one", str(project)], environ(folder)),
        9,
    )
    span, solve = in_turn(lambda: run_span(project, folder), bare_solve(project), 9)
    return [
        compare("cached build, `tasks run` / `docker buildx build`", ours, peer, 2.5),
        compare("cached build, RunStarted to RunFinished / our client's Solve", span, solve, 1.3),
    ]


def parallel_builds(folder: Path, buildx: str) -> list[Result]:
    project = folder / "eight"
    steps, targets = "", {}
    for n in range(8):
        context(project / f"c{n}", str(n))
        steps += f"  - {{id: b{n}, build: '-t bench/eight:{n} c{n}', when: ['-']}}\n"
        targets[f"t{n}"] = {"context": str(project / f"c{n}"), "tags": [f"bench/eight:{n}"]}
    (project / "task.yaml").write_text(f"steps:\n{steps}")
    bake = {"group": {"default": {"targets": list(targets)}}, "target": targets}
    (project / "bake.json").write_text(json.dumps(bake))
    process(run_command(project), environ(folder))
    ours, peer = in_turn(
        lambda: process(run_command(project), environ(folder)),
        lambda: process(
            [buildx, "bake", "--progress", "plain", "-f", str(project / "bake.json")], environ(folder)
        ),
        7,
    )
    return [compare("8 cached builds, `tasks run` / `docker buildx bake`", ours, peer, 1.3)]


def memory(folder: Path, _: str) -> list[Result]:
    project = folder / "large"
    context(project, "large")
    with (project / "data").open("wb") as data:
        for _ in range(500):
            data.write(os.urandom(1_000_000))
    (project / "Dockerfile").write_text("FROM busybox\nCOPY data /\n")
    (project / "task.yaml").write_text("steps: [{build: .}]\n")
    report = folder / "peak"
    script = (
        "import os, resource, subprocess, sys\n"
        f"code = subprocess.call({run_command(project)!r}, stdout=subprocess.DEVNULL)\n"
        f"open({str(report)!r}, 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n"
        "sys.exit(code)\n"
    )
    process([sys.executable, "-c", script], environ(folder))
    peak_mb = int(report.read_text()) / 1024
    return [at_most("peak memory of `tasks run` sending 500 MB", peak_mb, 150)]


def run_command(project: Path) -> list[str]:
    return [TASKS, "run", str(project)]


def run_span(project: Path, folder: Path) -> float:
    """Seconds from RunStarted to RunFinished of one run."""
    done = subprocess.run(
        [*run_command(project), "--json"],
        env=environ(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    at = {event["type"]: datetime.fromisoformat(event["at"]) for event in events}
    return (at["run_finished"] - at["run_started"]).total_seconds()


def bare_containers() -> float:
    """Seconds of ten containers made by nothing but API calls, on a network of the same kind."""
    api = docker.APIClient(base_url=ENGINE, version="1.41")
    network = "tasks-bench"
    api.create_network(network)
    try:
        started = time.perf_counter()
        for _ in range(10):
            body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": network}}
            container = api.create_container_from_config(body)["Id"]
            output = api.attach_socket(container, params={"stdout": 1, "stderr": 1, "stream": 1})
            api.start(container)
            while output.read(65536):
                pass
            api.wait(container)
            output._response.close()
            api.remove_container(container)
        return time.perf_counter() - started
    finally:
        api.remove_network(network)
        api.close()


def bare_solve(project: Path) -> Callable[[], float]:
    """Our client's own time for the same build, on an open connection."""
    client = buildkit.BuildKitClient.connect(f"docker+{ENGINE}")
    options = buildkit.BuildOptions(
        context=project,
        dockerfile=project / "Dockerfile",
        exporters=[buildkit.moby(["docker.io/bench/one:latest"])],
    )

    def solve() -> float:
        started = time.perf_counter()
        client.build(options, on_event=lambda _: None)
        return time.perf_counter() - started

    solve()
    return solve


def row(result: Result) -> str:
    figures = f"{result.ours} | {result.peer} | {result.ratio:.2f} | {result.limit:g}"
    return f"| {result.what} | {figures} | {result.verdict} |"


def write(results: list[Result]) -> None:
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench BENCH_ARGS=--write`. Only the ratios mean something: both sides were measured in",
        "turn on one machine, medians. `limit` is what the project promises.",
        "",
        f"Last run: {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Docker "
        f"{docker.APIClient(base_url=ENGINE).version()['Version']}, Python {sys.version.split()[0]}.",
        "",
        "| what | ours | peer | ratio | limit | |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(row, results),
    ]
    kept = RESULTS.read_text().partition("\n## ") if RESULTS.exists() else ("", "", "")
    RESULTS.write_text("\n".join(lines) + "\n" + (f"{kept[1]}{kept[2]}" if kept[1] else ""))


if __name__ == "__main__":
    sys.exit(main())
