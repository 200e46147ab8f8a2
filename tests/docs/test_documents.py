"""What the documents say is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tasks_engine
from tasks_engine import errors, settings_file
from tasks_engine.cli import show

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


@pytest.mark.parametrize(
    "command",
    "run build plan validate render deps schema runs logs gc doctor engine buildkit".split(),  # noqa: SIM905
)
def test_every_command_has_help_and_stands_in_the_readme(command):
    done = subprocess.run(
        [sys.executable, "-m", "tasks_engine", command, "--help"], capture_output=True, text=True, check=True
    )

    assert len(done.stdout.splitlines()) > 5
    assert re.search(rf"`tasks {command}\b", (ROOT / "README.md").read_text())


def test_every_property_of_the_schema_stands_in_the_readme():
    schema = (ROOT / "schemas/task.schema.json").read_text()
    readme = (ROOT / "README.md").read_text()

    for name in re.findall(r'"(\w+)": \{\s*"title"', schema):
        if name != "step":
            assert f"`{name}`" in readme, name


def test_every_setting_stands_in_the_example_with_a_value():
    """The example is all comments: uncommented it sets every key there is, and the program takes it."""
    example = (ROOT / "schemas/settings.example.toml").read_text()
    lines = [line.removeprefix("# ") for line in example.splitlines()]
    wanted = tomllib.loads("\n".join(line for line in lines if re.match(r"\w+ = |\[", line)))

    assert tomllib.loads(example) == {}
    assert set(wanted) == set(settings_file.KEYS)
    for table in ("registries", "policy", "history"):
        assert set(wanted[table]) == set(settings_file.KEYS[table])


def test_every_variable_that_is_read_stands_in_the_readme():
    source = (ROOT / "tasks_engine/settings.py").read_text()
    readme = (ROOT / "README.md").read_text()

    for name in re.findall(r'environ\.get\("((?:TASKS|BUILDKIT|DOCKER)_\w+)"', source):
        assert f"`{name}`" in readme, name


def test_the_names_of_schemas_are_files():
    assert {path.name for path in (ROOT / "schemas").glob("*.schema.json")} == set(show._SCHEMAS.values())


@pytest.mark.parametrize("name", ["task", "plan", "run-event"])
def test_every_schema_can_be_printed(name):
    done = subprocess.run(
        [sys.executable, "-m", "tasks_engine", "schema", name], capture_output=True, text=True, check=True
    )

    assert done.stdout == (ROOT / f"schemas/{name}.schema.json").read_text()


def test_the_example_of_the_readme_is_a_task():
    readme = (ROOT / "README.md").read_text()
    [first, *_] = re.findall(r"^```yaml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    inputs = tasks_engine.Inputs(run={"Registry": "r.io", "ID": "r1"})

    assert tasks_engine.load_task(first, "task.yaml", inputs, strict=True).steps


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
