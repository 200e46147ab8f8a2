"""Rules of steps, each with the exact place of its problem, and what their texts mean. Hints stand in tests/golden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks_engine.definition import step_rules
from tasks_engine.definition.model import Task
from tasks_engine.errors import DefinitionErrors

Load = Callable[..., Task]
ProblemsOf = Callable[..., list[str]]
WarningsOf = Callable[..., list[str]]
SECRET = "{{.Secrets.s}}"


@pytest.fixture
def problem_in(load: Load) -> Callable[..., tuple[int, int, str, str]]:
    """Column, width, message and rule of the only problem of a step in the second line."""

    def problem_in(step: str, **inputs: Any) -> tuple[int, int, str, str]:
        with pytest.raises(DefinitionErrors) as caught:
            load(f"steps:\n- {step}\n", **inputs)
        [problem] = caught.value.problems
        assert problem.location is not None
        assert problem.location.line == 2
        return problem.location.column, problem.location.width, problem.message, problem.rule

    return problem_in


def test_ids_have_no_blanks(problems_of: ProblemsOf) -> None:
    assert problems_of('steps: [{id: a b, cmd: a}, {id: "a\\tb", cmd: a}, {id: "a\\u2003b", cmd: a}]') == [
        "1:14: step id 'a b' contains a blank",
        "1:33: step id 'a\tb' contains a blank",
        "1:55: step id 'a\u2003b' contains a blank",
    ]


def test_the_name_of_the_root_is_reserved(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: acb_root, cmd: a}]") == ["1:14: step id 'acb_root' is reserved"]


def test_ids_are_unique(problems_of: ProblemsOf) -> None:
    assert problems_of("steps:\n- {id: a, cmd: a}\n- {id: a, cmd: a}\n- {cmd: a, id: a}") == [
        "3:8: step id 'a' is already taken",
        "4:16: step id 'a' is already taken",
    ]


def test_ids_differ_by_case(load: Load) -> None:
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


@pytest.mark.parametrize("name", ["retries", "repeat"])
def test_counts_are_not_negative(problems_of: ProblemsOf, name: str) -> None:
    assert problems_of(f"steps:\n- cmd: a\n  {name}: -1") == [
        f"3:{5 + len(name)}: '{name}' must be 0 or more, not -1"
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
    assert problems_of("steps: [{id: a, cmd: a, when: ['']}]") == ["1:32: an empty id in 'when'"]


def test_start_at_once_stands_alone(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: a, cmd: a}, {cmd: a, when: [a, '-']}]") == [
        "1:45: '-' (start at once) stands alone or not at all"
    ]


@pytest.mark.parametrize("when", ["['-']", "[acb_root]", "[a, a]", "[a, acb_root]", "[]", ""])
def test_a_step_may_wait_for(load: Load, when: str) -> None:
    assert load(f"steps: [{{id: a, cmd: a}}, {{cmd: a, when: {when}}}]").steps


def test_a_mistyped_step_still_has_its_id(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: [{id: a, cmd: a, timeout: x}, {cmd: a, when: [a]}]") == [
        "1:34: 'timeout' must be a whole number, not 'x'"
    ]


def test_names_are_guessed_a_few_times_only(load: Load) -> None:
    parents = ", ".join(f"step-numbre-{number}" for number in range(200))
    text = "".join(f"- {{id: step-number-{number}, cmd: a}}\n" for number in range(200))
    with pytest.raises(DefinitionErrors) as caught:
        load(f"steps:\n{text}- {{cmd: a, when: [{parents}]}}")
    hints = [problem.hint for problem in caught.value.problems]
    assert hints[0] == "did you mean 'step-number-0' (line 2)?"
    assert hints[-1].startswith("earlier steps: 'step-number-0', ")


@pytest.mark.parametrize(
    ("mount", "problem"),
    [
        ("{name: v}", "3:19: a mount needs a name and a mountPath"),
        ("{mountPath: /a}", "3:19: a mount needs a name and a mountPath"),
        ("{name: w, mountPath: /a}", "3:25: there is no volume 'w'"),
    ],
)
def test_a_mount_has_a_volume_and_a_path(problems_of: ProblemsOf, mount: str, problem: str) -> None:
    text = f"volumes: [{{name: v, secret: {{a: b}}}}]\nsteps: [{{cmd: a,\n  volumeMounts: [{mount}]}}]"
    assert problems_of(text) == [problem]


def test_mounts_of_a_step_have_different_paths(problems_of: ProblemsOf) -> None:
    assert problems_of(
        """\
        volumes: [{name: v, secret: {a: b}}]
        steps:
        - cmd: a
          volumeMounts:
          - {name: v, mountPath: /a}
          - {name: v, mountPath: /b}
          - {name: v, mountPath: /a}
        """
    ) == ["7:26: a second volume is mounted at '/a'"]


def test_a_push_step_mounts_nothing(problems_of: ProblemsOf) -> None:
    text = "volumes: [{name: v, secret: {a: b}}]\nsteps:\n- push: [a]\n  volumeMounts: [{name: v, mountPath: /a}]"
    assert problems_of(text) == ["4:17: a push step has no container to mount volumes in"]


@pytest.mark.parametrize("value", ["enabled", "Enabled", "DISABLED", "disabled", "''", ""])
def test_a_cache_is_enabled_or_disabled_in_any_case(load: Load, value: str) -> None:
    assert load(f"steps: [{{build: ., cache: {value}}}]").steps[0].cache is (value.lower() == "enabled")


@pytest.mark.parametrize("value", ["yes", "true", "on", "enable"])
def test_a_cache_is_nothing_else(problem_in: Callable[..., Any], value: str) -> None:
    assert problem_in(f"{{build: ., cache: {value}}}") == (
        *(21, len(value), f"cache must be enabled or disabled, not '{value}'", "cache-bad-value"),
    )


@pytest.mark.parametrize(
    ("entry", "width", "message", "rule"),
    [
        ("'=b'", 4, "environment entry '=b' has no name before '='", "env-malformed"),
        (f"'{SECRET}=b'", 18, "environment entry '***=b' takes its name from a secret", "secret-misplaced"),
        (f"'A{SECRET}'", 17, "environment entry 'A***' takes its name from a secret", "secret-misplaced"),
    ],
)
def test_variables_of_a_step_have_names(
    problem_in: Callable[..., Any], entry: str, width: int, message: str, rule: str
) -> None:
    assert problem_in(f"{{cmd: a, env: [{entry}]}}") == (18, width, message, rule)


def test_a_name_alone_is_left_out_with_a_warning(load: Load, warnings_of: WarningsOf) -> None:
    for task in ("env: [A=1]\nsteps: [{cmd: a, env: [B, C=]}]", "steps: [{cmd: a, env: [B, C=]}]"):
        line = task.count("\n") + 1
        assert warnings_of(task) == [f"{line}:24: environment entry 'B' has no value and is left out"]
        assert "B" not in load(task).steps[0].env


def test_steps_have_a_bounded_number_of_variables(
    problems_of: ProblemsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_rules, "MAX_VARIABLES", 5)
    assert problems_of("env: [A=1, B=1]\nsteps: [{cmd: a}, {cmd: a}, {cmd: a}, {cmd: a}]") == [
        "2:30: the steps up to 'acb_step_2' have more than 5 variables, inherited ones included"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id: 'x{}'", "'id' must not come from a secret"),
        ("user: '{}'", "'user' must not come from a secret"),
        ("entryPoint: '{}'", "'entryPoint' must not come from a secret"),
        ("workingDirectory: '{}'", "'workingDirectory' must not come from a secret"),
        ("network: '{}'", "'network' must not come from a secret"),
        ("isolation: '{}'", "'isolation' must not come from a secret"),
        ("cpus: '{}'", "'cpus' must not come from a secret"),
        ("ports: ['{}']", "'ports' must not come from a secret"),
        ("expose: ['{}']", "'expose' must not come from a secret"),
        ("retryOnErrors: ['{}']", "'retryOnErrors' must not come from a secret"),
    ],
)
def test_properties_must_not_come_from_a_secret(
    problem_in: Callable[..., Any], text: str, problem: str
) -> None:
    _, _, message, rule = problem_in(f"{{cmd: a, {text.format(SECRET)}}}")
    assert (message, rule) == (problem, "secret-misplaced")


def test_a_parent_and_a_mount_must_not_come_from_a_secret(problems_of: ProblemsOf) -> None:
    text = f"steps: [{{cmd: a, when: ['{SECRET}'], volumeMounts: [{{name: '{SECRET}', mountPath: '{SECRET}'}}]}}]"
    assert [each.partition(": ")[2] for each in problems_of(text)] == [
        "step 'acb_step_0' waits for '***', which no earlier step defines",
        "'when' must not come from a secret",
        "'volumeMounts' must not come from a secret",
        "there is no volume '***'",
    ]


def test_a_cache_from_a_secret_is_not_shown(problems_of: ProblemsOf) -> None:
    problems = problems_of(f"steps: [{{build: ., cache: '{SECRET}'}}]")
    assert problems[0] == "1:27: cache must be enabled or disabled, not '***'"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (f"cmd: '{SECRET}/a'", "the image name '***/a' must not come from a secret"),
        (f"cmd: '-e A=1 a:{SECRET}'", "the image name 'a:***' must not come from a secret"),
        (f"cmd: 'a && {SECRET}'", "the image name '***' must not come from a secret"),
        (f"build: '-t a:{SECRET} .'", "the image name 'a:***' must not come from a secret"),
        (f"push: ['a:{SECRET}']", "'push' must not come from a secret"),
        (f"cmd: '-p {SECRET} a'", "docker run option '--publish' must not come from a secret"),
        (f"cmd: '--user {SECRET} a'", "docker run option '--user' must not come from a secret"),
        (f"cmd: '-w {SECRET} a'", "docker run option '--workdir' must not come from a secret"),
        (f"cmd: '-e {SECRET}=b a'", "docker run option '--env' must not come from a secret"),
    ],
)
def test_images_and_what_the_plan_reads_must_not_come_from_a_secret(
    problem_in: Callable[..., Any], step: str, message: str
) -> None:
    _, _, told, rule = problem_in(step)
    assert (told, rule) == (message, "secret-misplaced")


@pytest.mark.parametrize(
    "step",
    [
        f"cmd: 'a {SECRET} x{SECRET}y'",
        f"cmd: '-e A={SECRET} --label {SECRET} a'",
        f"build: '--build-arg A={SECRET} --label b={SECRET} .'",
        f"{{cmd: a, env: ['A={SECRET}', 'B=x {SECRET} y']}}",
        f"{{cmd: a $S, env: ['S={SECRET}']}}",
    ],
)
def test_secrets_may_stand_in_arguments_and_values(load: Load, step: str) -> None:
    assert load(f"secrets: [{{id: s, keyvault: env:S}}]\nsteps:\n- {step}").warnings == ()


@pytest.mark.parametrize(
    ("step", "column", "width", "message", "rule"),
    [
        ("cmd: ' '", 9, 1, "cmd names no image", "cmd-syntax"),
        ("cmd: '# a'", 9, 1, "cmd names no image", "cmd-syntax"),
        ("cmd: --memry 1g a", 8, 7, "docker run has no option '--memry'", "cmd-syntax"),
        (
            "cmd: A b",
            8,
            1,
            "'A' is not an image reference: image name 'A' must be lower case",
            "image-reference",
        ),
        (
            "cmd: -e X=1 A b",
            15,
            1,
            "'A' is not an image reference: image name 'A' must be lower case",
            "image-reference",
        ),
        ("cmd: a | b", 10, 1, "'|' needs a shell, and tasks never starts one on the host", "cmd-syntax"),
        ('cmd: a "b', 10, 1, 'quote " is never closed', "cmd-syntax"),
        (
            "cmd: a && B",
            13,
            1,
            "'B' is not an image reference: image name 'B' must be lower case",
            "image-reference",
        ),
        (
            "cmd: 'a ''b'' | c'",
            17,
            1,
            "'|' needs a shell, and tasks never starts one on the host",
            "cmd-syntax",
        ),
        (
            "build: -t A .",
            *(13, 1, "'A' is not an image reference: image name 'A' must be lower case", "image-reference"),
        ),
        (
            "build: --build-arg A --tag=A .",
            *(30, 1, "'A' is not an image reference: image name 'A' must be lower case", "image-reference"),
        ),
        ("build: -x .", 10, 2, "build flag '-x' is not known", "build-syntax"),
        (
            "build: . && a",
            12,
            2,
            "'&&' needs a shell, and tasks never starts one on the host",
            "build-syntax",
        ),
        ("build: -t a -f", 15, 2, "build flag '-f' needs a value", "build-syntax"),
        (
            "build: one two",
            10,
            7,
            "build takes one context, but 'one' and 'two' stand here",
            "build-two-contexts",
        ),
        (
            "push: ['a@sha256:0']",
            10,
            12,
            "'a@sha256:0' is not an image reference: 'sha256:0' is not a digest",
            "image-reference",
        ),
        ("push: ['']", 10, 2, "'' is not an image reference: the image has no name", "image-reference"),
    ],
)
def test_the_text_of_a_step_is_checked_at_its_place(
    load: Load, step: str, column: int, width: int, message: str, rule: str
) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        load(f"steps:\n- {step}\n")
    problem = caught.value.problems[0]
    assert problem.location is not None
    assert (str(problem.location), problem.location.width, problem.message, problem.rule) == (
        *(f"task.yaml:2:{column}", width, message, rule),
    )


def test_places_are_right_behind_aliases_and_templates(problems_of: ProblemsOf) -> None:
    text = (
        "version: v1.1.0\nsteps:\n- cmd: $Registry/{{.Values.a}} sh\n    -c $ID | cat\n- cmd: a $ID B | c\n"
    )
    assert problems_of(text, run={"ID": "long-id", "Registry": "r.io"}, values={"a": "app"}) == [
        "4:12: '|' needs a shell, and tasks never starts one on the host",
        "5:16: '|' needs a shell, and tasks never starts one on the host",
    ]


def test_a_problem_inside_a_value_is_placed_at_its_action(problem_in: Callable[..., Any]) -> None:
    assert problem_in("cmd: a {{.Values.a}} b", values={"a": "x | y"})[:2] == (10, 13)


def test_a_pushed_image_needs_a_tag(problem_in: Callable[..., Any]) -> None:
    digest = "a@sha256:" + "0" * 64
    assert problem_in(f"push: [{digest}]")[2] == f"'{digest}' names a digest, but a push needs a tag"


def test_an_empty_registry_is_guessed_at(load: Load) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        load("version: v1.1.0\nsteps: [{cmd: $Registry/a}]")
    assert caught.value.problems[0].hint == "is $Registry empty? Give --registry HOST or set TASKS_REGISTRY"


def test_variables_come_from_the_environment_of_the_step(load: Load) -> None:
    task = load("env: [A=1, B=2]\nsteps: [{cmd: x $A $B, env: [B=3]}, {build: -t x$A --build-arg C=$B .}]")
    build = task.steps[1].build
    assert build is not None
    assert (task.steps[0].commands[0].args, build.tags, build.build_args) == (("1", "3"), ("x1",), {"C": "2"})


def test_a_variable_that_is_not_set_is_warned_about(warnings_of: WarningsOf) -> None:
    assert warnings_of("steps:\n- cmd: a $B ${C} $B '$D'\n- build: -t a $E .\n") == [
        "2:10: $B is not set in the environment of the step and becomes nothing",
        "2:13: $C is not set in the environment of the step and becomes nothing",
        "3:15: $E is not set in the environment of the step and becomes nothing",
    ]


def test_of_many_variables_that_are_not_set_some_are_named(warnings_of: WarningsOf) -> None:
    assert len(warnings_of(f"steps: [{{cmd: a {' '.join(f'$A{number}' for number in range(500))}}}]")) == 20


@pytest.mark.parametrize(
    ("step", "place", "warning"),
    [
        ("{cmd: a, cache: enabled}", 19, "'cache' has no effect on a cmd step"),
        ("{build: ., detach: yes}", 22, "'detach' has no effect on a build step"),
        ("{build: ., entryPoint: a}", 26, "'entryPoint' has no effect on a build step"),
        ("{build: ., pull: yes}", 20, "'pull' has no effect on a build step"),
        ("{push: [a], retries: 1}", 24, "'retries' has no effect on a push step"),
        ("{push: [a], repeat: 1}", 23, "'repeat' has no effect on a push step"),
        ("{push: [a], network: b}", 24, "'network' has no effect on a push step"),
        ("{cmd: a, exitedWith: [1]}", 24, "'exitedWith' has no effect"),
        ("{cmd: a, exitedWithout: [1]}", 27, "'exitedWithout' has no effect"),
        ("{cmd: a, secret: {a: b}}", 21, "'secret' has no effect"),
        (
            "{build: ., env: [DOCKER_BUILDKIT=0]}",
            19,
            "DOCKER_BUILDKIT=0 has no effect: builds always use BuildKit",
        ),
        ("{build: -t a}", 11, "build has no context, so it is '.'"),
        ("{build: -t a --push .}", 16, "build flag '--push' has no effect"),
    ],
)
def test_what_has_no_effect_is_warned_about(
    warnings_of: WarningsOf, step: str, place: int, warning: str
) -> None:
    assert warnings_of(f"steps:\n- {step}\n") == [f"2:{place}: {warning}"]


def test_inherited_docker_buildkit_0_is_warned_about_too(warnings_of: WarningsOf) -> None:
    assert warnings_of("env: [DOCKER_BUILDKIT=0]\nsteps: [{build: .}, {cmd: a}]") == [
        "2:10: DOCKER_BUILDKIT=0 has no effect: builds always use BuildKit"
    ]


@pytest.mark.parametrize(
    "step", ["{build: ., env: [DOCKER_BUILDKIT=1]}", "{cmd: a, env: [DOCKER_BUILDKIT=0]}"]
)
def test_other_uses_of_docker_buildkit_are_fine(warnings_of: WarningsOf, step: str) -> None:
    assert warnings_of(f"steps: [{step}]") == []
