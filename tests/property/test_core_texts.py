"""Arbitrary texts: references, words, rewritten sources, task files."""

from __future__ import annotations

import shlex
import string
from typing import Any

import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tasks_engine.definition.aliases import Aliases, expand
from tasks_engine.definition.environment import inherited_entries, merge, merge_inherited, merge_own
from tasks_engine.definition.load import load_task, load_values
from tasks_engine.definition.model import Inputs
from tasks_engine.definition.nodes import Mapping, Scalar, parse_yaml
from tasks_engine.definition.source import Edit, SourceText
from tasks_engine.definition.spelling import span_in_spelling
from tasks_engine.definition.structure import load_schema
from tasks_engine.definition.words import WordError, split_words
from tasks_engine.errors import DefinitionError, DefinitionErrors
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import Plan
from tasks_engine.plan.request import RunRequest
from tasks_engine.schemas_folder import schema_text

TASK_SCHEMA = load_schema(schema_text("task.schema.json"))

reference_like = st.text(string.ascii_letters + string.digits + "./:@_-", max_size=40) | st.from_regex(
    r"((docker\.io|localhost|[a-z]{1,5}(\.[a-z]{1,3})?(:[0-9]{1,4})?)/)?(library/)?[a-z0-9]{1,6}([._-][a-z0-9]{1,3})?"
    r"(/[a-z0-9]{1,4})?(:[A-Za-z0-9_.-]{1,8})?(@sha256:[0-9a-f]{64})?",
    fullmatch=True,
)


@given(reference_like | st.text())
def test_printing_and_reading_a_reference_is_stable(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReference:
        return
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_quoted_words_come_back(words: list[str]) -> None:
    assert split_words(shlex.join(words)) == words


@given(st.text(alphabet="ab '\"\\\n\t", max_size=30))
def test_words_are_those_of_shlex_where_both_read_a_line(line: str) -> None:
    """shlex knows neither line continuations nor line breaks that end a command."""
    assume("\n" not in line.strip() and "\\\n" not in line and not line.rstrip("\n\t ").endswith("\\"))
    try:
        expected = shlex.split(line)
    except ValueError:
        return
    assert split_words(line) == expected


@given(st.text())
def test_any_line_is_words_or_refused_at_a_place_in_it(line: str) -> None:
    try:
        split_words(line)
    except WordError as error:
        assert 0 <= error.offset < len(line)


@given(st.text(alphabet="ab\n", max_size=30), st.data())
def test_kept_characters_stay_where_they_were(original: str, data: st.DataObject) -> None:
    """Follows every character through rewrites beside the source, and compares the places."""
    source = SourceText("f", original)
    origins: list[int | None] = list(range(len(original)))
    for _ in range(data.draw(st.integers(0, 4))):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(source.text)), max_size=6)))
        edits = [
            Edit(start, end, data.draw(st.text("xy\n", max_size=4)))
            for start, end in zip(cuts[::2], cuts[1::2], strict=False)
        ]
        source = source.rewrite(edits)
        for edit in reversed(edits):
            origins[edit.start : edit.end] = [None] * len(edit.replacement)
    assert len(origins) == len(source.text)
    line_starts = [0, *(index + 1 for index, character in enumerate(original) if character == "\n")]
    for position, origin in enumerate(origins):
        location = source.locate(position)
        assert 1 <= location.line <= len(line_starts)
        if origin is not None:
            assert source.text[position] == original[origin]
            assert line_starts[location.line - 1] + location.column - 1 == origin


yaml_like = st.lists(
    st.sampled_from(
        [
            *(
                "steps:",
                "version: v1.1.0",
                "version:",
                "- ",
                "  ",
                "\n",
                "\n- ",
                "\n  ",
                "id: a",
                "cmd: ",
                "build: ",
                "push: ",
                "[",
                "]",
            ),
            *(
                "{",
                "}",
                ", ",
                ": ",
                "when: ",
                "env: ",
                "timeout: ",
                "retries: -1",
                "detach: ",
                "yes",
                "'",
                '"',
                "# ",
                "|\n",
                ">",
                "&a ",
                "*a",
            ),
            *(
                "<<: ",
                "{{.Run.ID}}",
                "{{.Values.a.b}}",
                "{{",
                "}}",
                "$ID",
                "$$",
                "\t",
                "\r\n",
                "? ",
                "!!str ",
                "a",
                "1",
                "~",
                "-",
                "é",
                "\ufeff",
            ),
            *(
                "---\n",
                "...\n",
                "%YAML 1.1\n",
                "\x85",
                "\u2028",
                "\x00",
                "secrets: ",
                "ports: ",
                "busybox",
                "-t a .",
                "alias: ",
                "values: ",
                "src: ",
                "directive: ",
                "volumes: ",
                "networks: ",
                "name: ",
                "cache: ",
                "{{.Secrets.s}}",
                "{{range .Values.n}}",
                "{{end}}",
                "{{if .Values.a}}",
                '"\\U000F5EC0',
                "| b",
                "&& c",
            ),
        ]
    ),
    max_size=40,
).map("".join)


def check(text: str, strict: bool = False, **inputs: Any) -> None:
    """A text is a task with a plan, or has problems with places; nothing else ever happens."""
    given = Inputs(run={"ID": "r1"}, values={"a": {"b": "x: [y]"}, "n": ["p", "q"]}, env=("E=1",), **inputs)
    try:
        task = load_task(text, "f", given, lambda name: name, strict=strict)
    except DefinitionErrors as error:
        assert error.problems
        assert all(problem.location is not None and problem.message for problem in error.problems)
        assert str(error)
    else:
        plan = make_plan(task, RunRequest("r1", "f", "r.io"))
        assert Plan.from_json(plan.to_json()) == plan
        assert plan.registries
        assert len(plan.step_by_id) == len(plan.steps)


@given(
    st.text() | st.text(st.characters()) | yaml_like | yaml_like.map("steps:\n- cmd: a\n".__add__),
    st.booleans(),
)
@settings(max_examples=500)
@example("steps: [\ud800]", False)
@example("version: [a]\nsteps: [{cmd: a}]", False)
@example("a: &a [*a]", False)
@example('steps: [{cmd: "a \\U000F5EC0abc\\U000F5EC1"}]', False)
@example("version: v1.1.0\nalias: {src: ['a: \"\\U000F5EC0\"']}", False)
@example("secrets: [{id: a, keyvault: x}]\n{{.Secrets.a}}: {{.Secrets.a}}\nsteps: [{{.Secrets.a}}]", False)
def test_any_text_is_a_task_or_has_problems_with_places(text: str, strict: bool) -> None:
    check(text, strict)


words = st.sampled_from(
    [
        *(
            "a",
            "A b",
            "",
            "-",
            "acb_root",
            "busybox echo $E ${F} '$G'",
            "-t a .",
            "-e A=1 -p 80 a b && true",
            "a | b",
        ),
        *(
            "a:{{.Run.ID}}",
            "{{.Secrets.s}}",
            "x{{.Secrets.s | b64enc}}",
            "$ID",
            "A=1",
            "A=1,B=2",
            "=x",
            "é\n f",
            "1",
        ),
        *(
            "enabled",
            "80:80",
            "/x",
            "r.io/a:1",
            "https://example.com/a.git#b",
            "v1.1.0",
            "a\tb",
            "{{.Values.a.b}}",
        ),
    ]
)
loose = words | st.integers(-2, 700) | st.booleans() | st.none()


def like(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Mostly what a schema wants, and now and then something else."""
    schema = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if schema["type"] == "object":
        free = schema.get("additionalProperties")
        known = {
            name: st.deferred(lambda each=each: like(each, root))
            for name, each in schema.get("properties", {}).items()
        }
        if isinstance(free, dict):
            return st.dictionaries(words, loose, max_size=2)
        picked = st.lists(st.sampled_from(sorted(known)), max_size=5, unique=True)
        return picked.flatmap(lambda names: st.fixed_dictionaries({name: known[name] for name in names}))
    if schema["type"] == "array":
        return st.lists(like(schema["items"], root), max_size=3)
    return {"string": words, "integer": st.integers(-2, 700), "boolean": st.booleans()}[
        schema["type"]
    ] | loose


steps_like = like(TASK_SCHEMA["$defs"]["step"], TASK_SCHEMA)
kinds = st.sampled_from([{"cmd": "busybox"}, {"build": "-t a ."}, {"push": ["a"]}, {}])
tasks_like = st.builds(
    lambda task, steps, kinds: {
        **task,
        "steps": [{**kind, **step} for kind, step in zip(kinds, steps, strict=False)],
    },
    like({**TASK_SCHEMA, "type": "object"}, TASK_SCHEMA),
    st.lists(steps_like, max_size=4),
    st.lists(kinds, min_size=4, max_size=4),
)


@given(tasks_like, st.sampled_from([None, "|", ">", "'", '"']), st.booleans())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_structure_like_a_task_is_one_or_has_problems_with_places(
    task: dict[str, Any], style: str | None, secret: bool
) -> None:
    text = yaml.safe_dump(task, default_style=style, allow_unicode=True, sort_keys=False)
    check(text, secret_values=frozenset({"b"}) if secret else frozenset())


@given(
    st.text("ab \n:'\"\\#é|>-{", max_size=30),
    st.sampled_from([None, "|", ">", "'", '"']),
    st.integers(0, 40),
    st.data(),
)
@settings(max_examples=200)
def test_a_character_is_found_where_it_is_written_or_not_at_all(
    text: str, style: str | None, width: int, data: st.DataObject
) -> None:
    written = yaml.safe_dump({"k": text}, default_style=style, allow_unicode=True, width=width)
    root = parse_yaml(SourceText("f", written))
    assert isinstance(root, Mapping)
    [(_, node)] = root.pairs
    assert isinstance(node, Scalar)
    text = node.text  # PyYAML writes some texts so that they are read otherwise
    if text:
        offset = data.draw(st.integers(0, len(text) - 1))
        span = span_in_spelling(written[node.start : node.end], text, offset, 1)
        if span is not None:
            assert written[node.start + span[0] : node.start + span[1]] == text[offset]


entries = st.lists(st.text("AB=,' x", max_size=6), max_size=4)


@given(entries, entries, entries)
def test_environments_merge_by_simple_laws(own: list[str], task: list[str], run: list[str]) -> None:
    merged = merge(own, task, run)
    assert {name: merged[name] for name in merge(own)} == merge(own)
    assert merged.keys() == merge(own).keys() | merge([], task).keys() | merge([], run).keys()
    assert merge(own, task, run) == merge_own(own, merge_inherited(task, run))
    assert merge([], task, task) == merge([], task)
    assert merge(own, []) == merge(own)


@given(entries)
def test_inherited_entries_are_entries_of_their_own(given_entries: list[str]) -> None:
    once = list(inherited_entries(given_entries))
    assert list(inherited_entries(once)) == once
    assert ",".join(once) == ",".join(given_entries)


@given(st.text(), st.sampled_from("$@&^\\"))
def test_a_text_without_references_is_not_changed_by_aliases(text: str, directive: str) -> None:
    without = text.replace(directive, "").replace("\r\n", "\n")
    aliases = Aliases({"ID": "x", "a": "y", "1": "z"}, directive)
    assert expand(SourceText("f", without), aliases).text.removesuffix("\n") == without.removesuffix("\n")


@given(st.lists(st.sampled_from(["$", "ID", "a", "_", "$$", " ", "$ID", "b"]), max_size=12).map("".join))
def test_aliases_replace_what_a_reader_from_left_to_right_would(text: str) -> None:
    texts = {"ID": "<id>", "a": "<a>"}
    wanted, at = "", 0
    while at < len(text):
        end = at + 1
        while text[at] == "$" and end < len(text) and text[end].isalnum():
            end += 1
        if text[at : at + 2] == "$$":
            wanted, at = wanted + "$", at + 2
        elif text[at] == "$" and text[at + 1 : end] in texts:
            wanted, at = wanted + texts[text[at + 1 : end]], end
        else:
            wanted, at = wanted + text[at], at + 1
    assert expand(SourceText("f", text), Aliases(texts)).text.removesuffix("\n") == wanted


@given(st.text() | yaml_like)
def test_any_text_is_a_values_file_or_has_a_place_where_it_is_none(text: str) -> None:
    try:
        assert isinstance(load_values(text, "f"), dict)
    except DefinitionError as error:
        assert error.location is not None
