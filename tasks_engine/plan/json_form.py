"""Frozen dataclasses as JSON and back, by their annotations."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

_Data = TypeVar("_Data")


def to_json(value: Any) -> Any:
    """JSON types only: dataclasses and mappings become objects, tuples lists, enums their values."""
    if isinstance(value, (str, int, float, type(None))):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    return {name: to_json(getattr(value, name)) for name in _names(cast(Hashable, type(value)))}


def from_json(kind: type[_Data], data: Mapping[str, Any]) -> _Data:
    """The dataclass that `to_json` made `data` of. Fields that are not there keep their defaults."""
    return kind(**fields_from_json(kind, data))


def fields_from_json(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass that are in `data`, as the dataclass takes them."""
    readers = _readers(cast(Hashable, kind))
    return {name: readers[name](value) for name, value in data.items()}


@cache
def _names(kind: Hashable) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]


@cache
def _readers(kind: Hashable) -> Mapping[str, Callable[[Any], Any]]:
    hints = get_type_hints(kind)
    return {name: _reader(hints[name]) for name in _names(kind)}


def _reader(hint: Any) -> Callable[[Any], Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple(map(item, value))
    if origin in (Union, types.UnionType):
        present = _reader(next(each for each in arguments if each is not type(None)))
        return lambda value: None if value is None else present(value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = _reader(arguments[1])
        return lambda value: {key: item(each) for key, each in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return lambda value: from_json(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return lambda value: value
