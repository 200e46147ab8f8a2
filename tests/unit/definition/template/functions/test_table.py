from __future__ import annotations

import importlib
from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template import functions
from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Int64, Record, Value

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
TABLE = function_table(NOW, "seed")
GO = {
    *("and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "index", "len", "slice"),
    *("html", "js", "urlquery", "print", "printf", "println"),
}


def test_every_function_of_sprig_and_go_is_there() -> None:
    assert len(TABLE) == 167
    assert set(TABLE) > GO
    assert all(callable(TABLE[name]) for name in TABLE)


def test_nothing_of_helm_is_there() -> None:
    assert not {"toYaml", "fromYaml", "required", "include", "tpl", "lookup"} & set(TABLE)
    with pytest.raises(KeyError):
        TABLE["toYaml"]


def test_the_names_are_those_that_the_modules_define() -> None:
    for module, names in functions._NAMES_BY_MODULE.items():
        signatures = importlib.import_module(f"{functions.__name__}.{module}").SIGNATURES
        assert sorted(signatures) == sorted(names.split()), module


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("trunc", (1, "x", 2), "trunc takes 2 arguments, not 3"),
        ("upper", (), "upper takes 1 argument, not 0"),
        ("now", (1,), "now takes no arguments, not 1"),
        ("default", (), "default takes at least 1 argument, not 0"),
        ("eq", (), "eq takes at least 1 argument, not 0"),
        ("ne", (1,), "ne takes 2 arguments, not 1"),
        ("round", (1,), "round takes at least 2 arguments, not 1"),
        ("upper", (5,), "upper: argument 1 must be text, not the number 5"),
        ("upper", (None,), "upper: argument 1 must be text, not nil"),
        ("upper", (["a"],), "upper: argument 1 must be text, not a list"),
        ("upper", ({},), "upper: argument 1 must be text, not a map"),
        ("upper", (True,), "upper: argument 1 must be text, not true"),
        ("upper", (NOW,), "upper: argument 1 must be text, not a time"),
        ("upper", (Record("*semver.Version", "1.0.0", {}),), "upper: argument 1 must be text, not a version"),
        ("trunc", ("x", "y"), "trunc: argument 1 must be a whole number, not text"),
        ("trunc", (1.5, "y"), "trunc: argument 1 must be a whole number, not the number 1.5"),
        ("trunc", (True, "y"), "trunc: argument 1 must be a whole number, not true"),
        ("trunc", (1, 2**70), "trunc: argument 2 must be text, not a number"),
        ("ternary", (1, 2, "x"), "ternary: argument 3 must be true or false, not text"),
        ("first", ("abc",), "first: argument 1 must be a list, not text"),
        ("set", (None, "a", 1), "set: argument 1 must be a map, not nil"),
        ("hasKey", ({}, 1), "hasKey: argument 2 must be text, not the number 1"),
        ("omit", ({}, "a", 1), "omit: argument 3 must be text, not the number 1"),
        ("unixEpoch", (5,), "unixEpoch: argument 1 must be a time, not the number 5"),
        ("round", (1, 2, "x"), "round: argument 3 must be a number, not text"),
        (
            "derivePassword",
            (-1, "pin", "a", "b", "c"),
            "derivePassword: argument 1 must be a whole number from 0 to 4294967295, not the number -1",
        ),
    ],
)
def test_what_a_function_does_not_take(name: str, arguments: tuple[Value, ...], message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE[name](*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("count", [3, Int64(3), 3.0])
def test_a_whole_number_may_be_of_any_type(count: Value) -> None:
    assert TABLE["trunc"](count, "abcd") == "abc"


def test_results_are_bounded() -> None:
    with pytest.raises(FunctionError, match="longer than 1048576 characters"):
        TABLE["print"]("x" * 600_000, "y" * 600_000)
    with pytest.raises(FunctionError, match="more than 100000 items"):
        TABLE["concat"]([0] * 60_000, [0] * 60_000)


def nested(levels: int) -> list[Value]:
    value: list[Value] = []
    for _ in range(levels):
        value = [value]
    return value


def shared(levels: int) -> list[Value]:
    """A small value that has 2 ** levels parts."""
    value: list[Value] = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


def holding_itself() -> dict[str, Value]:
    value: dict[str, Value] = {}
    value["again"] = value
    return value


@pytest.mark.parametrize("name", ["toJson", "toPrettyJson", "deepCopy", "toString", "quote", "print", "uniq"])
@pytest.mark.parametrize(
    "value", [nested(100_000), shared(60), [holding_itself()]], ids=["deep", "shared", "cyclic"]
)
def test_values_without_end_are_refused(name: str, value: list[Value]) -> None:
    with pytest.raises(FunctionError):
        TABLE[name](value)


def test_a_hundred_levels_are_fine() -> None:
    value = nested(100)
    assert TABLE["toJson"](value) == "[" * 101 + "]" * 101
    assert TABLE["deepEqual"](TABLE["deepCopy"](value), value) is True
