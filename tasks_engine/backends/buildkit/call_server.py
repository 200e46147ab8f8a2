"""Serves gRPC calls on one byte stream whose other end is the client: the daemon, within a session.

grpcio's server costs 100 microseconds and more for each message, four of them for every small file of a
context, and it listens on addresses only, so that all bytes would be copied once more. Here many messages go
out in one write. The h2 package keeps HTTP/2's state and the compression of headers; DATA frames, which are
nearly all there is, pass it by: they are cut and read here, with h2's windows kept true.

Sources: RFC 9113 (HTTP/2); "gRPC over HTTP2" in the documentation of gRPC.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import FlowControlError, FrameTooLargeError, ProtocolError
from h2.settings import SettingCodes, Settings

#: statuses of gRPC that we answer with
OK, NOT_FOUND, UNIMPLEMENTED, INTERNAL = 0, 5, 12, 13

#: the longest message taken from the daemon, which itself takes no longer ones
_MAX_MESSAGE_BYTES = 16 << 20
#: received and not consumed yet: of one call, and of all together
_CALL_WINDOW_BYTES = 1 << 20
_CONNECTION_WINDOW_BYTES = 16 << 20
_DEFAULT_WINDOW_BYTES = 65535
#: patterns of a long .dockerignore come as headers
_MAX_HEADER_BYTES = 1 << 20
_MAX_CALLS = 100
#: calls that were given up hold theirs for a moment more
_MAX_THREADS = 130
_MAX_FRAME_BYTES = 16384
#: handed to the pipe in one go
_WRITE_BYTES = 256 * 1024
_PREFACE_BYTES = 24
_FEW_BYTES = 1024
_GATHER_S = 0.0005
#: code of a caller that waits for something else can not be woken
_HANDLERS_END_WITHIN_S = 5.0

_FRAME_HEAD = struct.Struct("!HBBBL")
_WINDOW_UPDATE = struct.Struct("!HBBBLL")
_MESSAGE_HEAD = struct.Struct("!BL")
_TYPE_DATA, _TYPE_WINDOW_UPDATE = 0x0, 0x8
_END_STREAM, _PADDED = 0x1, 0x8
_RESPONSE_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


class Pipe(Protocol):
    """A byte stream to the daemon. One thread reads; others write, one at a time."""

    def read(self) -> bytes:
        """The next bytes, as many as there are; b"" at the end, however it came."""

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Sends all of it; raises OSError when the stream has ended."""

    def end(self) -> None:
        """Makes waiting reads and writes return; from any thread, and again."""

    def close(self) -> None:
        """Gives back what the stream holds; no thread of ours uses it any more."""


class CallOver(Exception):
    """The peer gave up the call, or the connection ended: nobody listens any more."""


class CallFailed(Exception):
    """Raised by a handler: the call ends with this status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Call:
    """One running call, as its handler sees it."""

    def __init__(self, server: CallServer, stream_id: int, metadata: Mapping[str, Sequence[str]]) -> None:
        """Made by the server."""
        #: key in lower case -> values in their order
        self.metadata = metadata
        self._server = server
        self._id = stream_id
        self._changed = threading.Condition(server._lock)
        self._messages: deque[bytes] = deque()
        self._queued_bytes = 0
        self._partial = bytearray()
        #: received, and not given back to the peer's window
        self._owed_bytes = 0
        self._peer_finished = False
        self._truncated = False
        self._over = False
        self._began = False

    def messages(self) -> Iterator[bytes]:
        """The peer's messages until it finished. Raises CallOver."""
        while (message := self.next_message()) is not None:
            yield message

    def next_message(self, *, wait: bool = True) -> bytes | None:
        """The next message; None when the peer finished, or, not to `wait`, has sent none yet.

        Raises CallOver.
        """
        with self._server._lock:
            while not self._messages:
                if self._over:
                    raise CallOver
                if self._truncated:
                    raise CallFailed(INTERNAL, "the call ended within a message")
                if self._peer_finished or not wait:
                    return None
                self._changed.wait()
            message = self._messages.popleft()
            self._queued_bytes -= len(message) + _MESSAGE_HEAD.size
            updates = self._window_updates()
        if updates:
            self._server._write([updates])
        return message

    def send(self, messages: Iterable[bytes]) -> None:
        """Sends messages, small ones together; waits while the peer's windows are full. Raises CallOver."""
        pieces: list[bytes] = []
        for message in messages:
            pieces += (_MESSAGE_HEAD.pack(0, len(message)), message)
        if not self._began:
            self._began = True
            self._server._send_headers(self._id, _RESPONSE_HEADERS, ends=False)
        left = memoryview(b"".join(pieces))
        while left:
            left = left[self._server._send_data(self, left) :]

    def _finish(self, code: int, message: str) -> None:
        """Sends the status."""
        trailers = [("grpc-status", str(code))]
        if message:
            text = quote(message[:4096], safe=" !#$&'()*+,/:;=?@[]", errors="replace")
            trailers.append(("grpc-message", text))
        head = [] if self._began else _RESPONSE_HEADERS
        self._server._send_headers(self._id, [*head, *trailers], ends=True)

    # --- the server's lock is held ----------------------------------------------------------------------------

    def _take(self, payload: memoryview, frame_bytes: int) -> bytes:
        """Adds a DATA frame's payload, `frame_bytes` long with its padding; gives WINDOW_UPDATEs to send."""
        self._owed_bytes += frame_bytes
        if self._owed_bytes > _CALL_WINDOW_BYTES:
            raise FlowControlError("more than the window was sent")
        partial, at = self._partial, 0
        partial += payload
        while len(partial) - at >= _MESSAGE_HEAD.size:
            compressed, length = _MESSAGE_HEAD.unpack_from(partial, at)
            if compressed or length > _MAX_MESSAGE_BYTES:
                raise ProtocolError("a message is compressed or too long")
            begin, end = at + _MESSAGE_HEAD.size, at + _MESSAGE_HEAD.size + length
            if len(partial) < end:
                break
            self._messages.append(bytes(partial[begin:end]))
            self._queued_bytes += end - at
            at = end
        if at:
            del partial[:at]
            self._changed.notify_all()
        return self._window_updates()

    def _window_updates(self) -> bytes:
        """Gives back what is not waiting in the queue, in large steps."""
        consumed = self._owed_bytes - self._queued_bytes
        if consumed < _CALL_WINDOW_BYTES // 2:
            return b""
        self._owed_bytes -= consumed
        return _window_update(self._id, consumed) + _window_update(0, consumed)

    def _peer_ended(self) -> None:
        self._peer_finished = True
        self._truncated = bool(self._partial)
        self._changed.notify_all()

    def _end(self) -> None:
        self._over = True
        self._messages.clear()
        self._changed.notify_all()


#: runs in a thread of its own; returning ends the call well. What it raises ends the call with an error
Handler = Callable[[Call], None]


class CallServer:
    """The server of one connection."""

    def __init__(
        self,
        pipe: Pipe,
        handler_by_path: Mapping[str, Handler],
        *,
        on_heard: Callable[[], None],
        describe: Callable[[BaseException], str],
        on_breach: Callable[[Exception], None],
    ) -> None:
        """Serves `/package.Service/Method` -> handler at once; takes over the pipe.

        `on_heard` is called whenever the daemon sent something. `describe` gives the text that the daemon gets
        of what a handler raised. `on_breach` is called when the daemon breaks the protocol.
        """
        self._pipe = pipe
        self._handler_by_path = handler_by_path
        self._on_heard = on_heard
        self._describe = describe
        self._on_breach = on_breach
        #: guards everything below and all calls; taken after _write_lock
        self._lock = threading.Lock()
        #: one write at a time, in the order in which h2 made the headers
        self._write_lock = threading.Lock()
        self._call_by_id: dict[int, Call] = {}
        self._threads: set[threading.Thread] = set()
        self._buffer = bytearray()
        self._got_preface = False
        self._http2 = _http2_connection()
        self._reader = threading.Thread(target=self._serve, name="buildkit-session", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Ends the connection and all calls. A handler that does not return soon is left alone."""
        self._pipe.end()
        self._reader.join()
        deadline_s = time.monotonic() + _HANDLERS_END_WITHIN_S
        with self._lock:
            running = list(self._threads)
        for thread in running:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self._pipe.close()

    # --- reading ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._flush()
            while data := self._pipe.read():
                self._on_heard()
                with self._lock:
                    updates = self._receive(data)
                    handlers_busy = any(call._messages for call in self._call_by_id.values())
                self._flush(updates)
                if handlers_busy and len(data) < _FEW_BYTES:
                    # Requests for thousands of small files come one by one; they are cheaper together, and those
                    # that are here already keep the handlers busy.
                    time.sleep(_GATHER_S)
        except OSError:
            pass
        except Exception as error:  # noqa: BLE001 - a hostile daemon makes h2 raise more than it documents
            self._on_breach(error)
        finally:
            with self._lock:
                for call in self._call_by_id.values():
                    call._end()
            self._pipe.end()

    def _receive(self, data: bytes) -> list[bytes]:
        """Deals with what came; gives WINDOW_UPDATEs to send."""
        buffer = self._buffer
        buffer += data
        at, updates = 0, []
        if not self._got_preface:
            if len(buffer) < _PREFACE_BYTES:
                return []
            self._http2.receive_data(bytes(buffer[:_PREFACE_BYTES]))
            self._got_preface = True
            at = _PREFACE_BYTES
        with memoryview(buffer) as view:
            while len(view) - at >= _FRAME_HEAD.size:
                high, low, kind, flags, stream_id = _FRAME_HEAD.unpack_from(view, at)
                length = high << 8 | low
                if length > _MAX_FRAME_BYTES:
                    raise FrameTooLargeError(f"a frame of {length} bytes")
                begin, end = at + _FRAME_HEAD.size, at + _FRAME_HEAD.size + length
                if len(view) < end:
                    break
                call = self._call_by_id.get(stream_id) if kind == _TYPE_DATA else None
                if call is not None and not call._peer_finished:
                    if length:
                        with view[begin:end] as payload:
                            updates.append(call._take(_without_padding(payload, flags), length))
                    if flags & _END_STREAM:
                        self._handle(self._http2.receive_data(_end_of_stream(stream_id)))
                else:
                    self._handle(self._http2.receive_data(bytes(view[at:end])))
                at = end
        del buffer[:at]
        return [update for update in updates if update]

    def _handle(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case RequestReceived(stream_id=int(stream_id), headers=headers):
                    self._start(stream_id, headers or [])
                case StreamEnded(stream_id=int(stream_id)) if stream_id in self._call_by_id:
                    self._call_by_id[stream_id]._peer_ended()
                case StreamReset(stream_id=int(stream_id)) if stream_id in self._call_by_id:
                    self._call_by_id[stream_id]._end()
        # Windows may have grown.
        for call in self._call_by_id.values():
            call._changed.notify_all()

    def _start(self, stream_id: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if len(self._threads) >= _MAX_THREADS:
            raise ProtocolError("calls begin faster than they end")
        metadata: dict[str, list[str]] = {}
        for key, value in headers:
            # Old daemons put UTF-8 into headers as it is.
            metadata.setdefault(os.fsdecode(key), []).append(os.fsdecode(value))
        call = self._call_by_id[stream_id] = Call(self, stream_id, metadata)
        handler = self._handler_by_path.get("".join(metadata.get(":path", [])), _unknown_method)
        thread = threading.Thread(target=self._run, args=(call, handler), name="buildkit-call", daemon=True)
        thread.start()
        self._threads.add(thread)

    def _run(self, call: Call, handler: Handler) -> None:
        try:
            code, message = OK, ""
            try:
                handler(call)
            except CallOver:
                raise
            except CallFailed as failure:
                code, message = failure.code, failure.message
            except BaseException as error:  # noqa: BLE001 - whatever it is, the daemon waits for a status
                code, message = INTERNAL, self._describe(error)
            call._finish(code, message)
        except CallOver:
            pass
        finally:
            self._forget(call)

    def _forget(self, call: Call) -> None:
        with self._lock:
            del self._call_by_id[call._id]
        if call._owed_bytes:
            # The connection's window lives on.
            self._write([_window_update(0, call._owed_bytes)])
        with self._lock:
            self._threads.discard(threading.current_thread())

    # --- writing ------------------------------------------------------------------------------------------------

    def _flush(self, pieces: Sequence[bytes] = ()) -> None:
        """Sends `pieces` and what h2 has to say. Raises OSError."""
        with self._write_lock:
            with self._lock:
                said = self._http2.data_to_send()
            if said or pieces:
                self._pipe.write([*pieces, said])

    def _write(self, pieces: Sequence[bytes]) -> None:
        try:
            self._flush(pieces)
        except OSError:
            # The reader learns of it too, and ends all calls.
            self._pipe.end()

    def _send_headers(self, stream_id: int, headers: list[tuple[str, str]], *, ends: bool) -> None:
        """Raises CallOver."""
        with self._write_lock:
            with self._lock:
                call = self._call_by_id[stream_id]
                if call._over:
                    raise CallOver
                try:
                    self._http2.send_headers(stream_id, headers, end_stream=ends)
                    if ends and not call._peer_finished:
                        self._http2.reset_stream(stream_id, ErrorCodes.NO_ERROR)
                except ProtocolError as error:
                    raise CallOver from error
                said = self._http2.data_to_send()
            self._pipe_write([said])

    def _send_data(self, call: Call, data: memoryview) -> int:
        """Sends as much of `data` as the windows allow, after waiting for some; how much. Raises CallOver."""
        with self._lock:
            while self._window(call) <= 0:
                call._changed.wait()
        with self._write_lock:
            with self._lock:
                size = min(self._window(call), len(data), _WRITE_BYTES)
                if size <= 0:
                    return 0
                self._http2.outbound_flow_control_window -= size
                self._http2.streams[call._id].outbound_flow_control_window -= size
            self._pipe_write(_data_frames(call._id, data[:size]))
        return size

    def _window(self, call: Call) -> int:
        stream = self._http2.streams.get(call._id)
        if call._over or stream is None:
            raise CallOver
        return min(self._http2.outbound_flow_control_window, stream.outbound_flow_control_window)

    def _pipe_write(self, pieces: Sequence[bytes | memoryview]) -> None:
        try:
            self._pipe.write(pieces)
        except OSError as error:
            self._pipe.end()
            raise CallOver from error


def _http2_connection() -> H2Connection:
    # Without h2's checks of headers: they refuse blanks at the ends of values, which names of files may have.
    connection = H2Connection(
        H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
    )
    connection.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_CALLS,
            SettingCodes.INITIAL_WINDOW_SIZE: _CALL_WINDOW_BYTES,
            SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_BYTES,
        },
    )
    connection.decoder.max_header_list_size = _MAX_HEADER_BYTES
    connection.initiate_connection()
    connection.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)
    return connection


def _unknown_method(_: Call) -> None:
    raise CallFailed(UNIMPLEMENTED, "no such method")


def _without_padding(payload: memoryview, flags: int) -> memoryview:
    if not flags & _PADDED:
        return payload
    if payload[0] >= len(payload):
        raise ProtocolError("padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def _end_of_stream(stream_id: int) -> bytes:
    return _FRAME_HEAD.pack(0, 0, _TYPE_DATA, _END_STREAM, stream_id)


def _window_update(stream_id: int, count: int) -> bytes:
    return _WINDOW_UPDATE.pack(0, 4, _TYPE_WINDOW_UPDATE, 0, stream_id, count)


def _data_frames(stream_id: int, data: memoryview) -> list[bytes | memoryview]:
    pieces: list[bytes | memoryview] = []
    for begin in range(0, len(data), _MAX_FRAME_BYTES):
        payload = data[begin : begin + _MAX_FRAME_BYTES]
        pieces.append(_FRAME_HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, _TYPE_DATA, 0, stream_id))
        pieces.append(payload)
    return pieces
