from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError, Int64, Uint8, Value

NOW = datetime(2024, 1, 2, tzinfo=UTC)
TABLE = function_table(NOW, "seed")
VERSION = TABLE["semver"]("1.2.3")


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("default", ("d", ""), "d"),
        ("default", ("d", 0), "d"),
        ("default", ("d", None), "d"),
        ("default", ("d", []), "d"),
        ("default", ("d",), "d"),
        ("default", ("d", "x"), "x"),
        ("default", ("d", 0, "x"), "d"),
        ("default", ("d", NOW), NOW),
        ("coalesce", (None, "", 0, "a", "b"), "a"),
        ("coalesce", (None, ""), None),
        ("coalesce", (), None),
        ("empty", ({},), True),
        ("empty", (False,), True),
        ("empty", (0.0,), True),
        ("empty", (VERSION,), False),
        ("ternary", ("a", "b", True), "a"),
        ("ternary", ("a", "b", False), "b"),
        ("typeOf", (None,), "<nil>"),
        ("typeOf", (Int64(1),), "int64"),
        ("typeOf", (VERSION,), "*semver.Version"),
        ("typeOf", ([],), "[]interface {}"),
        ("typeIs", ("int", 1), True),
        ("typeIs", ("semver.Version", VERSION), False),
        ("typeIsLike", ("semver.Version", VERSION), True),
        ("typeIsLike", ("string", "a"), True),
        ("kindOf", (None,), "invalid"),
        ("kindOf", ([],), "slice"),
        ("kindOf", ({},), "map"),
        ("kindOf", (Uint8(1),), "uint8"),
        ("kindOf", (NOW,), "struct"),
        ("kindOf", (VERSION,), "ptr"),
        ("kindIs", ("bool", True), True),
        ("kindIs", ("int", 1.5), False),
    ],
)
def test_choices_and_types(name: str, arguments: tuple[Value, ...], result: Value) -> None:
    assert TABLE[name](*arguments) == result


def test_fail_ends_with_the_authors_message() -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["fail"]("set a tag first")
    assert str(caught.value) == "set a tag first"
