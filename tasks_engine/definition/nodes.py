"""YAML text becomes nodes that know their place and keep the spelling of their scalars.

Scalars are not resolved here: in a task file the field decides what a scalar means (`id: 010` is the text
"010", `timeout: 010` is eight). Only the first document counts. Depth and the growth by anchors are bounded,
since the file may be anybody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tasks_engine.definition.source import SourceText
from tasks_engine.definition.yaml_errors import explain
from tasks_engine.errors import DefinitionError

MAX_DEPTH = 100
#: nodes after anchors are followed; a real file of 10,000 steps has about 200,000
MAX_NODES = 2_000_000
#: a long text counts as several nodes, since an anchor may repeat it
_CHARACTERS_A_NODE = 64
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Scalar:
    start: int
    end: int
    text: str
    #: written without quotes, so that YAML's types apply
    plain: bool

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True)
class Sequence:
    start: int
    end: int
    items: tuple[Node, ...]


@dataclass(slots=True)
class Mapping:
    start: int
    end: int
    #: in file order; a key may stand more than once, the last one counts
    pairs: tuple[tuple[Scalar, Node], ...]


Node = Scalar | Sequence | Mapping


def scalar_spans(root: Node) -> Iterator[tuple[int, int]]:
    """Start and end of every scalar, keys included; what anchors repeat comes more than once."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Scalar):
            yield node.start, node.end
        elif isinstance(node, Sequence):
            stack += node.items
        else:
            for key, value in node.pairs:
                stack += (key, value)


def parse_yaml(source: SourceText) -> Node:
    """The first document of the text; a null scalar when there is none.

    Raises DefinitionError for text that is not YAML, nested deeper than MAX_DEPTH, or growing beyond
    MAX_NODES through its anchors.
    """
    try:
        events = yaml.parse(source.text, Loader=_loader())
        return _Composer(source, events).document()
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise explain(error, source) from error


def _loader() -> type:
    # libyaml's parser is ten times faster; PyYAML wheels have it, a build from source may not
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class _Anchored:
    """What an anchor stands for."""

    node: Node
    #: nodes in all, as they are counted
    size: int
    #: levels below the node
    height: int


class _Composer:
    """Builds nodes from parser events, whose marks are never None here.

    PyYAML's own composer recurses in C without a limit: deep nesting ends the process.
    """

    def __init__(self, source: SourceText, events: Iterator[Any]) -> None:
        self._source = source
        self._events = events
        self._anchors: dict[str, _Anchored] = {}
        self._size = 0
        #: the deepest level of the node that is being built
        self._deepest = 0

    def document(self) -> Node:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                return self._node(next(self._events), 0)
        return Scalar(0, 0, "", plain=True)

    def _node(self, event: Any, depth: int) -> Node:
        start: int = event.start_mark.index
        if isinstance(event, yaml.AliasEvent):
            return self._follow(event, start, depth)
        if isinstance(event, yaml.ScalarEvent):
            size = 1 + len(event.value) // _CHARACTERS_A_NODE
            self._grow(size, depth, start)
            end: int = event.end_mark.index  # type: ignore[union-attr]
            if not event.value.isascii() and _SURROGATE.search(event.value):
                raise ValueError("half a surrogate pair")
            scalar = Scalar(start, end, event.value, plain=event.style in (None, ""))
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchored(scalar, size, height=0)
            return scalar
        size, deepest = self._size, self._deepest
        self._deepest = -1
        self._grow(1, depth, start)
        is_sequence = isinstance(event, yaml.SequenceStartEvent)
        node = self._sequence(event, start, depth) if is_sequence else self._mapping(event, start, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(node, self._size - size, self._deepest - depth)
        self._deepest = max(self._deepest, deepest)
        return node

    def _follow(self, event: Any, start: int, depth: int) -> Node:
        if event.anchor not in self._anchors:
            raise DefinitionError(
                f"not valid YAML: '*{event.anchor}' refers to an anchor that no earlier line defines",
                location=self._source.locate(start, event.end_mark.index),
                rule="yaml-syntax",
            )
        anchored = self._anchors[event.anchor]
        self._grow(anchored.size, depth + anchored.height, start)
        return anchored.node

    def _sequence(self, event: Any, start: int, depth: int) -> Sequence:
        items: list[Node] = []
        child = next(self._events)
        while not isinstance(child, yaml.SequenceEndEvent):
            items.append(self._node(child, depth + 1))
            child = next(self._events)
        return Sequence(start, max(event.end_mark.index, start + 1), tuple(items))

    def _mapping(self, event: Any, start: int, depth: int) -> Mapping:
        pairs: list[tuple[Scalar, Node]] = []
        merged: list[tuple[Scalar, Node]] = []
        child = next(self._events)
        while not isinstance(child, yaml.MappingEndEvent):
            key = self._node(child, depth + 1)
            if not isinstance(key, Scalar):
                raise DefinitionError(
                    "a key must be text, not a list or a map", location=self._source.locate(key.start)
                )
            value = self._node(next(self._events), depth + 1)
            if key.plain and key.text == "<<":
                merged += self._merge(value)
            else:
                pairs.append((key, value))
            child = next(self._events)
        own = {key.text for key, _ in pairs}
        inherited = [(key, value) for key, value in merged if key.text not in own]
        return Mapping(start, max(event.end_mark.index, start + 1), (*inherited, *pairs))

    def _merge(self, value: Node) -> list[tuple[Scalar, Node]]:
        """The pairs a `<<` key brings in; of several maps the first one wins."""
        maps = value.items if isinstance(value, Sequence) else (value,)
        pairs: dict[str, tuple[Scalar, Node]] = {}
        for each in maps:
            if not isinstance(each, Mapping):
                raise DefinitionError(
                    "'<<' takes a map or a list of maps", location=self._source.locate(each.start)
                )
            for key, node in each.pairs:
                pairs.setdefault(key.text, (key, node))
        return list(pairs.values())

    def _grow(self, count: int, deepest: int, start: int) -> None:
        self._size += count
        if deepest > self._deepest:
            self._deepest = deepest
            if deepest > MAX_DEPTH:
                raise DefinitionError(
                    f"nested more than {MAX_DEPTH} levels deep", location=self._source.locate(start)
                )
        if self._size > MAX_NODES:
            raise DefinitionError(
                f"the file grows beyond {MAX_NODES} nodes", location=self._source.locate(start)
            )
