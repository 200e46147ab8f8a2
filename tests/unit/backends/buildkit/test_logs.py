from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.backends.buildkit.logs import LogLine, LogLines
from tasks_engine.backends.buildkit.progress import LogOutput, VertexChanged

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def output(data: bytes, vertex: str = "v", stream: int = 1) -> LogOutput:
    return LogOutput(vertex, stream, data, NOW)


def step(vertex: str = "v", *, over: bool = False) -> VertexChanged:
    return VertexChanged(vertex, "[1/2] RUN make", NOW, NOW if over else None, False, "", ())


def texts(lines: LogLines, *events: LogOutput | VertexChanged) -> list[str]:
    return [line.text for event in events for line in lines.take(event)]


def test_pieces_become_lines() -> None:
    lines = LogLines()
    assert texts(lines, output(b"on"), output(b"e\ntw"), output(b"o\n\nthree\n")) == [
        "one",
        "two",
        "",
        "three",
    ]


def test_line_names_its_step() -> None:
    lines = LogLines()
    list(lines.take(step()))
    assert list(lines.take(output(b"x\n", stream=2))) == [LogLine("v", "[1/2] RUN make", 2, "x")]


def test_last_line_comes_with_the_end_of_its_step() -> None:
    lines = LogLines()
    assert texts(lines, output(b"no end"), output(b"other", "w"), step(over=True)) == ["no end"]
    assert [line.text for line in lines.rest()] == ["other"]
    assert not list(lines.rest())


def test_streams_and_steps_do_not_mix() -> None:
    lines = LogLines()
    mixed = [
        output(b"a"),
        output(b"b", stream=2),
        output(b"c", "w"),
        output(b"1\n"),
        output(b"2\n", stream=2),
    ]
    assert texts(lines, *mixed) == ["a1", "b2"]


def test_character_cut_in_two_is_whole_again() -> None:
    assert texts(LogLines(), output("ü".encode()[:1]), output("ü".encode()[1:] + b"\r\n")) == ["ü"]


def test_endless_line_does_not_fill_the_memory() -> None:
    lines = LogLines()
    found = [line.text for _ in range(30) for line in lines.take(output(b"x" * 100_000))]
    assert [len(text) for text in found] == [1_100_000, 1_100_000]


@given(st.lists(st.binary(max_size=20)))
def test_nothing_is_lost(pieces: list[bytes]) -> None:
    lines = LogLines()
    found = [line.text for piece in pieces for line in lines.take(output(piece))]
    found += [line.text for line in lines.rest()]
    expected = b"".join(pieces).split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert found == [line.removesuffix(b"\r").decode("utf-8", "replace") for line in expected]
