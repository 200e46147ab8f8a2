from __future__ import annotations

from typing import Any

import pytest

from tasks_engine.definition.nodes import parse_yaml
from tasks_engine.definition.source import Edit, SourceText
from tasks_engine.definition.structure import Structure, load_schema, read_structure, schema_problems
from tasks_engine.definition.template.secret_text import secret
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


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("steps: [{push: img}]", 'write it as a list: ["img"]'),
        ("steps: {cmd: a}", "begin each entry with '- '"),
        ("env: {A: 1}", "begin each entry with '- ' and write it NAME=value"),
        ("env: [{A: 1}]", "write NAME=value"),
        ("steps: [{cmd: {a: b}}]", "put text that contains ': ' in quotes"),
        ("steps: [{cmd: [a]}]", "write it without the list around it"),
        ("steps: [{cmd: [a, b]}]", "write it as one text, with blanks between the words"),
        ("stepTimeout: '5'", "write it without quotes"),
        ("stepTimeout: 5m", "write a whole number, such as 60"),
        ("steps: [{detach: 'yes'}]", "write true or false without quotes"),
        ("steps: [{retries: -1}]", ""),
        ("text", "a task begins with: steps:"),
        ("[a]", "a task begins with: steps:"),
        (
            "FROM busybox\nRUN true\n",
            "this looks like a Dockerfile; a task that builds it: steps: [{build: -f DOCKERFILE .}]",
        ),
    ],
)
def test_a_wrong_type_gets_a_hint(text: str, hint: str) -> None:
    [problem] = schema_problems(read(text), SCHEMA).values()
    assert problem.hint == hint


def test_negative_counts_have_rules_of_their_own() -> None:
    problems = schema_problems(read("steps: [{retries: -1, repeat: -1, timeout: x}]"), SCHEMA).values()
    assert sorted(problem.rule for problem in problems) == [
        *("step-negative-repeat", "step-negative-retries", "yaml-type")
    ]


def test_long_texts_are_shown_shortened() -> None:
    long = "x" * 1000
    [problem] = schema_problems(read(f"stepTimeout: {long}"), SCHEMA).values()
    assert problem.message == f"'stepTimeout' must be a whole number, not '{long[:59]}…'"
    assert read(f"{long}: 1").warnings[0].message == f"unknown key '{long[:59]}…' is ignored"
    assert len(read("a: b").problem(long, ("a",), hint=long).message) == 500


def test_a_secret_is_not_shown() -> None:
    token = secret("s").token
    problem = read("a: b").problem(f"<{token}>", ("a",), hint=token)
    assert (problem.message, problem.hint) == ("<***>", "***")
    assert read(f"{token}: b").warnings[0].message == "unknown key '***' is ignored"


@pytest.mark.parametrize(
    "text",
    ['cmd: "\\U000F5EC0"', 'cmd: "\\U000F5EC0abc\\U000F5EC1"', 'env: ["a\\U000F5EC1"]', 'id: "\\U000F5EC0"'],
)
def test_escapes_give_no_marks_of_secrets(text: str) -> None:
    [problem] = read(f"steps: [{{{text}}}]").problems
    assert (problem.message, problem.rule) == (
        "this text holds a character that tasks keeps for itself",
        "reserved-character",
    )


@pytest.mark.parametrize(
    "text", ["'a {} b'", '"a {} \\n b"', "|\n    a {}\n    b", ">\n    a {}\n    b", "a {}\n    b"]
)
def test_tokens_of_secrets_may_stand_in_any_style(text: str) -> None:
    assert not read(f"steps:\n- cmd: {text.format(secret('s').token)}\n").problems


def test_no_text_holds_a_nul_character() -> None:
    [problem] = read('steps: [{cmd: "a \\0"}]').problems
    assert str(problem.location) == "f:1:15"


def test_unknown_keys_are_left_out_with_a_warning() -> None:
    result = read("stepz: 1\nsteps: [{cmd: a, commandd: {x: [1]}}]\n")
    assert result.data == {"steps": [{"cmd": "a"}]}
    assert [(each.message, str(each.location)) for each in result.warnings] == [
        ("unknown key 'stepz' is ignored", "f:1:1"),
        ("unknown key 'commandd' is ignored", "f:2:18"),
    ]
    assert result.warnings[0].hint == "did you mean 'steps'?"


def test_a_key_without_a_likeness_is_answered_with_those_that_are_known() -> None:
    task, step = read("zzz: 1\nsteps: [{yyy: 1}]\n").warnings
    assert task.hint == (
        "a task knows: version, steps, stepTimeout, workingDirectory, env, secrets, networks, volumes, alias"
    )
    assert step.hint.startswith("a step knows: id, build, push, cmd, when, ")
    assert step.hint.endswith(" more (tasks schema)")


def test_names_are_guessed_for_the_first_unknown_keys_only() -> None:
    warnings = read("".join(f"step{number}: 1\n" for number in range(200))).warnings
    assert [each.hint.startswith("did you mean") for each in (warnings[0], warnings[-1])] == [True, False]


def test_keys_know_their_case() -> None:
    [warning] = read("Steps: []\n").warnings
    assert warning.hint == "did you mean 'steps'?"


@pytest.mark.parametrize("text", ["secret: []", "secret: {a: b}", "secret: x", "secret: "])
def test_what_nobody_reads_may_be_anything(text: str) -> None:
    assert not read(f"steps: [{{cmd: a, {text}}}]").suspicious


@pytest.mark.parametrize("text", ["alias:", "alias: ~"])
def test_an_empty_alias_block_is_none(text: str) -> None:
    assert not read(f"{text}\nsteps: []").suspicious


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
        (("steps", "nothing"), "f:2:1"),
        ((0,), "f:1:1"),
    ],
)
def test_a_path_is_placed_at_its_value_or_its_nearest_parent(path: tuple[str | int, ...], place: str) -> None:
    result = read("steps:\n- cmd: &x a\n  env: []\n- timeout: 5\n  cmd: b\n")
    assert str(result.problem("", path).location) == place


def test_a_map_with_merged_keys_is_placed_at_its_own() -> None:
    result = read("steps:\n- &a {cmd: a}\n- <<: *a\n  id: b\n- {<<: *a}\n")
    assert [result.line(("steps", index)) for index in range(3)] == [2, 4, 5]


@pytest.mark.parametrize(
    ("text", "offset", "length", "place", "width"),
    [
        ("cmd: a | b", 2, 1, "f:1:17", 1),
        ("cmd: 'a && b'", 2, 2, "f:1:18", 2),
        ('cmd: "a \\x7c b"', 2, 1, "f:1:15", 10),
        ("cmd: &x a", 0, 1, "f:1:18", 1),
        ("cmd: a", 5, 1, "f:1:15", 1),
    ],
)
def test_characters_of_a_text_are_placed_where_they_are_written(
    text: str, offset: int, length: int, place: str, width: int
) -> None:
    location = read(f"steps: [{{{text}}}]").problem_in_text("", ("steps", 0, "cmd"), offset, length).location
    assert location is not None
    assert (str(location), location.width) == (place, width)


def test_characters_of_what_is_no_text_are_placed_at_the_whole() -> None:
    assert (
        str(read("steps: [{cmd: [a]}]").problem_in_text("", ("steps", 0, "cmd"), 5, 1).location) == "f:1:15"
    )


def test_places_behind_replaced_text_are_those_of_the_author() -> None:
    source = SourceText("f", "steps:\n- cmd: X | b").rewrite([Edit(14, 15, "a\n    longer text")])
    result = read_structure(parse_yaml(source), source, SCHEMA)
    offset = result.data["steps"][0]["cmd"].index("|")
    assert str(result.problem_in_text("", ("steps", 0, "cmd"), offset, 1).location) == "f:2:10"
    assert str(result.problem_in_text("", ("steps", 0, "cmd"), 3, 1).location) == "f:2:8"


def test_many_keys_of_one_map_are_found_without_a_search_each() -> None:
    count = 20_000
    result = read("volumes:\n- secret:\n" + "".join(f"    f{number}: a\n" for number in range(count)))
    keys = [result.key(("volumes", 0, "secret", f"f{number}")) for number in range(count)]
    assert [keys[0].text, keys[-1].text] == ["f0", f"f{count - 1}"]
