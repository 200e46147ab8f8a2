"""Output of a container, in the frames of the Engine's attach call."""

from __future__ import annotations

import struct

from tasks_engine.backends.docker.containers import _whole_frames


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(data)) + data


def test_frames_of_one_stream_in_a_row_are_one_piece() -> None:
    pending = bytearray(frame(1, b"a") + frame(1, b"b") + frame(2, b"c") + frame(1, b"d"))
    assert _whole_frames(pending) == [("stdout", b"ab"), ("stderr", b"c"), ("stdout", b"d")]
    assert pending == b""


def test_wherever_the_connection_cuts_nothing_is_lost() -> None:
    sent = frame(1, b"hello") + frame(2, b"") + frame(2, b"world")
    for cut in range(len(sent) + 1):
        pending = bytearray(sent[:cut])
        got = _whole_frames(pending)
        pending += sent[cut:]
        got += _whole_frames(pending)
        assert b"".join(data for stream, data in got if stream == "stdout") == b"hello"
        assert b"".join(data for stream, data in got if stream == "stderr") == b"world"
        assert not pending
