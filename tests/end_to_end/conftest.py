"""`tasks` as people run it: a process, its output, its exit code, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from tests.services import require

LIMIT_S = 120


@dataclass
class Outcome:
    """How a `tasks` process ended."""

    exit_code: int
    stdout: str
    stderr: str
    state_dir: Path

    @property
    def events(self) -> list[dict]:
        """The live stream, of a run with --json."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def of_type(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def statuses(self) -> dict[str, str]:
        return {event["step_id"]: event["status"] for event in self.of_type("step_finished")}

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return max((self.state_dir / "runs").iterdir())

    @property
    def log(self) -> bytes:
        return (self.folder / "log").read_bytes()

    def step_log(self, step_id: str) -> bytes:
        """What one step printed, put together from the stored index."""
        stored = [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]
        return b"".join(
            self.log[event["offset"] : event["offset"] + event["length"]]
            for event in stored
            if event["type"] == "step_log" and event["step_id"] == step_id
        )


@dataclass
class Tasks:
    """Runs `tasks` with a private state folder against one engine."""

    state_dir: Path
    environ: dict[str, str]
    started: list[subprocess.Popen] = field(default_factory=list)

    def __call__(self, *arguments: str, **options: object) -> Outcome:
        return self.wait(self.start(*arguments, **options))  # type: ignore[arg-type]

    def start(
        self,
        *arguments: str,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        stdin: bytes | None = None,
    ) -> subprocess.Popen:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tasks_engine", *arguments],
            cwd=cwd or self.state_dir.parent,
            env={**self.environ, **(env or {})},
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if stdin is not None:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.close()
            process.stdin = None
        self.started.append(process)
        return process

    def wait(self, process: subprocess.Popen, limit_s: float = LIMIT_S) -> Outcome:
        try:
            stdout, stderr = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            pytest.fail(f"tasks did not end within {limit_s} s:\n{stdout.decode()}\n{stderr.decode()}")
        return Outcome(process.returncode, stdout.decode(), stderr.decode(), self.state_dir)

    def interrupt_when(self, process: subprocess.Popen, happened: Callable[[dict], bool]) -> Outcome:
        """Sends Ctrl-C to a --json run at the first event for which `happened` is true."""
        lines: list[bytes] = []
        assert process.stdout is not None
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        sent = False
        for line in process.stdout:
            lines.append(line)
            if not sent and happened(json.loads(line)):
                process.send_signal(signal.SIGINT)
                sent = True
        watchdog.cancel()
        assert process.stderr is not None
        stderr = process.stderr.read()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        assert sent, f"the event never came:\n{b''.join(lines).decode()}\n{stderr.decode()}"
        return Outcome(process.returncode, b"".join(lines).decode(), stderr.decode(), self.state_dir)


@pytest.fixture(params=["engine"])
def engine(request: pytest.FixtureRequest) -> str:
    """Address of an engine; tests may ask for "old_engine" by indirect parametrisation."""
    return require({"engine": "TASKS_TEST_ENGINE", "old_engine": "TASKS_TEST_OLD_ENGINE"}[request.param])


@pytest.fixture
def registry() -> str:
    return require("TASKS_TEST_REGISTRY")


@pytest.fixture
def login_registry() -> str:
    return require("TASKS_TEST_LOGIN_REGISTRY")


@pytest.fixture
def docker_api(engine: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=engine)
    yield client
    client.close()


@pytest.fixture
def tasks(tmp_path: Path, engine: str) -> Iterator[Tasks]:
    """The command, against `engine`; afterwards nothing of its runs may be left on it."""
    state_dir = tmp_path / "state"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TASKS_STATE_DIR": str(state_dir),
        "DOCKER_HOST": engine,
        "DOCKER_CONFIG": str(tmp_path / "docker-config"),
        "PYTHONWARNINGS": "error::ResourceWarning",
    }
    command = Tasks(state_dir, environ)
    yield command
    for process in command.started:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    run_ids = [folder.name for folder in (state_dir / "runs").glob("*")]
    assert_nothing_left(engine, run_ids)
    assert not list((state_dir / "runs").glob("*/workspace")), "a workspace is left"


def assert_nothing_left(engine: str, run_ids: list[str]) -> None:
    client = docker.APIClient(base_url=engine)
    try:
        for run_id in run_ids:
            filters = {"label": f"tasks.run={run_id}"}
            assert client.containers(all=True, filters=filters) == []
            assert client.networks(filters=filters) == []
            assert not client.volumes(filters=filters)["Volumes"]
    finally:
        client.close()


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder with a task file and whatever else is given, by name."""

    def make(task: str, **files: str) -> Path:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "task.yaml").write_text(task)
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_text(content)
        return folder

    return make
