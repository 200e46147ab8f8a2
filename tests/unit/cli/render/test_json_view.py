"""A run as JSON lines."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

from tasks_engine.cli.render.json_lines import JsonView
from tasks_engine.events import Status, from_json
from tests.unit.cli.render.render_scene import Scene


def test_one_ascii_line_an_event_that_reads_back() -> None:
    out = io.StringIO()
    seen = []
    view = JsonView(out)
    scene = Scene()
    scene.view = lambda event: (seen.append(event), view(event))
    scene.begin()
    scene.log("a", "é\n\x1b[2J")
    scene.fail("a")
    scene.end(Status.FAILED, {"code": "step-failed", "message": "exit code 3"})
    view.close()
    lines = out.getvalue().splitlines()
    assert [from_json(json.loads(line)) for line in lines] == seen
    assert out.getvalue().isascii()
    assert "\x1b" not in out.getvalue()


def test_each_line_leaves_at_once() -> None:
    raw = io.BytesIO()
    scene = Scene()
    scene.view = JsonView(io.TextIOWrapper(io.BufferedWriter(raw), "utf-8"))  # type: ignore[arg-type]
    scene.log("a", "text")
    assert raw.getvalue().endswith(b"\n")


def test_process_survives_the_end_of_its_reader() -> None:
    script = (
        "import sys\n"
        "from tasks_engine.cli.render import open_view, Mode\n"
        "from tasks_engine.events import StepLog\n"
        "from tasks_engine.plan.model import Plan\n"
        "for mode in (Mode.JSON, Mode.PLAIN):\n"
        "    view = open_view(Plan('x', 't', '', ()), mode, sys.stdout, {})\n"
        "    for _ in range(3):\n"
        "        view(StepLog(step_id='a', stream='stdout', offset=0, length=5, text='text\\n'))\n"
        "    view.close()\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_plain_runs_do_not_load_rich() -> None:
    script = (
        "import sys, io\n"
        "from tasks_engine.cli.render import open_view, Mode\n"
        "from tasks_engine.plan.model import Plan\n"
        "open_view(Plan('x', 't', '', ()), Mode.AUTO, io.StringIO(), {'TERM': 'xterm'}).close()\n"
        "assert 'rich' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
