"""The BuildKit client's README and examples, as a stranger runs them: a process in the folder of a Dockerfile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.services import require

pytestmark = pytest.mark.buildkit

PACKAGE = Path(__file__).resolve().parents[2] / "tasks_engine/backends/buildkit"
EXAMPLES = PACKAGE / "examples"


@pytest.fixture
def address() -> str:
    return f"docker+{require('TASKS_TEST_ENGINE')}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("hello\n")
    return tmp_path


def run(
    example: Path, argument: str, project: Path, address: str, dockerfile: str
) -> subprocess.CompletedProcess[str]:
    (project / "Dockerfile").write_text(dockerfile)
    environ = {**os.environ, "BUILDKIT_HOST": address, "PYTHONPATH": str(PACKAGE.parents[2])}
    environ.pop("SSH_AUTH_SOCK", None)
    command = [sys.executable, str(example), argument]
    return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)


def test_readme_shows_the_first_example_in_ten_lines() -> None:
    shown = re.search(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    script = (EXAMPLES / "build_and_push.py").read_text()
    assert shown
    assert shown[1] == script
    assert len([line for line in script.splitlines() if line]) <= 10


def test_image_is_built_and_pushed(project: Path, address: str) -> None:
    registry = require("TASKS_TEST_REGISTRY")
    done = run(
        EXAMPLES / "build_and_push.py",
        f"{registry}/example:1",
        project,
        address,
        "FROM scratch\nCOPY file /\n",
    )
    assert done.returncode == 0, done.stderr
    url = f"http://{registry}/v2/example/manifests/1"
    accept = (
        "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    )
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept})) as answer:
        assert answer.headers["Docker-Content-Digest"] == done.stdout.strip()


def test_progress_is_shown(project: Path, address: str) -> None:
    done = run(
        EXAMPLES / "progress_and_errors.py",
        "example:1",
        project,
        address,
        f"FROM busybox\nRUN echo {os.urandom(4).hex()}; echo one; echo two\n",
    )
    assert done.returncode == 0, done.stderr
    assert "      | one\n      | two\n" in done.stdout
    assert re.search(r"^read docker.io/library/busybox:latest sha256:", done.stdout, re.MULTILINE)


def test_failure_is_told_with_its_line(project: Path, address: str) -> None:
    done = run(
        EXAMPLES / "progress_and_errors.py", "example:1", project, address, "FROM busybox\n\nRUN exit 3\n"
    )
    assert (done.returncode, done.stderr) == (1, "Dockerfile:3: RUN exit 3: exit code 3\nRUN exit 3\n")


def test_secret_goes_in_and_files_come_out(project: Path, address: str) -> None:
    done = run(
        EXAMPLES / "secrets_and_files.py",
        str(project / "out"),
        project,
        address,
        "FROM busybox AS b\nRUN --mount=type=secret,id=token wc -c </run/secrets/token >/result\n"
        "FROM scratch\nCOPY --from=b /result /\n",
    )
    assert (done.returncode, done.stdout) == (0, "['result']\n"), done.stderr
    assert (project / "out" / "result").read_text().split() == ["16"]
