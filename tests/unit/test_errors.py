from __future__ import annotations

import pytest

from tasks_engine.errors import (
    BackendError,
    Canceled,
    DefinitionError,
    DefinitionErrors,
    ExitCode,
    SourceLocation,
    StepFailed,
    StoreError,
    TasksError,
    TimedOut,
    UsageError,
    render_problem,
)

PLACE = SourceLocation("task.yaml", 14, 12, '    when: ["biuld"]', 7)


def test_a_problem_shows_its_line_and_its_place() -> None:
    assert render_problem("step 'test' waits for 'biuld'", PLACE, "did you mean 'build' (line 5)?") == (
        "task.yaml:14:12: step 'test' waits for 'biuld'\n"
        '  14 |     when: ["biuld"]\n'
        "     |            ^^^^^^^\n"
        "hint: did you mean 'build' (line 5)?"
    )


def test_a_problem_without_a_place_is_its_message() -> None:
    assert render_problem("no engine", None, "") == "no engine"


def test_an_empty_line_is_not_shown() -> None:
    assert render_problem("m", SourceLocation("f", 1, 1), "") == "f:1:1: m"


def test_a_tab_takes_one_column() -> None:
    assert render_problem("m", SourceLocation("f", 1, 2, "\tx"), "") == "f:1:2: m\n  1 |  x\n    |  ^"


@pytest.mark.parametrize(("column", "width", "marks"), [(1, 99, "^^^"), (3, 0, "  ^"), (4, 1, "   ^")])
def test_marks_stay_below_the_line(column: int, width: int, marks: str) -> None:
    assert (
        render_problem("m", SourceLocation("f", 1, column, "abc", width), "").splitlines()[-1]
        == f"    | {marks}"
    )


def test_an_error_reads_as_its_problem() -> None:
    assert str(DefinitionError("m", location=PLACE)).startswith("task.yaml:14:12: m\n")


def test_several_problems_are_told_with_a_line_between() -> None:
    assert (
        str(DefinitionErrors([DefinitionError("one"), DefinitionError("two", hint="h")]))
        == "one\n\ntwo\nhint: h"
    )


def test_json_leaves_out_what_is_not_there() -> None:
    assert UsageError("m").to_json() == {"code": "usage", "message": "m"}


def test_json_has_the_place_and_the_hint() -> None:
    data = DefinitionError("m", location=PLACE, hint="h").to_json()
    assert (data["code"], data["message"], data["hint"]) == ("definition", "m", "h")
    assert data["location"] == {"source": "task.yaml", "line": 14, "column": 12} | data["location"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (UsageError("m"), ExitCode.USAGE),
        (DefinitionError("m"), ExitCode.USAGE),
        (StepFailed("m"), ExitCode.FAILED),
        (BackendError("m"), ExitCode.ERROR),
        (StoreError("m"), ExitCode.ERROR),
        (TimedOut("m"), ExitCode.TIMED_OUT),
        (Canceled("m"), ExitCode.CANCELED),
    ],
)
def test_exit_codes(error: TasksError, exit_code: ExitCode) -> None:
    assert error.exit_code is exit_code
