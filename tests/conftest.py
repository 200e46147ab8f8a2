"""What all tests share: the option that rewrites expected files, and the way from a text to a Task or Plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Any

import hypothesis
import pytest

from tasks_engine.definition.aliases import UnreadableSource
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs, Task
from tasks_engine.errors import DefinitionError, DefinitionErrors
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
    """The task of an indented text; `sources` are alias sources by name, everything else is for Inputs."""

    def load(text: str, *, strict: bool = False, sources: Mapping[str, str] = {}, **inputs: Any) -> Task:
        def read_source(name: str) -> str:
            if name not in sources:
                raise UnreadableSource("there is no such file")
            return sources[name]

        return load_task(dedent(text), "task.yaml", Inputs(**inputs), read_source, strict=strict)

    return load


@pytest.fixture
def problems_of(load: Callable[..., Task]) -> Callable[..., list[str]]:
    """Every problem of an indented text, as `line:column: message`."""

    def problems_of(text: str, **options: Any) -> list[str]:
        with pytest.raises(DefinitionErrors) as caught:
            load(text, **options)
        return [_placed(problem) for problem in caught.value.problems]

    return problems_of


@pytest.fixture
def warnings_of(load: Callable[..., Task]) -> Callable[..., list[str]]:
    """Every warning about an indented text, as `line:column: message`."""

    def warnings_of(text: str, **options: Any) -> list[str]:
        return [_placed(warning) for warning in load(text, **options).warnings]

    return warnings_of


@pytest.fixture
def plan_of(load: Callable[..., Task]) -> Callable[..., Plan]:
    """The plan of an indented text; what a RunRequest takes goes there."""

    def plan_of(text: str, **options: Any) -> Plan:
        requested = {name: options.pop(name) for name in RunRequest.__dataclass_fields__ if name in options}
        return make_plan(
            load(text, **options), RunRequest(**{"run_id": "run1", "task": "task.yaml"} | requested)
        )

    return plan_of


def _placed(problem: DefinitionError) -> str:
    place = problem.location
    return problem.message if place is None else f"{place.line}:{place.column}: {problem.message}"
