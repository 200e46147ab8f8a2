"""Each folder in cases/ is a task with the plan or the problems it must give, compared whole.

task.yaml, options.json where the defaults do not do (run, values, registry, strict), and plan.json or
problems.txt. `make golden` writes the last two.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import DefinitionErrors
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.request import RunRequest

CASES = sorted((Path(__file__).parent / "cases").iterdir())


def outcome(case: Path) -> tuple[str, str]:
    """Name and text of the file that a case must have."""
    options_file = case / "options.json"
    options = json.loads(options_file.read_bytes()) if options_file.exists() else {}
    inputs = Inputs(run=options.get("run", {}), values=options.get("values", {}))
    text = (case / "task.yaml").read_bytes().decode()
    try:
        task = load_task(text, "task.yaml", inputs, strict=options.get("strict", False))
    except DefinitionErrors as error:
        return "problems.txt", f"{error}\n"
    plan = make_plan(task, RunRequest("run1", "task.yaml", options.get("registry", "")))
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
