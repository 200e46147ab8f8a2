"""`render`: the text of a template with its actions replaced, every character still at its place in the source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_engine.definition.source import Edit, SourceText
from tasks_engine.definition.template.values import Function, Value
from tasks_engine.errors import DefinitionError, SourceLocation

if TYPE_CHECKING:  # the engine itself loads for files that have a template
    from tasks_engine.definition.template.evaluate import Output
    from tasks_engine.definition.template.lexer import TemplateError

#: what Go prints for a missing value; the original deletes it, wherever it comes from
_NO_VALUE = re.compile("<no value>")
_MAX_SHOWN = 60


@dataclass(frozen=True)
class Rendered:
    source: SourceText
    #: expressions that have no value and were left empty
    warnings: tuple[DefinitionError, ...]
    #: id of a secret -> where it is used first
    secrets: Mapping[str, SourceLocation]


def render(
    source: SourceText, data: Mapping[str, Value], functions: Callable[[], Mapping[str, Function]]
) -> Rendered:
    """The text with every action replaced. What has no value prints nothing and is warned about.

    `functions` gives the table of functions when the template calls one. Raises DefinitionError.
    """
    output = _output(source, data, functions) if "{{" in source.text else None
    result = source if output is None else source.assemble(output.pieces)
    if "<no value>" in result.text:
        result = result.rewrite([Edit(*match.span(), "") for match in _NO_VALUE.finditer(result.text)])
    if source.text and not result.text:
        raise DefinitionError(
            "nothing is left of the file once its template is rendered",
            location=source.locate(0),
            rule="empty-output",
        )
    if output is None:
        return Rendered(result, (), {})
    secrets = {name: source.locate(*span) for name, span in output.secrets.items()}
    return Rendered(result, _warnings(source, output), secrets)


def _output(
    source: SourceText, data: Mapping[str, Value], functions: Callable[[], Mapping[str, Function]]
) -> Output:
    from tasks_engine.definition.template.evaluate import evaluate
    from tasks_engine.definition.template.lexer import TemplateError
    from tasks_engine.definition.template.parser import parse_template

    rule = "template-parse"
    try:
        template = parse_template(source.text, functions)
        rule = "template-exec"
        return evaluate(template, source.text, data, functions)
    except TemplateError as error:
        raise _located(source, error, rule) from error


def _warnings(source: SourceText, output: Output) -> tuple[DefinitionError, ...]:
    return tuple(
        DefinitionError(
            f"{_expression(source.text, start, end)} has no value and is left empty",
            location=source.locate(start, end),
            hint=hint,
            rule="missing-value",
        )
        for (start, end), hint in output.missing.items()
    )


def _located(source: SourceText, error: TemplateError, rule: str) -> DefinitionError:
    opening = source.text.rfind("{{", 0, error.start + 2)
    closing = source.text.find("}}", error.start)
    message = error.message
    if 0 <= opening <= error.start < closing:
        message = f"in {{{{ {_expression(source.text, opening, closing + 2)} }}}}: {message}"
    return DefinitionError(
        message, location=source.locate(error.start, error.end), hint=error.hint, rule=rule
    )


def _expression(text: str, start: int, end: int) -> str:
    """What stands between the braces, shortened."""
    inner = " ".join(text[start + 2 : end - 2].removeprefix("-").removesuffix("-").split())
    return inner if len(inner) <= _MAX_SHOWN else f"{inner[: _MAX_SHOWN - 1]}…"
