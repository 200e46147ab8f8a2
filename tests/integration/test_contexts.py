"""Contexts from real servers: git over http and its own protocol, archives over http."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import shutil
import socket
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import zstandard

from tasks_engine.backends.contexts import FetchOptions, Revision, fetch_context
from tasks_engine.backends.contexts.download import MAX_DOCKERFILE_BYTES, TRIES
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import Canceled, SourceError, TimedOut
from tests.integration.git_servers import files_server, git, git_daemon, git_http_server, serving
from tests.open_files import open_files

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tasks_engine.backends.contexts.git_fetch._PAUSE_S", 0.01)
    monkeypatch.setattr("tasks_engine.backends.contexts.download._PAUSE_S", 0.01)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """Folder with `app.git`, a repository of two commits whose submodule has one too, by relative addresses."""
    served = tmp_path / "served"
    for name in ("inner", "module", "app"):
        folder = served / f"{name}.git"
        (folder / "sub").mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main")
        (folder / "word").write_text(f"{name} first")
        (folder / "sub" / "file").write_text("x")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "one")
        git(folder, "tag", "v1")
        for below in {"module": ["inner"], "app": ["module"]}.get(name, []):
            git(folder, "submodule", "--quiet", "add", str(served / f"{below}.git"), below)
            git(folder, "config", "--file", ".gitmodules", f"submodule.{below}.url", f"../{below}.git")
        (folder / "word").write_text(f"{name} second")
        git(folder, "commit", "-qam", "two")
    return served


def fetch(address: str, into: Path, **options: object) -> Path:
    return fetch_context(address, into, FetchOptions(**options)).folder  # type: ignore[arg-type]


# git


@pytest.fixture(params=["http", "git"])
def address(request: pytest.FixtureRequest, served: Path) -> Iterator[str]:
    with {"http": git_http_server, "git": git_daemon}[request.param](served) as base:
        yield f"{base}/app.git"


def test_a_repository_comes_with_submodules_of_submodules(address: str, tmp_path: Path, served: Path) -> None:
    found = fetch_context(f"{address}#main", tmp_path / "into")
    assert (found.folder / "word").read_text() == "app second"
    assert (found.folder / "module" / "word").read_text() == "module second"
    assert (found.folder / "module" / "inner" / "word").read_text() == "inner second"
    assert found.revision == Revision(
        git(served / "app.git", "rev-parse", "main"), branch="main", repository=address
    )
    assert git(found.folder, "rev-list", "--count", "HEAD") == "1"


@pytest.mark.parametrize("length", [7, 40])
def test_a_commit_that_no_branch_ends_at_is_found(
    address: str, tmp_path: Path, served: Path, length: int
) -> None:
    commit = git(served / "app.git", "rev-parse", "v1")
    folder = fetch(f"{address}#{commit[:length]}", tmp_path / "into")
    assert (folder / "word").read_text() == "app first"


def test_a_submodule_at_a_commit_that_no_branch_ends_at_is_found(
    address: str, tmp_path: Path, served: Path
) -> None:
    git(served / "module.git", "commit", "-qm", "three", "--allow-empty")
    assert (fetch(address, tmp_path / "into") / "module" / "word").read_text() == "module second"


def test_a_server_of_plain_files_gives_everything(served: Path, tmp_path: Path) -> None:
    git(served, "clone", "-q", "--bare", "inner.git", "bare.git")
    git(served / "bare.git", "update-server-info")
    with files_server(served) as base:
        for reference in ("", "#main", "#v1"):
            folder = fetch(f"{base}/bare.git{reference}", tmp_path / f"into{reference}")
            assert (folder / "word").exists()


def test_a_login_reaches_submodules_and_is_stored_nowhere(served: Path, tmp_path: Path) -> None:
    with git_http_server(served, "user:hunter2") as base:
        found = fetch_context(base.replace("://", "://user:hunter2@") + "/app.git", tmp_path / "into")
    assert (found.folder / "module" / "inner" / "word").read_text() == "inner second"
    assert found.revision is not None
    assert "hunter2" not in repr(found)
    for path in (tmp_path / "into").rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_a_login_never_stands_in_arguments(served: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
                except OSError:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with git_http_server(served, "user:hunter2") as base:
            fetch(base.replace("://", "://user:hunter2@") + "/app.git", tmp_path / "into")
    finally:
        stop.set()
        thread.join()
    assert any("git" in line and "fetch" in line for line in seen)
    assert not [line for line in seen if "hunter2" in line and "pytest" not in line]


@pytest.mark.parametrize("login", ["user:wrong-word", "wrong-token"])
def test_a_wrong_login_is_told_without_it(served: Path, tmp_path: Path, login: str) -> None:
    with (
        git_http_server(served, "user:hunter2") as base,
        pytest.raises(SourceError, match="Authentication failed") as caught,
    ):
        fetch(base.replace("://", f"://{login}@") + "/app.git", tmp_path / "into")
    assert "wrong" not in str(caught.value)
    assert "login" in caught.value.hint
    assert list((tmp_path / "into").iterdir()) == []


def test_a_private_repository_without_a_login_does_not_ask(served: Path, tmp_path: Path) -> None:
    with git_http_server(served, "user:hunter2") as base, pytest.raises(SourceError) as caught:
        fetch(f"{base}/app.git", tmp_path / "into")
    assert "login" in caught.value.hint


def test_a_server_that_fails_is_asked_again(served: Path, tmp_path: Path) -> None:
    with git_http_server(served, failures=[502, 503]) as base:
        assert (fetch(f"{base}/inner.git", tmp_path / "into") / "word").exists()
    with git_http_server(served, failures=[502] * 10) as base, pytest.raises(SourceError, match="502"):
        fetch(f"{base}/inner.git", tmp_path / "again")


@pytest.fixture
def silent() -> Iterator[str]:
    """HOST:PORT that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["git://{}/r.git", "http://{}/r.git", "http://{}/x.tar"])
def test_a_server_that_says_nothing_is_left(silent: str, tmp_path: Path, address: str) -> None:
    before = open_files()
    with pytest.raises(TimedOut, match=r"did not finish within 0\.5 s"):
        fetch(address.format(silent), tmp_path / "into", time_limit_s=0.5)
    assert not open_files() - before


def test_a_cancelled_git_is_left_at_once(silent: str, tmp_path: Path) -> None:
    cancel = CancelToken()
    threading.Timer(0.3, cancel.cancel, [Canceled("enough")]).start()
    with pytest.raises(Canceled, match="enough"):
        fetch(f"git://{silent}/r.git", tmp_path / "into", cancel=cancel)


# archives


def archive(*names: str, **contents: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in {**dict.fromkeys(names, b"x"), **contents}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Answers:
    """A server that answers with what it is told, in turn; the last answer is given again and again."""

    def __init__(self) -> None:
        #: status, headers, body; a body may write itself
        self.answers: list[tuple[int, dict[str, str], bytes | Callable[[io.BufferedIOBase], None]]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []

    def add(self, body: bytes | Callable[..., None] = b"", status: int = 200, **headers: str) -> None:
        self.answers.append(
            (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
        )

    def handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, dict(self.headers)))
                status, headers, body = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                if isinstance(body, bytes):
                    headers = {"Content-Length": str(len(body)), **headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body) if isinstance(body, bytes) else body(self.wfile)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def base(answers: Answers) -> Iterator[str]:
    with serving(answers.handler()) as address:
        yield address


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_archives_of_every_compression_are_unpacked(
    answers: Answers, base: str, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    answers.add(compress(archive("a", "d/b")))
    found = fetch_context(f"{base}/no-telling-name?sig=secret", tmp_path / "into")
    assert sorted(p.name for p in found.folder.rglob("*")) == ["a", "b", "d"]
    assert found.description == f"{base}/no-telling-name?…"
    assert fetch(f"{base}/x#:d", tmp_path / "again") == tmp_path / "again" / "d"


def test_an_archive_the_server_has_compressed_on_the_way_is_unpacked(
    answers: Answers, base: str, tmp_path: Path
) -> None:
    answers.add(gzip.compress(gzip.compress(archive("a"))), Content_Encoding="gzip")
    answers.add(gzip.compress(archive("a")), Content_Encoding="gzip")
    assert (fetch(f"{base}/x", tmp_path / "one") / "a").exists()
    assert (fetch(f"{base}/x", tmp_path / "two") / "a").exists()


def test_a_text_is_a_dockerfile(answers: Answers, base: str, tmp_path: Path) -> None:
    answers.add(b"FROM scratch\n")
    folder = fetch(f"{base}/anything.tar.gz", tmp_path / "into")
    assert [path.name for path in folder.iterdir()] == ["Dockerfile"]
    assert (folder / "Dockerfile").read_text() == "FROM scratch\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"PK\x03\x04" + bytes(600), "it is a zip archive"),
        (os.urandom(600) + b"\0\xff", "neither an archive nor a Dockerfile"),
        (b"#" * (MAX_DOCKERFILE_BYTES + 1), "neither an archive nor a Dockerfile"),
        (archive("../x"), "leads outside: '../x'"),
        (archive(*"abc")[:2048], "it is cut off"),
        (gzip.compress(archive(a=os.urandom(5000)))[:-20], "is damaged"),
    ],
)
def test_other_content_is_refused_and_leaves_nothing(
    answers: Answers, base: str, tmp_path: Path, body: bytes, message: str
) -> None:
    answers.add(body)
    with pytest.raises(SourceError, match="/x") as caught:
        fetch(f"{base}/x?sig=secret", tmp_path / "into")
    assert message in caught.value.message
    assert "secret" not in str(caught.value)
    assert list((tmp_path / "into").iterdir()) == []
    assert len(answers.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410, 400])
def test_a_refusal_is_told_with_its_text(answers: Answers, base: str, tmp_path: Path, status: int) -> None:
    answers.add(b"not for\n you", status)
    with pytest.raises(SourceError, match=f"the server answered {status} .*: not for you") as caught:
        fetch(base.replace("://", "://user:hunter2@") + "/x?sig=secret", tmp_path / "into")
    assert "hunter2" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(answers.requests) == 1


def test_a_failing_server_is_asked_three_times(answers: Answers, base: str, tmp_path: Path) -> None:
    answers.add(status=500)
    answers.add(status=429)
    answers.add(archive("a"))
    assert (fetch(f"{base}/x", tmp_path / "into") / "a").exists()
    answers.answers[:] = []
    answers.requests[:] = []
    answers.add(status=503)
    with pytest.raises(SourceError, match="503"):
        fetch(f"{base}/x", tmp_path / "again")
    assert len(answers.requests) == TRIES


def test_a_download_that_breaks_off_begins_anew(answers: Answers, base: str, tmp_path: Path) -> None:
    data = archive(a=b"1" * 100_000, b=b"2" * 100_000)
    answers.add(data[:120_000], Content_Length=str(len(data)))
    answers.add(archive(b=b"3"))
    folder = fetch(f"{base}/x", tmp_path / "into")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"b": b"3"}
    answers.answers[:] = []
    answers.add(data[:120_000], Content_Length=str(len(data)))
    with pytest.raises(SourceError, match="broke off"):
        fetch(f"{base}/x", tmp_path / "again")
    assert list((tmp_path / "again").iterdir()) == []


def test_redirects_are_followed_and_bounded(answers: Answers, base: str, tmp_path: Path) -> None:
    answers.add(status=302, Location="/y")
    answers.add(archive("a"))
    assert (fetch(f"{base}/x", tmp_path / "into") / "a").exists()
    answers.answers[:] = []
    answers.add(status=302, Location="/again")
    with pytest.raises(SourceError, match="redirects more than 10 times"):
        fetch(f"{base}/x", tmp_path / "again")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[bad", "//"])
def test_redirects_to_something_else_are_refused(
    answers: Answers, base: str, tmp_path: Path, target: str
) -> None:
    answers.add(status=302, Location=target)
    with pytest.raises(SourceError):
        fetch(f"{base}/x", tmp_path / "into")


def test_a_login_is_not_carried_to_another_host(answers: Answers, base: str, tmp_path: Path) -> None:
    answers.add(status=302, Location=base.replace("127.0.0.1", "localhost") + "/y")
    answers.add(archive("a"))
    fetch(base.replace("://", "://user:hunter2@") + "/x", tmp_path / "into")
    assert ["Authorization" in headers for _, headers in answers.requests] == [True, False]


def test_a_server_that_goes_on_drop_by_drop_is_left(answers: Answers, base: str, tmp_path: Path) -> None:
    stop = threading.Event()

    def drip(out: io.BufferedIOBase) -> None:
        while not stop.wait(0.05):
            out.write(b"x")

    answers.add(drip)
    started = time.monotonic()
    with pytest.raises(TimedOut):
        fetch(f"{base}/x", tmp_path / "into", time_limit_s=0.5)
    stop.set()
    assert time.monotonic() - started < 10


def test_large_archives_are_not_held_in_memory(answers: Answers, base: str, tmp_path: Path) -> None:
    data = gzip.compress(archive(a=bytes(64 << 20)), 1)
    answers.add(data)
    tracemalloc.start()
    try:
        fetch(f"{base}/x", tmp_path / "into")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
