"""Which task file and which context a command line means, and the values that go into the file."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks_engine.definition.load import load_values
from tasks_engine.definition.scalars import Value
from tasks_engine.errors import UsageError

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
_URL_STARTS = ("http://", "https://", "git://", "git@", "ssh://", "oci://", "github.com/")


@dataclass(frozen=True)
class TaskInput:
    text: str
    #: how the file is called in messages
    name: str
    context: Path


@contextmanager
def found_task(arguments: Sequence[str], current: Path) -> Iterator[TaskInput]:
    """What `[FILE] [CONTEXT]` means; a fetched context lasts as long as the block.

    Raises UsageError, or SourceError for a git context that cannot be fetched.
    """
    with TemporaryDirectory(prefix="tasks-context-") as folder:
        yield find_task(arguments, current, Path(folder).resolve())


def find_task(arguments: Sequence[str], current: Path, fetched: Path) -> TaskInput:
    """Reads what `[FILE] [CONTEXT]` means. `fetched` is an empty folder for a remote context.

    A lone folder is the context. FILE is looked up from the current folder, then from the context; `-` is
    standard input. FILE is YAML by its extension, else a Dockerfile. Without FILE the first of TASK_FILE_NAMES in
    the context is taken; without CONTEXT it is the folder of FILE.
    """
    file, context = _sort_out(arguments, current)
    if file is None:
        folder = _context_folder(context or ".", current, fetched)
        for name in TASK_FILE_NAMES:
            if (folder / name).is_file():
                shown_from = fetched if folder.is_relative_to(fetched) else current
                return TaskInput(_read(folder / name), _shown(folder / name, shown_from), folder)
        raise UsageError(
            f"there is no task file in {folder}",
            hint=f"name one, or call it {', '.join(TASK_FILE_NAMES[:-1])} or {TASK_FILE_NAMES[-1]}",
        )
    if file == "-":
        return TaskInput(*read_named("-"), _context_folder(context or ".", current, fetched))
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
    given = _context_folder(context, current, fetched) if context else None
    path = _find_file(file, current, given)
    return TaskInput(_read(path), _shown(path, current), given or path.parent.resolve())


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
    if only != "-" and (only.startswith(_URL_STARTS) or (current / only).is_dir()):
        return None, only
    return only, None


def _context_folder(context: str, current: Path, fetched: Path) -> Path:
    if context.startswith(_URL_STARTS):
        from tasks_engine.backends.git_source import fetch_git, parse_git_context

        git_context = parse_git_context(context)
        if git_context is None:
            raise UsageError(
                f"context '{context}' is no git address, and this version of tasks fetches no other",
                hint="git addresses end in .git or begin with git://, ssh:// or git@; else download it first",
            )
        return fetch_git(git_context, fetched)
    folder = (current / context).resolve()
    if folder.is_dir():
        return folder
    what = "is a file" if folder.exists() else "does not exist"
    raise UsageError(f"context '{context}' {what}", hint="the context is a folder: tasks run FILE FOLDER")


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
