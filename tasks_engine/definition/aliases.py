"""Aliases: `$ID`, `$Registry` and their like, image names such as `$bash`, and those of the `alias:` block.

From version v1.1.0 on the text is rewritten before it is a template or YAML, which is why all of this looks at
lines: the block begins at `alias:` in column one and ends before the next line that begins a key there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tasks_engine.definition.nodes import Mapping as MappingNode
from tasks_engine.definition.nodes import Node, Scalar, parse_yaml
from tasks_engine.definition.source import Edit, Piece, SourceText
from tasks_engine.definition.structure import Schema, Structure, read_structure, schema_problems
from tasks_engine.definition.template.secret_text import find_mark
from tasks_engine.errors import DefinitionError

#: each stands for the template action of that run variable
RUN_ALIASES = (
    "ID",
    "SharedVolume",
    "Registry",
    "RegistryName",
    "Date",
    "OS",
    "Architecture",
    "Commit",
    "Branch",
)
DIRECTIVE = "$"

_NAME = re.compile(r"[A-Za-z0-9]+\Z")
#: a comment line with its line break; those that end the text take the line break before them along
_COMMENT_LINE = re.compile(r"(?:\n[^\S\n]*#[^\n]*)+\Z|^[^\S\n]*#[^\n]*(?:\n|\Z)", re.MULTILINE)
_BLOCK_START = re.compile(r"^alias[ \t]*:", re.MULTILINE)
_BLOCK_END = re.compile(r"^[^\s:][^:\n]*:", re.MULTILINE)

#: name of a source, as written in `src` -> its text
ReadSource = Callable[[str], str]


class UnreadableSource(Exception):
    """An alias source cannot be read; the message says why."""


@dataclass(frozen=True)
class Aliases:
    """What aliases stand for, all sources merged."""

    #: name -> text that is pasted for directive and name
    text_by_name: Mapping[str, str]
    directive: str = DIRECTIVE
    #: name -> text that is pasted for it as the first word of a `cmd`, without a directive
    image_by_name: Mapping[str, str] = field(default_factory=dict)


def aliases_enabled(version: str) -> bool:
    """Whether a file of this version text has aliases: a plain comparison, but for case."""
    return version.lower() >= "v1.1.0"


def find_version(text: str) -> str:
    """The value of the first `version:` line in column one, as written; empty without one."""
    for line in text.split("\n"):
        if "version" not in line:
            continue
        key, colon, value = line.partition(":")
        if colon and line.lstrip("\"'").startswith("version") and key.strip(" \t\"'") == "version":
            return value.strip().strip("\"'").strip()
    return ""


def drop_comment_lines(source: SourceText) -> SourceText:
    """The text without lines whose first non-blank character is `#`, so that nothing in them is expanded.

    Lines inside block scalars go too: templates in what looks like a comment must not run.
    """
    return source.rewrite([Edit(*match.span(), "") for match in _COMMENT_LINE.finditer(source.text)])


def split_blocks(source: SourceText) -> tuple[SourceText, list[SourceText]]:
    """The text without its alias blocks, and the blocks."""
    rest: list[Piece] = []
    blocks: list[SourceText] = []
    at = 0
    while (start := _BLOCK_START.search(source.text, at)) is not None:
        end = _BLOCK_END.search(source.text, start.end())
        stop = end.start() if end is not None else len(source.text)
        rest.append(Piece(at, start.start()))
        blocks.append(source.assemble([Piece(start.start(), stop)]))
        at = stop
    if not blocks:
        return source, []
    return source.assemble([*rest, Piece(at, len(source.text))]), blocks


def read_block(block: SourceText, schema: Schema) -> tuple[Structure, list[DefinitionError]]:
    """A rendered alias block as data, and what is wrong with its form.

    Raises DefinitionError when it is no YAML. Unknown keys are warnings of the structure, as in a task.
    """
    alias_schema = {
        "type": "object",
        "properties": {"alias": {"$ref": "#/$defs/alias"}},
        "$defs": schema["$defs"],
    }
    try:
        root = parse_yaml(block)
    except DefinitionError as error:
        error.rule = "alias-yaml"
        raise
    structure = read_structure(root, block, alias_schema)
    problems = [*structure.problems, *schema_problems(structure, alias_schema, rule="alias-yaml").values()]
    return structure, problems


def merge(
    blocks: list[Structure], image_aliases: Mapping[str, str], read_source: ReadSource
) -> tuple[Aliases, list[DefinitionError]]:
    """All aliases of a task, and what is wrong with them.

    Inline values win over sources, later sources over earlier ones, and all of them over what is built in.
    """
    inherited: dict[str, str] = {}
    inline: dict[str, str] = {}
    problems: list[DefinitionError] = []
    directive = ""
    for block in blocks:
        alias = block.data.get("alias") or {}
        for index, name in enumerate(alias.get("src", [])):
            try:
                inherited |= _read_source(block, index, name, read_source)
            except DefinitionError as error:
                problems.append(error)
        inline |= alias.get("values", {})
        problems += _name_problems(block, alias.get("values", {}))
        directive = alias.get("directive", "") or directive
        problems += _directive_problems(block, alias.get("directive", ""))
    own = inherited | inline
    run = {name: "{{.Run." + name + "}}" for name in RUN_ALIASES}
    images = {name: text for name, text in {**image_aliases, **own}.items() if text}
    return Aliases(run | dict(image_aliases) | own, directive or DIRECTIVE, images), problems


def expand(source: SourceText, aliases: Aliases) -> SourceText:
    """The text with every alias replaced, in one pass.

    A reference is the directive and the longest run of letters and digits after it. Unknown ones stay, so shell
    variables survive; the directive twice is one directive. Line ends become plain ones.
    """
    source = source.rewrite([Edit(at.start(), at.start() + 1, "") for at in re.finditer("\r\n", source.text)])
    if source.text and not source.text.endswith("\n"):
        source = source.rewrite([Edit(len(source.text), len(source.text), "\n")])
    return source.rewrite(list(_replacements(source.text, aliases)))


def _replacements(text: str, aliases: Aliases) -> Iterator[Edit]:
    directive = aliases.directive
    reference = re.compile(re.escape(directive) + f"({re.escape(directive)}|[A-Za-z0-9]*)")
    for match in reference.finditer(text):
        if match[1] == directive:
            yield Edit(match.start(), match.end(), directive)
        elif match[1] in aliases.text_by_name:
            yield Edit(match.start(), match.end(), aliases.text_by_name[match[1]])


def nested_references(blocks: list[Structure], aliases: Aliases) -> Iterator[DefinitionError]:
    """Warnings of inline values that hold other aliases: what is pasted is not looked at again."""
    for block in blocks:
        for name, text in (block.data.get("alias") or {}).get("values", {}).items():
            for edit in _replacements(text, aliases):
                inner = text[edit.start : edit.end]
                if edit.replacement != aliases.directive:
                    yield block.problem(
                        f"'{inner}' in the text of alias '{name}' is not replaced",
                        ("alias", "values", name),
                        hint=f"aliases do not nest; write {edit.replacement}",
                    )


def _read_source(block: Structure, index: int, name: str, read_source: ReadSource) -> dict[str, str]:
    path = ("alias", "src", index)
    try:
        text = read_source(name)
    except UnreadableSource as error:
        raise block.problem(
            f"alias source '{name}' cannot be read: {error}",
            path,
            hint="a path counts from the context folder; an address begins with https://",
            rule="src-unreadable",
        ) from error
    source = SourceText(name, text)
    try:
        root = parse_yaml(source)
    except DefinitionError as error:
        error.rule = "src-yaml"
        raise
    return _flat_map(root, source)


def _flat_map(root: Node, source: SourceText) -> dict[str, str]:
    if isinstance(root, Scalar) and root.is_null:
        return {}
    if not isinstance(root, MappingNode):
        place = source.locate(root.start)
        raise DefinitionError(
            "an alias source is a map of names to text", location=place, hint="name: text", rule="src-yaml"
        )
    values: dict[str, str] = {}
    for key, value in root.pairs:
        if not isinstance(value, Scalar):
            raise DefinitionError(
                f"alias '{key.text}' must stand for text, not for a list or a map",
                location=source.locate(value.start),
                rule="src-yaml",
            )
        if not _NAME.match(key.text):
            raise _bad_name(key.text, source, key)
        if find_mark(value.text) >= 0:
            raise DefinitionError(
                f"alias '{key.text}' holds a character that tasks keeps for itself",
                location=source.locate(value.start, value.end),
                rule="reserved-character",
            )
        values[key.text] = "" if value.is_null else value.text
    return values


def _bad_name(name: str, source: SourceText, key: Scalar) -> DefinitionError:
    return DefinitionError(
        f"alias name '{name}' has other characters than letters and digits",
        location=source.locate(key.start, key.end),
        rule="alias-name",
    )


def _name_problems(block: Structure, values: Mapping[str, str]) -> Iterator[DefinitionError]:
    for name in values:
        if not _NAME.match(name):
            key = block.key(("alias", "values", name))
            yield _bad_name(name, block.source, key)


def _directive_problems(block: Structure, directive: str) -> Iterator[DefinitionError]:
    path = ("alias", "directive")
    if len(directive) > 1:
        yield block.problem(
            f"directive '{directive}' must be one character",
            path,
            hint="such as $, & or @",
            rule="directive-length",
        )
    elif directive.isascii() and directive.isalnum():
        yield block.problem(
            f"directive '{directive}' must be neither a letter nor a digit",
            path,
            hint="such as $, & or @",
            rule="directive-alphanumeric",
        )
