"""What all tests share: the option that rewrites expected files, and the way from a text to a Task or Plan."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import hypothesis
import pytest

from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs, Task
from tasks_engine.errors import DefinitionErrors
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import Plan
from tasks_engine.plan.request import RunRequest

# how long one example takes says more about the machine than about the code
hypothesis.settings.register_profile("tasks", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tasks")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write the expected files of tests/golden and tests/scenarios instead of comparing them",
    )


@pytest.fixture
def rewrite_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite-golden"))


@pytest.fixture
def load() -> Callable[..., Task]:
    """The task of an indented text."""

    def load(text: str, *, strict: bool = False, **inputs: Any) -> Task:
        return load_task(dedent(text), "task.yaml", Inputs(**inputs), strict=strict)

    return load


@pytest.fixture
def problems_of(load: Callable[..., Task]) -> Callable[..., list[str]]:
    """Every problem of an indented text, as `line:column: message`."""

    def problems_of(text: str, **options: Any) -> list[str]:
        with pytest.raises(DefinitionErrors) as caught:
            load(text, **options)
        places = [(problem.location, problem.message) for problem in caught.value.problems]
        return [f"{place.line}:{place.column}: {message}" for place, message in places if place is not None]

    return problems_of


@pytest.fixture
def plan_of(load: Callable[..., Task]) -> Callable[..., Plan]:
    """The plan of an indented text."""

    def plan_of(text: str, *, registry: str = "", **inputs: Any) -> Plan:
        return make_plan(load(text, **inputs), RunRequest("run1", "task.yaml", registry))

    return plan_of
