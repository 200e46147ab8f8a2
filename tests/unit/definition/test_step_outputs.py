"""Which steps may use the outputs of which."""

from __future__ import annotations

import time

import pytest

from tasks_engine.definition import step_outputs
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import DefinitionErrors


def problems_of(*steps: str) -> list[str]:
    text = "steps:\n" + "".join(f"- {step}\n" for step in steps)
    try:
        load_task(text, "task.yaml", Inputs())
    except DefinitionErrors as error:
        return [f"{each.location.line if each.location else 0}: {each.message}" for each in error.problems]
    return []


A = "{id: a, cmd: x}"
USE = "'x {{.Steps.a.Outputs.b}}'"


@pytest.mark.parametrize(
    "steps",
    [
        [A, f"{{cmd: {USE}}}"],
        [A, "{id: b, cmd: x}", f"{{cmd: {USE}}}"],
        [A, "{id: b, cmd: x, when: ['-']}", "{id: c, cmd: x, when: [a]}", f"{{cmd: {USE}, when: [b, c]}}"],
        [A, "{cmd: x, env: ['N={{.Steps.a.Outputs.b}}']}"],
        [A, "{push: ['x:{{.Steps.a.Outputs.b}}']}"],
        [A, "{build: '-t x:{{.Steps.a.Outputs.b}} .'}"],
        ["{id: a, build: .}", "{cmd: 'x@{{.Steps.a.Outputs.digest}} {{.Steps.a.Outputs.image}}'}"],
        ["{cmd: x}", "{cmd: 'x {{.Steps.acb_step_0.Outputs.b}}'}"],
    ],
)
def test_an_output_of_a_step_that_has_ended_is_let_pass(steps: list[str]) -> None:
    assert problems_of(*steps) == []


@pytest.mark.parametrize(
    "step",
    [
        f"{{id: u, cmd: {USE}, when: ['-']}}",
        f"{{id: u, cmd: {USE}, when: [b]}}",
    ],
)
def test_a_step_must_wait_for_what_it_uses(step: str) -> None:
    problem = "4: step 'u' uses an output of 'a' and does not wait for it"
    assert problems_of(A, "{id: b, cmd: x, when: ['-']}", step) == [problem]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{id: a, cmd: x, detach: true}", "step 'a' is detached, so it has no outputs"),
        ("{id: a, cmd: '-d x'}", "step 'a' is detached, so it has no outputs"),
        ("{id: a, push: [x]}", "step 'a' is a push step, which has no outputs"),
        ("{id: a, build: .}", "build step 'a' has no output 'b'"),
        ("{id: other, cmd: x}", "no step has the id 'a'"),
    ],
)
def test_a_step_without_such_an_output_is_told(source: str, problem: str) -> None:
    assert problems_of(source, f"{{id: u, cmd: {USE}}}") == [f"3: {problem}"]


def test_of_several_uses_in_one_text_each_is_told_once() -> None:
    problem = "2: step 'u' uses an output of itself"
    assert problems_of(
        "{id: u, cmd: 'x {{.Steps.u.Outputs.a}} {{.Steps.u.Outputs.a}} {{.Steps.u.Outputs.b}}'}"
    ) == [
        problem,
        problem,
    ]


def test_what_is_wrong_with_the_writing_step_is_not_told_again() -> None:
    alone = "{id: a, cmd: 'x | y'}"
    assert problems_of(alone, f"{{cmd: {USE}}}") == problems_of(alone) != []


def test_a_long_task_is_checked_in_little_time() -> None:
    steps = ["{id: s0, cmd: x}"]
    steps += [
        f"{{id: s{number}, cmd: 'x {{{{.Steps.s{number - 1}.Outputs.a}}}} {{{{.Steps.s0.Outputs.a}}}}'}}"
        for number in range(1, step_outputs.MAX_SOURCES)
    ]
    started = time.perf_counter()
    assert problems_of(*steps) == []
    assert time.perf_counter() - started < 10


def test_a_task_uses_outputs_of_so_many_steps_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_outputs, "MAX_SOURCES", 1)
    assert problems_of(A, "{id: b, cmd: x}", f"{{cmd: {USE}}}", "{cmd: 'x {{.Steps.b.Outputs.a}}'}") == [
        "5: the task uses outputs of more than 1 steps"
    ]
