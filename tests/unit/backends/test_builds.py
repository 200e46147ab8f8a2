"""The seam to the BuildKit client: addresses and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_engine.backends import buildkit, builds
from tasks_engine.backends.docker.endpoint import Endpoint, TlsFiles
from tasks_engine.errors import EngineError, StepFailed


def test_a_lost_daemon_is_an_error_of_the_engine_and_a_failed_build_one_of_the_author():
    options = buildkit.BuildOptions(context=Path("/c"))
    lost = builds._translate(buildkit.ConnectionLost("gone"), options)
    failed = builds._translate(
        buildkit.BuildFailed("RUN false: exit code 1", line_range=(2, 3), snippet="RUN false", exit_code=1),
        options,
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


def test_an_error_shows_the_line_that_the_author_wrote():
    failed = builds._translate(
        buildkit.BuildFailed("not found", line_range=(2, 2), snippet="FROM mirror/a"),
        buildkit.BuildOptions(context=Path("/c")),
        "# one\nFROM a\n",
    )

    assert failed.location is not None
    assert failed.location.text == "FROM a"


def test_a_cache_that_cannot_be_kept_says_what_to_do():
    options = buildkit.BuildOptions(context=Path("/c"), cache_to=[buildkit.registry_cache("r.io/a")])

    failed = builds._translate(buildkit.BuildFailed("error writing layer blob: denied"), options)

    assert isinstance(failed, StepFailed)
    assert "log in to its registry" in failed.hint


def test_a_push_by_digest_has_no_tag():
    exporter = builds.to_registry(["r.io/a:1"], by_digest=True, insecure=True)

    assert exporter.attrs["name"] == "r.io/a"
    assert exporter.attrs["push-by-digest"] == exporter.attrs["registry.insecure"] == "true"
