"""What the documents say is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks_engine import errors

ROOT = Path(__file__).resolve().parents[2]


def error_classes() -> list[type[errors.TasksError]]:
    found = [errors.TasksError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind is not errors.TasksError]


def test_every_error_code_is_explained_with_its_exit_code():
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (\d+) \|", (ROOT / "schemas/error-codes.md").read_text(), re.MULTILINE
    )

    assert dict(rows) == {kind.code: str(int(kind.exit_code)) for kind in error_classes()}


@pytest.mark.parametrize("command", ["run", "plan", "validate", "doctor", "engine"])
def test_every_command_has_help_and_stands_in_the_readme(command):
    done = subprocess.run(
        [sys.executable, "-m", "tasks_engine", command, "--help"], capture_output=True, text=True, check=True
    )

    assert len(done.stdout.splitlines()) > 5
    assert f"tasks {command}" in (ROOT / "README.md").read_text()


def test_every_property_of_the_schema_stands_in_the_readme():
    schema = (ROOT / "schemas/task.schema.json").read_text()
    readme = (ROOT / "README.md").read_text()

    for name in re.findall(r'"(\w+)": \{\s*"title"', schema):
        if name != "step":
            assert f"`{name}`" in readme, name


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_version_is_printed_without_importing_more_than_needed():
    script = (
        "import sys; sys.argv = ['tasks', '--version']; from tasks_engine.cli.main import entry; "
        "entry(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    version, modules = done.stdout.splitlines()
    assert version.startswith("tasks ")
    assert not {"argparse", "yaml", "json", "dataclasses", "docker", "grpc"} & set(modules.split())


def test_checking_a_good_file_imports_no_heavy_library(tmp_path):
    (tmp_path / "task.yaml").write_text("steps: [{cmd: busybox true}]")
    script = (
        "import sys; from tasks_engine.cli.main import main; "
        f"code = main(['validate', {str(tmp_path)!r}]); print(*sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert not {"jsonschema", "docker", "grpc", "rich", "requests"} & set(done.stdout.split())
