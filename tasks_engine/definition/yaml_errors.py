"""What a YAML parser says of a text, told for people: the place that must be changed, and how."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from tasks_engine.definition.source import SourceText
from tasks_engine.errors import DefinitionError

_FROM_TEMPLATE = (
    'a value of the template is read as YAML here; quotes around it help: "{{ … }}" or {{ … | quote }}'
)


@dataclass(frozen=True)
class _Told:
    reason: str
    hint: str = ""
    #: the mistake is where the parser began, not where it gave up
    at_begin: bool = False


def explain(error: yaml.YAMLError | ValueError | OverflowError, source: SourceText) -> DefinitionError:
    """An error of PyYAML or libyaml as a DefinitionError at a place in the author's file."""
    if isinstance(error, yaml.MarkedYAMLError):
        return _of_marked(error, source)
    if isinstance(error, (yaml.reader.ReaderError, UnicodeEncodeError)):
        at = _first_unprintable(source.text)
        return _problem(f"character {source.text[at : at + 1]!r} is not allowed", source, at)
    if isinstance(error, yaml.YAMLError):
        return _problem(str(error), source, 0)
    # of PyYAML's own parser, where libyaml is not there
    return _problem("an escape such as \\U stands for no character", source, 0)


def _of_marked(error: yaml.MarkedYAMLError, source: SourceText) -> DefinitionError:
    given_up, began = (
        min(mark.index, len(source.text)) if mark is not None else None
        for mark in (error.problem_mark, error.context_mark)
    )
    end = given_up if given_up is not None else began or 0
    start = began if began is not None else end
    told = _told(error, source.text, start, end, source.line(start))
    at = start if told.at_begin else end
    is_value = any(first <= at < last for first, last in source.values())
    return _problem(told.reason, source, at, _FROM_TEMPLATE if is_value else told.hint)


def _told(error: yaml.MarkedYAMLError, text: str, start: int, end: int, line: int) -> _Told:
    """What the parser was reading began at `start`, in `line` of the author's file; it gave up at `end`."""
    problem, context = error.problem or "", error.context or ""
    opening, character = text[start : start + 1], text[end : end + 1]
    if "unexpected end of stream" in problem and "quoted scalar" in context:
        return _Told(f"quote {opening} is never closed", at_begin=True)
    if "expected ',' or" in problem:
        closing = "]" if opening == "[" else "}"
        return _Told(f"',' or '{closing}' is missing", f"the '{opening}' stands in line {line}")
    if "mapping values are not allowed" in problem:
        return _Told(problem, "put text that contains ': ' in quotes, and check the indentation")
    if "cannot start any token" in problem:
        if character == "\t":
            return _Told("a tab begins the line", "YAML is indented with blanks, never with tabs")
        return _Told(f"no text begins with '{character}'", "put it in quotes")
    if "alias" in context or "anchor" in context or "tag" in problem:
        return _Told(f"'{opening}' begins a name of YAML's", "put text that begins with &, * or ! in quotes")
    if "unexpected ':'" in problem:
        return _Told("a ':' ends a key here", "put a blank behind it, or the text in quotes")
    if "unknown escape character" in problem:
        return _Told(problem, "write the backslash twice, or use single quotes")
    if "did not find expected" in problem and "block" in context:
        return _broken_block("list" if "'-'" in problem else "map", text, end, line)
    return _Told(", ".join(part for part in (problem, context) if part))


def _broken_block(kind: str, text: str, end: int, line: int) -> _Told:
    if text[text.rfind("\n", 0, end) + 1 : end].strip():
        return _Told(
            "this stands behind a value that has ended",
            "put the whole value in quotes, or a line break before it",
        )
    how = "each entry begins with '- '" if kind == "list" else "its keys begin"
    return _Told(
        f"this line does not continue the {kind} that begins in line {line}",
        f"{how}{', ' if kind == 'list' else ' '}in the same column",
    )


def _problem(reason: str, source: SourceText, at: int, hint: str = "") -> DefinitionError:
    return DefinitionError(
        f"not valid YAML: {reason}", location=source.locate(at), hint=hint, rule="yaml-syntax"
    )


def _first_unprintable(text: str) -> int:
    for index, character in enumerate(text):
        if not (character in "\t\n\r\x85" or "\x20" <= character <= "\x7e" or character >= "\xa0"):
            return index
        if "\ud800" <= character <= "\udfff" or character in "\ufffe\uffff":
            return index
    return 0
