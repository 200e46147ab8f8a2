"""Every rule with the exact place of its problem. The wording with hints stands in tests/golden."""

from __future__ import annotations

from collections.abc import Callable

import pytest

ProblemsOf = Callable[..., list[str]]


def test_version_must_be_known(problems_of: ProblemsOf) -> None:
    assert problems_of("version: v7\nsteps: [{cmd: a}]") == ["1:10: version 'v7' is not known"]


def test_ids_have_no_blanks(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: a b, cmd: a}]") == ["1:14: step id 'a b' contains a blank"]


def test_the_name_of_the_root_is_reserved(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: acb_root, cmd: a}]") == ["1:14: step id 'acb_root' is reserved"]


def test_ids_are_unique(problems_of: ProblemsOf) -> None:
    assert problems_of("steps:\n- {id: a, cmd: a}\n- {id: a, cmd: a}\n- {cmd: a, id: a}") == [
        "3:8: step id 'a' is already taken",
        "4:16: step id 'a' is already taken",
    ]


def test_ids_differ_by_case(load: Callable[..., object]) -> None:
    load("steps: [{id: a, cmd: a}, {id: A, cmd: a}]")


def test_an_id_given_by_position_may_be_taken(problems_of: ProblemsOf) -> None:
    assert problems_of("steps:\n- {id: acb_step_1, cmd: a}\n- {cmd: a}") == [
        "3:4: step id 'acb_step_1' is already taken"
    ]


def test_a_step_has_one_kind(problems_of: ProblemsOf) -> None:
    assert problems_of("steps:\n- {id: a, push: [a], cmd: a}") == [
        "2:4: step 'a' has 'push' and 'cmd', but a step does one thing"
    ]


def test_a_step_with_three_kinds_names_all(problems_of: ProblemsOf) -> None:
    [problem] = problems_of("steps:\n- {push: [a], cmd: a, build: .}")
    assert "'build' and 'push' and 'cmd'" in problem


def test_a_step_has_a_kind(problems_of: ProblemsOf) -> None:
    assert problems_of("steps:\n- {id: a}\n- {cmd: '', push: [], build: }\n- {}") == [
        "2:8: step 'a' does nothing: it needs build, push or cmd",
        "3:4: step 'acb_step_1' does nothing: it needs build, push or cmd",
        "4:3: step 'acb_step_2' does nothing: it needs build, push or cmd",
    ]


def test_a_step_waits_for_known_steps(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: a, cmd: a}, {id: b, cmd: a, when: [a, x]}]") == [
        "1:52: step 'b' waits for 'x', which no earlier step defines"
    ]


def test_a_step_waits_for_earlier_steps(problems_of: ProblemsOf) -> None:
    assert problems_of("steps:\n- {id: a, cmd: a, when: [b]}\n- {id: b, cmd: a}") == [
        "2:26: step 'a' waits for 'b', which is defined later (line 3)"
    ]


def test_a_step_does_not_wait_for_itself(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: a, cmd: a, when: [a]}]") == ["1:32: step 'a' waits for itself"]


def test_a_step_does_not_wait_for_an_empty_name(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: a, cmd: a, when: ['']}]") == [
        "1:32: step 'a' waits for '', which no earlier step defines"
    ]


def test_start_at_once_stands_alone(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: a, cmd: a}, {cmd: a, when: [a, '-']}]") == [
        "1:45: '-' (start at once) stands alone or not at all"
    ]


def test_environment_of_the_task_is_names_with_values(problems_of: ProblemsOf) -> None:
    assert problems_of("env: [A=1, B, =c]\nsteps: [{cmd: a}]") == [
        "1:12: environment entry 'B' must be name=value",
        "1:15: environment entry '=c' must be name=value",
    ]


def test_environment_of_a_step_that_inherits_is_names_with_values(problems_of: ProblemsOf) -> None:
    assert problems_of("env: [A=1]\nsteps: [{cmd: a, env: [B]}]") == [
        "2:24: environment entry 'B' must be name=value"
    ]


def test_a_name_alone_in_a_step_that_inherits_nothing_is_only_warned_about(
    load: Callable[..., object],
) -> None:
    task = load("steps: [{cmd: a, env: [B, C=]}]")
    [warning] = task.warnings  # type: ignore[attr-defined]
    assert (warning.message, str(warning.location)) == (
        "environment entry 'B' has no value and is left out",
        "task.yaml:1:24",
    )


def test_an_environment_entry_has_a_name(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{cmd: a, env: ['=b']}]") == [
        "1:24: environment entry '=b' must be name=value"
    ]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("cmd: ' '", "cmd names no image"),
        ("cmd: '# a'", "cmd names no image"),
        (
            "cmd: -it a",
            "docker run options before the image ('-it') are not supported by this version of tasks",
        ),
        ("cmd: A", "'A' is not an image reference: image name 'A' must be lower case"),
        ("cmd: a | b", "'|' needs a shell, and tasks never starts one on the host"),
        ('cmd: a "b', 'quote " is never closed'),
        ("build: -t A .", "'A' is not an image reference: image name 'A' must be lower case"),
        ("build: -x .", "build flag '-x' is not supported"),
        ("build: . && a", "'&&' needs a shell, and tasks never starts one on the host"),
        ("build: git@host:a", "build context 'git@host:a' is not a folder"),
        ("build: --platform a,b .", "one platform a build in this version of tasks"),
    ],
)
def test_the_text_of_a_step_is_checked(problems_of: ProblemsOf, step: str, problem: str) -> None:
    assert problems_of(f"steps:\n- {step}\n") == [f"2:{5 + step.index(' ') - 1}: {problem}"]


def test_pushed_images_are_references(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{push: [a, A, 'b:.']}]") == [
        "1:20: 'A' is not an image reference: image name 'A' must be lower case",
        "1:23: 'b:.' is not an image reference: '.' is not a tag",
    ]


@pytest.mark.parametrize("step", ["build: .", "push: [a]"])
def test_only_containers_are_detached(problems_of: ProblemsOf, step: str) -> None:
    kind = step.partition(":")[0]
    assert problems_of(f"steps:\n- {step}\n  detach: yes") == [
        f"3:11: 'detach' means nothing for a {kind} step"
    ]


def test_a_value_of_the_wrong_type_is_reported_once(problems_of: ProblemsOf) -> None:
    assert problems_of("version: [v1]\nenv: {A: 1}\nsteps: [{cmd: [a]}]") == [
        "1:10: 'version' must be text, not a list",
        "2:7: 'env' must be a list, not a map",
        "3:15: 'cmd' must be text, not a list",
    ]


def test_a_mistyped_step_still_has_its_id(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: a, cmd: a, timeout: x}, {cmd: a, when: [a]}]") == [
        "1:34: 'timeout' must be a whole number, not 'x'"
    ]


def test_all_problems_are_told_in_file_order(problems_of: ProblemsOf) -> None:
    problems = problems_of(
        """\
        networks: []
        steps:
        - id: a a
          timeout: x
        - cmd: A
          when: [zzz]
        - push: [B]
          ports: []
        version: v0
        """
    )
    assert [problem.partition(": ")[0] for problem in problems] == [
        "1:1",
        "4:12",
        "5:8",
        "6:10",
        "7:10",
        "8:3",
        "9:10",
    ]
