"""Which task file and which context a command line means, and the values that go into the file."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tasks_engine.backends.contexts.fetch import fetch_context
from tasks_engine.backends.contexts.model import FetchedContext, FetchOptions, Revision
from tasks_engine.backends.temporary_folders import context_folder
from tasks_engine.definition.build_context import parse_build_context
from tasks_engine.definition.load import load_values
from tasks_engine.definition.scalars import Value
from tasks_engine.errors import UsageError

FetchArtifact = Callable[[str, Path], str]
TASK_FILE_NAMES = ("acb.yaml", "acr-task.yaml", "task.yaml")
YAML_EXTENSIONS = (".yaml", ".yml")
#: extensions of task files in formats that do not exist yet; whatever has none of these is a Dockerfile
RESERVED_EXTENSIONS = frozenset(
    [
        ".toml",
        ".json",
        ".sh",
        ".bash",
        ".zsh",
        ".ps1",
        ".ps",
        ".cmd",
        ".bat",
        ".ts",
        ".js",
        ".php",
        ".py",
        ".rb",
        ".lua",
    ]
)
_MAX_FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class TaskInput:
    text: str
    #: how the file is called in messages
    name: str
    context: Path
    #: of the context, where it is a repository or part of one
    revision: Revision | None = None
    #: about the context
    warnings: tuple[str, ...] = ()


@contextmanager
def found_task(
    arguments: Sequence[str],
    current: Path,
    fetch_oci: FetchArtifact | None = None,
    command: str | None = None,
    command_timeout_s: int | None = None,
) -> Iterator[TaskInput]:
    """What `[FILE] [CONTEXT]` means; a fetched context lasts as long as the block. Warnings about it are printed.

    `fetch_oci` pulls an artifact, named without `oci://`, into a folder and returns its digest. `command` stands for
    FILE: see `find_command`. Raises UsageError, or SourceError for a context that cannot be fetched.
    """
    with context_folder() as folder:
        # a folder in the private one, with usual permissions: steps may run as any user
        fetched = folder.resolve() / "context"
        if command is None:
            found = find_task(arguments, current, fetched, fetch_oci)
        else:
            text = command_task(command, command_timeout_s)
            found = find_command(text, arguments, current, fetched, fetch_oci)
        for warning in found.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        yield found


def find_task(
    arguments: Sequence[str], current: Path, fetched: Path, fetch_oci: FetchArtifact | None = None
) -> TaskInput:
    """Reads what `[FILE] [CONTEXT]` means. `fetched` is a new folder for a remote context.

    A lone folder or address is the context. FILE is looked up from the current folder, then from the context; `-` is
    standard input, which holds the task file where it is FILE and a tar archive where it is CONTEXT. FILE is YAML by
    its extension, else a Dockerfile. Without FILE the first of TASK_FILE_NAMES in the context is taken; without CONTEXT
    it is the folder of FILE.
    """

    def fetch(address: str) -> FetchedContext:
        return _fetch(address, current, fetched, fetch_oci)

    file, context = _sort_out(arguments, current)
    if file is None:
        found = fetch(context or ".")
        folder = found.folder
        for name in TASK_FILE_NAMES:
            if (folder / name).is_file():
                _refuse_outside(folder / name, found, fetched)
                shown_from = fetched if folder.is_relative_to(fetched) else current
                return _with_context(_read(folder / name), _shown(folder / name, shown_from), found)
        raise UsageError(
            f"there is no task file in {_place(found, fetched)}",
            hint=f"name one, or call it {', '.join(TASK_FILE_NAMES[:-1])} or {TASK_FILE_NAMES[-1]}",
        )
    if file == "-":
        if context == "-":
            raise UsageError(
                "FILE and CONTEXT cannot both be standard input", hint="put one of them into a file or folder"
            )
        return _with_context(*read_named("-"), fetch(context or "."))
    if (current / file).is_dir():
        raise UsageError(
            f"'{file}' is a folder, not a task file", hint="FILE comes first: tasks run FILE FOLDER"
        )
    extension = Path(file).suffix.lower()
    if extension in RESERVED_EXTENSIONS:
        raise UsageError(
            f"'{file}' is no task file: YAML is the only format so far", hint="name it .yaml or .yml"
        )
    if extension not in YAML_EXTENSIONS:
        raise UsageError(
            f"'{file}' is read as a Dockerfile, because its name does not end in .yaml or .yml",
            hint=f"a task file that builds it: steps: [{{build: -f {file} .}}]",
        )
    if context is None:
        path = _find_file(file, current, None)
        return _with_context(_read(path), _shown(path, current), fetch(str(path.parent)))
    found = fetch(context)
    path = _find_file(file, current, found.folder)
    _refuse_outside(path, found, fetched)
    shown = _shown(path, fetched if path.is_relative_to(fetched) else current)
    return _with_context(_read(path), shown, found)


def find_command(
    text: str, arguments: Sequence[str], current: Path, fetched: Path, fetch_oci: FetchArtifact | None = None
) -> TaskInput:
    """The task of a command, with `[CONTEXT]`; without one nothing is copied. Raises UsageError, also for a FILE."""
    file, context = _sort_out(arguments, current)
    if file == "-" and context is None:
        file, context = None, "-"  # there is no file that standard input could be
    if file is not None:
        raise UsageError(
            f"--cmd stands for a task file: there cannot be '{file}' too",
            hint="leave out one of them; a CONTEXT is a folder or an address",
        )
    return _with_context(text, "--cmd", _fetch(context or os.devnull, current, fetched, fetch_oci))


def command_task(command: str, timeout_s: int | None) -> str:
    """The text of a task with one step, which runs `IMAGE ARGS` in the image's own folder. Raises UsageError."""
    if not command.strip():
        raise UsageError("--cmd is empty", hint='write an image and its arguments: --cmd "busybox echo hi"')
    # a block, where no character of the command has a meaning; the first line says how deep it stands
    lines = "".join(f"      {line}\n" for line in command.strip().splitlines())
    timeout = f"    timeout: {timeout_s}\n" if timeout_s is not None else ""
    return (
        "version: v1.1.0\nsteps:\n  - disableWorkingDirectoryOverride: true\n"
        + timeout
        + f"    cmd: |2-\n{lines}"
    )


def read_named(file: str) -> tuple[str, str]:
    """Text of a file, and how it is called in messages; `-` is standard input. Raises UsageError."""
    if file == "-":
        return _decode(sys.stdin.buffer.read(_MAX_FILE_BYTES + 1), "standard input"), "<stdin>"
    return _read(Path(file)), file


def read_values(file: str | None, assignments: Sequence[str]) -> dict[str, Value]:
    """The values file with `--set name=value` on top; those are always text. Raises UsageError."""
    values: dict[str, Value] = {}
    if file is not None:
        values = load_values(_read(Path(file)), file)
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"--set takes name=value, not '{assignment}'")
        values[name] = value
    return values


def _sort_out(arguments: Sequence[str], current: Path) -> tuple[str | None, str | None]:
    """FILE and CONTEXT; None where not given."""
    if not arguments:
        return None, None
    if len(arguments) == 2:
        return arguments[0], arguments[1]
    only = arguments[0]
    is_context = parse_build_context(only).is_remote or only.startswith("file://") or only == os.devnull
    folder, mark, _ = only.partition("#")
    if is_context or (current / only).is_dir() or (mark and (current / folder).is_dir()):
        return None, only
    return only, None


def _fetch(address: str, current: Path, fetched: Path, fetch_oci: FetchArtifact | None) -> FetchedContext:
    options = FetchOptions(trusted=True, current=current, stdin=_archive_on_stdin, fetch_oci=fetch_oci)
    return fetch_context(address, fetched, options)


def _with_context(text: str, name: str, found: FetchedContext) -> TaskInput:
    return TaskInput(text, name, found.folder, found.revision, found.warnings)


def _archive_on_stdin() -> BinaryIO:
    if sys.stdin.isatty():
        raise UsageError(
            "context '-' is a tar archive on standard input, which is a terminal",
            hint="git archive HEAD | tasks run FILE -",
        )
    return sys.stdin.buffer


def _refuse_outside(path: Path, found: FetchedContext, fetched: Path) -> None:
    """A file of a fetched context must not be a link to one of this machine."""
    if path.is_relative_to(fetched) and not path.resolve().is_relative_to(fetched):
        raise UsageError(f"'{path.name}' of {found.description} is a link that leads outside")


def _place(found: FetchedContext, fetched: Path) -> str:
    return found.description if found.folder.is_relative_to(fetched) else str(found.folder)


def _find_file(file: str, current: Path, context: Path | None) -> Path:
    for folder in filter(None, (current, context)):
        if (folder / file).is_file():
            return folder / file
    places = " and ".join(str(folder) for folder in (current, context) if folder)
    names = [path.name for folder in (current, context) if folder for path in folder.glob("*.y*ml")]
    guess = difflib.get_close_matches(file, names, n=1)
    raise UsageError(
        f"there is no task file '{file}' in {places}", hint=f"did you mean '{guess[0]}'?" if guess else ""
    )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as reader:
            return _decode(reader.read(_MAX_FILE_BYTES + 1), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _decode(data: bytes, name: str) -> str:
    if len(data) > _MAX_FILE_BYTES:
        raise UsageError(f"{name} is larger than {_MAX_FILE_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: not UTF-8 text", hint="save the file as UTF-8") from error


def _shown(path: Path, current: Path) -> str:
    return str(path.relative_to(current)) if path.is_relative_to(current) else str(path)
