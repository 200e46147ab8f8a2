"""A process is known beyond doubt before it gets a signal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks_engine.backends.embedded import processes
from tasks_engine.backends.embedded.processes import (
    ProcessRecord,
    is_alive,
    read_record,
    spawn_detached,
    stop_process,
    wait_until,
)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[ProcessRecord]:
    record = spawn_detached(["/bin/sleep", "60"], {}, tmp_path / "log", tmp_path / "record.json")
    yield record
    stop_process(record, grace_s=5)


def test_started_process_is_alive_in_a_session_of_its_own_and_remembered(
    sleeper: ProcessRecord, tmp_path: Path
) -> None:
    assert is_alive(sleeper)
    assert read_record(tmp_path / "record.json") == sleeper
    assert os.getsid(sleeper.pid) == sleeper.pid


def test_a_recycled_pid_is_not_alive_and_gets_no_signal(sleeper: ProcessRecord) -> None:
    for other in (replace(sleeper, start_ticks=sleeper.start_ticks - 1), replace(sleeper, boot_id="before")):
        assert not is_alive(other)
        assert stop_process(other, grace_s=0)
    assert is_alive(sleeper)


def test_stopped_process_is_gone(sleeper: ProcessRecord) -> None:
    assert stop_process(sleeper, grace_s=5)
    assert not is_alive(sleeper)


def test_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 61 & echo ready; while :; do wait; done"
    record = spawn_detached(["/bin/sh", "-c", script], {}, tmp_path / "log", tmp_path / "record.json")
    assert wait_until(lambda: "ready" in (tmp_path / "log").read_text(), 5)
    (child,) = processes.descendants([record.pid])
    assert not stop_process(record, grace_s=0.1)
    assert not is_alive(record)
    assert wait_until(lambda: "sleep" not in _command_line(child), 5)


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        # the zombie stays until Popen waits for it; is_alive must not be fooled by its entry in /proc
        assert wait_until(lambda: processes._start_ticks(process.pid) is None, 5)


@pytest.mark.parametrize("text", ["", "12", "{}", '{"pid": "x", "start_ticks": 1, "boot_id": ""}'])
def test_damaged_record_is_no_process(text: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(text)
    assert read_record(tmp_path / "record.json") is None
    assert not is_alive(None)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
