"""Which file and which context a command line means, and the values that go into the file."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tasks_engine.backends.contexts import FetchedContext
from tasks_engine.cli.task_inputs import (
    RESERVED_EXTENSIONS,
    TASK_FILE_NAMES,
    TaskInput,
    command_task,
    find_command,
    find_task,
    found_task,
    read_named,
    read_values,
)
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import DefinitionError, SourceError, UsageError

TEXT = "steps: []"
_IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.com")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    here = tmp_path / "here"
    here.mkdir()
    return here


def write(path: Path, text: str = TEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def find(here: Path, *arguments: str) -> TaskInput:
    return find_task(arguments, here, here / "fetched")


def refused(here: Path, *arguments: str) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        find(here, *arguments)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("name", TASK_FILE_NAMES)
def test_without_arguments_it_is_the_task_file_of_this_folder(here: Path, name: str) -> None:
    write(here / name)
    assert find(here) == TaskInput(TEXT, name, here)


def test_acb_yaml_comes_before_the_others(here: Path) -> None:
    for name in TASK_FILE_NAMES:
        write(here / name)
    assert TASK_FILE_NAMES[0] == "acb.yaml"
    assert find(here).name == "acb.yaml"
    (here / "acb.yaml").unlink()
    assert find(here).name == "acr-task.yaml"


def test_a_lone_folder_is_the_context(here: Path) -> None:
    write(here / "src" / "task.yaml")
    assert find(here, "src") == TaskInput(TEXT, "src/task.yaml", here / "src")


def test_a_lone_file_has_its_own_folder_as_the_context(here: Path) -> None:
    write(here / "src" / "a.yaml")
    assert find(here, "src/a.yaml") == TaskInput(TEXT, "src/a.yaml", here / "src")


def test_a_file_and_a_folder_are_file_and_context(here: Path) -> None:
    write(here / "a.yml")
    (here / "src").mkdir()
    assert find(here, "a.yml", "src") == TaskInput(TEXT, "a.yml", here / "src")


def test_a_file_is_looked_for_here_and_then_in_the_context(here: Path) -> None:
    write(here / "src" / "a.yaml", "inner")
    assert find(here, "a.yaml", "src").text == "inner"
    write(here / "a.yaml", "outer")
    assert find(here, "a.yaml", "src").text == "outer"


def test_a_file_elsewhere_is_shown_with_its_whole_path(here: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "elsewhere" / "a.yaml")
    assert find(here, str(path)) == TaskInput(TEXT, str(path), tmp_path / "elsewhere")


@pytest.mark.parametrize("extension", [".yaml", ".yml", ".YAML", ".Yml"])
def test_yaml_extensions_are_task_files(here: Path, extension: str) -> None:
    write(here / f"a{extension}")
    assert find(here, f"a{extension}").text == TEXT


@pytest.mark.parametrize("extension", sorted(RESERVED_EXTENSIONS))
def test_reserved_extensions_are_refused_naming_yaml(here: Path, extension: str) -> None:
    for name in (f"a{extension}", f"a{extension.upper()}"):
        write(here / name)
        assert refused(here, name) == (
            f"'{name}' is no task file: YAML is the only format so far",
            "name it .yaml or .yml",
        )


@pytest.mark.parametrize(
    "name", ["Dockerfile", "Dockerfile.dev", "a.txt", "app.Dockerfile", "a.dockerfile", "a."]
)
def test_any_other_name_is_a_dockerfile(here: Path, name: str) -> None:
    write(here / name, "FROM busybox")
    assert refused(here, name) == (
        f"'{name}' is read as a Dockerfile, because its name does not end in .yaml or .yml",
        f"a task file that builds it: steps: [{{build: -f {name} .}}]",
    )


def test_file_and_context_in_the_wrong_order_are_told(here: Path) -> None:
    write(here / "a.yaml")
    assert refused(here, ".", "a.yaml") == (
        "'.' is a folder, not a task file",
        "FILE comes first: tasks run FILE FOLDER",
    )


def test_a_folder_without_a_task_file_is_told(here: Path) -> None:
    assert refused(here) == (
        f"there is no task file in {here}",
        "name one, or call it acb.yaml, acr-task.yaml or task.yaml",
    )


def test_a_missing_file_is_told_with_a_guess(here: Path) -> None:
    write(here / "build.yaml")
    (here / "src").mkdir()
    assert refused(here, "biuld.yaml", "src") == (
        f"there is no task file 'biuld.yaml' in {here} and {here}/src",
        "did you mean 'build.yaml'?",
    )
    assert refused(here, "zzz.yaml")[1] == ""


@pytest.mark.parametrize(("context", "what"), [("none", "does not exist"), ("file", "is a file")])
def test_a_context_is_a_folder(here: Path, context: str, what: str) -> None:
    write(here / "file")
    write(here / "a.yaml")
    assert refused(here, "a.yaml", context)[0] == f"context '{context}' {what}"


def test_an_artifact_is_pulled_by_what_is_given_for_it(here: Path) -> None:
    def pull(artifact: str, into: Path) -> str:
        write(into / "task.yaml", artifact)
        return "sha256:0"

    found = find_task(["oci://r.io/a"], here, here / "fetched", pull)
    assert (found.text, found.name, found.context) == ("r.io/a", "task.yaml", here / "fetched")
    with pytest.raises(SourceError, match="there is no registry client"):
        find(here, "oci://r.io/a")


def test_nothing_may_be_the_context(here: Path) -> None:
    write(here / "a.yaml")
    assert find(here, "a.yaml", "/dev/null") == TaskInput(TEXT, "a.yaml", here / "fetched")
    assert list((here / "fetched").iterdir()) == []
    assert refused(here, "/dev/null")[0] == "there is no task file in /dev/null"


def test_an_archive_on_standard_input_may_be_the_context(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def given() -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("b.yaml"))
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(buffer.getvalue())))

    write(here / "a.yaml")
    given()
    assert find(here, "a.yaml", "-") == TaskInput(TEXT, "a.yaml", here / "fetched")
    given()
    assert find_task(["b.yaml", "-"], here, here / "again") == TaskInput("", "b.yaml", here / "again")
    assert refused(here, "-", "-")[0] == "FILE and CONTEXT cannot both be standard input"


def test_a_repository_on_this_machine_may_be_the_context(here: Path) -> None:
    folder = here / "repo"
    write(folder / "src" / "task.yaml")
    environ = os.environ | {"HOME": str(here)}
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*_IDENTITY, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=folder, env=environ, check=True)
    found = find(here, "repo#main:src")
    assert (found.text, found.name, found.context) == (TEXT, "src/task.yaml", here / "fetched" / "src")
    assert found.revision is not None
    assert found.revision.branch == "main"
    assert found.revision == find(here, "repo/src").revision


def test_a_task_file_of_a_fetched_context_is_no_link_out_of_it(here: Path) -> None:
    write(here / "secret")

    def pull(artifact: str, into: Path) -> str:
        (into / "task.yaml").symlink_to(here / "secret")
        return ""

    for arguments in (["oci://r.io/a"], ["task.yaml", "oci://r.io/a"]):
        with pytest.raises(UsageError, match="is a link that leads outside"):
            find_task(arguments, here, here / "fetched", pull)
        (here / "fetched" / "task.yaml").unlink()


def test_warnings_about_a_context_are_printed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "task.yaml")
    fetched = FetchedContext(here, None, "it", ("something is amiss",))
    monkeypatch.setattr("tasks_engine.cli.task_inputs.fetch_context", lambda *_: fetched)
    with found_task([], here) as found:
        assert found.warnings == ("something is amiss",)
    assert capsys.readouterr().err == "warning: something is amiss\n"


def test_standard_input_may_be_the_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "src").mkdir()
    for arguments, context in ((["-"], here), (["-", "src"], here / "src")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfsteps: []")))
        assert find(here, *arguments) == TaskInput(TEXT, "<stdin>", context)


def test_a_file_is_utf_8(here: Path) -> None:
    (here / "a.yaml").write_bytes(b"steps:\n- cmd: \xff")
    assert refused(here, "a.yaml") == (f"{here}/a.yaml:2: not UTF-8 text", "save the file as UTF-8")


def test_a_byte_order_mark_is_no_part_of_the_text(here: Path) -> None:
    (here / "a.yaml").write_bytes(b"\xef\xbb\xbfsteps: []")
    assert find(here, "a.yaml").text == TEXT


def test_a_folder_for_what_is_fetched_lasts_as_long_as_the_block(here: Path) -> None:
    write(here / "task.yaml")
    with found_task([], here) as found:
        assert found.context == here


def test_a_named_file_is_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_named(str(write(here / "D", "FROM a"))) == ("FROM a", str(here / "D"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"FROM b")))
    assert read_named("-") == ("FROM b", "<stdin>")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_named(str(here / "none"))


def test_set_wins_over_the_values_file_and_is_always_text(here: Path) -> None:
    file = write(here / "v.yaml", "a: 1\nb: {c: 2}\nd: 010\n")
    assert read_values(str(file), ["a=2", "b=", "e=x=y", "f.g=1"]) == {
        "a": "2",
        "b": "",
        "d": 8,
        "e": "x=y",
        "f.g": "1",
    }


def test_commas_do_not_part_values() -> None:
    assert read_values(None, ["a=1,b=2"]) == {"a": "1,b=2"}


@pytest.mark.parametrize("assignment", ["a", "", "=1"])
def test_a_value_is_given_with_its_name(assignment: str) -> None:
    with pytest.raises(UsageError, match="--set takes name=value, not"):
        read_values(None, [assignment])


def test_a_values_file_that_cannot_be_used_is_told(here: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_values(str(here / "none"), [])
    with pytest.raises(DefinitionError, match="a values file is a map") as caught:
        read_values(str(write(here / "v", "[a]")), [])
    assert str(caught.value.location) == f"{here}/v:1:1"


def test_a_command_becomes_a_task_of_one_step() -> None:
    assert command_task("busybox echo hi", 90) == (
        "version: v1.1.0\n"
        "steps:\n"
        "  - disableWorkingDirectoryOverride: true\n"
        "    timeout: 90\n"
        "    cmd: |2-\n"
        "      busybox echo hi\n"
    )


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("a b", ("b",)),
        ("  a b \n", ("b",)),
        ("a 'b: #c' \"d\"", ("b: #c", "d")),
        ("a sh -c '\n  one\n\n  two\n'", ("sh", "-c", "\n  one\n\n  two\n")),
        ('a {{ "x" | upper }} $ID', ("X", "r1")),
        ("a - 'version: 1'", ("-", "version: 1")),
        ("a größe \\\\", ("größe", "\\")),
    ],
)
def test_a_command_reaches_its_step_as_it_is(command: str, args: tuple[str, ...]) -> None:
    [step] = load_task(command_task(command, None), "--cmd", Inputs(run={"ID": "r1"}), None).steps

    assert [(each.image, each.args) for each in step.commands] == [("a", args)]
    assert step.disable_working_directory_override
    assert step.timeout == 0


@pytest.mark.parametrize("command", ["", " \n"])
def test_an_empty_command_is_refused(command: str) -> None:
    with pytest.raises(UsageError, match="--cmd is empty"):
        command_task(command, None)


def test_a_command_without_a_context_gets_nothing(here: Path) -> None:
    write(here / "task.yaml")
    for arguments in ([], [os.devnull]):
        found = find_command("text", arguments, here, here / "fetched")
        assert (found.text, found.name, found.context) == ("text", "--cmd", here / "fetched")
        assert list(found.context.iterdir()) == []


def test_a_command_gets_the_context_that_is_given(here: Path) -> None:
    write(here / "src/file")
    assert find_command("text", ["src"], here, here / "fetched").context == here / "src"


@pytest.mark.parametrize("arguments", [["task.yaml"], ["task.yaml", "src"], ["-", "src"], ["not-there"]])
def test_a_command_and_a_task_file_exclude_each_other(here: Path, arguments: list[str]) -> None:
    write(here / "task.yaml")
    with pytest.raises(UsageError, match=f"there cannot be '{arguments[0]}' too"):
        find_command("text", arguments, here, here / "fetched")


def test_a_command_takes_its_context_from_standard_input(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(archive.getvalue())))

    found = find_command("text", ["-"], here, here / "fetched")

    assert [path.name for path in found.context.iterdir()] == ["file"]


def test_the_block_has_the_command_in_place_of_a_file(here: Path) -> None:
    with found_task([], here, command="busybox true", command_timeout_s=5) as found:
        assert "timeout: 5\n" in found.text
        assert found.context.is_dir()
    assert not found.context.exists()
