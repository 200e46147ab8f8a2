"""What a build prints, and the events of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks_engine.backends import buildkit
from tasks_engine.backends.build_transcript import Transcript
from tasks_engine.ports import StepOutput

START = datetime(2026, 1, 1, tzinfo=UTC)


class Recorder:
    def __init__(self) -> None:
        self.text = b""
        self.events: list = []

    @property
    def output(self) -> StepOutput:
        return StepOutput("b", self._write, self.events.append)

    def _write(self, _: str, data: bytes) -> None:
        self.text += data


def vertex(digest: str, name: str, *, seconds: float | None = None, cached: bool = False, error: str = ""):
    completed = START + timedelta(seconds=seconds) if seconds is not None else None
    return buildkit.VertexChanged(digest, name, START, completed, cached, error, ())


def log(digest: str, data: bytes):
    return buildkit.LogOutput(digest, 1, data, START)


def transcript_of(*events) -> Recorder:
    recorder = Recorder()
    transcript = Transcript(recorder.output)
    for event in events:
        transcript.take(event)
    return recorder


def test_vertices_are_numbered_and_their_output_carries_the_number():
    seen = transcript_of(
        vertex("x", "[1/2] RUN make"), log("x", b"one\ntwo\n"), vertex("x", "[1/2] RUN make", seconds=1.5)
    )

    assert seen.text == b"#1 [1/2] RUN make\n#1 one\n#1 two\n#1 DONE 1.5s\n"


def test_output_of_two_vertices_never_shares_a_line():
    seen = transcript_of(
        vertex("x", "A"), vertex("y", "B"), log("x", b"half"), log("y", b"other\n"), log("x", b"rest\n")
    )

    assert seen.text == b"#1 A\n#2 B\n#1 half\n#2 other\n#1 rest\n"


def test_a_vertex_that_is_told_of_again_is_finished_once():
    done = vertex("x", "A", cached=True, seconds=0)

    assert transcript_of(vertex("x", "A"), done, done).text == b"#1 A\n#1 CACHED\n"


def test_bytes_that_are_no_text_pass_unchanged():
    assert transcript_of(vertex("x", "A"), log("x", b"\xff\xfe\n")).text == b"#1 A\n#1 \xff\xfe\n"


def test_a_cache_that_is_not_there_yet_is_no_error():
    missing = vertex("x", "importing cache manifest from r.io/app:cache", seconds=0, error="not found")

    seen = transcript_of(missing)

    assert seen.text == b"#1 importing cache manifest from r.io/app:cache\n#1 no cache there: not found\n"
    assert [event.state for event in seen.events] == ["done"]


def test_events_say_what_came_from_the_cache():
    seen = transcript_of(
        vertex("x", "A"), vertex("x", "A", cached=True, seconds=0), vertex("y", "B", seconds=1)
    )

    assert [(event.name, event.state) for event in seen.events] == [
        ("A", "running"),
        ("A", "cached"),
        ("B", "done"),
    ]
