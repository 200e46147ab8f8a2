"""The engine is killed in the middle of a step: a clear end, and the next command removes what it still holds."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners.local.images import ensure_busybox
from tasks_engine.backends.buildkit.client import BuildKitClient
from tasks_engine.backends.buildkit.destinations import ToFile
from tasks_engine.backends.buildkit.errors import BuildKitError, ConnectError, ConnectionLost
from tasks_engine.backends.buildkit.exporters import files_tar
from tasks_engine.backends.buildkit.progress import Event, LogOutput
from tasks_engine.backends.buildkit.solve import BuildOptions
from tasks_engine.backends.embedded.engine import EmbeddedEngine
from tasks_engine.backends.embedded.processes import find_by_root
from tests.end_to_end.conftest import Tasks, assert_nothing_left
from tests.open_files import open_files
from tests.services import require

pytestmark = pytest.mark.docker


class Sacrifice:
    """An engine of the test's own, to be killed."""

    def __init__(self, state_dir: Path) -> None:
        self._engine = EmbeddedEngine(state_dir, package_cache_dir=Path(require("TASKS_TEST_PACKAGE_CACHE")))
        self.start()
        ensure_busybox(self.url)

    @property
    def url(self) -> str:
        return self._engine.paths.docker_host

    def start(self) -> None:
        self._engine.start(lambda _: None, environ=os.environ, home=Path("/nowhere"), force=True)

    def kill(self) -> None:
        for name in ("dockerd", "containerd"):
            record = self._engine._record(name)
            assert record is not None
            os.kill(record.pid, signal.SIGKILL)

    @property
    def containers(self) -> list[int]:
        """Processes of its containers, found without asking it."""
        return find_by_root(self._engine.paths.containerd_root)

    def stop(self) -> None:
        self._engine.stop(lambda _: None, purge=True)


@pytest.fixture(scope="module")
def sacrifice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sacrifice]:
    if os.geteuid() != 0:
        pytest.skip("an engine of its own needs root")
    engine = Sacrifice(tmp_path_factory.mktemp("engine"))
    yield engine
    engine.stop()


@pytest.mark.parametrize(
    "task",
    ["steps: [{id: s, cmd: 'busybox sh -c \"echo up; sleep 300\"'}]", "steps: [{id: s, build: .}]"],
    ids=["in a container", "in a build"],
)
def test_an_engine_killed_in_a_step_ends_the_run_and_is_cleaned_up_later(sacrifice, tmp_path, project, task):
    sacrifice.start()
    state_dir = tmp_path / "state"
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TASKS_STATE_DIR": str(state_dir)}
    tasks = Tasks(state_dir, {**environ, "DOCKER_HOST": sacrifice.url})
    folder = project(task, Dockerfile="FROM busybox\nRUN echo up; sleep 300\n")

    process = tasks.start("run", str(folder), "--json")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["type"] == "step_log" and "up" in lines[-1]["text"].split():
            break
    assert sacrifice.containers
    sacrifice.kill()
    killed_at = time.monotonic()
    outcome = tasks.wait(process)

    assert time.monotonic() - killed_at < 30
    assert outcome.exit_code == 3, outcome.stdout + outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.events[-1]["status"] == "error"
    assert b"up" in outcome.log
    run_id = outcome.folder.name

    sacrifice.start()
    assert sacrifice.containers == []
    assert tasks("run", str(project("steps: [{cmd: busybox true}]"))).exit_code == 0
    assert_nothing_left(sacrifice.url, [run_id])
    assert not (state_dir / "runs" / run_id / "workspace").exists()


def test_a_client_whose_daemon_is_killed_says_so_at_once_and_leaves_nothing(sacrifice, tmp_path):
    sacrifice.start()
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo up; sleep 300\n")
    options = BuildOptions(context=tmp_path, no_cache=True)
    address = f"docker+{sacrifice.url}"
    came_up = threading.Event()

    def watch(event: Event) -> None:
        if isinstance(event, LogOutput) and b"up" in event.data:
            came_up.set()

    threads, files = set(threading.enumerate()), open_files()
    with BuildKitClient.connect(address) as client:
        build = client.start(options, on_event=watch)
        assert came_up.wait(60)
        sacrifice.kill()
        killed_at = time.monotonic()
        with pytest.raises(ConnectionLost):
            build.wait()
        assert time.monotonic() - killed_at < 10
        # Killed and not there any more: the same client says so, too.
        with pytest.raises(BuildKitError):
            client.build(options)
    with pytest.raises(ConnectError):
        BuildKitClient.connect(address, timeout_s=1)
    assert {each.name for each in set(threading.enumerate()) - threads} == set()

    sacrifice.start()
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo again > /word\n")
    result = io.BytesIO()
    with BuildKitClient.connect(address) as client:
        client.build(BuildOptions(context=tmp_path, exporters=[files_tar(ToFile(result))]))
    assert b"again" in result.getvalue()
    assert open_files() - files == set()
