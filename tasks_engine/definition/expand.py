"""From a task file's text to YAML text: comment lines dropped, aliases expanded, the template rendered."""

from __future__ import annotations

import copy
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import cache, cached_property

from tasks_engine.definition import aliases, nodes
from tasks_engine.definition.aliases import Aliases, ReadSource, UnreadableSource
from tasks_engine.definition.model import RUN_VARIABLES, Inputs
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.structure import Schema, Structure, load_schema
from tasks_engine.definition.template import Rendered, render
from tasks_engine.definition.template.secret_text import (
    Secrets,
    StepPart,
    call,
    contains_secret,
    find_mark,
    secret_value,
)
from tasks_engine.definition.template.values import Function, FunctionError, Value, print_value
from tasks_engine.errors import DefinitionError, DefinitionErrors, SourceLocation
from tasks_engine.schemas_folder import schema_text

#: a value of these characters stays a part of one YAML value wherever it stands
_HARMLESS = re.compile(r"(?:[\w./@%+=~-]|:(?=[\w/]))*\Z")
_COMMENT = re.compile(r"(?:^|\s)#")


@dataclass(frozen=True)
class Expanded:
    source: SourceText
    warnings: tuple[DefinitionError, ...]
    #: None below v1.1.0
    aliases: Aliases | None
    #: id of a secret -> where it is used first
    secrets: Mapping[str, SourceLocation]


def expand_text(
    text: str, source_name: str, inputs: Inputs, read_source: ReadSource | None = None
) -> Expanded:
    """The text after aliases and template. `read_source` gives the text of an alias source by its name.

    Raises DefinitionErrors.
    """
    try:
        _refuse_marks(SourceText(source_name, text), inputs)
        context = _Context(inputs)
        source = aliases.drop_comment_lines(SourceText(source_name, text))
        if not aliases.aliases_enabled(aliases.find_version(source.text)):
            rendered = _render(source, context)
            return Expanded(rendered.source, rendered.warnings, None, rendered.secrets)
        source, merged, warnings, secrets = _expand_aliases(
            source, context, inputs.image_aliases, read_source or _no_sources
        )
        rendered = _render(source, context)
    except DefinitionErrors:
        raise
    except DefinitionError as error:
        raise DefinitionErrors([error]) from error
    return Expanded(rendered.source, (*warnings, *rendered.warnings), merged, {**rendered.secrets, **secrets})


def structure_warnings(source: SourceText, root: nodes.Node) -> Iterator[DefinitionError]:
    """Values of the template that became more than a part of one YAML value."""
    risky = [(start, end) for start, end in source.values() if not _HARMLESS.match(source.text, start, end)]
    if not risky:
        return
    spans = sorted(nodes.scalar_spans(root))
    starts = [start for start, _ in spans]
    comments = _Comments(source.text)
    for start, end in risky:
        index = bisect_right(starts, start) - 1
        inside = index >= 0 and end <= spans[index][1]
        if not inside and source.text[start:end].strip() and not comments.hold(start, end):
            yield DefinitionError(
                "the value that comes out here changes the structure of the file",
                location=source.locate(start, end),
                hint='if that is not meant, put quotes around it: {{ … | quote }} or "{{ … }}"',
                rule="structure-changed",
            )


def run_variables(inputs: Inputs) -> dict[str, str]:
    """`.Run` with every variable; what is not given is empty, or follows from another one."""
    registry = inputs.run.get("Registry", "")
    moment = inputs.now.astimezone(UTC)
    derived = {"RegistryName": registry_name(registry), "Date": f"{moment:%Y%m%d-%H%M%S}z"}
    return {name: inputs.run.get(name, derived.get(name, "")) for name in RUN_VARIABLES}


def registry_name(registry: str) -> str:
    """`contoso` of `contoso.azurecr.io`."""
    return registry.partition(".")[0]


def shell_quote(text: str) -> str:
    """The text as one word of a shell, as `.ValuesJSON` and `.RunJSON` are written."""
    if text and not re.search(r"[^A-Za-z0-9_^@=+%,:./-]", text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


@cache
def task_schema() -> Schema:
    return load_schema(schema_text("task.schema.json"))


def _expand_aliases(
    source: SourceText, context: _Context, image_aliases: Mapping[str, str], read_source: ReadSource
) -> tuple[SourceText, Aliases, list[DefinitionError], dict[str, SourceLocation]]:
    """The text with its aliases replaced, the aliases, warnings, and the secrets that their texts use."""
    rest, blocks = aliases.split_blocks(source)
    rendered = [_render(block, context) for block in blocks]
    structures: list[Structure] = []
    problems: list[DefinitionError] = []
    for each in rendered:
        structure, found = aliases.read_block(each.source, task_schema())
        structures.append(structure)
        problems += found
    if not problems:
        merged, problems = aliases.merge(structures, image_aliases, read_source)
    if problems:
        raise DefinitionErrors(problems)
    warnings = [
        *(warning for each in rendered for warning in each.warnings),
        *(warning for each in structures for warning in each.warnings),
        *aliases.nested_references(structures, merged),
    ]
    secrets = {name: place for each in rendered for name, place in each.secrets.items()}
    return aliases.expand(rest, merged), merged, warnings, secrets


def _render(source: SourceText, context: _Context) -> Rendered:
    data = dict(context.data)
    if "JSON" in source.text:
        data["RunJSON"] = shell_quote(str(context.functions()["toJson"](data["Run"])))
        data["ValuesJSON"] = _values_json(data["Values"], context)
    return render(source, data, context.functions)


def _values_json(values: Value, context: _Context) -> Value:
    try:
        if contains_secret(values):
            return call("shellQuote", [call("toJson", [values])])
        return shell_quote(str(context.functions()["toJson"](values)))
    except FunctionError as error:
        raise DefinitionError(f"the values cannot be written as JSON: {error}") from error


class _Context:
    """What all templates of one task see."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        run = run_variables(inputs)
        values: dict[str, Value] = copy.deepcopy(dict(inputs.values))
        values |= {name: secret_value(name) for name in inputs.secret_values}
        #: `.Build.ID` is the older name of `.Run.ID`
        self.data: dict[str, Value] = {"Run": run, "Build": {"ID": run["ID"]}, "Values": values}
        if inputs.has_secrets:
            self.data |= {"Secrets": Secrets(), "Steps": StepPart()}

    def functions(self) -> Mapping[str, Function]:
        return self._functions

    @cached_property
    def _functions(self) -> Mapping[str, Function]:
        from tasks_engine.definition.template.functions import function_table  # only for files that call one

        return function_table(self._inputs.now, self._inputs.seed)


def _refuse_marks(source: SourceText, inputs: Inputs) -> None:
    """Nothing from outside may hold what tokens of secrets begin and end with."""
    at = find_mark(source.text)
    if at >= 0:
        raise reserved_character("the file holds", source.locate(at))
    for name, text in inputs.run.items():
        if find_mark(text) >= 0:
            raise reserved_character(f"run variable '{name}' holds")
    for name, value in inputs.values.items():
        if find_mark(name) >= 0 or find_mark(print_value(value)) >= 0:
            raise reserved_character(f"value '{name}' holds")
    for entry in inputs.env:
        if find_mark(entry) >= 0:
            raise reserved_character(f"environment entry '{entry}' holds")


def reserved_character(what: str, location: SourceLocation | None = None) -> DefinitionError:
    return DefinitionError(
        f"{what} a character that tasks keeps for itself (U+F5EC0 or U+F5EC1)",
        location=location,
        rule="reserved-character",
    )


def _no_sources(_name: str) -> str:
    raise UnreadableSource("nothing outside of the task file is read here")


class _Comments:
    """Tells which stretches outside of all YAML values stand in a comment; asked in order."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: of the line that was asked for last
        self._line_end = -1
        self._comment = -1

    def hold(self, start: int, end: int) -> bool:
        if start > self._line_end:
            line_start = self._text.rfind("\n", 0, start) + 1
            line_end = self._text.find("\n", start)
            self._line_end = line_end if line_end >= 0 else len(self._text)
            found = _COMMENT.search(self._text, line_start, self._line_end)
            self._comment = found.end() - 1 if found is not None else self._line_end
        return self._comment < start and end <= self._line_end
