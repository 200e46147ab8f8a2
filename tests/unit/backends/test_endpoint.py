"""Which engine is found, and what is said where there is none."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tasks_engine.backends.docker import endpoint as endpoint_module
from tasks_engine.backends.docker.endpoint import Endpoint, find_endpoint, ping
from tasks_engine.backends.embedded.state import EngineFile, EnginePaths, write_engine_file
from tasks_engine.errors import EngineError


@pytest.fixture(autouse=True)
def no_default_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "default.sock"
    monkeypatch.setattr(endpoint_module, "DEFAULT_SOCKET", path)
    return path


def listen(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()
    return server


def add_context(config_dir: Path, name: str, docker: dict[str, object]) -> Path:
    folder_name = hashlib.sha256(name.encode()).hexdigest()
    meta = config_dir / "contexts/meta" / folder_name / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": docker}}))
    return config_dir / "contexts/tls" / folder_name / "docker"


def test_docker_host_is_taken_as_it_is(tmp_path: Path) -> None:
    found = find_endpoint({"DOCKER_HOST": "unix:///nowhere.sock"}, tmp_path, tmp_path)
    assert found == Endpoint("unix:///nowhere.sock", "DOCKER_HOST", None)


def test_docker_host_with_tls_reads_the_certificate_folder(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    environ = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    tls = find_endpoint(environ, tmp_path, tmp_path).tls
    assert tls is not None
    assert (tls.ca, tls.cert, tls.verify) == (tmp_path / "ca.pem", None, True)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("ssh://me@host", "ssh -nNT"),
        ("npipe:////./pipe/docker_engine", "WSL 2"),
        ("tcp://host", "tcp://host:port"),
        ("unix://docker.sock", "unix:///path"),
        ("/var/run/docker.sock", "unix:///path"),
    ],
)
def test_an_address_that_cannot_be_used_says_what_to_write(url: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        find_endpoint({"DOCKER_HOST": url}, tmp_path, tmp_path)
    assert url in caught.value.message
    assert hint in caught.value.hint


def test_current_context_of_the_configuration_is_used(tmp_path: Path) -> None:
    config_dir = tmp_path / ".docker"
    add_context(config_dir, "far", {"Host": "tcp://far:2375"})
    (config_dir / "config.json").write_text('{"currentContext": "far"}')
    assert find_endpoint({}, tmp_path, tmp_path) == Endpoint("tcp://far:2375", "docker context 'far'", None)


def test_docker_context_comes_before_the_configuration_and_docker_config_moves_both(tmp_path: Path) -> None:
    config_dir = tmp_path / "elsewhere"
    tls_dir = add_context(config_dir, "far", {"Host": "tcp://far:2376", "SkipTLSVerify": True})
    tls_dir.mkdir(parents=True)
    (tls_dir / "cert.pem").touch()
    (config_dir / "config.json").write_text('{"currentContext": "gone"}')
    found = find_endpoint({"DOCKER_CONTEXT": "far", "DOCKER_CONFIG": str(config_dir)}, tmp_path, tmp_path)
    assert found.tls is not None
    assert (found.tls.cert, found.tls.verify) == (tls_dir / "cert.pem", False)


def test_docker_host_comes_before_docker_context(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": "unix:///x.sock", "DOCKER_CONTEXT": "gone"}
    assert find_endpoint(environ, tmp_path, tmp_path).origin == "DOCKER_HOST"


def test_a_context_that_is_gone_is_an_error_and_never_replaced(
    tmp_path: Path, no_default_socket: Path
) -> None:
    with closing(listen(no_default_socket)), pytest.raises(EngineError, match=r"'gone'.*does not exist"):
        find_endpoint({"DOCKER_CONTEXT": "gone"}, tmp_path, tmp_path)


def test_broken_docker_configuration_names_its_file(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{")
    with pytest.raises(EngineError, match=r"config\.json cannot be read"):
        find_endpoint({}, tmp_path, tmp_path)


def test_default_socket_counts_when_it_answers(tmp_path: Path, no_default_socket: Path) -> None:
    with closing(listen(no_default_socket)):
        found = find_endpoint({"DOCKER_CONTEXT": "default"}, tmp_path, tmp_path)
    assert found == Endpoint(f"unix://{no_default_socket}", "default socket", None)


def test_stale_default_socket_gives_way_to_the_rootless_one(tmp_path: Path, no_default_socket: Path) -> None:
    listen(no_default_socket).close()
    with closing(listen(tmp_path / "docker.sock")):
        found = find_endpoint({"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path, tmp_path)
    assert found.origin == "rootless socket"


def test_embedded_engine_is_found_last(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    file = EngineFile(f"unix://{path}", "127.0.0.1:5000", "172.30.0.0/16")
    write_engine_file(EnginePaths(tmp_path).engine_file, file)
    with closing(listen(path)):
        assert find_endpoint({}, tmp_path, tmp_path) == Endpoint(f"unix://{path}", "embedded engine", None)
    with pytest.raises(EngineError, match="the embedded engine is not running"):
        find_endpoint({}, tmp_path, tmp_path)


def test_no_engine_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no container engine found") as caught:
        find_endpoint({}, tmp_path, tmp_path)
    assert caught.value.hint


Serve = Callable[[bytes, float], Endpoint]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A server that sends the bytes one by one with a pause, then keeps the connection open."""
    closing_event = threading.Event()
    threads = []

    def start(answer: bytes, pause_s: float) -> Endpoint:
        path = tmp_path / "served.sock"
        server = listen(path)

        def run() -> None:
            connection, _ = server.accept()
            with connection, server:
                connection.recv(65536)
                step = 1 if pause_s else len(answer)
                for at in range(0, len(answer), step or 1):
                    try:
                        connection.sendall(answer[at : at + step])
                    except OSError:
                        return
                    if closing_event.wait(pause_s):
                        return
                closing_event.wait(10)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return Endpoint(f"unix://{path}", "DOCKER_HOST")

    yield start
    closing_event.set()
    for thread in threads:
        thread.join()


def http_answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_ping_reads_the_version_and_does_not_wait_for_the_end_of_the_connection(serve: Serve) -> None:
    body = {
        "Platform": {"Name": ""},
        "Components": [{"Name": "Engine", "Version": "26.1.5"}, {"Name": "runc", "Version": "1.1"}],
        "Version": "26.1.5",
        "ApiVersion": "1.45",
        "Os": "linux",
        "Arch": "amd64",
    }
    version = ping(serve(http_answer(json.dumps(body).encode()), 0), timeout_s=5)
    assert (version.version, version.api_version, version.os, version.arch) == (
        "26.1.5",
        "1.45",
        "linux",
        "amd64",
    )
    assert version.name == "Docker Engine"
    assert version.component_version_by_name["runc"] == "1.1"


def test_ping_ends_in_time_when_the_answer_comes_byte_by_byte(serve: Serve) -> None:
    served = serve(http_answer(b"{}" + b" " * 1000), 0.02)
    started = time.monotonic()
    with pytest.raises(EngineError, match=r"did not answer within 0\.2 s"):
        ping(served, timeout_s=0.2)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("body", [b"hello", b"[]", b"{}", b'{"ApiVersion": 1}'])
def test_ping_tells_what_is_no_engine(body: bytes, serve: Serve) -> None:
    with pytest.raises(EngineError, match="is not a container engine"):
        ping(serve(http_answer(body), 0), timeout_s=5)


def test_ping_tells_what_is_not_even_http(serve: Serve) -> None:
    with pytest.raises(EngineError, match="cannot be reached"):
        ping(serve(b"SSH-2.0-OpenSSH_9.2\r\n", 0), timeout_s=1)


def test_ping_of_a_missing_socket_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="No such file") as caught:
        ping(Endpoint(f"unix://{tmp_path}/none.sock", "embedded engine"))
    assert caught.value.hint == "run `tasks engine start`"
