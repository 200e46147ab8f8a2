"""What `make fuzz` feeds with bytes: every parser of text that may come from anybody.

A target raises for anything but the documented errors, for an error without a place in the text, and where a promise
such as a round trip does not hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from tasks_engine.definition import nodes
from tasks_engine.definition.aliases import UnreadableSource
from tasks_engine.definition.build_context import parse_build_context
from tasks_engine.definition.build_string import BuildStringError, parse_build_string
from tasks_engine.definition.command_line import MAX_COMMANDS, parse_command_line
from tasks_engine.definition.expand import Expanded, expand_text, shell_quote
from tasks_engine.definition.load import load_task, load_values
from tasks_engine.definition.model import Inputs
from tasks_engine.definition.run_options import read_run_options
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.template import evaluate, render
from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.secret_text import Secrets, find_mark, mask_tokens, reveal, secret_value
from tasks_engine.definition.template.values import FunctionError
from tasks_engine.definition.words import Word, WordError, read_tokens, split_words
from tasks_engine.errors import DefinitionError, DefinitionErrors
from tasks_engine.images.dockerfile import scan_dockerfile
from tasks_engine.images.dockerfile_images import DockerfileError
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import Plan
from tasks_engine.plan.request import RunRequest

# code that is watched takes ten times as long
evaluate.MAX_WORK //= 10
nodes.MAX_NODES //= 40

INPUTS = Inputs(
    run={"ID": "r1", "Registry": "registry.example.com", "Commit": "1f2e3d"},
    values={"a": "text", "b": 5, "c": [1, "x", {"d": None}], "e": {"f": True, "g": 1.5}, "h": None},
    secret_values=frozenset(["s"]),
    now=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
    seed="fuzz",
    env=("E=1",),
)
FUNCTIONS = {**function_table(INPUTS.now, ""), "shellQuote": shell_quote}
#: of secrets, by name; others are "value of" and the name
SECRET_VALUES = {"pw": "p@ss 'w\"", "e": "", "b": "YWJj"}


def template(data: bytes) -> None:
    """A template alone, with values and secrets."""
    text = data.decode("utf-8", "replace")
    source = SourceText("f", text)
    values = {
        "Run": dict(INPUTS.run),
        "Values": {**INPUTS.values, "s": secret_value("s")},
        "Secrets": Secrets(),
    }
    try:
        rendered = render(source, values, lambda: function_table(INPUTS.now, INPUTS.seed))
    except DefinitionError as error:
        check_places([error], text)
        return
    check_places(rendered.warnings, text)
    for start, end in rendered.source.values():
        assert 0 <= start < end <= len(rendered.source.text)
    if find_mark(text) < 0:
        check_secrets(rendered.source.text)
    if "{{" not in text and "<no value>" not in text:
        assert rendered.source.text == text


def expansion(data: bytes) -> None:
    """All that happens to a task file before it is YAML."""
    text = data.decode("utf-8", "replace")
    first, second = (_expanded(text) for _ in range(2))
    if isinstance(first, Expanded):
        assert isinstance(second, Expanded)
        assert first.source.text == second.source.text
        check_places(first.warnings, text)
        check_secrets(first.source.text)
    else:
        assert str(first) == str(second)
        check_places(first.problems, text)


def aliases(data: bytes) -> None:
    text = "version: v1.1.0\nalias:\n" + data.decode("utf-8", "replace")

    def read_source(name: str) -> str:
        if "x" in name:
            raise UnreadableSource("not there")
        return name

    try:
        expanded = expand_text(text, "f", INPUTS, read_source)
    except DefinitionErrors as error:
        # a problem may stand in a source
        check_places(
            [each for each in error.problems if each.location and each.location.source_name == "f"], text
        )
        assert all(each.location is not None for each in error.problems)
    else:
        check_places(expanded.warnings, text)
        check_secrets(expanded.source.text)


def task(data: bytes) -> None:
    """A task file up to its plan; one that begins with `#` takes warnings for problems."""
    text = data.decode("utf-8", "replace")
    try:
        loaded = load_task(text, "f", INPUTS, strict=text.startswith("#"))
    except DefinitionErrors as error:
        check_places([*error.problems, *error.warnings], text)
        assert error.problems
        return
    check_places(loaded.warnings, text)
    plan = make_plan(loaded, RunRequest("r1", "f", "registry.example.com"))
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def steps(data: bytes) -> None:
    """A task file that is well formed but for its steps."""
    task(b"version: v1.1.0\nvolumes: [{name: v, secret: {f: YQ==}}]\nsteps:\n- " + data)


def command_line(data: bytes) -> None:
    line = data.decode("utf-8", "replace")
    try:
        parsed = parse_command_line(line, {"A": "x y", "B": ""}, home="/home", image_aliases={"al": "img -x"})
    except WordError as error:
        check_word_error(error, line)
        return
    assert 1 <= len(parsed.commands) <= MAX_COMMANDS
    for command in parsed.commands:
        assert bool(command.builtin) != bool(command.image)
        assert 0 <= command.offset <= command.image_offset < len(line)
    assert all(0 <= variable.offset < len(line) for variable in parsed.unset)


def words(data: bytes) -> None:
    line = data.decode("utf-8", "replace")
    try:
        split_words(line)
    except WordError as error:
        check_word_error(error, line)
    try:
        ends = [(each.offset, each.end) for each in read_tokens(line)]
    except WordError as error:
        check_word_error(error, line)
    else:
        assert all(0 <= start <= end <= len(line) for start, end in ends)


def run_options(data: bytes) -> None:
    """Words that are separated by line breaks."""
    text = data.decode("utf-8", "replace")
    places: list[Word] = []
    for written in text.split("\n"):
        offset = places[-1].end + 1 if places else 0
        places.append(Word((written,), offset, offset + len(written), bare=True))
    try:
        options, behind = read_run_options([place.fields[0] for place in places], places)
    except WordError as error:
        check_word_error(error, text)
        return
    assert 0 <= behind <= len(places)
    assert len(options) <= len(text)


def build_string(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        parse_build_string(text, {"A": "x y"})
    except BuildStringError as error:
        assert error.message
        assert error.offset is not None
        assert 0 <= error.offset <= len(text)


def build_context(data: bytes) -> None:
    """Any text is a context."""
    context = parse_build_context(data.decode("utf-8", "replace"))
    assert parse_build_context(str(context)) == context
    if context.is_remote:
        assert "@" not in re.split(r"[/?#]", context.shown.partition("://")[2])[0]


def reference(data: bytes) -> None:
    """An error has no place: a reference is one word."""
    try:
        parsed = parse_reference(data.decode("utf-8", "replace"))
    except InvalidReference as error:
        assert str(error)
        return
    assert parse_reference(str(parsed)) == parsed
    assert parse_reference(parsed.familiar) == parsed


def dockerfile(data: bytes) -> None:
    """Line 0 is outside of the file."""
    text = data.decode("utf-8", "replace")
    try:
        images = scan_dockerfile(text, build_args={"A": "x", "B": ""}, target="t" if "\0" in text else "")
    except DockerfileError as error:
        assert 0 <= error.line <= text.count("\n") + text.count("\r") + 1
        return
    json.dumps(images.to_json())


def values(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        loaded = load_values(text, "f")
    except DefinitionError as error:
        check_places([error], text)
    else:
        json.dumps(loaded, allow_nan=False)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        template,
        expansion,
        aliases,
        task,
        steps,
        command_line,
        words,
        run_options,
        build_string,
        build_context,
        reference,
        dockerfile,
        values,
    )
}


def check_places(problems: Iterable[DefinitionError], text: str) -> None:
    lines = text.split("\n")
    for problem in problems:
        place = problem.location
        assert problem.message
        assert place is not None, problem
        assert 1 <= place.line <= len(lines), (place, len(lines))
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1, place
        assert place.width >= 1, place
        str(problem)


def check_word_error(error: WordError, line: str) -> None:
    assert error.message
    assert error.length > 0
    assert 0 <= error.offset < max(1, len(line)), (error, len(line))
    assert error.offset + error.length <= max(1, len(line)), (error, len(line))


def check_secrets(text: str) -> None:
    """Tokens of secrets become values, or are refused, and none is shown."""
    assert find_mark(mask_tokens(text)) < 0
    try:
        reveal(text, lambda _kind, *names: SECRET_VALUES.get(names[-1], f"value of {names[-1]}"), FUNCTIONS)
    except FunctionError as error:
        assert str(error)


def _expanded(text: str) -> Expanded | DefinitionErrors:
    try:
        return expand_text(text, "f", INPUTS)
    except DefinitionErrors as error:
        return error
