"""Each folder in cases/ is a task with the plan or the problems it must give, compared whole.

task.yaml, options.json where the defaults do not do, and plan.json or problems.txt. `make golden` writes the last two.
options.json: what Inputs takes (run, values, secret_values, env), what RunRequest takes (registry, task_name,
working_directory, network), `strict`, and `sources`: name of an alias source -> its text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks_engine.definition.aliases import UnreadableSource
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import DefinitionErrors
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import Plan
from tasks_engine.plan.request import RunRequest

CASES = sorted((Path(__file__).parent / "cases").iterdir())
#: of a message or a hint, which is two or three lines of a terminal
MAX_COLUMNS = 240


def plan_of(case: Path) -> Plan:
    """The plan of a case. Raises DefinitionErrors."""
    options_file = case / "options.json"
    options = json.loads(options_file.read_bytes()) if options_file.exists() else {}
    strict, sources = options.pop("strict", False), options.pop("sources", {})
    requested = {name: options.pop(name) for name in RunRequest.__dataclass_fields__ if name in options}
    given: dict[str, Any] = {
        name: frozenset(value) if name == "secret_values" else value for name, value in options.items()
    }

    def read_source(name: str) -> str:
        if name not in sources:
            raise UnreadableSource("there is no such file")
        return str(sources[name])

    text = (case / "task.yaml").read_bytes().decode()
    task = load_task(text, "task.yaml", Inputs(**given), read_source, strict=strict)
    return make_plan(task, RunRequest("run1", "task.yaml", **requested))


def outcome(case: Path) -> tuple[str, str]:
    """Name and text of the file that a case must have."""
    try:
        plan = plan_of(case)
    except DefinitionErrors as error:
        warnings = "".join(f"\nwarning: {warning}\n" for warning in error.warnings)
        return "problems.txt", f"{error}\n{warnings}"
    return "plan.json", json.dumps(plan.to_json(), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_task_gives_the_expected_plan_or_problems(case: Path, rewrite_golden: bool) -> None:
    name, text = outcome(case)
    if rewrite_golden:
        for other in ("plan.json", "problems.txt"):
            (case / other).unlink(missing_ok=True)
        (case / name).write_text(text, encoding="utf-8")
    expected = {
        each: (case / each).read_text(encoding="utf-8")
        for each in ("plan.json", "problems.txt")
        if (case / each).exists()
    }
    assert {name: text} == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_with_a_task_is_told_in_few_lines(case: Path) -> None:
    """Each problem: where and what, the line, the place in it, and what to do."""
    name, text = outcome(case)
    for problem in text.rstrip("\n").split("\n\n") if name == "problems.txt" else []:
        message, *others = problem.split("\n")
        assert message.rpartition(": ")[2]
        assert len(others) <= 3
        assert all(len(line) <= MAX_COLUMNS for line in (message, *others) if not line.startswith("  ")), (
            problem
        )
