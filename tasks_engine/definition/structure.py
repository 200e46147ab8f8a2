"""Nodes become plain data of the types the schema asks for, with a place for every path.

The schema says what a field is, and that decides how its scalar is read. Unknown and repeated keys are
reported apart from mistakes, because the original ignores them and files in use have them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks_engine.definition import nodes, scalars
from tasks_engine.definition.source import SourceText
from tasks_engine.definition.spelling import span_in_spelling
from tasks_engine.definition.template.secret_text import END, START, find_mark
from tasks_engine.definition.type_messages import LONGEST_MESSAGE, MAX_SHOWN, explain, hint_for, shown
from tasks_engine.errors import DefinitionError, SourceLocation

Path = tuple[str | int, ...]
Schema = Mapping[str, Any]

_MAX_KEYS = 12
#: comparing texts takes time, and the file may be anybody's
_MAX_GUESSES = 50
_MINIMUM_RULES = {"retries": "step-negative-retries", "repeat": "step-negative-repeat"}


@dataclass
class Structure:
    """The outcome of reading nodes by a schema.

    `data` holds JSON types only; what could not be read as its field's type stays as written, and the schema
    check that follows explains it. `suspicious` is false when nothing can be left for it to find.
    """

    source: SourceText
    data: Any = None
    problems: list[DefinitionError] = field(default_factory=list)
    #: unknown and repeated keys
    warnings: list[DefinitionError] = field(default_factory=list)
    suspicious: bool = False
    _root: nodes.Node | None = None
    _pairs_by_map: dict[int, dict[str | int, tuple[nodes.Scalar, nodes.Node]]] = field(default_factory=dict)

    def problem(self, message: str, path: Path, *, hint: str = "", rule: str = "") -> DefinitionError:
        """An error at the value of a path; at its nearest existing parent when it is not in the file."""
        return _problem(message, self.source.locate(*self._span(path)), hint, rule)

    def problem_in_text(
        self, message: str, path: Path, offset: int, length: int, *, hint: str = "", rule: str = ""
    ) -> DefinitionError:
        """An error at characters of the text that a path holds, where they stand in the file as they are."""
        node = self._node(path)
        span = None
        if isinstance(node, nodes.Scalar):
            span = span_in_spelling(self.source.text[node.start : node.end], node.text, offset, length)
        if span is None:
            return self.problem(message, path, hint=hint, rule=rule)
        return _problem(message, self.source.locate(node.start + span[0], node.start + span[1]), hint, rule)

    def key(self, path: Path) -> nodes.Scalar:
        """The key that a path ends with."""
        parent = self._node(path[:-1])
        assert isinstance(parent, nodes.Mapping)
        return self._pairs(parent)[path[-1]][0]

    def line(self, path: Path) -> int:
        """The line in the author's file where the value of a path stands."""
        return self.source.line(self._span(path)[0])

    def _node(self, path: Path) -> nodes.Node:
        """The node of a path, or its nearest existing parent."""
        node = self._root
        assert node is not None
        for part in path:
            if isinstance(node, nodes.Sequence) and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
            elif isinstance(node, nodes.Mapping) and part in (pairs := self._pairs(node)):
                node = pairs[part][1]
            else:
                break
        return node

    def _pairs(self, node: nodes.Mapping) -> Mapping[str | int, tuple[nodes.Scalar, nodes.Node]]:
        """Text of a key -> the last pair that has it."""
        pairs = self._pairs_by_map.get(id(node))
        if pairs is None:
            pairs = self._pairs_by_map[id(node)] = {key.text: (key, value) for key, value in node.pairs}
        return pairs

    def _span(self, path: Path) -> tuple[int, int]:
        node = self._node(path)
        if isinstance(node, nodes.Scalar):
            return node.start, max(node.end, node.start + 1)
        if isinstance(node, nodes.Mapping):
            # keys that `<<` brought in stand elsewhere, before the map
            own = [key for key, _ in node.pairs if key.start >= node.start]
            key = min(own, key=lambda each: each.start, default=node)
            return key.start, max(key.end, key.start + 1)
        return node.start, node.start + 1


def read_structure(root: nodes.Node, source: SourceText, schema: Schema) -> Structure:
    """Data by the schema. An empty document is an empty task, as in the original."""
    result = Structure(source)
    result._root = root
    result.data = _read(root, schema, schema, (), result)
    return result


def schema_problems(
    result: Structure, schema: Schema, rule: str = "yaml-type"
) -> dict[Path, DefinitionError]:
    """Path -> what the JSON schema finds wrong there; empty when nothing is suspicious."""
    if not result.suspicious:
        return {}
    import jsonschema  # a quarter of a second; only for files that have something wrong

    problems: dict[Path, DefinitionError] = {}
    for error in jsonschema.Draft202012Validator(schema).iter_errors(result.data):
        if error.validator not in ("type", "minimum"):
            continue  # rules for editors, which `checks` and `steps` tell of every file
        path = tuple(error.absolute_path)
        broken = _MINIMUM_RULES.get(str(path[-1]) if path else "", rule)
        problems[path] = result.problem(
            explain(error),
            path,
            hint=hint_for(error),
            rule=broken if error.validator == "minimum" else rule,
        )
    return problems


def load_schema(text: str) -> Schema:
    loaded: Schema = json.loads(text)
    return loaded


def _read(node: nodes.Node, schema: Schema, root: Schema, path: Path, result: Structure) -> Any:
    reference = schema.get("$ref")
    if reference is not None:
        schema = root["$defs"][reference.rsplit("/", 1)[1]]
    kind = schema["type"]
    if kind == "object" and schema.get("deprecated"):
        return (
            {} if isinstance(node, nodes.Scalar) and node.is_null else {"": ""}
        )  # whatever it is, it is not used
    if kind == "object":
        return _read_object(node, schema, root, path, result)
    if kind == "array":
        if isinstance(node, nodes.Scalar) and node.is_null:
            return []
        if isinstance(node, nodes.Sequence):
            return [
                _read(item, schema["items"], root, (*path, index), result)
                for index, item in enumerate(node.items)
            ]
    elif isinstance(node, nodes.Scalar):
        return _read_scalar(node, kind, schema, result)
    result.suspicious = True
    return scalars.parse_value(node)


def _read_scalar(node: nodes.Scalar, kind: str, schema: Schema, result: Structure) -> Any:
    if kind == "string":
        if find_mark(node.text) >= 0:
            _refuse_escaped_token(node, result)
        if "\0" in node.text:
            result.problems.append(
                DefinitionError(
                    "this text holds a NUL character, which no program can be given",
                    location=result.source.locate(node.start, node.end),
                    rule="reserved-character",
                )
            )
        return "" if node.is_null else node.text
    if node.is_null:
        return 0 if kind == "integer" else False
    read = scalars.parse_int(node) if kind == "integer" else scalars.parse_bool(node)
    if read is None or ("minimum" in schema and read < schema["minimum"]):
        result.suspicious = True
    return node.text if read is None else read


def _refuse_escaped_token(node: nodes.Scalar, result: Structure) -> None:
    """Tokens of secrets come out of the template only, never out of YAML's escapes."""
    written = result.source.text[node.start : node.end]
    if any(node.text.count(mark) != written.count(mark) for mark in (START, END)):
        result.problems.append(
            DefinitionError(
                "this text holds a character that tasks keeps for itself",
                location=result.source.locate(node.start, node.end),
                rule="reserved-character",
            )
        )


def _read_object(node: nodes.Node, schema: Schema, root: Schema, path: Path, result: Structure) -> Any:
    if isinstance(node, nodes.Scalar) and node.is_null and path in ((), ("alias",)):
        return {}
    free: Any = schema.get("additionalProperties")
    if isinstance(free, dict) and isinstance(node, nodes.Scalar) and node.is_null:
        return {}
    if not isinstance(node, nodes.Mapping):
        result.suspicious = True
        return scalars.parse_value(node)
    properties: Schema = schema.get("properties", {})
    data: dict[str, Any] = {}
    lines: dict[str, nodes.Scalar] = {}
    for key, value in node.pairs:
        if key.text not in properties and not isinstance(free, dict):
            _report_unknown(key, path, properties, result)
            continue
        if key.text in lines:
            first = result.source.locate(lines[key.text].start).line
            result.warnings.append(
                DefinitionError(
                    f"key '{key.text}' stands twice (first in line {first}); this one counts",
                    location=result.source.locate(key.start, key.end),
                )
            )
        lines[key.text] = key
        data[key.text] = _read(value, properties.get(key.text, free), root, (*path, key.text), result)
    return data


def _report_unknown(key: nodes.Scalar, path: Path, known: Schema, result: Structure) -> None:
    enough = len(result.warnings) >= _MAX_GUESSES or len(key.text) > MAX_SHOWN
    guess = [] if enough else difflib.get_close_matches(key.text, known, n=1, cutoff=0.6)
    what = next((part for part in reversed(path) if isinstance(part, str)), "task").removesuffix("s")
    article = "an" if what[0] in "aeiou" else "a"
    result.warnings.append(
        DefinitionError(
            f"unknown key '{shown(key.text)}' is ignored",
            location=result.source.locate(key.start, key.end),
            hint=f"did you mean '{guess[0]}'?" if guess else f"{article} {what} knows: {_listed(known)}",
        )
    )


def _listed(known: Schema) -> str:
    """The keys that are worth a mention, the important ones first, as the schema has them."""
    names = [name for name, schema in known.items() if not schema.get("deprecated")]
    shown = ", ".join(names[:_MAX_KEYS])
    return shown if len(names) <= _MAX_KEYS else f"{shown} and {len(names) - _MAX_KEYS} more (tasks schema)"


def _problem(message: str, location: SourceLocation, hint: str, rule: str) -> DefinitionError:
    message, hint = (shown(text, LONGEST_MESSAGE) for text in (message, hint))
    return DefinitionError(message, location=location, hint=hint, rule=rule)
