"""The seam to the BuildKit client: options, transcript, errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks_engine.backends import buildkit, builds
from tasks_engine.backends.docker.endpoint import Endpoint, TlsFiles
from tasks_engine.definition.model import StepKind
from tasks_engine.errors import EngineError, StepFailed
from tasks_engine.plan.model import BuildWork, PlannedStep
from tasks_engine.ports import StepOutput

START = datetime(2026, 1, 1, tzinfo=UTC)


def planned(context: str = ".", dockerfile: str = "", working_directory: str = "/workspace") -> PlannedStep:
    work = BuildWork(context, dockerfile, (), {}, {}, "", (), False, False, False)
    return PlannedStep("b", StepKind.BUILD, (), 600, 0, 5, False, False, {}, working_directory, work)


def options(workspace: Path, step: PlannedStep) -> buildkit.BuildOptions:
    assert isinstance(step.work, BuildWork)
    return builds.build_options(step, step.work, workspace, Path("/user/folder"), [])


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch\n")
    return tmp_path


def test_paths_count_from_the_working_directory(workspace):
    found = options(workspace, planned(".", "../Dockerfile", "/workspace/app"))

    assert found.context == workspace / "app"
    assert found.dockerfile.resolve() == workspace / "Dockerfile"


def test_the_dockerfile_is_in_the_context_unless_named(workspace):
    assert options(workspace, planned("app")).dockerfile == workspace / "app" / "Dockerfile"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (planned(".."), "outside"),
        (planned("/etc"), "outside"),
        (planned(".", "", "/tmp"), "outside"),
        (planned("absent"), "not a folder"),
        (planned(".", "absent"), "no Dockerfile"),
        (planned("link"), "through a link"),
    ],
)
def test_what_is_not_in_the_workspace_fails_the_step(workspace, step, message):
    (workspace / "link").symlink_to("/etc")

    with pytest.raises(StepFailed, match=message):
        options(workspace, step)


def test_the_daemon_remembers_by_the_users_folder_not_by_the_copy(workspace, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "Dockerfile").write_text("FROM scratch\n")

    assert options(workspace, planned()).shared_key == options(other, planned()).shared_key
    assert options(workspace, planned()).shared_key != options(workspace, planned("app")).shared_key


class Recorder:
    def __init__(self) -> None:
        self.text = b""
        self.events: list = []

    @property
    def output(self) -> StepOutput:
        return StepOutput("b", self._write, self.events.append)

    def _write(self, _: str, data: bytes) -> None:
        self.text += data


def vertex(digest: str, name: str, *, seconds: float | None = None, cached: bool = False, error: str = ""):
    completed = START + timedelta(seconds=seconds) if seconds is not None else None
    return buildkit.VertexChanged(digest, name, START, completed, cached, error, ())


def log(digest: str, data: bytes):
    return buildkit.LogOutput(digest, 1, data, START)


def transcript_of(*events) -> Recorder:
    recorder = Recorder()
    transcript = builds.Transcript(recorder.output)
    for event in events:
        transcript.take(event)
    return recorder


def test_vertices_are_numbered_and_their_output_carries_the_number():
    seen = transcript_of(
        vertex("x", "[1/2] RUN make"), log("x", b"one\ntwo\n"), vertex("x", "[1/2] RUN make", seconds=1.5)
    )

    assert seen.text == b"#1 [1/2] RUN make\n#1 one\n#1 two\n#1 DONE 1.5s\n"


def test_output_of_two_vertices_never_shares_a_line():
    seen = transcript_of(
        vertex("x", "A"), vertex("y", "B"), log("x", b"half"), log("y", b"other\n"), log("x", b"rest\n")
    )

    assert seen.text == b"#1 A\n#2 B\n#1 half\n#2 other\n#1 rest\n"


def test_a_vertex_that_is_told_of_again_is_finished_once():
    done = vertex("x", "A", cached=True, seconds=0)

    assert transcript_of(vertex("x", "A"), done, done).text == b"#1 A\n#1 CACHED\n"


def test_bytes_that_are_no_text_pass_unchanged():
    assert transcript_of(vertex("x", "A"), log("x", b"\xff\xfe\n")).text == b"#1 A\n#1 \xff\xfe\n"


def test_a_lost_daemon_is_an_error_of_the_engine_and_a_failed_build_one_of_the_author(workspace):
    lost = builds._translate(buildkit.ConnectionLost("gone"), options(workspace, planned()))
    failed = builds._translate(
        buildkit.BuildFailed("RUN false: exit code 1", line_range=(2, 3), snippet="RUN false", exit_code=1),
        options(workspace, planned()),
    )

    assert isinstance(lost, EngineError)
    assert isinstance(failed, StepFailed)
    assert failed.exit_status == 1
    assert str(failed.location) == "Dockerfile:2:1"


@pytest.mark.parametrize(
    ("host", "url", "address"),
    [
        ("", "unix:///var/run/docker.sock", "docker+unix:///var/run/docker.sock"),
        ("", "tcp://h:2375", "docker+tcp://h:2375"),
        ("", "https://h:2376", "docker+tcp://h:2376"),
        ("tcp://b:1234", "unix:///x", "tcp://b:1234"),
        ("docker-container://b", "unix:///x", "docker-container://b"),
    ],
)
def test_builds_go_to_the_standalone_daemon_or_to_the_engines(host, url, address):
    assert builds.address_of(host, Endpoint(url, "test")) == address


def test_certificates_do_not_matter_on_a_unix_socket(tmp_path):
    endpoint = Endpoint(
        f"unix://{tmp_path}/absent", "DOCKER_HOST", TlsFiles(tmp_path / "ca.pem", None, None, verify=True)
    )
    with pytest.raises(EngineError, match="absent: No such file"):
        builds.connect("", endpoint, None)


def test_a_folder_of_certificates_that_is_absent_is_told(tmp_path):
    with pytest.raises(EngineError, match="does not exist"):
        builds.connect("tcp://127.0.0.1:1", None, tmp_path / "absent")
