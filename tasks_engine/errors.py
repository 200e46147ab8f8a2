"""Every error a user can meet, as one tree.

    TasksError            code, message, location, hint
      UsageError          exit 2    bad flag, unknown file or run
      DefinitionError     exit 2    the author's file; DefinitionErrors holds all of them in file order
      StepFailed          exit 1    the author's build or test
      TimedOut            exit 124
      Canceled            exit 130
      BackendError        exit 3    ours: EngineError, BuildKitError, DockerError, RegistryError,
                                    SecretError, SourceError, StoreError

Anything else that reaches the edge is a bug of ours (exit 70). Messages say what, where and why; the hint
says how to fix it. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of `tasks`; an interface."""

    SUCCEEDED = 0
    FAILED = 1
    USAGE = 2
    ERROR = 3
    BUG = 70
    TIMED_OUT = 124
    CANCELED = 130


@dataclass(frozen=True)
class SourceLocation:
    """A place in a text the author wrote. Lines and columns count from 1, columns in characters."""

    source_name: str
    line: int
    column: int
    #: the whole line, without its line break; empty when there is none to show
    text: str = ""
    #: how many characters to underline
    width: int = 1

    def __str__(self) -> str:
        return f"{self.source_name}:{self.line}:{self.column}"


class TasksError(Exception):
    """Base of all errors meant for a user."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[ExitCode] = ExitCode.ERROR

    def __init__(self, message: str, *, location: SourceLocation | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.hint = hint

    def __str__(self) -> str:
        return render_problem(self.message, self.location, self.hint)

    def to_json(self) -> dict[str, object]:
        """The fields every interface shows, JSON types only; absent ones are left out."""
        fields: dict[str, object] = {"code": self.code, "message": self.message}
        if self.location is not None:
            fields["location"] = {
                "source": self.location.source_name,
                "line": self.location.line,
                "column": self.location.column,
                "text": self.location.text,
            }
        if self.hint:
            fields["hint"] = self.hint
        return fields


class UsageError(TasksError):
    code = "usage"
    exit_code = ExitCode.USAGE


class DefinitionError(TasksError):
    """One thing that is wrong in the author's file; `rule` names what it breaks, where that has a name."""

    code = "definition"
    exit_code = ExitCode.USAGE

    def __init__(
        self, message: str, *, location: SourceLocation | None = None, hint: str = "", rule: str = ""
    ) -> None:
        super().__init__(message, location=location, hint=hint)
        self.rule = rule

    def to_json(self) -> dict[str, object]:
        return super().to_json() | ({"rule": self.rule} if self.rule else {})


class DefinitionErrors(DefinitionError):
    """All that is wrong in the author's file, in file order; never empty. Warnings may tell the cause."""

    def __init__(self, problems: Iterable[DefinitionError], warnings: Iterable[DefinitionError] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__(f"{len(self.problems)} problems", location=self.problems[0].location)

    def __str__(self) -> str:
        return "\n\n".join(str(problem) for problem in self.problems)


class StepFailed(TasksError):
    """The author's build or command failed; `exit_status` is the process's own where there was one."""

    code = "step-failed"
    exit_code = ExitCode.FAILED

    def __init__(
        self,
        message: str,
        *,
        exit_status: int | None = None,
        location: SourceLocation | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, location=location, hint=hint)
        self.exit_status = exit_status


class TimedOut(TasksError):
    code = "timed-out"
    exit_code = ExitCode.TIMED_OUT


class Canceled(TasksError):
    code = "canceled"
    exit_code = ExitCode.CANCELED


class BackendError(TasksError):
    """Something outside the author's files did not do its part. `retryable`: the same call may work later."""

    code = "backend"

    def __init__(
        self,
        message: str,
        *,
        location: SourceLocation | None = None,
        hint: str = "",
        retryable: bool = False,
    ) -> None:
        super().__init__(message, location=location, hint=hint)
        self.retryable = retryable


class EngineError(BackendError):
    """No container engine, or one that cannot be started or reached."""

    code = "engine"


class BuildKitError(BackendError):
    code = "buildkit"


class DockerError(BackendError):
    code = "docker"


class RegistryError(BackendError):
    code = "registry"


class SourceError(BackendError):
    """A context cannot be fetched."""

    code = "source"


class SecretError(BackendError):
    """A secret cannot be had."""

    code = "secret"


class StoreError(BackendError):
    """The run's own folder cannot be read or written."""

    code = "store"


#: characters of a line that are shown
_MAX_SHOWN = 200


def render_problem(message: str, location: SourceLocation | None, hint: str) -> str:
    """`file:line:column: message`, the line with the place underlined, and the hint.

    Files come from strangers: what could drive a terminal shows as `?`.
    """
    lines = [f"{location}: {message}" if location else message]
    if location is not None and location.text:
        number = str(location.line)
        shown, column = _window(location.text.replace("\t", " "), location.column)
        lines.append(f"  {number} | {shown}")
        width = max(1, min(location.width, len(shown) - column + 1))
        lines.append(f"  {' ' * len(number)} | {' ' * (column - 1)}{'^' * width}")
    if hint:
        lines.append(f"hint: {hint}")
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in "\n".join(lines))


def _window(line: str, column: int) -> tuple[str, int]:
    """The part of a long line around a column, and where the column is in it."""
    if len(line) <= _MAX_SHOWN:
        return line, column
    start = max(0, column - 1 - _MAX_SHOWN // 3)
    part = line[start : start + _MAX_SHOWN]
    before = "…" if start else ""
    after = "…" if start + _MAX_SHOWN < len(line) else ""
    return f"{before}{part}{after}", column - start + len(before)
