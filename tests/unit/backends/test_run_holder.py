"""Which process runs a run."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from tasks_engine.backends.run_holder import RunHolder, _start_ticks, parse_holder, stop, this_process


@pytest.fixture
def sleeper():
    """A process that ends at SIGTERM with 7."""
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print(flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def holder_of_process(pid: int) -> RunHolder:
    return replace(this_process(), pid=pid, start_ticks=_start_ticks(pid) or 0)


def test_a_holder_survives_being_written():
    assert parse_holder(this_process().to_line()) == this_process()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"pid": "x"}', b"\xff"])
def test_a_damaged_line_names_nobody(data):
    assert parse_holder(data) is None


def test_a_process_is_asked_to_end_and_waited_for(sleeper):
    assert stop(holder_of_process(sleeper.pid), 10)
    assert sleeper.wait(10) == 7


def test_a_process_that_does_not_end_in_time_is_told(sleeper):
    sleeper.send_signal(signal.SIGSTOP)
    assert not stop(holder_of_process(sleeper.pid), 0.05)


@pytest.mark.parametrize("change", [{"start_ticks": 5}, {"boot_id": "another"}])
def test_a_process_that_only_has_the_same_id_gets_no_signal(sleeper, change):
    other = replace(holder_of_process(sleeper.pid), **change)

    assert other.is_gone
    assert stop(other, 0)
    assert sleeper.poll() is None


def test_what_runs_in_another_name_space_is_not_known_to_be_gone():
    elsewhere = replace(this_process(), pid=2**22 + 1, pid_namespace="pid:[1]")

    assert not elsewhere.is_comparable
    assert not elsewhere.is_gone


def test_a_zombie_is_gone():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        holder = holder_of_process(process.pid)
        process.kill()
        assert stop(holder, 10)
        assert holder.is_gone
