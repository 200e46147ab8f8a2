from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks_engine.definition.command_line import Command, RunIf
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import (
    IMAGE_ALIASES,
    Inputs,
    Network,
    Secret,
    Step,
    StepKind,
    Task,
    Volume,
    VolumeMount,
)
from tasks_engine.errors import DefinitionErrors

Load = Callable[..., Task]
ProblemsOf = Callable[..., list[str]]


def words(task: Task, index: int = 0) -> list[str]:
    [command] = task.steps[index].commands
    return [command.image, *command.args]


def container(image: str, *args: str, image_offset: int = 0) -> Command:
    return Command(RunIf.ALWAYS, "", image, (), args, (), 0, image_offset)


def test_a_task_has_what_the_author_wrote(load: Load) -> None:
    task = load(
        """\
        version: V1.1.0
        stepTimeout: 90
        workingDirectory: src
        env: [A=1]
        secrets: [{id: s, keyvault: "env:S", clientID: 6ba7b810-9dad-11d1-80b4-00c04fd430c8}]
        networks: [{name: n, driver: d, ipv6: yes, skipCreation: yes, isDefault: yes}, {name: m}]
        volumes: [{name: v, secret: {f: YQ==}}]
        steps:
        - id: build
          build: -t app:$ID .
          cache: Enabled
        - push: [app:$ID, 'app:$ID', docker.io/library/b]
          when: [build]
          ignoreErrors: yes
        - cmd: app test
          timeout: 60
          retries: 2
          retryDelay: 3
          retryOnErrors: [a, '']
          repeat: 4
          startDelay: 5
          workingDirectory: /x
          disableWorkingDirectoryOverride: yes
          env: [B=2]
          entryPoint: sh
          user: 010
          network: n
          isolation: default
          cpus: 1.50
          volumeMounts: [{name: v, mountPath: /v}]
          expose: [80]
          ports: ["8080:80"]
          pull: yes
          cmdDownloadRetries: 6
          cmdDownloadRetryDelay: 7
          keep: yes
          detach: on
          privileged: yes
        """,
        run={"ID": "r1"},
    )
    build = task.steps[0].build
    assert build is not None
    assert (build.tags, build.context) == (("app:r1",), ".")
    assert task == Task(
        version="v1.1.0",
        working_directory="src",
        step_timeout=90,
        secrets=(Secret("s", "env:S", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),),
        networks=(Network("n", "d", ipv6=True, skip_creation=True, is_default=True), Network("m")),
        volumes=(Volume("v", {"f": "YQ=="}),),
        steps=(
            Step("build", StepKind.BUILD, 9, build=build, env={"A": "1"}, cache=True),
            Step(
                "acb_step_1",
                StepKind.PUSH,
                12,
                push=("app:r1", "b:latest"),
                when=("build",),
                env={"A": "1"},
                ignore_errors=True,
            ),
            Step(
                "acb_step_2",
                StepKind.CMD,
                15,
                commands=(container("app", "test"),),
                env={"B": "2", "A": "1"},
                working_directory="/x",
                disable_working_directory_override=True,
                entry_point="sh",
                user="010",
                network="n",
                isolation="default",
                cpus="1.50",
                volume_mounts=(VolumeMount("v", "/v"),),
                expose=("80",),
                ports=("8080:80",),
                timeout=60,
                start_delay=5,
                retries=2,
                retry_delay=3,
                retry_on_errors=("a",),
                repeat=4,
                pull=True,
                download_retries=6,
                download_retry_delay=7,
                keep=True,
                detach=True,
                privileged=True,
            ),
        ),
    )


def test_the_name_of_the_file_is_kept(load: Load) -> None:
    assert load("steps: [{cmd: a}]").source_name == "task.yaml"


@pytest.mark.parametrize("version", ["", "version: v1.0.0\n", "version: 1.0-Preview-1\n"])
def test_older_versions_have_no_aliases(load: Load, version: str) -> None:
    task = load(f"{version}steps: [{{cmd: a '$ID'}}, {{cmd: bash}}]", run={"ID": "r"})
    assert [words(task, index) for index in (0, 1)] == [["a", "$ID"], ["bash"]]


@pytest.mark.parametrize("written", ["v1.1.0", "V1.1.0", "'v1.1.0'", "v1.0.0", "V1.0.0", "1.0-PREVIEW-1"])
def test_versions_are_known_in_any_case(load: Load, written: str) -> None:
    assert load(f"version: {written}\nsteps: [{{cmd: a}}]").version == written.strip("'").lower()


@pytest.mark.parametrize("written", ["", "version:\n", "version: ''\n"])
def test_without_a_version_it_is_the_first_one(load: Load, written: str) -> None:
    assert load(f"{written}steps: [{{cmd: a}}]").version == "v1.0.0"


def test_negative_times_mean_the_default(load: Load) -> None:
    task = load("stepTimeout: -1\nsteps: [{cmd: a, timeout: -5, retryDelay: -1, startDelay: -1}]")
    step = task.steps[0]
    assert (task.step_timeout, step.timeout, step.retry_delay, step.start_delay) == (0, 0, 0, 0)


def test_an_empty_list_of_parents_is_none(load: Load) -> None:
    assert [step.when for step in load("steps: [{cmd: a, when: []}, {cmd: a, when: ['-']}]").steps] == [
        None,
        ("-",),
    ]


def test_download_retries_have_two_names(load: Load) -> None:
    step = load("steps: [{cmd: a, downloadRetries: 2, downloadRetryDelay: 3}]").steps[0]
    assert (step.download_retries, step.download_retry_delay) == (2, 3)


def test_templates_in_comment_lines_do_not_run(load: Load) -> None:
    assert load("# {{ nonsense\nsteps: [{cmd: a}]").steps


def test_values_are_rendered(load: Load) -> None:
    text = "steps: [{cmd: 'a {{.Values.x}} {{.Run.ID}} {{.Build.ID}}'}]"
    assert words(load(text, values={"x": 1.5}, run={"ID": "r"})) == ["a", "1.5", "r", "r"]


def test_a_rendered_value_may_hold_yaml(load: Load) -> None:
    task = load("steps: {{.Values.steps}}", values={"steps": "[{cmd: a}, {cmd: b}]"})
    assert len(task.steps) == 2
    assert [warning.rule for warning in task.warnings] == ["structure-changed"]


def test_range_makes_steps(load: Load) -> None:
    task = load(
        """\
        steps:
        {{- range .Values.names }}
        - id: build-{{ . }}
          build: -t {{ . }} {{ . }}
        {{- end }}
        """,
        values={"names": ["web", "api"]},
    )
    assert [(step.id, step.build and step.build.tags, step.line) for step in task.steps] == [
        ("build-web", ("web",), 3),
        ("build-api", ("api",), 3),
    ]


def test_a_condition_makes_or_leaves_out_a_step(load: Load) -> None:
    text = "steps:\n- cmd: a\n{{ if .Values.push }}- push: [a]\n{{ end }}"
    assert [len(load(text, values={"push": push}).steps) for push in (True, False)] == [2, 1]


def test_a_version_from_a_template_has_aliases(load: Load) -> None:
    task = load("version: {{.Values.v}}\nsteps: [{cmd: a $ID}]", values={"v": "v1.0.0"}, run={"ID": "r"})
    assert (task.version, words(task)) == ("v1.0.0", ["a", "r"])


@pytest.mark.parametrize("name", ["acr", "az", "bash", "cssc", "curl"])
def test_a_bare_image_alias_is_the_image_of_a_command(load: Load, name: str) -> None:
    assert words(load(f"version: v1.1.0\nsteps: [{{cmd: {name} x}}]")) == [IMAGE_ALIASES[name], "x"]


@pytest.mark.parametrize("cmd", ["bash:3 x", "bash/x x", "'bash' x", '"bash" x'])
def test_only_the_bare_name_is_the_alias(load: Load, cmd: str) -> None:
    command = load(f"version: v1.1.0\nsteps:\n- cmd: >\n    {cmd}\n").steps[0].commands[0]
    assert command.image == cmd.split()[0].strip("'\"")


def test_image_aliases_stand_in_no_other_place(load: Load) -> None:
    task = load("version: v1.1.0\nsteps: [{build: -t bash bash}, {push: [bash]}, {cmd: x, entryPoint: bash}]")
    build = task.steps[0].build
    assert build is not None
    assert (build.tags, build.context, task.steps[1].push, task.steps[2].entry_point) == (
        *(("bash",), "bash", ("bash:latest",), "bash"),
    )


def test_settings_may_name_other_image_aliases(load: Load) -> None:
    task = load("version: v1.1.0\nsteps: [{cmd: bash}, {cmd: $bash}]", image_aliases={"bash": "here/bash:5"})
    assert [words(task, index) for index in (0, 1)] == [["here/bash:5"], ["here/bash:5"]]


def test_an_alias_of_the_file_may_hold_arguments(load: Load) -> None:
    task = load("version: v1.1.0\nalias: {values: {tool: registry.local/t --fast}}\nsteps: [{cmd: tool now}]")
    assert words(task) == ["registry.local/t", "--fast", "now"]


def test_a_run_alias_needs_its_directive(load: Load) -> None:
    assert (
        load("version: v1.1.0\nsteps: [{cmd: os x}]", run={"OS": "linux"}).steps[0].commands[0].image == "os"
    )


@pytest.mark.parametrize("text", ["", "\n", "# nothing", "steps: []", "steps:"])
def test_a_task_without_steps_is_warned_about(load: Load, text: str) -> None:
    [warning] = load(text).warnings
    assert warning.message == "the task has no steps"


def test_a_task_without_steps_is_refused_when_strict(problems_of: ProblemsOf) -> None:
    assert problems_of("steps: []", strict=True) == ["1:8: the task has no steps"]


def test_warnings_stand_in_file_order(load: Load) -> None:
    task = load("steps:\n- cmd: a {{.Values.x}}\n  foo: 1\n  env: [A]\nbar: 1\n")
    assert [warning.location.line for warning in task.warnings if warning.location] == [2, 3, 4, 5]


def test_strict_turns_warnings_into_problems(problems_of: ProblemsOf) -> None:
    assert problems_of("steps:\n- cmd: a {{.Values.x}}\n  foo: 1\n", strict=True) == [
        "2:10: .Values.x has no value and is left empty",
        "3:3: unknown key 'foo' is ignored",
    ]


def test_problems_bring_the_warnings_along() -> None:
    with pytest.raises(DefinitionErrors) as caught:
        load_task("steps: [{run: a}]", "t", Inputs())
    assert [each.message for each in caught.value.warnings] == ["unknown key 'run' is ignored"]


def test_a_problem_in_the_template_is_the_only_one(problems_of: ProblemsOf) -> None:
    assert problems_of("version: v9\nsteps: [{{ nonsense }}]") == [
        "2:12: in {{ nonsense }}: there is no function 'nonsense'"
    ]


def test_a_problem_of_an_alias_source_is_told_there(load: Load) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        load("version: v1.1.0\nalias: {src: [s]}\nsteps: [{cmd: a}]", sources={"s": "a: b\na_b: c"})
    assert str(caught.value.location) == "s:2:1"


def test_a_secret_that_is_not_declared_is_warned_about(warnings_of: Callable[..., list[str]]) -> None:
    text = "secrets: [{id: a, keyvault: env:A}]\nsteps: [{cmd: x {{.Secrets.a}} {{.Secrets.b}}}]"
    assert warnings_of(text) == ["2:32: secret 'b' is not declared and is left empty"]


def test_a_merged_step_is_reported_where_it_stands(problems_of: ProblemsOf) -> None:
    text = "steps:\n- &a\n  cmd: a\n- <<: *a\n  build: .\n"
    assert problems_of(text) == ["5:3: step 'acb_step_1' has 'build' and 'cmd', but a step does one thing"]


def test_a_value_of_the_wrong_type_is_reported_once(problems_of: ProblemsOf) -> None:
    assert problems_of("version: [v1]\nenv: {A: 1}\nvolumes: x\nsecrets: [a]\nsteps: [{cmd: [a]}]") == [
        "1:10: 'version' must be text, not a list",
        "2:7: 'env' must be a list, not a map",
        "3:10: 'volumes' must be a list, not 'x'",
        "4:11: entry 1 of 'secrets' must be a map of keys to values, not 'a'",
        "5:15: 'cmd' must be text, not a list",
    ]


def test_steps_that_are_no_list_end_it(problems_of: ProblemsOf) -> None:
    assert problems_of("version: v9\nsteps: {cmd: A}") == [
        "1:10: version 'v9' is not known",
        "2:9: 'steps' must be a list, not a map",
    ]


def test_all_problems_are_told_in_file_order(problems_of: ProblemsOf) -> None:
    problems = problems_of(
        """\
        networks: [{name: a}, {name: a}]
        steps:
        - id: a a
          timeout: x
        - cmd: A
          when: [zzz]
        - push: [B]
          volumeMounts: [{name: v, mountPath: /v}]
        version: v0
        """
    )
    assert [problem.partition(": ")[0] for problem in problems] == [
        *("1:30", "4:12", "5:8", "6:10", "7:10", "8:17", "8:25", "9:10")
    ]


def test_all_problems_are_raised_as_one_error() -> None:
    with pytest.raises(DefinitionErrors) as caught:
        load_task("steps: [{cmd: A}, {}]", "t", Inputs())
    assert caught.value.message == "2 problems"
    assert caught.value.location == caught.value.problems[0].location
    assert str(caught.value) == "\n\n".join(map(str, caught.value.problems))
