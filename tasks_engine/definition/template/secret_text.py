"""Text that comes from a secret or from the output of a step: only the executor can turn it into bytes.

A template never sees a secret's value, nor what a step of its task will write. What it writes is an opaque token,
which carries the name and the functions applied to it, so that plans, events and errors may hold it and whoever runs
the step can make the value of it. A token stands for its value wherever it is in a text, also next to other text.

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
#: what a token shows as in which there is a secret
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
_IDENTIFIER = re.compile(r"[^\W\d]\w*\Z")

#: the value for the parts of a name
Find = Callable[..., str | None]


class Untold:
    """What functions must not look at, where they come upon it in a list or map that they look through."""

    @property
    def noun(self) -> str:
        """What it is, in the words of a message."""
        return "a secret"

    def __bool__(self) -> bool:
        raise FunctionError(would_depend_on(self))

    @property
    def printed(self) -> str:
        raise FunctionError(would_depend_on(self))


class Secrets(Untold):
    """`.Secrets`: whatever its name, a secret is a SecretText."""


@dataclass(frozen=True)
class StepPart(Untold):
    """`.Steps`, `.Steps.id` or `.Steps.id.Outputs`: whatever the names, an output is a SecretText."""

    #: the id, and `Outputs`, as far as they are given
    names: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        return "an output of a step"

    @property
    def shown(self) -> str:
        return "".join(f".{name}" for name in ("Steps", *self.names))

    def field(self, name: str) -> StepPart | SecretText:
        """Raises FunctionError where a step has no such field."""
        if len(self.names) == 2:
            return step_output(self.names[0], name)
        if len(self.names) == 1 and name != "Outputs":
            raise FunctionError(f"a step has no field '{name}', only 'Outputs'")
        return StepPart((*self.names, name))


@dataclass(frozen=True)
class SecretText(Untold):
    """A value that is not known yet.

    `expression` is `{"secret": id}`, `{"value": name}` for one given on the command line, `{"output": [step id, name]}`
    for what a step writes, or `{"call": function, "args": [...]}`, where an argument is an expression,
    `{"is": plain value}`, or a `{"list": [...]}` or `{"map": {...}}` of these.
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
    def names(self) -> frozenset[tuple[str, ...]]:
        """What it is made of: `secret` and its id, `value` and its name, or `output`, the step's id and its name."""
        return frozenset(_names(self.expression))

    @property
    def holds_secret(self) -> bool:
        """False when it is made of outputs of steps alone, which people may see."""
        names = self.names
        return not names or any(kind != "output" for kind, *_ in names)

    @property
    def noun(self) -> str:
        return "a secret" if self.holds_secret else "an output of a step"

    @property
    def shown(self) -> str:
        """As people may see it: `***`, or the expression when it is made of outputs of steps alone."""
        return MASK if self.holds_secret else f"{{{{{_written(self.expression)}}}}}"


def secret(secret_id: str) -> SecretText:
    """The value of a secret of the task."""
    return SecretText({"secret": secret_id}, size=_BASE_SIZE + len(secret_id))


def secret_value(name: str) -> SecretText:
    """A value that was given as a secret (`--set-secret`)."""
    return SecretText({"value": name}, size=_BASE_SIZE + len(name))


def step_output(step_id: str, name: str) -> SecretText:
    """What a step of the task writes under a name."""
    return SecretText({"output": [step_id, name]}, size=_BASE_SIZE + len(step_id) + len(name))


def would_depend_on(*values: Value) -> str:
    """Why a template must not look at values, one of which is not known yet."""
    return f"the task would depend on {_of_value(_noun(values))}"


def call(function: str, arguments: Sequence[Value]) -> SecretText:
    """A function's result for arguments of which at least one is a SecretText.

    Raises FunctionError for a function whose result would tell something about the secret, and for arguments that
    a token cannot hold.
    """
    if function not in DEFERRED_FUNCTIONS:
        raise FunctionError(f"{function} would make the task depend on {_of_value(_noun(arguments))}")
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
    return isinstance(value, SecretText) or any(isinstance(each, SecretText) for each in _held(value))


def _held(value: Value) -> Iterator[Value]:
    """All that a list or a map holds, however deep."""
    if not isinstance(value, (list, dict)):
        return
    seen = {id(value)}  # a map may hold itself
    stack: list[Value] = [value]
    while stack:
        held = stack.pop()
        for each in held.values() if isinstance(held, dict) else held:
            yield each
            if isinstance(each, (list, dict)) and id(each) not in seen:
                seen.add(id(each))
                stack.append(each)


def find_mark(text: str) -> int:
    """The offset of the first character that could begin or end a token, or -1."""
    found = _MARK.search(text)
    return found.start() if found else -1


def has_token(text: str) -> bool:
    """Whether something of the text is not known yet: a secret, or an output of a step."""
    return START in text


def has_secret(text: str) -> bool:
    """Whether a token stands in the text that is not made of outputs of steps alone; a damaged one counts."""
    if START not in text:
        return False
    try:
        return not _TOKEN.search(text) or any(token.holds_secret for token in tokens_in(text))
    except FunctionError:
        return True


def tokens_in(text: str) -> list[SecretText]:
    """The secret texts whose tokens stand in a text. Raises FunctionError for a damaged one."""
    return [token for _, _, token in places_of_tokens(text)]


def places_of_tokens(text: str) -> list[tuple[int, int, SecretText]]:
    """Offset and length of every token in a text, and what it stands for. Raises FunctionError for a damaged one."""
    if START not in text:
        return []
    return [
        (match.start(), match.end() - match.start(), _unpack(match[1])) for match in _TOKEN.finditer(text)
    ]


def mask_tokens(text: str) -> str:
    """The text as people may see it: `***` for every token with a secret, the expression for one with outputs only."""
    return _TOKEN.sub(_shown, text) if START in text else text


def replace_tokens(text: str, replacement: str) -> str:
    """The text with something else in the place of every token."""
    return _TOKEN.sub(lambda _: replacement, text) if START in text else text


def reveal(text: str, find: Find, functions: Mapping[str, Function]) -> str:
    """The text with the value of every token in its place; the executor's last act before a step.

    `find` takes what SecretText.names has, part by part, and gives the value, None where there is none. Raises
    FunctionError.
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
            raise FunctionError(
                f"beside {_noun(arguments)}, times and versions must be text: use date or toString"
            )
        levels = max(levels, level)
        if levels > MAX_LEVELS:
            noun = _noun(arguments)
            raise FunctionError(f"what is made of {noun} is nested more than {MAX_LEVELS} levels deep")
        if size > MAX_SIZE:
            noun = _noun(arguments)
            raise FunctionError(f"what is made of {noun} is longer than {MAX_SIZE} characters")
    return levels, size


def _noun(values: Sequence[Value]) -> str:
    """What it is that is not known among values, in the words of a message."""
    nouns = {each.noun for value in values for each in (value, *_held(value)) if isinstance(each, Untold)}
    return "an output of a step" if nouns == {"an output of a step"} else "a secret"


def _of_value(noun: str) -> str:
    return "the value of a secret" if noun == "a secret" else noun


def _argument(value: Value) -> Mapping[str, Any]:
    if isinstance(value, SecretText):
        return value.expression
    if not contains_secret(value):
        return {"is": value}
    if isinstance(value, list):
        return {"list": [_argument(each) for each in value]}
    return {"map": {name: _argument(each) for name, each in value.items()}}


def _evaluate(expression: Mapping[str, Any], find: Find, functions: Mapping[str, Function]) -> Value:
    match expression:
        case {"secret": str(name)}:
            return find("secret", name)
        case {"value": str(name)}:
            return find("value", name)
        case {"output": [str(step_id), str(name)]}:
            return find("output", step_id, name)
        case {"list": list(items)}:
            return [_evaluate(each, find, functions) for each in items]
        case {"map": dict(values)}:
            return {name: _evaluate(each, find, functions) for name, each in values.items()}
        case {"call": str(function), "args": list(arguments)} if function in DEFERRED_FUNCTIONS:
            return functions[function](*(_evaluate(each, find, functions) for each in arguments))
        case {"is": value}:
            return value
    raise _damaged()


def _names(expression: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    stack: list[Any] = [expression]
    while stack:
        match stack.pop():
            case {"secret": str(name)}:
                yield "secret", name
            case {"value": str(name)}:
                yield "value", name
            case {"output": [str(step_id), str(name)]}:
                yield "output", step_id, name
            case {"args": list(parts)} | {"list": list(parts)}:
                stack += parts
            case {"map": dict(parts)}:
                stack += parts.values()


def _shown(match: re.Match[str]) -> str:
    try:
        return _unpack(match[1]).shown
    except (FunctionError, RecursionError):
        return MASK


def _written(expression: Any) -> str:
    """An expression of outputs as a template has it, with nothing in it that JSON would escape."""
    match expression:
        case {"output": [str(step_id), str(name)]} if _IDENTIFIER.match(step_id):
            return f".Steps.{step_id}.Outputs.{_printable(name)}"
        case {"output": [str(step_id), str(name)]}:
            return f"(index .Steps `{_printable(step_id)}`).Outputs.{_printable(name)}"
        case {"call": str(function), "args": list(arguments)}:
            written = (
                f"({_written(each)})" if isinstance(each, dict) and "call" in each else _written(each)
                for each in arguments
            )
            return " ".join((function, *written))
        case {"is": str(text)}:
            return f"`{_printable(text)}`"
        case {"is": int() | float() as number}:
            return str(number).lower()
    return "…"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() and each not in '`"\\' else "…" for each in text)


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
