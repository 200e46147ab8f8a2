from __future__ import annotations

from typing import Any

import pytest

from tasks_engine.definition.nodes import parse_yaml
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.structure import Structure, load_schema, read_structure, schema_problems
from tasks_engine.schemas_folder import schema_text

SCHEMA = load_schema(schema_text("task.schema.json"))


def read(text: str) -> Structure:
    source = SourceText("f", text)
    return read_structure(parse_yaml(source), source, SCHEMA)


def step(text: str) -> dict[str, Any]:
    [step] = read(f"steps: [{{{text}}}]").data["steps"]
    return step  # type: ignore[no-any-return]


def messages(text: str) -> list[str]:
    return [problem.message for problem in schema_problems(read(text), SCHEMA).values()]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("5", "5"),
        ("010", "010"),
        ("1.10", "1.10"),
        ("yes", "yes"),
        ("'x'", "x"),
        ("null", ""),
        ("~", ""),
        ("", ""),
        ("'null'", "null"),
    ],
)
def test_text_fields_take_any_scalar_as_spelled(written: str, read: str) -> None:
    assert step(f"cmd: {written}") == {"cmd": read}


@pytest.mark.parametrize(
    ("written", "read"), [("010", 8), ("60.9", 60), ("-1", -1), ("", 0), ("1_000", 1000)]
)
def test_integers_are_read_as_go_reads_them(written: str, read: int) -> None:
    assert step(f"timeout: {written}") == {"timeout": read}


@pytest.mark.parametrize(("written", "read"), [("y", True), ("Off", False), ("", False)])
def test_truth_values_are_yaml_1_1_words(written: str, read: bool) -> None:
    assert step(f"detach: {written}") == {"detach": read}


def test_an_empty_list_may_be_left_out() -> None:
    assert step("when: , push: []") == {"when": [], "push": []}


def test_entries_of_lists_are_text() -> None:
    assert step("push: [1, yes, null]") == {"push": ["1", "yes", ""]}


def test_an_empty_document_is_an_empty_task() -> None:
    assert read("").data == {}


def test_good_data_is_not_suspicious() -> None:
    assert not read("steps: [{cmd: a, timeout: 5, detach: yes, env: [A=1]}]\nenv:\n").suspicious


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "the file must be a map of keys to values, not a list"),
        ("text", "the file must be a map of keys to values, not 'text'"),
        ("steps: x", "'steps' must be a list, not 'x'"),
        ("steps: [x]", "entry 1 of 'steps' must be a map of keys to values, not 'x'"),
        ("steps: [{}, ~]", "entry 2 of 'steps' must be a map of keys to values, not nothing"),
        ("version: {}", "'version' must be text, not a map"),
        ("env: [[a]]", "entry 1 of 'env' must be text, not a list"),
        ("steps: [{push: img}]", "'push' must be a list, not 'img'"),
        ("steps: [{env: {A: 1}}]", "'env' must be a list, not a map"),
        ("steps: [{timeout: '5'}]", "'timeout' must be a whole number, not '5'"),
        ("steps: [{timeout: [5]}]", "'timeout' must be a whole number, not a list"),
        (
            "steps: [{timeout: 99999999999999999999}]",
            "'timeout' must be a whole number, not '99999999999999999999'",
        ),
        ("steps: [{retries: -1}]", "'retries' must be 0 or more, not -1"),
        ("steps: [{detach: 1}]", "'detach' must be true or false, not '1'"),
        ("steps: [{detach: 'yes'}]", "'detach' must be true or false, not 'yes'"),
        ("steps: [{detach: 'on', ignoreErrors: x}]", "'detach' must be true or false, not 'on'"),
    ],
)
def test_wrong_types_are_explained(text: str, message: str) -> None:
    assert messages(text)[0] == message


def test_a_list_written_as_text_gets_a_hint() -> None:
    [problem] = schema_problems(read("steps: [{push: img}]"), SCHEMA).values()
    assert problem.hint == 'write it as a list: ["img"]'


def test_unknown_keys_are_left_out_with_a_warning() -> None:
    result = read("stepz: 1\nsteps: [{cmd: a, commandd: {x: [1]}}]\n")
    assert result.data == {"steps": [{"cmd": "a"}]}
    assert [(each.message, str(each.location)) for each in result.warnings] == [
        ("unknown key 'stepz' is ignored", "f:1:1"),
        ("unknown key 'commandd' is ignored", "f:2:18"),
    ]
    assert result.warnings[0].hint == "did you mean 'steps'?"


def test_keys_know_their_case() -> None:
    [warning] = read("Steps: []\n").warnings
    assert warning.hint == "did you mean 'steps'?"


def test_a_key_that_is_known_but_not_honoured_is_a_problem() -> None:
    result = read("volumes: []\nsteps: [{keep: true}]\n")
    assert [str(each.location) for each in result.problems] == ["f:1:1", "f:2:10"]


def test_a_task_key_in_a_step_is_only_unknown() -> None:
    assert not read("steps: [{volumes: []}]\n").problems


def test_of_a_repeated_key_the_last_counts_and_a_warning_says_so() -> None:
    result = read("steps:\n- cmd: a\n  cmd: b\n")
    assert result.data == {"steps": [{"cmd": "b"}]}
    assert [(each.message, str(each.location)) for each in result.warnings] == [
        ("key 'cmd' stands twice (first in line 2); this one counts", "f:3:3")
    ]


def test_a_merged_key_that_is_written_again_is_no_repetition() -> None:
    assert not read("steps:\n- &a {cmd: a}\n- {<<: *a, cmd: b}\n").warnings


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("steps", 0, "cmd"), "f:2:8"),
        (("steps", 0), "f:2:3"),
        (("steps", 0, "id"), "f:2:3"),
        (("steps", 1), "f:4:3"),
        (("steps", 9), "f:2:1"),
        (("nothing",), "f:1:1"),
    ],
)
def test_a_path_is_placed_at_its_value_or_its_nearest_parent(path: tuple[str | int, ...], place: str) -> None:
    result = read("steps:\n- cmd: &x a\n  env: []\n- timeout: 5\n  cmd: b\n")
    assert str(result.problem("", path).location) == place


def test_a_map_with_merged_keys_is_placed_at_its_own() -> None:
    result = read("steps:\n- &a {cmd: a}\n- <<: *a\n  id: b\n- {<<: *a}\n")
    assert [result.line(("steps", index)) for index in range(3)] == [2, 4, 5]
