"""Streams a tar of images into a Docker Engine, `docker load` without a file in between.

HTTP/1.1 by hand over a connected socket, as sockets.py does. Source: Docker Engine API, POST /images/load.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_engine.backends.buildkit.errors import BuildKitError, ExportError
from tasks_engine.backends.buildkit.http_answers import read_answer
from tasks_engine.backends.buildkit.sockets import Stream, parse_address

if TYPE_CHECKING:
    from tasks_engine.backends.buildkit.tls import TlsFiles

#: for a `dial` to use
CONNECT_TIMEOUT_S = 10.0
#: for Docker to take the next piece, and to answer after the last one: it unpacks all layers before
ANSWER_TIMEOUT_S = 600.0

# An engine that hung up has sent its reason before, if it had one.
_REASON_TIMEOUT_S = 5.0
_READ_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024
#: of one JSON object in the answer, or of the text that explains an error
_MAX_MESSAGE_BYTES = 1024 * 1024
_REQUEST = (
    b"POST /images/load?quiet=1 HTTP/1.1\r\n"
    b"Host: docker\r\n"
    b"Content-Type: application/x-tar\r\n"
    b"Transfer-Encoding: chunked\r\n"
    b"Connection: close\r\n"
    b"\r\n"
)


@dataclass(frozen=True)
class DockerLoad:
    """A TarDestination: the images of a docker tar appear in a Docker Engine."""

    #: a new connected socket to the engine's API, unix or tcp; raises OSError or ConnectError after at most
    #: about CONNECT_TIMEOUT_S
    dial: Callable[[], Stream]

    def open(self) -> DockerLoadWriter:
        """Connects and sends the head of the request; raises ExportError."""
        try:
            connection = self.dial()
        except OSError as error:
            raise ExportError(f"cannot reach Docker to load the image: {_why(error)}") from error
        except BuildKitError as error:
            raise ExportError(f"cannot reach Docker to load the image: {error.message}") from error
        try:
            connection.settimeout(CONNECT_TIMEOUT_S)
            connection.sendall(_REQUEST)
            connection.settimeout(ANSWER_TIMEOUT_S)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise ExportError(f"cannot send the image to Docker: {_why(error)}") from error
            raise
        return DockerLoadWriter(connection)


class DockerLoadWriter:
    """One running load: a TarWriter."""

    def __init__(self, connection: Stream) -> None:
        """Takes over `connection`, on which the head of the request was sent."""
        self._connection = connection
        self._send_lock = threading.Lock()
        #: what the answer says against the image, or why there is none; None after a good one
        self._failure: ExportError | None = None
        self._answered = threading.Event()
        self._state_lock = threading.Lock()
        self._body_ended = False
        self._finished = False
        self._closed = False
        # Aside, because an engine may answer, and hang up, while we still send.
        self._reader = threading.Thread(target=self._read_answer, name="buildkit-docker-load", daemon=True)
        self._reader.start()

    def write(self, data: bytes) -> None:
        """The next bytes of the tar; raises ExportError with Docker's answer if that came early."""
        # An empty chunk would end the body.
        if data:
            self._send(b"".join((b"%x\r\n" % len(data), data, b"\r\n")))

    def finish(self) -> None:
        """Ends the tar and waits until Docker has loaded it; raises ExportError with Docker's reason."""
        with self._state_lock:
            if self._finished:
                return
            ended, self._body_ended = self._body_ended, True
        try:
            if not ended:
                self._send(b"0\r\n\r\n")
            if not self._answered.wait(ANSWER_TIMEOUT_S):
                raise ExportError(
                    f"Docker did not answer within {ANSWER_TIMEOUT_S:g} s after the whole image"
                )
            if self._failure is not None:
                raise self._failure
            with self._state_lock:
                self._finished = True
        finally:
            self._close()

    def abort(self) -> None:
        """Hangs up in the middle: Docker drops what it has. Does nothing after `finish`."""
        with self._state_lock:
            finished = self._finished
        if not finished:
            self._close()

    def _send(self, data: bytes) -> None:
        with self._send_lock:
            if self._closed:
                raise ExportError("cannot send the image to Docker: it was given up")
            sending_failure: OSError | None = None
            if not self._answered.is_set():
                try:
                    self._connection.sendall(data)
                    return
                except OSError as error:
                    sending_failure = error
            # What the engine said before it hung up is the better reason. After a good answer the rest is not
            # missed: the end of a tar is padding.
            if self._answered.wait(_REASON_TIMEOUT_S) and not self._closed:
                if self._failure is not None:
                    raise self._failure
            elif sending_failure is not None:
                raise ExportError(f"cannot send the image to Docker: {_why(sending_failure)}")

    def _close(self) -> None:
        self._closed = True
        # Wakes up who sends or reads.
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        with self._send_lock:
            self._connection.close()

    def _read_answer(self) -> None:
        try:
            self._failure = _load_failure(self._receive)
        except ExportError as error:
            self._failure = error
        except (OSError, ValueError) as error:
            self._failure = ExportError(f"Docker did not answer: {_why(error)}")
        except BaseException as error:  # noqa: BLE001 - nobody would see it in this thread
            self._failure = ExportError(f"cannot read the answer of Docker: {error!r}")
        self._answered.set()
        if self._failure is not None:
            # A sendall that still waits for room gets its end, and the reason with it.
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def _receive(self, count: int) -> bytes:
        while True:
            try:
                return self._connection.recv(count)
            except TimeoutError:
                # Docker says nothing while it takes the tar, however long that is. `finish` ends the wait for
                # the answer, and `abort` all waits.
                if self._closed:
                    raise


def _load_failure(receive: Callable[[int], bytes]) -> ExportError | None:
    """Reads the whole answer; what it says against the image. Raises OSError or ValueError for a broken one."""
    answer = read_answer(receive)
    if answer.status != 200:
        return ExportError(f"Docker does not load the image: it answered {answer.status}{answer.reason()}")
    for message in _json_objects(answer.body()):
        text = message.get("error")
        if text is None and isinstance(detail := message.get("errorDetail"), dict):
            text = detail.get("message")
        if text is not None:
            return ExportError(f"Docker could not load the image: {text}")
    return None


def _json_objects(pieces: Iterator[bytes]) -> Iterator[dict[str, object]]:
    """The JSON objects that follow one another in a stream; raises ValueError."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    parse = json.JSONDecoder().raw_decode
    text = ""
    for piece in pieces:
        text = (text + decode(piece)).lstrip()
        # No object ends without one.
        while text and b"}" in piece:
            try:
                value, end = parse(text)
            except ValueError:
                break
            text = text[end:].lstrip()
            if isinstance(value, dict):
                yield value
        if len(text) > _MAX_MESSAGE_BYTES:
            raise ValueError("a message in its answer is too long")
    if text:
        raise ValueError(f"its answer is not JSON: {text[:200]}")


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def load_into_docker(address: str, tls: TlsFiles | None = None) -> DockerLoad:
    """The Docker Engine at unix:///path or tcp://host:port. Raises ConnectError for what is no such address."""
    place = parse_address(f"docker+{address}")
    return DockerLoad(lambda: place.dial(CONNECT_TIMEOUT_S, tls))
