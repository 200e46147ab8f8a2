"""Which view a run gets, and that none can end it."""

from __future__ import annotations

import io
import logging

import pytest

from tasks_engine.cli.render import Mode, open_view
from tasks_engine.cli.render.json_lines import JsonView
from tasks_engine.cli.render.live import LiveView
from tasks_engine.cli.render.plain import PlainView
from tasks_engine.cli.render.views import _Guarded
from tasks_engine.events import RunEvent
from tasks_engine.plan.state import RunState
from tests.unit.cli.render.render_scene import Scene, plan_of, step


class Console(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("mode", "out", "environ", "kind"),
    [
        (Mode.AUTO, io.StringIO(), {"TERM": "xterm"}, PlainView),
        (Mode.AUTO, Console(), {"TERM": "xterm"}, LiveView),
        (Mode.AUTO, Console(), {"TERM": "dumb"}, PlainView),
        (Mode.PLAIN, Console(), {"TERM": "xterm"}, PlainView),
        (Mode.LIVE, io.StringIO(), {}, LiveView),
        (Mode.JSON, Console(), {"TERM": "xterm"}, JsonView),
    ],
)
def test_view_by_mode_and_stream(mode: Mode, out: io.StringIO, environ: dict[str, str], kind: type) -> None:
    view = open_view(plan_of(), mode, out, environ)
    assert isinstance(view, _Guarded)
    assert isinstance(view._view, kind)


@pytest.mark.parametrize(
    ("environ", "line"),
    [({"TERM": "xterm"}, "a | \x1b[31mred\x1b[0m\n"), ({"TERM": "xterm", "NO_COLOR": "1"}, "a | red\n")],
)
def test_colours_of_logs_reach_terminals_only_without_no_color(environ: dict[str, str], line: str) -> None:
    out = Console()
    scene = Scene()
    scene.view = open_view(plan_of(step("a")), Mode.PLAIN, out, environ)
    scene.log("a", "\x1b[31mred\n")
    assert out.getvalue() == line


def test_view_that_fails_is_told_of_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        calls = 0

        def __call__(self, event: RunEvent) -> None:
            self.calls += 1
            raise RuntimeError("no")

        def close(self, state: RunState | None = None, log_path: object = None) -> None:
            raise RuntimeError("no")

        def abandon(self) -> None: ...

    broken = Broken()
    scene = Scene()
    scene.view = _Guarded(broken)
    with caplog.at_level(logging.ERROR):
        scene.start("a", "b")
        scene.view.close()
    assert broken.calls == 1
    assert len(caplog.records) == 2
