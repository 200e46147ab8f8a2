"""Context, Dockerfile and named contexts of a build."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks_engine.backends.build_files import BuildFileFinder, BuildFiles
from tasks_engine.backends.build_places import GivenToBuilds, OwnPlaces, WorkspacePlaces
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import SourceError, StepFailed
from tests.unit.backends.build_scene import build_work


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch AS app\n")
    return tmp_path


@pytest.fixture
def finder() -> Iterator[BuildFileFinder]:
    finder = BuildFileFinder(GivenToBuilds())
    yield finder
    finder.close()


@pytest.fixture
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a folder, and the folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path_factory.mktemp("served")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def find(
    finder: BuildFileFinder, workspace: Path, working_directory: str = "/workspace", **work
) -> BuildFiles:
    places = WorkspacePlaces(workspace, working_directory)
    return finder.find(build_work(**work), places, workspace, CancelToken())


def test_paths_count_from_the_working_directory(finder, workspace):
    found = find(finder, workspace, "/workspace/app", dockerfile="../Dockerfile")

    assert found.context == workspace / "app"
    assert found.dockerfile.resolve() == workspace / "Dockerfile"
    assert found.text == "FROM scratch\n"


def test_the_dockerfile_is_in_the_context_unless_named(finder, workspace):
    assert find(finder, workspace, context="app").dockerfile == workspace / "app" / "Dockerfile"


def test_a_dockerfile_may_lie_outside_of_its_context(finder, workspace):
    found = find(finder, workspace, context="app", dockerfile="Dockerfile")

    assert (found.context, found.dockerfile) == (workspace / "app", workspace / "Dockerfile")


@pytest.mark.parametrize(
    ("work", "working_directory", "message"),
    [
        ({"context": ".."}, "/workspace", "outside"),
        ({"context": "/etc"}, "/workspace", "outside"),
        ({}, "/tmp", "outside"),
        ({"context": "absent"}, "/workspace", "not a folder of the workspace"),
        ({"dockerfile": "absent"}, "/workspace", "no Dockerfile 'absent' in the workspace"),
        ({"context": "link"}, "/workspace", "through a link"),
        ({"context": "-"}, "/workspace", "standard input, which a step does not have"),
        ({"build_contexts": {"a": "absent"}}, "/workspace", "build context 'a' at 'absent' is not a folder"),
        ({"build_contexts": {"a": "/etc"}}, "/workspace", "outside"),
        ({"build_contexts": {"a": "oci-layout://x"}}, "/workspace", "cannot be 'oci-layout://x'"),
    ],
)
def test_what_is_not_in_the_workspace_fails_the_step(finder, workspace, work, working_directory, message):
    (workspace / "link").symlink_to("/etc")

    with pytest.raises(StepFailed, match=message):
        find(finder, workspace, working_directory, **work)


@pytest.mark.parametrize("context", ["-", "/dev/null"])
def test_a_dockerfile_alone_has_an_empty_context(finder, workspace, context):
    found = find(finder, workspace, context=context, dockerfile="Dockerfile")

    assert list(found.context.iterdir()) == []


def test_named_contexts_are_folders_or_images(finder, workspace):
    found = find(finder, workspace, build_contexts={"a": "app", "b": "docker-image://busybox"})

    assert found.named == {"a": workspace / "app", "b": "docker-image://busybox"}


def test_a_tar_archive_is_fetched_with_its_dockerfile(finder, workspace, address):
    url, served = address
    with tarfile.open(served / "c.tar.gz", "w:gz") as tar:
        tar.add(workspace / "app", "sub")

    found = find(finder, workspace, context=f"{url}/c.tar.gz", dockerfile="/sub/Dockerfile")

    assert found.text == "FROM scratch AS app\n"
    assert found.key == f"{url}/c.tar.gz"
    finder.close()
    assert not found.context.exists()


def test_a_dockerfile_by_url(finder, workspace, address):
    url, served = address
    (served / "D").write_text("FROM scratch AS remote\n")

    found = find(finder, workspace, dockerfile=f"{url}/D")

    assert (found.context, found.text) == (workspace, "FROM scratch AS remote\n")


def test_a_git_context_tells_its_commit(finder, workspace, address):
    url, served = address
    git = partial(subprocess.run, check=True, capture_output=True, text=True, cwd=workspace)
    git(["git", "init", "-q", "."])
    git(["git", "add", "."])
    git(["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"])
    git(["git", "clone", "-q", "--bare", ".", str(served / "r.git")])
    subprocess.run(["git", "update-server-info"], cwd=served / "r.git", check=True)

    found = find(finder, workspace, context=f"{url}/r.git#:app")

    assert found.text == "FROM scratch AS app\n"
    assert found.git_revision == git(["git", "rev-parse", "HEAD"]).stdout.strip()
    assert find(finder, workspace, context="app").git_revision == found.git_revision


def test_a_missing_dockerfile_of_a_remote_context_is_told(finder, workspace, address):
    url, served = address
    with tarfile.open(served / "c.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("file"), io.BytesIO())

    with pytest.raises(StepFailed, match=r"no Dockerfile 'Dockerfile' in http://127\.0\.0\.1:\d+/c\.tar"):
        find(finder, workspace, context=f"{url}/c.tar")
    with pytest.raises(StepFailed, match="outside of its context"):
        find(finder, workspace, context=f"{url}/c.tar", dockerfile="../x")


def test_a_task_file_reaches_no_other_folder_of_the_machine(finder, workspace):
    with pytest.raises((SourceError, StepFailed)):
        find(finder, workspace, context=f"file://{workspace}")


def test_a_person_builds_from_any_folder_and_from_standard_input(workspace, tmp_path_factory):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(workspace / "app", ".")
    given = GivenToBuilds(paths_from=workspace, stdin=lambda: io.BytesIO(archive.getvalue()))
    with contextlib.closing(BuildFileFinder(given)) as finder:
        own = OwnPlaces(workspace / "app")
        found = finder.find(build_work(".."), own, workspace, CancelToken())
        piped = finder.find(build_work("-"), own, workspace, CancelToken())

    assert found.context.resolve() == workspace
    assert piped.text == "FROM scratch AS app\n"


def test_a_changed_dockerfile_keeps_its_name_and_what_it_ignores(finder, workspace):
    (workspace / "Dockerfile.dockerignore").write_text("*.o\n")

    changed = finder.with_dockerfile(find(finder, workspace), "FROM mirror/x\r\n")

    assert changed.read_bytes() == b"FROM mirror/x\r\n"
    assert (changed.parent / "Dockerfile.dockerignore").read_text() == "*.o\n"
