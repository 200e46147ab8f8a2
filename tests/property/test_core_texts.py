"""Arbitrary texts: references, words, rewritten sources, task files."""

from __future__ import annotations

import shlex
import string

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tasks_engine.definition.load import load_task, load_values
from tasks_engine.definition.model import Inputs
from tasks_engine.definition.source import Edit, SourceText
from tasks_engine.definition.words import WordError, split_words
from tasks_engine.errors import DefinitionError, DefinitionErrors
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import Plan
from tasks_engine.plan.request import RunRequest

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
            ),
        ]
    ),
    max_size=40,
).map("".join)


@given(
    st.text() | st.text(st.characters()) | yaml_like | yaml_like.map("steps:\n- cmd: a\n".__add__),
    st.booleans(),
)
@settings(max_examples=500)
@example("steps: [\ud800]", False)
@example("version: [a]\nsteps: [{cmd: a}]", False)
@example("a: &a [*a]", False)
def test_any_text_is_a_task_or_has_problems_with_places(text: str, strict: bool) -> None:
    inputs = Inputs(run={"ID": "r1"}, values={"a": {"b": "x: [y]"}})
    try:
        task = load_task(text, "f", inputs, strict=strict)
    except DefinitionErrors as error:
        assert error.problems
        assert all(problem.location is not None and problem.message for problem in error.problems)
        assert str(error)
    else:
        plan = make_plan(task, RunRequest("r1", "f"))
        assert Plan.from_json(plan.to_json()) == plan


@given(st.text() | yaml_like)
def test_any_text_is_a_values_file_or_has_a_place_where_it_is_none(text: str) -> None:
    try:
        assert isinstance(load_values(text, "f"), dict)
    except DefinitionError as error:
        assert error.location is not None
