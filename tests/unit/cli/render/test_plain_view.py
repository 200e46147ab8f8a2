"""A run as lines of text."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.cli.render.log_lines import MAX_HELD, Tail
from tasks_engine.cli.render.plain import PlainView
from tasks_engine.events import ImagePushed, RunWarning, Status, StepRetrying
from tasks_engine.plan.model import Plan
from tests.unit.cli.render.render_scene import DIGEST, Scene, plan_of, step


class PlainScene(Scene):
    def __init__(self, plan: Plan, *, color: bool = False) -> None:
        super().__init__()
        self.out = io.StringIO()
        self.view = PlainView(plan, self.out, color=color)

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().split("\n")[:-1]


def test_whole_run() -> None:
    scene = PlainScene(
        plan_of(step("build", "build"), step("lint", ignore=True), step("test"), step("push", "push"))
    )
    scene.begin()
    scene.send(RunWarning, message="task.yaml:3:1: 'volumes' is not honoured", hint="leave it out")
    scene.start("build", "lint")
    scene.log("build", "#1 [1/2] FROM busybox\n", "engine")
    scene.progress("build", "v1", "[1/2] FROM busybox")
    scene.log("lint", "E501\n", "stderr")
    scene.now_s = 0.4
    scene.fail("lint", 1, ignored=True)
    scene.now_s = 12.3
    scene.succeed("build")
    scene.send(ImagePushed, step_id="build", image="localhost:5000/app:1", digest=DIGEST, size_bytes=5)
    scene.start("test")
    scene.send(StepRetrying, step_id="test", attempt=1, attempts=3, delay_s=5.0, reason="exit code 3")
    scene.log("test", "no line break")
    scene.now_s = 13.5
    scene.fail("test", attempts=2)
    scene.skip("push")
    scene.end(Status.FAILED, {"code": "step-failed", "message": "exit code 3"})
    assert scene.lines == [
        "warning: task.yaml:3:1: 'volumes' is not honoured",
        "hint: leave it out",
        "build | started",
        "lint  | started",
        "build | #1 [1/2] FROM busybox",
        "lint  | E501",
        "lint  | failed, ignored after 0.4 s: exit code 1",
        "build | succeeded after 12.3 s",
        f"build | pushed localhost:5000/app:1@{DIGEST}",
        "test  | started",
        "test  | attempt 1 of 3 failed: exit code 3; again in 5 s",
        "test  | no line break",
        "test  | failed after 1.2 s: exit code 3",
        "push  | skipped",
    ]
    scene.view.close()
    assert scene.lines[-1] == "run 6k2m1v8yza failed: step 'test' failed: exit code 3"


def test_steps_do_not_share_a_line() -> None:
    scene = PlainScene(plan_of(step("a"), step("b")))
    scene.log("a", "one ")
    scene.log("b", "two\n")
    scene.log("a", "err\n", "stderr")
    scene.log("a", "three\n")
    assert scene.lines == ["b | two", "a | err", "a | one three"]


def test_streams_of_a_build_continue_each_other() -> None:
    scene = PlainScene(plan_of(step("build", "build")))
    scene.log("build", "#3 half", "stdout")
    scene.log("build", "\n#3 DONE 0.1s\n", "engine")
    assert scene.lines == ["build | #3 half", "build | #3 DONE 0.1s"]


def test_carriage_returns_collapse_and_windows_line_ends_are_line_ends() -> None:
    scene = PlainScene(plan_of(step("a")))
    scene.log("a", "10%\r")
    scene.log("a", "99%\r100%\nplain\r")
    scene.log("a", "\n\n50%\r60%\r")
    scene.succeed("a")
    assert scene.lines[:4] == ["a | 100%", "a | plain", "a |", "a | 60%"]


def test_endless_line_leaves_in_pieces() -> None:
    scene = PlainScene(plan_of(step("a")))
    for _ in range(30):
        scene.log("a", "x" * 10_000)
    held = 300_000 - sum(len(line) - len("a | ") for line in scene.lines)
    assert held <= MAX_HELD
    scene.log("a", "end\n")
    assert "".join(line.removeprefix("a | ") for line in scene.lines) == "x" * 300_000 + "end"


def test_endless_progress_is_not_kept() -> None:
    scene = PlainScene(plan_of(step("a")))
    for number in range(20_000):
        scene.log("a", f"{number} of 20000\r")
    assert scene.lines == []
    scene.log("a", "\n")
    assert scene.lines == ["a | 19999 of 20000"]


def test_hostile_log_and_names_cannot_drive_the_terminal() -> None:
    scene = PlainScene(plan_of(step("a\x1b[2J\nb")), color=True)
    scene.start("a\x1b[2J\nb")
    scene.log("a\x1b[2J\nb", "\x1b]0;t\x07\x1b[31mred\x1b[5A\n")
    scene.send(RunWarning, message="w\x1b[2J")
    assert scene.lines == ["a b | started", "a b | \x1b[31mred\x1b[0m", "warning: w"]


def test_escape_in_two_events_is_seen_whole() -> None:
    scene = PlainScene(plan_of(step("a")))
    scene.log("a", "x\x1b[3")
    scene.log("a", "1my\n")
    assert scene.lines == ["a | xy"]


def test_long_id_widens_only_its_own_lines() -> None:
    scene = PlainScene(plan_of(step("a"), step("b" * 30)))
    scene.start("a", "b" * 30)
    assert scene.lines == [f"{'a':<24} | started", f"{'b' * 30} | started"]


def test_detached_step_may_write_after_its_end() -> None:
    scene = PlainScene(plan_of(step("db")))
    scene.start("db")
    scene.succeed("db")
    scene.log("db", "still here")
    scene.view.close()
    assert "db | still here" in scene.lines


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_reader_that_went_away_is_not_an_error() -> None:
    view = PlainView(plan_of(step("a")), ClosedPipe())
    scene = Scene()
    scene.view = view
    scene.start("a")
    view.close()
    closed = io.StringIO()
    closed.close()
    scene.view = PlainView(plan_of(step("a")), closed)
    scene.start("a")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_text_that_the_encoding_lacks_is_replaced(encoding: str) -> None:
    raw = io.BytesIO()
    scene = Scene()
    scene.view = PlainView(plan_of(step("a")), io.TextIOWrapper(raw, encoding))
    scene.log("a", "é\udc80\n")
    assert raw.getvalue() == ("a | é?\n" if encoding == "utf-8" else "a | ??\n").encode()


_CHUNKS = st.lists(
    st.tuples(
        st.sampled_from(["one", "two", "build"]),
        st.sampled_from(["stdout", "stderr"]),
        st.text(alphabet=st.sampled_from("ab \n漢"), max_size=12),
    ),
    max_size=40,
)


@given(_CHUNKS)
def test_every_line_of_a_stream_is_shown_whole_and_in_order(chunks: list[tuple[str, str, str]]) -> None:
    scene = PlainScene(plan_of(step("one"), step("two"), step("build", "build")))
    expected: dict[tuple[str, str], str] = {}
    for step_id, stream, text in chunks:
        mark = stream if step_id != "build" else ""
        # the stream is told from the text, so that each can be found again in the output
        marked = text.replace("a", "o" if stream == "stdout" else "e")
        expected[step_id, mark] = expected.get((step_id, mark), "") + marked
        scene.log(step_id, marked, stream)
    scene.succeed("one", "two", "build")
    for step_id in ("one", "two", "build"):
        prefix = f"{step_id:<5} |"
        shown = [
            line.removeprefix(prefix).removeprefix(" ") for line in scene.lines if line.startswith(prefix)
        ]
        shown.remove("succeeded")
        wanted = [text.split("\n") for (owner, _), text in expected.items() if owner == step_id]
        wanted = [lines if lines[-1] else lines[:-1] for lines in wanted]
        assert sorted(shown) == sorted(line for lines in wanted for line in lines)
        for lines in wanted:
            rest = iter(shown)
            assert all(line in rest for line in lines)


@given(st.lists(st.text(alphabet=st.sampled_from("ab\n"), max_size=50), max_size=20))
def test_tail_is_the_end_of_the_text(pieces: list[str]) -> None:
    tail = Tail()
    for piece in pieces:
        tail.feed("stdout", "stdout", piece)
    lines = "".join(pieces).split("\n")
    if not lines[-1]:
        lines.pop()
    kept = [*lines[:-1][-20:], lines[-1]] if "".join(pieces)[-1:] not in ("", "\n") else lines[-20:]
    while kept and not kept[-1]:
        kept.pop()
    assert tail.lines() == kept[-20:]


def test_tail_of_endless_progress_is_its_last_state() -> None:
    tail = Tail()
    for number in range(5_000):
        tail.feed("stdout", "stdout", f"{number}%\r")
    assert tail.lines() == ["4999%"]
    tail.feed("stdout", "stdout", "x" * 100_000)
    assert len(tail.lines()[0]) == 4096
