"""The live tree, seen through a terminal in memory."""

from __future__ import annotations

import io
import random

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.cli.render.frame import draw, fit
from tasks_engine.cli.render.live import LiveView, wants_live
from tasks_engine.cli.render.text import width_of
from tasks_engine.events import ImagePushed, RunWarning, Status, StepRetrying
from tasks_engine.plan.model import Plan
from tests.unit.cli.render.render_scene import Scene, exit_error, plan_of, step

UTF8 = {"TERM": "xterm-256color"}


class Terminal(io.TextIOBase):
    """Takes what a view writes; remembers what scrolled out of its top."""

    encoding = "utf-8"

    def __init__(self, columns: int, lines: int, encoding: str = "utf-8") -> None:
        self.encoding = encoding  # type: ignore[misc]
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self.screen.set_mode(pyte.modes.LNM)
        self.written: list[str] = []
        self._stream = pyte.Stream(self.screen)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.append(text)
        self._stream.feed(text)
        return len(text)

    @property
    def lines(self) -> list[str]:
        shown = [line.rstrip() for line in self.screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    @property
    def scrolled(self) -> int:
        return len(self.screen.history.top)

    @property
    def shows_cursor(self) -> bool:
        return pyte.modes.DECTCEM in self.screen.mode


class LiveScene(Scene):
    def __init__(
        self,
        plan: Plan,
        columns: int = 80,
        lines: int = 24,
        encoding: str = "utf-8",
        environ: dict[str, str] = UTF8,
    ) -> None:
        super().__init__()
        self.terminal = Terminal(columns, lines, encoding)
        self.size = (columns, lines)
        self.view = LiveView(
            plan,
            self.terminal,  # type: ignore[arg-type]
            environ,
            clock=self.clock,
            terminal_size=lambda: self.size,
            auto_refresh=False,
        )

    def look(self) -> list[str]:
        self.view.refresh()
        return self.terminal.lines

    def resize(self, columns: int, lines: int) -> None:
        self.size = (columns, lines)
        self.terminal.screen.resize(lines, columns)


def busy_scene(columns: int = 80, lines: int = 24, encoding: str = "utf-8") -> LiveScene:
    scene = LiveScene(
        plan_of(
            step("build", "build"),
            step("test"),
            step("lint", ignore=True),
            step("push", "push", ("build", "test")),
        ),
        columns,
        lines,
        encoding,
    )
    scene.begin()
    scene.start("build", "test", "lint")
    scene.progress("build", "v1", "[1/3] FROM busybox", "cached")
    scene.log("build", "#1 [1/3] FROM busybox\n#1 CACHED\n", "engine")
    scene.progress("build", "v2", "[2/3] RUN make")
    scene.log("build", "#2 compiling\n")
    scene.progress("build", "v2 a", "layer", parent="v2", current=0, total=50_000_000)
    scene.log("test", "".join(f"line {number}\n" for number in range(100)))
    scene.now_s = 0.4
    scene.fail("lint", 1, ignored=True)
    scene.now_s = 2.0
    scene.progress("build", "v2 a", "layer", parent="v2", current=20_000_000, total=50_000_000)
    return scene


def test_tree_of_a_run() -> None:
    scene = busy_scene()
    assert scene.look() == [
        "run 6k2m1v8yza  task.yaml  running  2.0 s  1 of 4 done",
        " ⠋ build  running           2.0 s  1 CACHED",
        "   ├─ ✓ [1/3] FROM busybox  CACHED",
        "   ├─ ⠋ [2/3] RUN make  20.0 MB of 50.0 MB, 40%, 10.0 MB/s",
        "   │ #2 compiling",
        " ⠋ test   running           2.0 s",
        "   │ line 97",
        "   │ line 98",
        "   │ line 99",
        " ! lint   failed, ignored   0.4 s  exit code 1",
        " · push   waiting                  for build, test",
    ]


def test_time_goes_on_between_events() -> None:
    scene = busy_scene()
    scene.look()
    scene.now_s = 65
    shown = scene.look()
    assert "1 min 05 s" in shown[0]
    assert len(shown) == 11


def test_icons_are_ascii_where_the_terminal_has_no_others() -> None:
    scene = busy_scene(encoding="ascii")
    shown = "\n".join(scene.look())
    assert shown.isascii()
    assert "\n   |- + [1/3] FROM busybox  CACHED\n" in shown
    assert "\n ! lint " in shown
    scene.view.close()
    assert "".join(scene.terminal.written).isascii()


def test_small_terminal_shows_all_steps_and_no_more_lines_than_it_has() -> None:
    scene = busy_scene(40, 10)
    for second in range(20):
        scene.now_s = 2.0 + second
        scene.log("test", "x" * 500 + "\n")
        shown = scene.look()
        assert len(shown) <= 9
        assert scene.terminal.scrolled == 0
        for word in ("build", "test", "lint", "push", "running", "waiting", "failed, ignored"):
            assert any(word in line for line in shown), word


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 10), (20, 5), (10, 2), (1, 1), (200, 60)])
def test_hundred_steps_fit(columns: int, lines: int) -> None:
    steps = [step(f"step-{number:03}") for number in range(100)]
    scene = LiveScene(plan_of(*steps), columns, lines)
    scene.begin()
    chance = random.Random(7)
    running: list[str] = []
    for number, each in enumerate(steps):
        scene.now_s += 1
        scene.start(each.id)
        running.append(each.id)
        scene.log(each.id, "output " * 20 + "\n")
        if len(running) > 3:
            scene.succeed(running.pop(chance.randrange(len(running))))
        if number % 11:
            continue
        shown = scene.look()
        assert len(shown) <= max(1, lines - 1)
        assert scene.terminal.scrolled == 0
        if columns >= 40:
            assert all(any(name in line for line in shown) for name in running)
    if columns == 80:
        assert any("succeeded" in line and line.lstrip().startswith("… ") for line in shown)


def test_counts_stand_for_steps_that_do_not_fit() -> None:
    steps = [step(f"s{number:02}") for number in range(30)]
    scene = LiveScene(plan_of(*steps), 60, 10)
    scene.begin()
    for number in range(10):
        scene.now_s = number
        scene.start(f"s{number:02}")
        scene.succeed(f"s{number:02}")
    scene.start("s10")
    scene.log("s10", "hello\n")
    assert scene.look() == [
        "run 6k2m1v8yza  task.yaml  running  9.0 s  10 of 30 done",
        " … 7 succeeded",
        " ✓ s07  succeeded   0.0 s",
        " ✓ s08  succeeded   0.0 s",
        " ✓ s09  succeeded   0.0 s",
        " ⠋ s10  running     0.0 s",
        " · s11  waiting",
        " · s12  waiting",
        " … 17 waiting",
    ]


def test_many_running_steps_are_counted_too() -> None:
    steps = [step(f"s{number:02}") for number in range(30)]
    scene = LiveScene(plan_of(*steps), 60, 8)
    scene.begin()
    scene.start(*(each.id for each in steps))
    shown = scene.look()
    assert len(shown) == 6
    assert shown[-1] == " … 26 running"


def test_end_leaves_tree_without_logs_then_the_summary_and_the_cursor() -> None:
    scene = busy_scene(80, 40)
    scene.look()
    assert not scene.terminal.shows_cursor
    scene.fail("test")
    scene.succeed("build")
    scene.send(ImagePushed, step_id="build", image="app:1", digest="sha256:ab", size_bytes=1)
    scene.skip("push")
    scene.end(Status.FAILED, exit_error(3))
    scene.look()
    scene.view.close()
    shown = scene.terminal.lines
    assert shown[:9] == [
        "run 6k2m1v8yza  task.yaml  failed  2.0 s",
        " ✓ build  succeeded         2.0 s  1 CACHED",
        " ✗ test   failed            2.0 s  exit code 3",
        " ! lint   failed, ignored   0.4 s  exit code 1",
        " - push   skipped",
        "",
        "pushed app:1@sha256:ab",
        "",
        "step 'test' failed: exit code 3",
    ]
    assert shown[-1] == "run 6k2m1v8yza failed: step 'test' failed: exit code 3"
    assert scene.terminal.shows_cursor


def test_final_tree_of_a_long_plan_is_whole() -> None:
    steps = [step(f"s{number:02}") for number in range(50)]
    scene = LiveScene(plan_of(*steps), 60, 10)
    scene.begin()
    scene.start(*(each.id for each in steps))
    scene.look()
    scene.succeed(*(each.id for each in steps))
    scene.end(Status.SUCCEEDED)
    scene.view.close()
    written = "".join(scene.terminal.written).rpartition("\x1b[?25h")[0]
    last = written.rpartition("run 6k2m1v8yza")[2]
    assert all(f"s{number:02}" in last for number in range(50))
    assert scene.terminal.screen.display[-2].startswith("run 6k2m1v8yza succeeded")


def test_cursor_comes_back_when_drawing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = busy_scene()
    scene.look()

    def fail(*_: object) -> None:
        raise RuntimeError("no tree")

    monkeypatch.setattr("tasks_engine.cli.render.live.LiveView._show", fail)
    with pytest.raises(RuntimeError):
        scene.view.close()
    assert scene.terminal.shows_cursor


def test_abandoned_view_gives_the_cursor_back_and_says_nothing() -> None:
    scene = busy_scene()
    shown = scene.look()
    scene.view.abandon()
    assert scene.terminal.shows_cursor
    assert scene.terminal.lines == shown


def test_retry_is_counted_down_then_begins_anew() -> None:
    scene = LiveScene(plan_of(step("test")))
    scene.begin()
    scene.start("test")
    scene.log("test", "old\n")
    scene.send(StepRetrying, step_id="test", attempt=1, attempts=3, delay_s=5.0, reason="exit code 3")
    scene.now_s = 2
    assert scene.look()[1:] == [" ↻ test  retrying    2.0 s  attempt 2 of 3 in 3 s: exit code 3"]
    scene.now_s = 6
    assert scene.look()[1:] == [" ⠋ test  running     6.0 s  attempt 2 of 3"]


def test_layers_of_a_push() -> None:
    scene = LiveScene(plan_of(step("push", "push")))
    scene.begin()
    scene.start("push")
    image = "localhost:5000/app:1"
    scene.progress("push", f"{image} a", "Layer already exists a", "cached", parent=image)
    scene.progress("push", f"{image} b", "Pushing b", parent=image, current=5_000_000, total=20_000_000)
    scene.now_s = 1
    scene.progress("push", f"{image} b", "Pushing b", parent=image, current=10_000_000, total=20_000_000)
    assert scene.look()[2:] == [
        "   ├─ ⠋ localhost:5000/app:1  1 of 2 layers, 10.0 MB of 20.0 MB, 50%, 10.0 MB/s",
        "   │    ├─ ⠋ Pushing b  10.0 MB of 20.0 MB, 50%",
    ]


def test_speed_ignores_that_a_new_phase_counts_from_the_start() -> None:
    scene = LiveScene(plan_of(step("pull")))
    scene.begin()
    scene.start("pull")
    scene.progress("pull", "i a", "Downloading a", parent="i", current=10_000_000, total=10_000_000)
    scene.now_s = 1
    scene.progress("pull", "i a", "Extracting a", parent="i", current=1_000_000, total=10_000_000)
    assert "11.0 MB/s" in scene.look()[2]


def test_names_and_logs_cannot_drive_the_terminal() -> None:
    bad = "\x1b[2J\x1b]0;t\x07\n\x1b[31m"
    scene = LiveScene(plan_of(step(f"a{bad}b")))
    scene.begin()
    scene.start(f"a{bad}b")
    scene.progress(f"a{bad}b", "v", f"vertex{bad}x")
    scene.log(f"a{bad}b", "log\x1b[5A\x1b[31m\ttext [bold]markup[/bold]\n")
    scene.send(RunWarning, message="careful\x1b[2J", hint="h")
    assert scene.look() == [
        "warning: careful",
        "hint: h",
        "run 6k2m1v8yza  task.yaml  running  0.0 s  0 of 1 done",
        " ⠋ a b  running     0.0 s",
        "   ├─ ⠋ vertex x  0.0 s",
        "   │ log text [bold]markup[/bold]",
    ]
    assert scene.terminal.screen.title == ""


def test_resized_terminal() -> None:
    scene = busy_scene(80, 24)
    scene.look()
    scene.resize(100, 30)
    assert len(scene.look()) == 11
    scene.resize(30, 8)
    shown = scene.look()
    assert len(shown) <= 7
    assert sum(line.startswith("run ") for line in shown) == 1


def test_no_color_is_honoured() -> None:
    coloured, plain = (
        LiveScene(plan_of(step("a")), environ=environ) for environ in (UTF8, UTF8 | {"NO_COLOR": "1"})
    )
    for scene in (coloured, plain):
        scene.begin()
        scene.start("a")
        scene.look()
        scene.succeed("a")
        scene.end(Status.SUCCEEDED)
        scene.view.close()
    assert "\x1b[36m" in "".join(coloured.terminal.written)
    assert not any(f"\x1b[{code}m" in "".join(plain.terminal.written) for code in range(30, 50))


def test_long_log_costs_little_memory() -> None:
    scene = LiveScene(plan_of(step("a")))
    scene.begin()
    scene.start("a")
    for _ in range(40):
        scene.log("a", "a line of a log\n" * 16_384)
    assert scene.look()[-1] == "   │ a line of a log"
    assert len(scene.view._watched.tail_by_step["a"].lines()) == 20


def test_terminal_that_vanished_is_not_an_error() -> None:
    scene = busy_scene()
    scene.look()

    def vanish(text: str) -> int:
        raise OSError(5, "Input/output error")

    scene.terminal.write = vanish  # type: ignore[method-assign]
    scene.look()
    scene.log("test", "more\n")
    scene.view.close()


def test_thread_draws_by_itself_and_ends_with_the_view() -> None:
    scene = busy_scene()
    terminal = Terminal(80, 24)
    scene.view = LiveView(plan_of(step("a")), terminal, UTF8, terminal_size=lambda: (80, 24))  # type: ignore[arg-type]
    scene.begin()
    scene.view.close()
    assert scene.view._thread is not None
    assert not scene.view._thread.is_alive()
    assert any("waiting" in line for line in terminal.lines)


def test_view_without_events_prints_only_the_summary() -> None:
    scene = LiveScene(plan_of(step("a")))
    scene.view.close()
    assert scene.terminal.lines[-1] == "run 6k2m1v8yza did not end"


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "log", "vertex", "layer", "retry", "fail", "succeed", "skip"]),
        st.integers(0, 11),
    ),
    max_size=60,
)


@given(_EVENTS, st.integers(1, 120), st.integers(1, 40))
def test_no_picture_is_larger_than_the_terminal(
    events: list[tuple[str, int]], width: int, height: int
) -> None:
    kinds = ("build", "cmd", "push")
    scene = Scene()
    plan = plan_of(*(step(f"{'s漢' * number}{number}", kinds[number % 3]) for number in range(12)))
    scene.view = LiveView(plan, io.StringIO(), UTF8, clock=scene.clock, auto_refresh=False)
    scene.view._open = lambda: None  # only what is remembered is of interest here
    for event, number in events:
        scene.now_s += 0.7
        step_id = plan.steps[number].id
        match event:
            case "start":
                scene.start(step_id)
            case "log":
                scene.log(step_id, f"{'log 漢' * number * 5}\r\n{'x' * 50}")
            case "vertex":
                state = ("running", "done", "cached", "failed")[scene.clock().second % 4]
                scene.progress(step_id, f"v{number}", "name 漢" * number, state)
            case "layer":
                size_bytes = number * 1_000_000
                scene.progress(
                    step_id,
                    f"l{scene.now_s}",
                    "l",
                    parent=f"v{number % 5}",
                    current=size_bytes,
                    total=9_000_000,
                )
            case "retry":
                scene.send(
                    StepRetrying, step_id=step_id, attempt=1, attempts=3, delay_s=1.0, reason="exit code 3"
                )
            case "fail":
                scene.fail(step_id, ignored=number % 2 == 0)
            case "succeed":
                scene.succeed(step_id)
            case "skip":
                scene.skip(step_id)
    lines = draw(scene.view._scene, width, height, scene.clock())
    assert len(lines) <= height
    assert all(sum(width_of(text) for text, _ in line) <= width for line in lines)


def test_line_is_cut_at_its_width() -> None:
    line = [("ab", "red"), ("漢字", ""), ("cd", "dim")]
    for width in range(9):
        cut_line = fit(line, width, "…")
        assert sum(width_of(text) for text, _ in cut_line) <= width
    assert fit(line, 8, "…") == line
    assert "".join(text for text, _ in fit(line, 7, "…")) == "ab漢字…"


def test_live_is_for_capable_terminals_only() -> None:
    terminal = Terminal(80, 24)
    assert wants_live(terminal, UTF8)  # type: ignore[arg-type]
    assert not wants_live(terminal, {"TERM": "dumb"})  # type: ignore[arg-type]
    assert not wants_live(terminal, {})  # type: ignore[arg-type]
    assert not wants_live(terminal, UTF8 | {"CI": "true"})  # type: ignore[arg-type]
    assert not wants_live(io.StringIO(), UTF8)
