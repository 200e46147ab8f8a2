"""Reads answers of HTTP/1.1 by hand, where the connection goes on as something else. Source: RFC 9112."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_READ_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """The head of an HTTP/1.1 answer; `body` reads on."""

    status: int
    #: by their names in lower case
    headers: dict[str, str]
    #: what came in the same read as the head's end
    rest: bytes
    receive: Callable[[int], bytes]

    def body(self) -> Iterator[bytes]:
        """The body's pieces; raises OSError when it breaks off and ValueError when it is malformed."""
        source = _Source(self.rest, self.receive)
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            yield from _chunks(source)
        elif "content-length" in self.headers:
            yield from source.exactly(_number(self.headers["content-length"], 10))
        else:
            while piece := source.some(_READ_BYTES):
                yield piece

    def reason(self) -> str:
        """What the body says, as ": text": its JSON `message`, or the beginning of it as it is."""
        body = b""
        with contextlib.suppress(OSError, ValueError):
            for piece in self.body():
                body += piece
                if len(body) > _MAX_HEAD_BYTES:
                    break
        try:
            text = str(json.loads(body)["message"])
        except (ValueError, TypeError, KeyError, RecursionError):
            text = body[:_MAX_HEAD_BYTES].decode("utf-8", "replace").strip()
        return f": {text}" if text else ""


def read_answer(receive: Callable[[int], bytes]) -> Answer:
    """Reads the head of an answer.

    `receive` is a socket's `recv`. Raises OSError when the connection ends, ValueError when it is not HTTP.
    """
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            if len(received) > _MAX_HEAD_BYTES:
                raise ValueError("what listens there does not speak HTTP")
            piece = receive(_READ_BYTES)
            if not piece:
                raise ConnectionResetError("it closed the connection")
            received += piece
        head, _, received = received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        status = re.match(r"HTTP/1\.[01] ([1-5]\d\d)(?!\d)", status_line)
        if not status:
            raise ValueError("what listens there does not speak HTTP")
        if status[1] == "100":
            continue
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        return Answer(int(status[1]), headers, received, receive)


class _Source:
    """Bytes of a body: those that are there already, then those that come."""

    def __init__(self, first: bytes, receive: Callable[[int], bytes]) -> None:
        self._ready = first
        self._receive = receive

    def some(self, most: int) -> bytes:
        """At least one byte, or none at the end."""
        ready = self._ready or self._receive(_READ_BYTES)
        self._ready = ready[most:]
        return ready[:most]

    def exactly(self, count: int) -> Iterator[bytes]:
        while count:
            piece = self.some(min(count, _READ_BYTES))
            if not piece:
                raise ConnectionResetError("it closed the connection in the middle of its answer")
            count -= len(piece)
            yield piece

    def line(self) -> bytes:
        """Up to the next CR LF, without it."""
        found = b""
        while not found.endswith(b"\r\n"):
            if len(found) > 4096:
                raise ValueError("its answer is not HTTP: a line is too long")
            found += b"".join(self.exactly(1))
        return found[:-2]


def _chunks(source: _Source) -> Iterator[bytes]:
    while size := _number(source.line().partition(b";")[0].decode("latin-1"), 16):
        yield from source.exactly(size)
        if source.line():
            raise ValueError("its answer is not HTTP: a chunk has another length than it says")
    # Trailers.
    while source.line():
        pass


def _number(text: str, base: int) -> int:
    if not re.fullmatch(r"[0-9a-fA-F]{1,15}", text.strip()):
        raise ValueError(f"its answer is not HTTP: '{text[:40]}' is no length")
    return int(text, base)
