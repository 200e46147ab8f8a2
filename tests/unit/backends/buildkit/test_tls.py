from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks_engine.backends.buildkit.errors import ConnectError
from tasks_engine.backends.buildkit.tls import TlsFiles, TlsRefused, TlsSocket, wrap
from tests.open_files import open_files

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A CA that writes certificates into a folder."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def issue(
        self,
        name: str,
        *hosts: str,
        begins: datetime.datetime = NOW - DAY,
        ends: datetime.datetime = NOW + DAY,
        authority: bool = False,
    ) -> tuple[Path, Path]:
        """Paths of a certificate and its key."""
        key = self.key if authority else ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = []
        for host in hosts:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                alternatives.append(x509.DNSName(host))
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        cert = builder.sign(self.key, hashes.SHA256())
        cert_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(private(key, serialization.NoEncryption()))
        return cert_file, key_file


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def private(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("tls"), "ca", ec.generate_private_key(ec.SECP256R1()))
    made.issue("ca", authority=True)
    made.issue("server", "builder.test", "127.0.0.1", "::1")
    made.issue("client")
    return made


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("tls2"), "ca2", ec.generate_private_key(ec.SECP256R1()))
    made.issue("ca2", authority=True)
    made.issue("stranger")
    return made


Serve = Callable[[ssl.SSLSocket], None]
#: (what it does, name of its certificate, settings) -> address of the running server
StartServer = Callable[..., tuple[str, int]]


@pytest.fixture
def start(authority: Authority) -> Iterator[StartServer]:
    before = open_files()
    threads: list[threading.Thread] = []

    def start(
        serve: Serve,
        certificate: str = "server",
        *,
        client_ca: Path | None = None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        alpn: list[str] | None = None,
        raw: bool = False,
    ) -> tuple[str, int]:
        """Serves one connection; `raw` ones without TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(
            authority.folder / f"{certificate}.pem", authority.folder / f"{certificate}-key.pem"
        )
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        if alpn:
            context.set_alpn_protocols(alpn)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)

        def run() -> None:
            with listener:
                connection, _ = listener.accept()
            connection.settimeout(10)
            # What the client sees of a failure is what counts.
            with contextlib.suppress(OSError):
                if raw:
                    serve(connection)  # type: ignore[arg-type]
                else:
                    connection = context.wrap_socket(connection, server_side=True)
                    serve(connection)
            connection.close()

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        address: tuple[str, int] = listener.getsockname()
        return address

    yield start
    for thread in threads:
        thread.join()
    assert not open_files() - before


def connect(
    address: tuple[str, int], files: TlsFiles, host: str = "builder.test", **options: object
) -> TlsSocket:
    connection = socket.create_connection(address, 10)
    try:
        return wrap(connection, files, host, 10, **options)  # type: ignore[arg-type]
    except BaseException:
        assert connection.fileno() == -1
        raise


def echo(connection: ssl.SSLSocket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.unwrap()


def hold(connection: ssl.SSLSocket) -> None:
    connection.recv(1)


def read_all(source: TlsSocket) -> bytes:
    received = bytearray()
    while data := source.recv(65536):
        received += data
    return bytes(received)


# --- what works ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["builder.test", "127.0.0.1", "::1", "[::1]"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_go_both_ways(
    start: StartServer, authority: Authority, host: str, version: ssl.TLSVersion
) -> None:
    with connect(start(echo, version=version), TlsFiles(ca=authority.file), host) as stream:
        stream.sendall(b"")
        stream.sendall(memoryview(b"question"))
        buffer = bytearray(100)
        assert stream.recv_into(buffer) == 8
        assert buffer[:8] == b"question"
        assert stream.recv_into(bytearray()) == stream.recv_into(bytearray(0)) == 0
        stream.sendall(b"abc")
        assert [stream.recv(1) for _ in range(3)] == [b"a", b"b", b"c"]


def test_name_may_differ_from_the_host(start: StartServer, authority: Authority) -> None:
    files = TlsFiles(ca=authority.file, server_name="builder.test")
    connect(start(hold), files, "somewhere.else").close()


def test_unverified_server_may_be_anybody(start: StartServer) -> None:
    connect(start(hold), TlsFiles(verify=False), "somewhere.else").close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_own_certificate_is_shown(start: StartServer, authority: Authority, version: ssl.TLSVersion) -> None:
    def tell(connection: ssl.SSLSocket) -> None:
        certificate = connection.getpeercert()
        assert certificate
        connection.sendall(str(certificate["subject"]).encode())
        connection.unwrap()

    files = TlsFiles(authority.file, authority.folder / "client.pem", authority.folder / "client-key.pem")
    with connect(start(tell, client_ca=authority.file, version=version), files) as stream:
        assert read_all(stream) == b"((('commonName', 'client'),),)"


def test_certificate_and_key_may_be_in_one_file(
    start: StartServer, authority: Authority, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(
        (authority.folder / "client-key.pem").read_bytes() + (authority.folder / "client.pem").read_bytes()
    )
    with connect(start(echo, client_ca=authority.file), TlsFiles(authority.file, both)) as stream:
        stream.sendall(b"x")
        assert stream.recv(1) == b"x"


@pytest.mark.parametrize(("offered", "chosen"), [((), ""), (("h2",), "h2"), (("other",), "")])
def test_protocols_are_offered_when_asked(
    start: StartServer, authority: Authority, offered: tuple[str, ...], chosen: str
) -> None:
    address = start(hold, alpn=["h2"])
    with connect(address, TlsFiles(ca=authority.file), alpn=offered) as stream:
        assert stream.alpn == chosen


def test_one_thread_may_read_while_another_one_writes(start: StartServer, authority: Authority) -> None:
    sent = os.urandom(1 << 20) * 50
    failures: list[Exception] = []

    def write() -> None:
        try:
            view = memoryview(sent)
            for begin in range(0, len(sent), 777_777):
                stream.sendall(view[begin : begin + 777_777])
            stream.shutdown(socket.SHUT_WR)
        except OSError as error:
            failures.append(error)

    with connect(start(echo), TlsFiles(ca=authority.file)) as stream:
        writer = threading.Thread(target=write)
        writer.start()
        received = bytearray()
        buffer = memoryview(bytearray(256 * 1024))
        while count := stream.recv_into(buffer):
            received += buffer[:count]
        writer.join()
    assert not failures
    assert received == sent


def test_half_closed_stream_still_gives_what_comes(start: StartServer, authority: Authority) -> None:
    said_goodbye = threading.Event()

    def answer(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"before ")
        assert connection.recv(100) == b"question"
        assert connection.recv(100) == b""
        said_goodbye.set()
        connection.sendall(b"after")
        connection.unwrap()

    with connect(start(answer), TlsFiles(ca=authority.file)) as stream:
        assert stream.recv(1) == b"b"
        stream.sendall(b"question")
        stream.shutdown(socket.SHUT_WR)
        assert said_goodbye.wait(10)
        assert read_all(stream) == b"efore after"


def test_half_closing_waits_for_room_to_say_goodbye(start: StartServer, authority: Authority) -> None:
    full, ended = threading.Event(), threading.Event()

    def read_late(connection: ssl.SSLSocket) -> None:
        # Else an end without a goodbye looks the same.
        connection.suppress_ragged_eofs = False
        assert full.wait(10)
        while connection.recv(65536):
            pass
        ended.set()

    with connect(start(read_late), TlsFiles(ca=authority.file)) as stream:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        while poll.poll(20):
            stream.sendall(b"x" * 1000)
        closer = threading.Thread(target=stream.shutdown, args=(socket.SHUT_WR,))
        closer.start()
        closer.join(0.02)
        full.set()
        closer.join()
        assert ended.wait(5)


def test_close_says_goodbye_and_may_be_called_again(start: StartServer, authority: Authority) -> None:
    ended = threading.Event()

    def note(connection: ssl.SSLSocket) -> None:
        # Else an end without a goodbye looks the same.
        connection.suppress_ragged_eofs = False
        if connection.recv(1) == b"":
            ended.set()

    stream = connect(start(note), TlsFiles(ca=authority.file))
    stream.close()
    stream.close()
    assert stream.fileno() == -1
    assert ended.wait(5)


def test_timeouts_are_those_of_the_socket(start: StartServer, authority: Authority) -> None:
    with connect(start(echo), TlsFiles(ca=authority.file)) as stream:
        stream.settimeout(0.01)
        with pytest.raises(TimeoutError):
            stream.recv(1)
        # Nothing is lost by it.
        stream.settimeout(10)
        stream.sendall(b"x")
        assert stream.recv(1) == b"x"


def test_shutdown_wakes_up_who_reads(start: StartServer, authority: Authority) -> None:
    results: list[bytes | OSError] = []

    def read() -> None:
        try:
            results.append(stream.recv(1))
        except OSError as error:
            results.append(error)

    stream = connect(start(hold), TlsFiles(ca=authority.file))
    reader = threading.Thread(target=read)
    reader.start()
    reader.join(0.02)
    stream.shutdown(socket.SHUT_RDWR)
    reader.join()
    stream.close()
    assert len(results) == 1


def test_stream_that_is_cut_off_is_no_end(start: StartServer, authority: Authority) -> None:
    def cut(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"half")
        connection.shutdown(socket.SHUT_RDWR)

    with connect(start(cut), TlsFiles(ca=authority.file)) as stream:
        assert stream.recv(100) == b"half"
        for _ in range(2):
            with pytest.raises(ConnectionResetError, match="cut off"):
                stream.recv(100)


def test_changed_bytes_break_the_stream(start: StartServer, authority: Authority) -> None:
    def inject(connection: ssl.SSLSocket) -> None:
        with socket.socket(fileno=os.dup(connection.fileno())) as below:
            below.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        hold(connection)

    with connect(start(inject), TlsFiles(ca=authority.file)) as stream, pytest.raises(OSError, match="TLS"):
        stream.recv(100)


def test_nothing_is_sent_after_a_write_that_broke_off(start: StartServer, authority: Authority) -> None:
    release = threading.Event()

    def stuck(connection: ssl.SSLSocket) -> None:
        assert release.wait(10)

    with connect(start(stuck), TlsFiles(ca=authority.file)) as stream:
        stream.settimeout(0.01)
        with pytest.raises(TimeoutError):
            stream.sendall(b"x" * 50_000_000)
        with pytest.raises(BrokenPipeError):
            stream.sendall(b"x")
        release.set()


# --- what does not ------------------------------------------------------------------------------------------


def test_untrusted_certificate_is_named(
    start: StartServer, authority: Authority, other_authority: Authority
) -> None:
    with pytest.raises(ConnectError, match=rf"not trusted by the CAs that are in {other_authority.file}"):
        connect(start(hold), TlsFiles(ca=other_authority.file))
    with pytest.raises(ConnectError, match=r"not trusted by the CAs of the system; maybe a CA file"):
        connect(start(hold), TlsFiles())


@pytest.mark.parametrize("host", ["other.test", "127.0.0.2", "builder.test.evil"])
def test_certificate_for_another_name_is_named(start: StartServer, authority: Authority, host: str) -> None:
    with pytest.raises(ConnectError, match=f"not for '{host}'"):
        connect(start(hold), TlsFiles(ca=authority.file), host)


def test_certificate_out_of_its_time_is_named(start: StartServer, authority: Authority) -> None:
    authority.issue("late", "builder.test", begins=NOW - 3 * DAY, ends=NOW - 2 * DAY)
    authority.issue("early", "builder.test", begins=NOW + DAY, ends=NOW + 2 * DAY)
    with pytest.raises(ConnectError, match="has expired"):
        connect(start(hold, "late"), TlsFiles(ca=authority.file))
    with pytest.raises(ConnectError, match="not valid yet"):
        connect(start(hold, "early"), TlsFiles(ca=authority.file))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("stranger", "why"),
    [(False, "wants a client certificate"), (True, "refused the client certificate in .*stranger.pem")],
)
def test_refused_client_is_told_why(
    start: StartServer,
    authority: Authority,
    other_authority: Authority,
    version: ssl.TLSVersion,
    stranger: bool,
    why: str,
) -> None:
    own = other_authority.folder
    files = TlsFiles(
        authority.file,
        own / "stranger.pem" if stranger else None,
        own / "stranger-key.pem" if stranger else None,
    )
    address = start(hold, client_ca=authority.file, version=version)
    with pytest.raises(ConnectError, match=why) as caught, connect(address, files) as stream:
        # In TLS 1.3 the client hears of it with the first answer.
        stream.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stream.recv(1)
    assert isinstance(caught.value, TlsRefused) == (version is ssl.TLSVersion.TLSv1_3)


def test_refusal_is_an_error_of_a_socket_too() -> None:
    refused = TlsRefused("no")
    assert isinstance(refused, OSError)
    assert (refused.message, str(refused), refused.strerror) == ("no", "no", None)


@pytest.mark.parametrize(
    ("banner", "why"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", "what listens there does not speak TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what listens there does not speak TLS"),
        (b"\0\0\x12\x04\0\0\0\0\0", "what listens there does not speak TLS"),
        (b"\x16\x03\x03\xff\xff" + b"x" * 70_000, "TLS handshake failed: "),
        (b"\x15\x03\x03\x00\x02\x02\x46", "TLS handshake failed: tlsv1 alert protocol version"),
        (b"", "closed the connection in the TLS handshake; maybe it does not speak TLS"),
    ],
)
def test_what_is_not_tls_is_told(start: StartServer, authority: Authority, banner: bytes, why: str) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(banner)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)

    with pytest.raises(ConnectError, match=why):
        connect(start(speak, raw=True), TlsFiles(ca=authority.file))


def test_silent_server_is_given_up(start: StartServer, authority: Authority) -> None:
    address = start(lambda connection: [None for _ in iter(lambda: connection.recv(65536), b"")], raw=True)
    connection = socket.create_connection(address, 10)
    with pytest.raises(ConnectError, match=r"did not answer within 0\.05 s in the TLS handshake; maybe"):
        wrap(connection, TlsFiles(ca=authority.file), "builder.test", 0.05)


def test_dripping_server_is_given_up_too(start: StartServer, authority: Authority) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x03\x7f\xff")
        while True:
            connection.sendall(b"x")
            threading.Event().wait(0.005)

    connection = socket.create_connection(start(drip, raw=True), 10)
    with pytest.raises(ConnectError, match="TLS handshake"):
        wrap(connection, TlsFiles(ca=authority.file), "builder.test", 0.05)


@pytest.mark.parametrize("name", ["", ".x", "x" * 70, "a..b"])
def test_impossible_names_are_refused(start: StartServer, authority: Authority, name: str) -> None:
    with pytest.raises(ConnectError):
        connect(start(hold, raw=True), TlsFiles(ca=authority.file), name)


def test_files_that_can_not_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.folder / "client.pem", authority.folder / "client-key.pem"
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"\xff garbage")
    empty = tmp_path / "empty.pem"
    empty.touch()
    locked = tmp_path / "locked.pem"
    locked.write_bytes(private(authority.key, serialization.BestAvailableEncryption(b"secret")))
    missing = tmp_path / "missing.pem"
    for files, why in (
        (TlsFiles(ca=missing), f"cannot read the CA certificates {missing}: No such file"),
        (TlsFiles(ca=tmp_path), f"cannot read the CA certificates {tmp_path}: Is a directory"),
        (TlsFiles(ca=garbage), f"no certificates in PEM in {garbage}"),
        (TlsFiles(ca=empty), f"no certificates in PEM in {empty}"),
        (TlsFiles(cert=missing, key=key), f"cannot read the client certificate {missing}: No such file"),
        (TlsFiles(cert=cert, key=missing), f"cannot read the client key {missing}: No such file"),
        (TlsFiles(cert=cert), f"no certificate in {cert}, or no key in {cert}"),
        (TlsFiles(cert=garbage, key=key), f"no certificate in {garbage}, or no key in {key}"),
        (TlsFiles(cert=cert, key=garbage), f"no certificate in {cert}, or no key in {garbage}"),
        (
            TlsFiles(cert=cert, key=authority.folder / "server-key.pem"),
            f"does not belong to the certificate in {cert}",
        ),
        (TlsFiles(cert=cert, key=locked), f"the key in {locked} is encrypted"),
        (TlsFiles(key=key), f"the key {key} is of no use without its certificate"),
    ):
        ours, theirs = socket.socketpair()
        with theirs, pytest.raises(ConnectError) as caught:
            wrap(ours, files, "builder.test", 1)
        assert why in caught.value.message
        assert ours.fileno() == -1
