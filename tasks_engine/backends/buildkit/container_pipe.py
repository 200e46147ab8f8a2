"""A byte stream to a buildkitd that runs in a container, the address docker-container://NAME of other clients.

A command in the container connects its own input and output with the daemon's socket; Docker's API carries
them. HTTP/1.1 by hand, as in sockets.py. Source: Docker Engine API, /containers/{id}/exec, /exec/{id}/start and
"Stream format" of /containers/{id}/attach.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from tasks_engine.backends.buildkit.errors import ConnectError
from tasks_engine.backends.buildkit.http_answers import Answer, read_answer
from tasks_engine.backends.buildkit.sockets import Stream

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: connects standard input and output with buildkitd's socket
DIAL_COMMAND = ("buildctl", "dial-stdio")

_READ_BYTES = 256 * 1024
_MAX_BODY_BYTES = 64 * 1024
_KEPT_BYTES = 4096
_HEAD_BYTES = 8
_STDOUT, _STDERR, _SYSTEM_ERROR = 1, 2, 3
#: how the text begins that Docker writes into the output itself when the command can not be started
_NOT_STARTED = b"OCI runtime exec failed"


class CommandFailed(ConnectError, OSError):
    """The command in the container ended with an error, or never started.

    Reading tells, as it happens after the start was accepted. It is an OSError too, so that who copies bytes
    sees a broken connection.
    """


def dial_container(
    name: str,
    dial_docker: Callable[[], Stream],
    timeout_s: float,
    command: Sequence[str] = DIAL_COMMAND,
) -> PipeSocket:
    """Starts `command` in the running container `name` (or its id): the stream of its input and output.

    `dial_docker` makes a new connected socket to the Docker Engine's API, and raises OSError or ConnectError.
    Raises ConnectError after at most about `timeout_s` and the time that `dial_docker` takes; operations of the
    stream time out after `timeout_s` until its `settimeout` is called.
    """
    # Docker's grammar for names, so nothing else can get into the path.
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name, re.ASCII):
        raise ConnectError(
            f"'{name}' can not be the name of a container: at least two of a-z, A-Z, 0-9, '_', '.' and '-', "
            "the first one a letter or digit"
        )
    deadline = time.monotonic() + timeout_s
    try:
        exec_id = _create(name, dial_docker, deadline, command)
        connection = dial_docker()
        try:
            pipe = _start(name, connection, exec_id, deadline)
            connection.settimeout(timeout_s)
        except BaseException:
            connection.close()
            raise
    except TimeoutError as error:
        raise ConnectError(
            f"Docker did not start {command[0]} in the container {name} within {timeout_s:g} s"
        ) from error
    except OSError as error:
        # A ConnectError that is an OSError too explains itself.
        if isinstance(error, ConnectError):
            raise
        raise ConnectError(
            f"cannot reach the container {name} through Docker: {error.strerror or error}"
        ) from error
    except ValueError as error:
        raise ConnectError(f"cannot reach the container {name} through Docker: {error}") from error
    return pipe


def _create(name: str, dial_docker: Callable[[], Stream], deadline: float, command: Sequence[str]) -> str:
    """The id of the prepared command."""
    request = {
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Cmd": list(command),
    }
    connection = dial_docker()
    try:
        answer = _ask(connection, f"/containers/{name}/exec", ["Connection: close"], request, deadline)
        if answer.status == 404:
            raise ConnectError(f"there is no container {name}{answer.reason()}")
        if answer.status == 409:
            raise ConnectError(f"the container {name} does not run{answer.reason()}")
        if answer.status != 201:
            raise _refused(name, command[0], answer)
        body = b""
        for piece in answer.body():
            body += piece
            if len(body) > _MAX_BODY_BYTES:
                break
        try:
            exec_id = json.loads(body)["Id"]
        except (ValueError, TypeError, KeyError, RecursionError):
            exec_id = None
        if not isinstance(exec_id, str) or not re.fullmatch(r"[0-9a-fA-F]{1,128}", exec_id, re.ASCII):
            raise ConnectError(
                f"Docker did not prepare {command[0]} in the container {name}: its answer is not understood"
            )
        return exec_id
    finally:
        connection.close()


def _start(name: str, connection: Stream, exec_id: str, deadline: float) -> PipeSocket:
    answer = _ask(
        connection,
        f"/exec/{exec_id}/start",
        ["Connection: Upgrade", "Upgrade: tcp"],
        {"Detach": False, "Tty": False},
        deadline,
    )
    # Engines that know no upgrade take over the connection after 200.
    if answer.status not in (101, 200):
        raise _refused(name, "the command", answer)
    return PipeSocket(connection, name, answer.rest)


def _ask(connection: Stream, path: str, headers: Iterable[str], request: object, deadline: float) -> Answer:
    body = json.dumps(request).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: docker",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]

    def receive(count: int) -> bytes:
        connection.settimeout(_left_s(deadline))
        return connection.recv(count)

    connection.settimeout(_left_s(deadline))
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
    return read_answer(receive)


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _refused(name: str, command: str, answer: Answer) -> ConnectError:
    return ConnectError(
        f"Docker does not start {command} in the container {name}: it answered {answer.status}{answer.reason()}"
    )


class PipeSocket:
    """Input and output of a command in a container, with the methods of a socket that this package uses.

    One thread may read while another one writes. What the command says on standard error is kept, and shown
    when the stream ends. Errors are OSErrors, as with a socket.
    """

    def __init__(self, connection: Stream, name: str, first: bytes = b"") -> None:
        """Use `dial_container`. `first` are the bytes that came with the answer."""
        self._connection = connection
        self._name = name
        self._receive_lock = threading.Lock()
        #: came and was not yet looked at, from `_position` on
        self._received = first
        self._position = 0
        #: of the frame that is being read
        self._head = b""
        self._stream = 0
        self._left = 0
        #: the end of what was said on standard error
        self._complaint = b""
        self._heard = False
        self._closing = False

    def recv(self, count: int) -> bytes:
        """Up to `count` bytes of standard output, none at the end; raises OSError."""
        with self._receive_lock:
            # Not for a head alone: `_next` gives at least a byte.
            return self._next(count) if count else b""

    def recv_into(self, buffer: WriteableBuffer) -> int:
        """Fills the beginning of `buffer` with standard output: how many bytes, 0 at the end; raises OSError."""
        view = memoryview(buffer).cast("B")
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def sendall(self, data: bytes | memoryview) -> None:
        """Sends all of it to standard input; raises OSError."""
        self._connection.sendall(data)

    def settimeout(self, timeout_s: float | None) -> None:
        """Of every read and write of the connection to Docker, in seconds; None for none."""
        self._connection.settimeout(timeout_s)

    def shutdown(self, how: int) -> None:
        """As a socket's; SHUT_WR ends standard input. Raises OSError when not connected."""
        if how != socket.SHUT_WR:
            self._closing = True
        self._connection.shutdown(how)

    def close(self) -> None:
        """Ends the stream, and with its input the command; may be called again."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def __enter__(self) -> PipeSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, count: int) -> bytes:
        while True:
            # A frame may be empty.
            while not self._left:
                if not self._read_head():
                    return self._end("in the middle of a frame" if self._head else "")
            data = self._take(min(self._left, count))
            if not data:
                return self._end("in the middle of what the command said")
            self._left -= len(data)
            if self._stream != _STDOUT:
                self._complaint = (self._complaint + data)[-_KEPT_BYTES:]
            elif not self._heard and data.startswith(_NOT_STARTED):
                self._complaint = data[:_KEPT_BYTES]
                return self._end()
            else:
                self._heard = True
                return data

    def _read_head(self) -> bool:
        """Goes on to the next frame; False at the end of the connection."""
        # Kept in the object: a read that times out in the middle is tried again.
        while len(self._head) < _HEAD_BYTES:
            piece = self._take(_HEAD_BYTES - len(self._head))
            if not piece:
                return False
            self._head += piece
        head, self._head = self._head, b""
        if head[0] not in (_STDOUT, _STDERR, _SYSTEM_ERROR) or head[1:4] != b"\0\0\0":
            raise OSError(
                errno.EPROTO, f"what comes from the container {self._name} is not in Docker's frames"
            )
        self._stream, self._left = head[0], int.from_bytes(head[4:], "big")
        return True

    def _take(self, most: int) -> bytes:
        """What there is, at least a byte; none at the end of the connection."""
        if self._position == len(self._received):
            self._received, self._position = self._connection.recv(_READ_BYTES), 0
        data = self._received[self._position : self._position + most]
        self._position += len(data)
        return data

    def _end(self, where: str = "") -> bytes:
        """The end of the stream; raises OSError when it is not a good one."""
        if self._closing:
            return b""
        complaint = self._complaint.decode("utf-8", "replace").strip()
        if complaint:
            text = f"the command in the container {self._name} says: {complaint}"
            raise ConnectionResetError(errno.ECONNRESET, text) if self._heard else CommandFailed(text)
        if where:
            raise ConnectionResetError(
                errno.ECONNRESET, f"the connection to the container {self._name} ended {where}"
            )
        return b""
