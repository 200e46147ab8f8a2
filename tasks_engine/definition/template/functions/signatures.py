"""What a function takes: how many arguments, and of which type each; Go's reflection refuses all others.

`callables` turns plain Python functions with their parameters into what the evaluator calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks_engine.definition.template.functions.bounds import check_list_length, check_text_length
from tasks_engine.definition.template.functions.octets import joined
from tasks_engine.definition.template.values import Function, FunctionError, Record, Value, format_value


@dataclass(frozen=True)
class Parameter:
    #: what it takes, in the words of the message
    wanted: str
    accepts: Callable[[Value], bool]
    #: makes what the Python function gets of it
    convert: Callable[[Value], Any] | None = None


class Takes:
    """A Python function and what it takes: the parameters, then any number of `rest`.

    `bare` says that the message of its FunctionError is the author's own.
    """

    def __init__(
        self,
        function: Callable[..., Value],
        *parameters: Parameter,
        rest: Parameter | None = None,
        bare: bool = False,
    ) -> None:
        self.function = function
        self.parameters = parameters
        self.rest = rest
        self.bare = bare


def _is_whole(value: Value) -> bool:
    if isinstance(value, float):
        # a constant such as 1e3 is an integer where Go wants one
        return value.is_integer() and abs(value) < 2**53
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


ANY = Parameter("anything", lambda _: True)
TEXT = Parameter("text", lambda value: isinstance(value, str))
WHOLE = Parameter("a whole number", _is_whole, int)
COUNTER = Parameter(
    "a whole number from 0 to 4294967295", lambda value: _is_whole(value) and 0 <= value < 2**32, int
)
NUMBER = Parameter("a number", _is_number, float)
BOOL = Parameter("true or false", lambda value: isinstance(value, bool))
TIME = Parameter("a time", lambda value: isinstance(value, datetime))
LIST = Parameter("a list", lambda value: isinstance(value, list))
MAP = Parameter("a map", lambda value: isinstance(value, dict))
#: nil is an empty map where nothing is put into it
MAP_OR_NIL = Parameter(
    "a map",
    lambda value: value is None or isinstance(value, dict),
    lambda value: {} if value is None else value,
)


def callables(signatures: Mapping[str, Takes]) -> dict[str, Function]:
    """What the evaluator calls, by name."""
    return {name: _callable(name, takes) for name, takes in signatures.items()}


def describe(value: Value) -> str:
    """A value in the words of a message, short."""
    if value is None:
        return "nil"
    if isinstance(value, str):
        return "text"
    if _is_number(value):
        small = isinstance(value, float) or abs(value) < 2**64
        return f"the number {format_value(value)}" if small else "a number"
    if isinstance(value, bool):
        return format_value(value)
    if isinstance(value, datetime):
        return "a time"
    if isinstance(value, Record):
        return "a version"
    return "a list" if isinstance(value, list) else "a map"


def _callable(name: str, takes: Takes) -> Function:
    function, parameters, rest = takes.function, takes.parameters, takes.rest
    prefix = "" if takes.bare else f"{name}: "
    fewest = len(parameters)

    def call(*arguments: Value) -> Value:
        count = len(arguments)
        if count < fewest or (rest is None and count > fewest):
            raise FunctionError(_arity_message(name, fewest, rest is not None, count))
        taken = [
            _take(prefix, index, parameters[index] if index < fewest else rest, argument)
            for index, argument in enumerate(arguments)
        ]
        try:
            return _checked(function(*taken))
        except FunctionError as error:
            raise FunctionError(f"{prefix}{error}") from error
        except RecursionError as error:
            raise FunctionError(f"{prefix}the value is nested too deep") from error

    return call


def _take(prefix: str, index: int, parameter: Parameter | None, argument: Value) -> Any:
    if parameter is None or parameter is ANY:
        return argument
    if not parameter.accepts(argument):
        raise FunctionError(
            f"{prefix}argument {index + 1} must be {parameter.wanted}, not {describe(argument)}"
        )
    return parameter.convert(argument) if parameter.convert else argument


def _checked(result: Value) -> Value:
    if isinstance(result, str):
        check_text_length(len(result))
        return joined(result)
    if isinstance(result, list):
        check_list_length(len(result))
    return result


def _arity_message(name: str, fewest: int, more: bool, count: int) -> str:
    wanted = f"at least {fewest}" if more else str(fewest or "no")
    return f"{name} takes {wanted} argument{'' if fewest == 1 else 's'}, not {count}"
