"""The two ways in which a session's bytes reach the daemon: Docker's /session, and the stream Control.Session."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import grpc

from tasks_engine.backends.buildkit.call_server import Pipe
from tasks_engine.backends.buildkit.proto.control_pb2 import BytesMessage
from tasks_engine.backends.buildkit.sockets import Connection

_READ_BYTES = 256 * 1024
#: waiting to be sent through Control.Session
_QUEUED_WRITES = 4

#: headers that say who we are and which methods we serve -> the open pipe; raises ConnectError
OpenPipe = Callable[[Sequence[tuple[str, str]]], Pipe]


class SocketPipe:
    """A socket that Docker's /session was upgraded on."""

    def __init__(self, connection: Connection) -> None:
        """Takes over the connection."""
        self._socket = connection.socket
        self._first = connection.first

    def read(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            return self._socket.recv(_READ_BYTES)
        except OSError:
            return b""

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        sent = 0
        if isinstance(self._socket, socket.socket):
            # Gathers the pieces without a copy; TLS and containers have streams of their own.
            sent = self._socket.sendmsg(pieces)
            if sent == sum(map(len, pieces)):
                return
        self._socket.sendall(memoryview(b"".join(pieces))[sent:])

    def end(self) -> None:
        # Not connected any more, or closed already.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


class CallPipe:
    """A running call of Control.Session, whose messages carry slices of the stream."""

    def __init__(
        self,
        session_method: grpc.StreamStreamMultiCallable[BytesMessage, BytesMessage],
        identity: Sequence[tuple[str, str]],
    ) -> None:
        """Starts the call."""
        self._changed = threading.Condition()
        self._outgoing: list[bytes] = []
        self._ended = False
        # gRPC's own thread reads _messages until it ends.
        self._drained = threading.Event()
        self._call = session_method(self._messages(), metadata=tuple(identity))
        # Whoever reads may be waiting for a write that can not go on any more.
        self._call.add_callback(self._let_go)

    def read(self) -> bytes:
        # The call raises when the daemon or end() ends it: the end either way.
        with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
            for message in self._call:
                if message.data:
                    return bytes(message.data)
        self.end()
        return b""

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        data = b"".join(pieces)
        with self._changed:
            while len(self._outgoing) >= _QUEUED_WRITES and not self._ended:
                self._changed.wait()
            if self._ended:
                raise BrokenPipeError("the session has ended")
            self._outgoing.append(data)
            self._changed.notify_all()

    def end(self) -> None:
        self._let_go()
        self._call.cancel()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.end()
        self._drained.wait()

    def _let_go(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _messages(self) -> Iterator[BytesMessage]:
        try:
            while True:
                with self._changed:
                    while not self._outgoing and not self._ended:
                        self._changed.wait()
                    if self._ended:
                        return
                    data = b"".join(self._outgoing)
                    self._outgoing.clear()
                    self._changed.notify_all()
                yield BytesMessage(data=data)
        finally:
            self._drained.set()
