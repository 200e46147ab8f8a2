"""Alias sources: files of the context folder, and a real HTTP server for the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks_engine.backends import alias_sources
from tasks_engine.backends.alias_sources import MAX_BYTES, AliasSources
from tasks_engine.definition.aliases import UnreadableSource
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import DefinitionErrors

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers paths as a test says; what waits is let go at the end."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with suppress(OSError):  # a client that has left
                    server.answers[self.path](self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def text(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer
        return self.url + path

    def close(self) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server()
    yield server
    server.close()


def reason(folder: Path, name: str) -> str:
    with pytest.raises(UnreadableSource) as caught:
        AliasSources(folder)(name)
    return str(caught.value)


def test_a_path_counts_from_the_context_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text("ä: b")
    sources = AliasSources(tmp_path)
    assert [sources(name) for name in ("sub/a.yaml", "./sub/../sub/a.yaml", f"{tmp_path}/sub/a.yaml")] == [
        "ä: b"
    ] * 3


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa: b")
    assert AliasSources(tmp_path)("a") == "a: b"


@pytest.mark.parametrize("name", ["no", "", ".", "sub", "a\0b", "x" * 5000])
def test_what_is_no_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    assert reason(tmp_path, name)


def test_a_file_that_is_missing_is_told_with_its_folder(tmp_path: Path) -> None:
    assert reason(tmp_path, "no") == f"there is no such file in {tmp_path}"


def test_no_file_outside_of_the_context_is_read(tmp_path: Path) -> None:
    inside = tmp_path / "context"
    inside.mkdir()
    (tmp_path / "outside").write_text("a: b")
    (inside / "link").symlink_to(tmp_path / "outside")
    for name in ("../outside", str(tmp_path / "outside"), "link", "/etc/hostname"):
        assert reason(inside, name) == f"it lies outside of the context folder {inside}"


def test_a_text_is_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff")
    assert reason(tmp_path, "a") == "it is not UTF-8 text"


def test_a_file_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (MAX_BYTES + 1))
    assert reason(tmp_path, "a") == "it is larger than 1 MiB"
    (tmp_path / "a").write_bytes(b"x" * MAX_BYTES)
    assert len(AliasSources(tmp_path)("a")) == MAX_BYTES


def test_an_address_is_fetched(server: Server, tmp_path: Path) -> None:
    assert AliasSources(tmp_path)(server.text("/a", "ä: b".encode())) == "ä: b"


def test_a_body_that_comes_in_pieces_is_read_whole(server: Server, tmp_path: Path) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (b"a: ", b"b", b""):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    server.answers["/a"] = chunked
    assert AliasSources(tmp_path)(f"{server.url}/a") == "a: b"


def test_an_address_that_has_moved_is_followed(server: Server, tmp_path: Path) -> None:
    server.text("/new", b"a: b")
    assert AliasSources(tmp_path)(server.text("/old", b"", 302, Location="/new")) == "a: b"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, b"no such\nthing", "the server answered 404: no such thing"),
        (500, b"", "the server answered 500"),
        (304, b"", "the server answered 304"),
        (403, b"x" * 500, f"the server answered 403: {'x' * 200}"),
    ],
)
def test_another_answer_is_told_with_its_beginning(
    server: Server, tmp_path: Path, status: int, body: bytes, told: str
) -> None:
    assert reason(tmp_path, server.text("/a", body, status)) == told


def test_a_body_has_a_largest_size(server: Server, tmp_path: Path) -> None:
    assert reason(tmp_path, server.text("/a", b"x" * (MAX_BYTES + 1))) == "it is larger than 1 MiB"


def test_a_server_that_is_not_there_is_told(server: Server, tmp_path: Path) -> None:
    server.close()
    assert "refused" in reason(tmp_path, f"{server.url}/a")


def test_a_name_that_is_no_address_is_told(tmp_path: Path) -> None:
    assert reason(tmp_path, "http://")


def send_headers_and_drip(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not over.wait(0.1):
        handler.wfile.write(b"a")
        handler.wfile.flush()


def drip_headers(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not over.wait(0.1):
        handler.wfile.write(b"X-More: x\r\n"[:1])
        handler.wfile.flush()


def never(_: BaseHTTPRequestHandler, over: threading.Event) -> None:
    over.wait()


def test_a_server_that_sends_byte_by_byte_is_left_after_two_seconds(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = lambda handler: send_headers_and_drip(handler, server.over)
    before = time.monotonic()
    assert reason(tmp_path, f"{server.url}/a") == "no complete answer within 2 s"
    assert time.monotonic() - before < 3


@pytest.mark.parametrize("late", [send_headers_and_drip, drip_headers, never])
def test_a_late_server_is_left_whatever_it_has_sent(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    late: Callable[[BaseHTTPRequestHandler, threading.Event], None],
) -> None:
    monkeypatch.setattr(alias_sources, "TIMEOUT_S", 0.25)
    server.answers["/a"] = lambda handler: late(handler, server.over)
    assert reason(tmp_path, f"{server.url}/a").endswith(" answer within 0.25 s")


def test_a_task_takes_its_aliases_from_a_server(server: Server, tmp_path: Path) -> None:
    address = server.text("/a.yaml", b"repo: registry.local/app\n")
    text = f"version: v1.1.0\nalias: {{src: ['{address}']}}\nsteps: [{{cmd: $repo x}}]"
    [step] = load_task(text, "f", Inputs(), AliasSources(tmp_path)).steps
    assert step.commands[0].image == "registry.local/app"


def test_a_task_whose_aliases_cannot_be_had_is_refused_at_their_place(server: Server, tmp_path: Path) -> None:
    address = server.text("/a.yaml", b"not here", 404)
    with pytest.raises(DefinitionErrors) as caught:
        load_task(f"version: v1.1.0\nalias:\n  src: ['{address}']\n", "f", Inputs(), AliasSources(tmp_path))
    [problem] = caught.value.problems
    assert (str(problem.location), problem.rule) == ("f:3:9", "src-unreadable")
    assert problem.message == f"alias source '{address}' cannot be read: the server answered 404: not here"
