from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs, Step, StepKind, Task
from tasks_engine.errors import DefinitionErrors

Load = Callable[..., Task]


def test_a_task_has_what_the_author_wrote(load: Load) -> None:
    task = load(
        """\
        version: V1.1.0
        stepTimeout: 90
        workingDirectory: src
        env: [A=1]
        steps:
        - id: build
          build: -t app:$ID .
        - push: [app:$ID]
          when: [build]
          ignoreErrors: yes
        - cmd: app test
          timeout: 60
          retries: 2
          retryDelay: 3
          workingDirectory: /x
          env: [B=2]
          detach: on
        """,
        run={"ID": "r1"},
    )
    assert task == Task(
        version="v1.1.0",
        env=("A=1",),
        working_directory="src",
        step_timeout=90,
        steps=(
            Step("build", StepKind.BUILD, 6, build="-t app:r1 ."),
            Step("acb_step_1", StepKind.PUSH, 8, push=("app:r1",), when=("build",), ignore_errors=True),
            Step(
                "acb_step_2",
                StepKind.CMD,
                11,
                cmd="app test",
                timeout=60,
                retries=2,
                retry_delay=3,
                working_directory="/x",
                env=("B=2",),
                detach=True,
            ),
        ),
    )


def test_the_name_of_the_file_is_kept(load: Load) -> None:
    assert load("steps: [{cmd: a}]").source_name == "task.yaml"


@pytest.mark.parametrize("version", ["", "version: v1.0.0\n", "version: 1.0-preview-1\n"])
def test_older_versions_have_no_aliases(load: Load, version: str) -> None:
    assert load(f"{version}steps: [{{cmd: a $ID}}]", run={"ID": "r"}).steps[0].cmd == "a $ID"


def test_without_a_version_it_is_the_first_one(load: Load) -> None:
    assert load("steps: [{cmd: a}]").version == "v1.0.0"


def test_negative_times_mean_the_default(load: Load) -> None:
    task = load("stepTimeout: -1\nsteps: [{cmd: a, timeout: -5, retryDelay: -1}]")
    assert (task.step_timeout, task.steps[0].timeout, task.steps[0].retry_delay) == (0, 0, 0)


def test_an_empty_list_of_parents_is_none(load: Load) -> None:
    assert [step.when for step in load("steps: [{cmd: a, when: []}, {cmd: a, when: ['-']}]").steps] == [
        None,
        ("-",),
    ]


def test_templates_in_comment_lines_do_not_run(load: Load) -> None:
    assert load("# {{ nonsense\nsteps: [{cmd: a}]").steps


def test_values_are_rendered(load: Load) -> None:
    task = load(
        "steps: [{cmd: 'a {{.Values.x}} {{.Run.ID}} {{.Build.ID}}'}]", values={"x": 1.5}, run={"ID": "r"}
    )
    assert task.steps[0].cmd == "a 1.5 r r"


def test_a_rendered_value_may_hold_yaml(load: Load) -> None:
    assert len(load("steps: {{.Values.steps}}", values={"steps": "[{cmd: a}, {cmd: b}]"}).steps) == 2


def test_a_version_from_a_template_has_aliases(load: Load) -> None:
    task = load("version: {{.Values.v}}\nsteps: [{cmd: a $ID}]", values={"v": "v1.0.0"}, run={"ID": "r"})
    assert (task.version, task.steps[0].cmd) == ("v1.0.0", "a r")


@pytest.mark.parametrize("text", ["", "\n", "# nothing", "steps: []", "steps:"])
def test_a_task_without_steps_is_warned_about(load: Load, text: str) -> None:
    [warning] = load(text).warnings
    assert warning.message == "the task has no steps"


def test_warnings_stand_in_file_order(load: Load) -> None:
    task = load("steps:\n- cmd: a {{.Values.x}}\n  foo: 1\n  env: [A]\nbar: 1\n")
    assert [warning.location.line for warning in task.warnings if warning.location] == [2, 3, 4, 5]


def test_strict_turns_warnings_into_problems(problems_of: Callable[..., list[str]]) -> None:
    assert problems_of("steps:\n- cmd: a {{.Values.x}}\n  foo: 1\n", strict=True) == [
        "2:10: .Values.x has no value and is left empty",
        "3:3: unknown key 'foo' is ignored",
    ]


def test_a_problem_in_the_template_is_the_only_one(problems_of: Callable[..., list[str]]) -> None:
    assert problems_of("version: v9\nsteps: [{{ nonsense }}]") == [
        "2:9: template expression 'nonsense' is not supported by this version of tasks"
    ]


def test_a_merged_step_is_reported_where_it_stands(problems_of: Callable[..., list[str]]) -> None:
    text = "steps:\n- &a\n  cmd: a\n- <<: *a\n  build: .\n"
    assert problems_of(text) == ["5:3: step 'acb_step_1' has 'build' and 'cmd', but a step does one thing"]


def test_all_problems_are_raised_as_one_error() -> None:
    with pytest.raises(DefinitionErrors) as caught:
        load_task("steps: [{cmd: A}, {}]", "t", Inputs())
    assert caught.value.message == "2 problems"
    assert caught.value.location == caught.value.problems[0].location
    assert str(caught.value) == "\n\n".join(map(str, caught.value.problems))
