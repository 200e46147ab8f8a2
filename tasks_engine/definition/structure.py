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
from tasks_engine.errors import DefinitionError

Path = tuple[str | int, ...]
Schema = Mapping[str, Any]

#: properties of existing task files that are known but not honoured; never silently ignored
UNSUPPORTED_TASK_KEYS = frozenset({"alias", "networks", "secrets", "volumes"})
UNSUPPORTED_STEP_KEYS = frozenset(
    {
        "cache",
        "cmdDownloadRetries",
        "cmdDownloadRetryDelay",
        "cpus",
        "disableWorkingDirectoryOverride",
        "downloadRetries",
        "downloadRetryDelay",
        "entryPoint",
        "exitedWith",
        "exitedWithout",
        "expose",
        "isolation",
        "keep",
        "network",
        "ports",
        "privileged",
        "pull",
        "repeat",
        "retryOnErrors",
        "secret",
        "startDelay",
        "user",
        "volumeMounts",
    }
)


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

    def problem(self, message: str, path: Path, hint: str = "") -> DefinitionError:
        """An error at the value of a path; at its nearest existing parent when it is not in the file."""
        return DefinitionError(message, location=self.source.locate(*self._span(path)), hint=hint)

    def line(self, path: Path) -> int:
        """The line in the author's file where the value of a path stands."""
        return self.source.line(self._span(path)[0])

    def _span(self, path: Path) -> tuple[int, int]:
        node = self._root
        assert node is not None
        for part in path:
            child = _child(node, part)
            if child is None:
                break
            node = child
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


def schema_problems(result: Structure, schema: Schema) -> dict[Path, DefinitionError]:
    """Path -> what the JSON schema finds wrong there; empty when nothing is suspicious."""
    if not result.suspicious:
        return {}
    import jsonschema  # a quarter of a second; only for files that have something wrong

    errors = jsonschema.Draft202012Validator(schema).iter_errors(result.data)
    paths = ((tuple(error.absolute_path), error) for error in errors)
    return {path: result.problem(_explain(error, path), path, _hint(error)) for path, error in paths}


def load_schema(text: str) -> Schema:
    loaded: Schema = json.loads(text)
    return loaded


def _read(node: nodes.Node, schema: Schema, root: Schema, path: Path, result: Structure) -> Any:
    reference = schema.get("$ref")
    if reference is not None:
        schema = root["$defs"][reference.rsplit("/", 1)[1]]
    kind = schema["type"]
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
        return "" if node.is_null else node.text
    if node.is_null:
        return 0 if kind == "integer" else False
    read = scalars.parse_int(node) if kind == "integer" else scalars.parse_bool(node)
    if read is None or ("minimum" in schema and read < schema["minimum"]):
        result.suspicious = True
    return node.text if read is None else read


def _read_object(node: nodes.Node, schema: Schema, root: Schema, path: Path, result: Structure) -> Any:
    if isinstance(node, nodes.Scalar) and node.is_null and not path:
        return {}
    if not isinstance(node, nodes.Mapping):
        result.suspicious = True
        return scalars.parse_value(node)
    properties: Schema = schema["properties"]
    data: dict[str, Any] = {}
    lines: dict[str, nodes.Scalar] = {}
    for key, value in node.pairs:
        if key.text not in properties:
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
        data[key.text] = _read(value, properties[key.text], root, (*path, key.text), result)
    return data


def _report_unknown(key: nodes.Scalar, path: Path, known: Schema, result: Structure) -> None:
    place = result.source.locate(key.start, key.end)
    unsupported = UNSUPPORTED_STEP_KEYS if path else UNSUPPORTED_TASK_KEYS
    if key.text in unsupported:
        result.problems.append(
            DefinitionError(
                f"property '{key.text}' is not supported by this version of tasks",
                location=place,
                hint="remove it, or see README's known limits",
            )
        )
        return
    guess = difflib.get_close_matches(key.text, [*known, *unsupported], n=1, cutoff=0.6)
    what = "a step" if path else "a task"
    result.warnings.append(
        DefinitionError(
            f"unknown key '{key.text}' is ignored",
            location=place,
            hint=f"did you mean '{guess[0]}'?" if guess else f"{what} knows: {', '.join(sorted(known))}",
        )
    )


def _explain(error: Any, path: Path) -> str:
    where = _name_of(path)
    expected = {
        "string": "text",
        "array": "a list",
        "object": "a map of keys to values",
        "integer": "a whole number",
        "boolean": "true or false",
    }
    if error.validator == "type":
        return f"{where} must be {expected[error.validator_value]}, not {_describe(error.instance)}"
    if error.validator == "minimum":
        return f"{where} must be {error.validator_value} or more, not {error.instance}"
    return f"{where}: {error.message}"


def _hint(error: Any) -> str:
    if error.validator == "type" and error.validator_value == "array" and isinstance(error.instance, str):
        return f'write it as a list: ["{error.instance}"]'
    if error.validator == "type" and error.validator_value == "integer":
        return "write a number without quotes"
    return ""


def _name_of(path: Path) -> str:
    names = [part for part in path if isinstance(part, str)]
    if not path:
        return "the file"
    if isinstance(path[-1], int):
        return f"entry {path[-1] + 1} of '{names[-1]}'"
    return f"'{path[-1]}'"


def _describe(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a map"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _child(node: nodes.Node, part: str | int) -> nodes.Node | None:
    if isinstance(node, nodes.Sequence) and isinstance(part, int):
        return node.items[part] if part < len(node.items) else None
    if isinstance(node, nodes.Mapping):
        found = [value for key, value in node.pairs if key.text == part]
        return found[-1] if found else None
    return None
