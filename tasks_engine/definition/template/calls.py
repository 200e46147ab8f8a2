"""Calls of functions: what they cost, and what becomes of arguments that nobody knows yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks_engine.definition.template import secret_text
from tasks_engine.definition.template.secret_text import (
    THOROUGH_FUNCTIONS,
    Secrets,
    SecretText,
    StepPart,
    Untold,
)
from tasks_engine.definition.template.values import Function, FunctionError, Value

#: of lists and maps in each other, as far as functions take them
MAX_LEVELS = 200
_CHARACTERS_A_STEP = 16
_ITEMS_A_STEP = 4
#: functions that take as long for a long list or a large map as for a small one
_QUICK_FUNCTIONS = frozenset(
    """
    coalesce default dict empty first hasKey index kindIs kindOf last len list set ternary tuple typeIs typeIsLike
    typeOf unset
    """.split()  # noqa: SIM905 - a list would be five times as long
)


class Caller:
    def __init__(
        self,
        functions: Callable[[], Mapping[str, Function]],
        spend: Callable[[int], None],
        field: Callable[[Untold, str], Value],
    ) -> None:
        """`spend` counts steps of work and may raise; `field` gives what `.Secrets` and `.Steps` have under a name."""
        self._functions = functions
        self._spend = spend
        self._field = field

    def call(self, function: str, arguments: list[Value]) -> Value:
        """What a function makes of the arguments. Raises FunctionError."""
        size = _text_size if function in _QUICK_FUNCTIONS else _size
        self._spend(sum(map(size, arguments)))
        result = self._applied(function, arguments)
        self._spend(size(result))
        return result

    def _applied(self, function: str, arguments: list[Value]) -> Value:
        looked_at = secret_text.looked_at(function, arguments)
        if looked_at is None:
            kinds = self._held_types(arguments)
        else:
            kinds = set(map(type, looked_at))
            if function in THOROUGH_FUNCTIONS:
                self._held_types(looked_at)  # for what that costs
        if Secrets in kinds or StepPart in kinds:
            return self._indexed(function, arguments, has_secrets=Secrets in kinds)
        if SecretText in kinds:
            return secret_text.call(function, arguments)
        return self._functions()[function](*arguments)

    def _held_types(self, values: Sequence[Value]) -> set[type]:
        """The types of values and of all they hold.

        Costs by what there is to look at, as functions do that, however often the same is held.
        """
        found: set[type] = set()
        level: list[Any] = [values]
        for _ in range(MAX_LEVELS):
            deeper: list[Any] = []
            for held in level:
                items = held.values() if isinstance(held, dict) else held
                types = set(map(type, items))
                if not types.isdisjoint((list, dict)):
                    deeper += [each for each in items if isinstance(each, (list, dict))]
                found |= types
            if not deeper:
                return found
            level = deeper
            self._spend(len(level) + sum(map(_size, level)))
        raise FunctionError(f"a value is nested more than {MAX_LEVELS} levels deep")

    def _indexed(self, function: str, arguments: Sequence[Value], *, has_secrets: bool) -> Value:
        """What `index` finds in `.Secrets`, `.Steps` and below; no other function takes them."""
        if function == "index" and len(arguments) == 2 and isinstance(arguments[0], (Secrets, StepPart)):
            if isinstance(arguments[1], str):
                return self._field(arguments[0], arguments[1])
            if isinstance(arguments[0], Secrets):
                raise FunctionError("the name of a secret must be text that is no secret")
            raise FunctionError("the names of a step and of its outputs must be text that is known")
        if has_secrets:
            raise FunctionError(
                "'.Secrets' only gives single secrets: .Secrets.name, or index .Secrets \"name\""
            )
        raise FunctionError("'.Steps' only gives single outputs: (index .Steps \"id\").Outputs.name")


def _size(value: Value) -> int:
    """How much work a value is, in steps."""
    return len(value) // _ITEMS_A_STEP if isinstance(value, (list, dict)) else _text_size(value)


def _text_size(value: Value) -> int:
    if isinstance(value, str):
        return len(value) // _CHARACTERS_A_STEP
    return value.size // _CHARACTERS_A_STEP if isinstance(value, SecretText) else 0
