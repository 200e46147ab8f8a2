"""TLS over a connected socket, for one thread that reads while another one writes.

Python's SSLSocket may not be used like that: OpenSSL's state of a connection has no lock of its own. Here a
lock guards that state, which works in memory, and the socket is read and written outside of the lock.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tasks_engine.backends.buildkit.errors import ConnectError

if TYPE_CHECKING:
    import ssl

    from _typeshed import ReadableBuffer, WriteableBuffer

_READ_BYTES = 256 * 1024
#: encrypted in one go, while the lock is held
_WRITE_BYTES = 64 * 1024
_RECORD_BYTES = 16 * 1024
#: the first byte of a TLS record before encryption begins: an alert or a handshake
_FIRST_BYTES = (0x15, 0x16)
#: X509_V_ERR_... of OpenSSL
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = (62, 64)


class TlsRefused(ConnectError, OSError):
    """The daemon refused our certificate, or that we have none, after the handshake.

    In TLS 1.3 the first read tells. It is an OSError too, so that who copies bytes sees a broken connection.
    """


@dataclass(frozen=True)
class TlsFiles:
    """What TLS with a daemon takes, in PEM."""

    #: certificates of who may sign the daemon's; None for those the system trusts
    ca: Path | None = None
    #: our own, for daemons that ask who we are
    cert: Path | None = None
    #: of `cert`, not encrypted; None when it is in the same file
    key: Path | None = None
    #: False takes any certificate: whoever stands in the way can then read and change everything
    verify: bool = True
    #: the name that the daemon's certificate must have; empty for the host of the address
    server_name: str = ""


def wrap(
    connection: socket.socket, files: TlsFiles, host: str, timeout_s: float, *, alpn: Sequence[str] = ()
) -> TlsSocket:
    """Starts TLS on `connection` as a client; the whole handshake takes at most about `timeout_s`.

    `host` is a name or an address, also "[::1]". `alpn` are the protocols to offer, ("h2",) for HTTP/2. Takes
    over `connection`, and closes it when it raises. Raises ConnectError.
    """
    timeout_before = connection.gettimeout()
    try:
        import ssl

        context = _context(files)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = files.server_name or host.strip("[]")
        try:
            state = context.wrap_bio(incoming, outgoing, server_hostname=name or None)
        except ValueError as error:
            raise ConnectError(f"'{name}' can not be the name of a server: {error}") from error
        wrapped = TlsSocket(connection, state, incoming, outgoing, files)
        wrapped._shake_hands(name, timeout_s)
        connection.settimeout(timeout_before)
    except BaseException:
        connection.close()
        raise
    return wrapped


class TlsSocket:
    """A connected TLS stream with the methods of a socket that this package uses.

    One thread may read while another one writes; `shutdown` and `close` may come from a third. Errors are
    OSErrors, as with a socket.
    """

    def __init__(
        self,
        connection: socket.socket,
        state: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        files: TlsFiles,
    ) -> None:
        """Use `wrap`."""
        self._connection = connection
        self._files = files
        #: guards the five below
        self._lock = threading.Lock()
        self._state = state
        self._incoming = incoming
        self._outgoing = outgoing
        #: came and was not yet asked for
        self._decrypted = bytearray()
        #: what reading raises when `_decrypted` is empty
        self._read_failure: OSError | None = None
        #: the daemon said that it has no more to say
        self._ended = False
        # Held while the socket is read, or written, so that records keep their order. Never wait for one of
        # them with the lock above in hand.
        self._receive_lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._send_broken = False
        self._goodbye_said = False

    @property
    def alpn(self) -> str:
        """The protocol the daemon chose of those offered; empty when it chose none."""
        return self._state.selected_alpn_protocol() or ""

    def recv(self, count: int) -> bytes:
        """Up to `count` bytes, none at the end of the stream; raises OSError."""
        buffer = bytearray(min(count, _READ_BYTES))
        return bytes(memoryview(buffer)[: self.recv_into(buffer)])

    def recv_into(self, buffer: WriteableBuffer) -> int:
        """Fills the beginning of `buffer`: how many bytes, 0 at the end of the stream; raises OSError."""
        view = memoryview(buffer).cast("B")
        with self._receive_lock:
            while view:
                with self._lock:
                    self._decrypt()
                    if self._decrypted:
                        count = min(len(view), len(self._decrypted))
                        view[:count] = self._decrypted[:count]
                        del self._decrypted[:count]
                        return count
                    if self._read_failure is not None:
                        raise self._read_failure
                    if self._ended:
                        return 0
                self._send_leftovers()
                self._feed(self._connection.recv(_READ_BYTES))
        return 0

    def sendall(self, data: ReadableBuffer) -> None:
        """Sends all of it; raises OSError. After an error nothing more can be sent."""
        rest = memoryview(data).cast("B")
        with self._send_lock:
            while rest:
                if self._send_broken:
                    raise BrokenPipeError(errno.EPIPE, "the TLS connection is broken")
                with self._lock:
                    count = self._encrypt(rest[:_WRITE_BYTES])
                    records = self._outgoing.read()
                rest = rest[count:]
                try:
                    self._connection.sendall(records)
                except OSError as error:
                    # Perhaps in the middle of a record.
                    self._send_broken = True
                    self._raise_better(error)

    def settimeout(self, timeout_s: float | None) -> None:
        """Of every read and write of the socket below, in seconds; None for none."""
        self._connection.settimeout(timeout_s)

    def fileno(self) -> int:
        """Of the socket below. That it is readable does not mean that `recv` has something."""
        return self._connection.fileno()

    def shutdown(self, how: int) -> None:
        """As a socket's, and says so in TLS; raises OSError when not connected.

        SHUT_WR waits for its turn as `sendall` does, and after it the daemon's bytes still come. SHUT_RDWR does
        not wait, and wakes up who reads or writes in another thread; a daemon that is slow to read may then see
        the stream cut off.
        """
        if how != socket.SHUT_RD:
            self._say_goodbye(wait=how == socket.SHUT_WR)
        self._connection.shutdown(how)

    def close(self) -> None:
        """Ends the stream in both directions; may be called again."""
        if self._connection.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)
            self._connection.close()

    def __enter__(self) -> TlsSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the handshake --------------------------------------------------------------------------------------

    def _shake_hands(self, name: str, timeout_s: float) -> None:
        """Raises ConnectError."""
        import ssl

        deadline = time.monotonic() + timeout_s
        heard = False
        try:
            while True:
                done = False
                try:
                    self._state.do_handshake()
                    done = True
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    # The alert in which OpenSSL tells the daemon why.
                    with contextlib.suppress(OSError):
                        self._connection.sendall(self._outgoing.read())
                    raise ConnectError(_handshake_failure(error, name, self._files)) from error
                self._connection.settimeout(_left_s(deadline))
                self._connection.sendall(self._outgoing.read())
                if done:
                    return
                self._connection.settimeout(_left_s(deadline))
                data = self._connection.recv(_READ_BYTES)
                if not data:
                    raise ConnectError(
                        "it closed the connection in the TLS handshake" + ("" if heard else _MAYBE_NO_TLS)
                    )
                if not heard and data[0] not in _FIRST_BYTES:
                    raise ConnectError("what listens there does not speak TLS")
                heard = True
                self._incoming.write(data)
        except TimeoutError as error:
            raise ConnectError(
                f"it did not answer within {timeout_s:g} s in the TLS handshake"
                + ("" if heard else _MAYBE_NO_TLS)
            ) from error
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                raise
            raise ConnectError(
                f"the connection broke in the TLS handshake: {error.strerror or error}"
                + ("" if heard else _MAYBE_NO_TLS)
            ) from error

    # --- reading --------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _decrypt(self) -> None:
        """Decrypts all that has come; needs the lock."""
        import ssl

        while not self._ended and self._read_failure is None:
            try:
                data = self._state.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLEOFError:
                # Anybody on the way can do that: it is no end of the stream.
                self._read_failure = ConnectionResetError(errno.ECONNRESET, "the TLS connection was cut off")
                return
            except ssl.SSLError as error:
                self._read_failure = _stream_failure(error, self._files)
                return
            self._decrypted += data
            self._ended = not data

    # --- writing --------------------------------------------------------------------------------------------

    def _encrypt(self, data: memoryview) -> int:
        """How many bytes of `data` became records; needs the lock."""
        import ssl

        try:
            return self._state.write(data)
        except ssl.SSLError as error:
            self._send_broken = True
            raise self._read_failure or _stream_failure(error, self._files) from error

    def _send_leftovers(self) -> None:
        """Sends what reading made OpenSSL want to say, if that goes at once; else the next call does."""
        if self._outgoing.pending and self._send_lock.acquire(blocking=False):
            try:
                if self._takes_data() and not self._send_broken:
                    with self._lock:
                        records = self._outgoing.read()
                    with contextlib.suppress(OSError):
                        self._connection.sendall(records)
            finally:
                self._send_lock.release()

    def _say_goodbye(self, *, wait: bool) -> None:
        """Sends close_notify; not to `wait`, only if that goes at once. Raises OSError."""
        import ssl

        # Somebody may be in the middle of a record, maybe for ever.
        if not self._send_lock.acquire(blocking=wait):
            return
        try:
            if self._goodbye_said or self._send_broken:
                return
            self._goodbye_said = True
            with self._lock:
                # OpenSSL takes data that it still has to decrypt after this for a mistake of the daemon.
                self._decrypt()
                with contextlib.suppress(ssl.SSLError):
                    self._state.unwrap()
                records = self._outgoing.read()
            if wait:
                self._connection.sendall(records)
            elif self._takes_data():
                with contextlib.suppress(OSError):
                    self._connection.sendall(records)
        finally:
            self._send_lock.release()

    def _takes_data(self) -> bool:
        """Whether a few bytes can be sent without waiting."""
        if self._connection.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(self._connection, select.POLLOUT)
        return any(events & select.POLLOUT for _, events in poll.poll(0))

    def _raise_better(self, error: OSError) -> NoReturn:
        """Raises what the daemon said before it hung up, or `error`."""
        if not isinstance(error, TimeoutError) and self._receive_lock.acquire(blocking=False):
            try:
                with contextlib.suppress(OSError):
                    poll = select.poll()
                    poll.register(self._connection, select.POLLIN)
                    if poll.poll(0):
                        self._feed(self._connection.recv(_READ_BYTES))
                with self._lock:
                    self._decrypt()
            finally:
                self._receive_lock.release()
        if isinstance(self._read_failure, TlsRefused):
            raise self._read_failure from error
        raise error


# --- files and words ----------------------------------------------------------------------------------------

_MAYBE_NO_TLS = "; maybe it does not speak TLS"


def _left_s(deadline: float) -> float:
    # 0 would mean not to wait, which is another error.
    return max(0.001, deadline - time.monotonic())


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Raises ConnectError that names the file."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Its messages would come where we read data or write it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif files.ca:
        try:
            context.load_verify_locations(cadata=_read(files.ca, "the CA certificates").decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise ConnectError(f"there are no certificates in PEM in {files.ca}") from error
    else:
        context.load_default_certs()
    if files.cert:
        _load_own(context, files.cert, files.key)
    elif files.key:
        raise ConnectError(f"the key {files.key} is of no use without its certificate; give both, or none")
    return context


def _load_own(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    import ssl

    # OpenSSL's errors do not tell the two files apart.
    _read(cert, "the client certificate")
    if key:
        _read(key, "the client key")

    def password() -> str:
        # Else OpenSSL would ask the terminal.
        raise ConnectError(f"the key in {key or cert} is encrypted, which is not supported; decrypt it first")

    try:
        context.load_cert_chain(cert, key, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"the key in {key or cert} does not belong to the certificate in {cert}"
        else:
            text = f"there is no certificate in {cert}, or no key in {key or cert}, that OpenSSL can use"
        raise ConnectError(f"{text}; both must be in PEM") from error


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConnectError(f"cannot read {what} {path}: {error.strerror}") from error


def _handshake_failure(error: ssl.SSLError, name: str, files: TlsFiles) -> str:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _EXPIRED:
            return "its certificate has expired"
        if error.verify_code == _NOT_YET_VALID:
            return "its certificate is not valid yet; is the clock of this machine right?"
        if error.verify_code in _OTHER_NAME:
            return f"its certificate is not for '{name}': {error.verify_message}"
        authority = f"that are in {files.ca}" if files.ca else "of the system; maybe a CA file is missing"
        return f"its certificate is not trusted by the CAs {authority}: {error.verify_message}"
    return _client_refused(error, files) or f"the TLS handshake failed: {_reason(error)}"


def _stream_failure(error: ssl.SSLError, files: TlsFiles) -> OSError:
    refused = _client_refused(error, files)
    return (
        TlsRefused(refused)
        if refused
        else OSError(errno.EPROTO, f"the TLS connection broke: {_reason(error)}")
    )


def _client_refused(error: ssl.SSLError, files: TlsFiles) -> str:
    """What it means, if the daemon does not like who we are; else empty."""
    reason: Any = error.reason or ""
    if "ALERT" not in reason:
        return ""
    if any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")):
        if files.cert:
            return f"it refused the client certificate in {files.cert}: {_reason(error)}"
        return "it wants a client certificate; give one with its key"
    if "HANDSHAKE_FAILURE" in reason and not files.cert:
        return (
            "the TLS handshake failed: it wants a client certificate, or no way to encrypt is common to both"
        )
    return ""


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's word for it, "tlsv1 alert unknown ca"."""
    return (error.reason or error.strerror or "unknown").replace("_", " ").lower()
