"""Text that comes from a secret: an expression that only the executor can turn into bytes.

A template never sees a secret's value. What it writes is an opaque token, which carries the secret's name and
the functions applied to it, so that plans, events and errors may hold it and whoever runs the step can make
the value of it. A token stands for its value wherever it is in a text, also next to other text.

Token: START, then the expression as JSON in URL-safe Base64, then END. Both marks are characters that Unicode
leaves to private use; `find_marks` finds them in what comes from outside, so that nobody can write a token.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks_engine.definition.template.values import Function, FunctionError, Value, print_value

START = "\U000f5ec0"
END = "\U000f5ec1"
_TOKEN = re.compile(f"{START}([A-Za-z0-9_-]+){END}")
_MARK = re.compile(f"[{START}{END}]")
#: what a token shows as
MASK = "***"

#: functions from text to text, which are applied when the value is there; others would tell something of it
DEFERRED_FUNCTIONS = frozenset(
    """
    abbrev abbrevboth adler32sum b32dec b32enc b64dec b64enc base camelcase cat clean coalesce default dir ext html
    indent initials join js kebabcase lower nindent nospace print printf println quote regexReplaceAll
    regexReplaceAllLiteral repeat replace sha1sum sha256sum shellQuote snakecase squote substr swapcase title toJson
    toPrettyJson toString trim trimAll trimPrefix trimSuffix trimall trunc untitle upper urlquery wrap wrapWith
    """.split()  # noqa: SIM905 - a list would be ten times as long
)
#: functions that put values into lists and maps or take them out -> the arguments that become part of the result as
#: they are; nor is looked at what lists and maps among the others hold
PASSING_FUNCTIONS = {
    **dict.fromkeys(
        """
        coalesce concat deepCopy empty first hasKey index initial keys kindIs kindOf last len merge mergeOverwrite
        omit pick pluck rest reverse slice typeIs typeIsLike typeOf unset values
        """.split(),  # noqa: SIM905 - a list would be three times as long
        slice(0),
    ),
    **dict.fromkeys(("append", "prepend", "push"), slice(1, 2)),
    **dict.fromkeys(("list", "tuple"), slice(None)),
    "default": slice(1),
    "dict": slice(1, None, 2),
    "set": slice(2, 3),
    "ternary": slice(0, 2),
}
#: those of them that look through the lists and maps in what they do look at
THOROUGH_FUNCTIONS = frozenset(["deepCopy", "dict", "merge", "mergeOverwrite"])
#: functions, lists and maps around a secret
MAX_LEVELS = 100
#: characters of what a token holds
MAX_SIZE = 1 << 20
#: of a call, or of what names a secret
_BASE_SIZE = 50
_PLAIN_TYPES = (str, int, float, type(None))


class _Untold:
    """What functions must not look at, where they come upon it in a list or map that they look through."""

    def __bool__(self) -> bool:
        raise FunctionError("the task would depend on the value of a secret")

    @property
    def printed(self) -> str:
        raise FunctionError("the task would depend on the value of a secret")


class Secrets(_Untold):
    """`.Secrets`: whatever its name, a secret is a SecretText."""


@dataclass(frozen=True)
class SecretText(_Untold):
    """A value that is not known yet.

    `expression` is `{"secret": id}`, `{"value": name}` for one given on the command line, or
    `{"call": function, "args": [...]}`, where an argument is an expression, `{"is": plain value}`, or a
    `{"list": [...]}` or `{"map": {...}}` of these.
    """

    expression: Mapping[str, Any]
    levels: int = field(default=0, compare=False, repr=False)
    #: about how many characters the expression has
    size: int = field(default=0, compare=False, repr=False)

    @property
    def token(self) -> str:
        packed = json.dumps(self.expression, separators=(",", ":"), sort_keys=True).encode()
        return f"{START}{base64.urlsafe_b64encode(packed).rstrip(b'=').decode()}{END}"

    @property
    def written(self) -> str:
        """What a template prints for it: the token, in quotes of the text where it was quoted last.

        Those quotes belong to YAML or to a command line, which drop them; in a token they would stay.
        """
        match self.expression:
            case {"call": "quote" | "squote" as function, "args": [dict(inner)]} if "is" not in inner:
                mark = '"' if function == "quote" else "'"
                return f"{mark}{SecretText(inner).token}{mark}"
        return self.token

    @property
    def names(self) -> frozenset[tuple[str, str]]:
        """The secrets it is made of, as pairs of `secret` or `value` and the name."""
        return frozenset(_names(self.expression))


def secret(secret_id: str) -> SecretText:
    """The value of a secret of the task."""
    return SecretText({"secret": secret_id}, size=_BASE_SIZE + len(secret_id))


def secret_value(name: str) -> SecretText:
    """A value that was given as a secret (`--set-secret`)."""
    return SecretText({"value": name}, size=_BASE_SIZE + len(name))


def call(function: str, arguments: Sequence[Value]) -> SecretText:
    """A function's result for arguments of which at least one is a SecretText.

    Raises FunctionError for a function whose result would tell something about the secret, and for arguments that
    a token cannot hold.
    """
    if function not in DEFERRED_FUNCTIONS:
        raise FunctionError(f"{function} would make the task depend on the value of a secret")
    levels, size = _measure(arguments)
    return SecretText({"call": function, "args": [_argument(each) for each in arguments]}, levels, size)


def looked_at(function: str, arguments: Sequence[Value]) -> Sequence[Value] | None:
    """The arguments that a function looks at, without what they hold; None when it may look at anything."""
    if function not in PASSING_FUNCTIONS:
        return None
    left = list(arguments)
    del left[PASSING_FUNCTIONS[function]]
    return left


def contains_secret(value: Value) -> bool:
    """Whether a value is, or holds somewhere, a SecretText."""
    if not isinstance(value, (list, dict)):
        return isinstance(value, SecretText)
    seen = {id(value)}  # a map may hold itself
    stack: list[Value] = [value]
    while stack:
        held = stack.pop()
        for each in held.values() if isinstance(held, dict) else held:
            if isinstance(each, SecretText):
                return True
            if isinstance(each, (list, dict)) and id(each) not in seen:
                seen.add(id(each))
                stack.append(each)
    return False


def find_mark(text: str) -> int:
    """The offset of the first character that could begin or end a token, or -1."""
    found = _MARK.search(text)
    return found.start() if found else -1


def has_token(text: str) -> bool:
    return START in text


def tokens_in(text: str) -> list[SecretText]:
    """The secret texts whose tokens stand in a text."""
    return [_unpack(match[1]) for match in _TOKEN.finditer(text)] if START in text else []


def mask_tokens(text: str) -> str:
    """The text as people may see it: `***` for every token."""
    return _TOKEN.sub(MASK, text) if START in text else text


def reveal(text: str, find: Callable[[str, str], str | None], functions: Mapping[str, Function]) -> str:
    """The text with the value of every token in its place; the executor's last act before a step.

    `find` gives the value for `secret` or `value` and a name, None where there is none. Raises FunctionError.
    """
    if START not in text:
        return text
    try:
        return _TOKEN.sub(
            lambda match: print_value(_evaluate(_unpack(match[1]).expression, find, functions)), text
        )
    except RecursionError:
        raise _damaged() from None


def _measure(arguments: Sequence[Value]) -> tuple[int, int]:
    """Levels and size of a call. Raises FunctionError for more than a token holds."""
    levels, size = 0, _BASE_SIZE
    stack: list[tuple[Value, int]] = [(each, 1) for each in arguments]
    while stack:
        value, level = stack.pop()
        size += 10
        if isinstance(value, SecretText):
            level += value.levels
            size += value.size
        elif isinstance(value, str):
            size += len(value)
        elif isinstance(value, (list, dict)):
            items = value
            if isinstance(value, dict):
                size += sum(map(len, value))
                items = list(value.values())
            stack += [(each, level + 1) for each in items]
        elif not isinstance(value, _PLAIN_TYPES):
            raise FunctionError("beside a secret, times and versions must be text: use date or toString")
        levels = max(levels, level)
        if levels > MAX_LEVELS:
            raise FunctionError(f"what is made of a secret is nested more than {MAX_LEVELS} levels deep")
        if size > MAX_SIZE:
            raise FunctionError(f"what is made of a secret is longer than {MAX_SIZE} characters")
    return levels, size


def _argument(value: Value) -> Mapping[str, Any]:
    if isinstance(value, SecretText):
        return value.expression
    if not contains_secret(value):
        return {"is": value}
    if isinstance(value, list):
        return {"list": [_argument(each) for each in value]}
    return {"map": {name: _argument(each) for name, each in value.items()}}


def _evaluate(
    expression: Mapping[str, Any], find: Callable[[str, str], str | None], functions: Mapping[str, Function]
) -> Value:
    match expression:
        case {"secret": str(name)}:
            return find("secret", name)
        case {"value": str(name)}:
            return find("value", name)
        case {"list": list(items)}:
            return [_evaluate(each, find, functions) for each in items]
        case {"map": dict(values)}:
            return {name: _evaluate(each, find, functions) for name, each in values.items()}
        case {"call": str(function), "args": list(arguments)} if function in DEFERRED_FUNCTIONS:
            return functions[function](*(_evaluate(each, find, functions) for each in arguments))
        case {"is": value}:
            return value
    raise _damaged()


def _names(expression: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    stack: list[Any] = [expression]
    while stack:
        match stack.pop():
            case {"secret": str(name)}:
                yield "secret", name
            case {"value": str(name)}:
                yield "value", name
            case {"args": list(parts)} | {"list": list(parts)}:
                stack += parts
            case {"map": dict(parts)}:
                stack += parts.values()


def _unpack(packed: str) -> SecretText:
    try:
        expression = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except (ValueError, RecursionError):
        raise _damaged() from None
    if not isinstance(expression, dict):
        raise _damaged()
    return SecretText(expression)


def _damaged() -> FunctionError:
    return FunctionError("a token of a secret is damaged")
