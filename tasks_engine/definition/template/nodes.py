"""What a template consists of, once parsed. Rules: Go text/template/parse.

Offsets of expressions count from the start of the action they stand in, so that actions of the same text share
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tasks_engine.definition.template.values import Value


class Dot(NamedTuple):
    start: int
    end: int


class Constant(NamedTuple):
    value: Value
    start: int
    end: int


class Field(NamedTuple):
    """`.A.B`: fields of the dot."""

    names: tuple[str, ...]
    start: int
    end: int


class Variable(NamedTuple):
    """`$x.A.B`: a variable, whose name has no `$` here, and fields of it."""

    name: str
    names: tuple[str, ...]
    start: int
    end: int


class Chain(NamedTuple):
    """`(pipeline).A.B` or `function.A.B`."""

    operand: Expression
    names: tuple[str, ...]
    start: int
    end: int


class Call(NamedTuple):
    """A function's name; what follows it in the command are its arguments."""

    function: str
    start: int
    end: int


class Command(NamedTuple):
    """One or more operands; the first is a function, or stands alone."""

    operands: tuple[Expression, ...]
    start: int
    end: int


class Pipeline(NamedTuple):
    """Commands, each of which gets the value of the one before as its last argument."""

    commands: tuple[Command, ...]
    #: variables that are set, without `$`
    variables: tuple[str, ...]
    #: the variables exist already (`=` instead of `:=`)
    assigns: bool
    start: int
    end: int


Expression = Dot | Constant | Field | Variable | Chain | Call | Pipeline


class Text(NamedTuple):
    start: int
    end: int


class Action(NamedTuple):
    """An expression whose value is printed, unless it sets a variable. Offsets are those of the text."""

    pipeline: Pipeline
    start: int
    end: int


class Conditional(NamedTuple):
    """`if` and `with`."""

    keyword: str
    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    start: int
    end: int


class Range(NamedTuple):
    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    start: int
    end: int


class Include(NamedTuple):
    """`template`, and `block` after it defined its template."""

    name: str
    pipeline: Pipeline | None
    start: int
    end: int


class Leave(NamedTuple):
    """`break` and `continue`."""

    keyword: str
    start: int
    end: int


Node = Text | Action | Conditional | Range | Include | Leave


@dataclass(frozen=True)
class Template:
    body: tuple[Node, ...]
    #: templates that `define` and `block` made
    named: dict[str, tuple[Node, ...]]
