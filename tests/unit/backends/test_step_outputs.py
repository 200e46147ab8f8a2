"""Lines of a step's outputs."""

from __future__ import annotations

import pytest

from tasks_engine.backends.step_outputs import (
    MAX_NAMES,
    MAX_OUTPUT_BYTES,
    MAX_VALUE_BYTES,
    parse_outputs,
)
from tasks_engine.definition.template.secret_text import secret
from tasks_engine.errors import StepFailed


@pytest.mark.parametrize(
    ("data", "outputs"),
    [
        (b"", {}),
        (b"\n\r\n\n", {}),
        (b"a=1", {"a": "1"}),
        (b"a=1\nb=2\n", {"a": "1", "b": "2"}),
        (b"a=1\r\nb=\r\n", {"a": "1", "b": ""}),
        (b"a=1\na=2\n", {"a": "2"}),
        (b"a= b = c \t\n", {"a": " b = c \t"}),
        ("_A9=ü\u2028\n".encode(), {"_A9": "ü\u2028"}),
        (b"a={{.Run.ID}} $(id)", {"a": "{{.Run.ID}} $(id)"}),
        (b"a=" + b"x" * MAX_VALUE_BYTES, {"a": "x" * MAX_VALUE_BYTES}),
    ],
)
def test_lines_become_values(data: bytes, outputs: dict[str, str]) -> None:
    assert parse_outputs(data) == outputs


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"a=1\n\nsome words\n", "line 3, 'some words', which is not name=value"),
        (b"=1", "line 1, '=1', which is not name=value"),
        (b" a=1", "line 1, ' a=1', which is not name=value"),
        (b"a =1", "line 1, 'a =1', which is not name=value"),
        (b"a-b=1", "line 1, 'a-b=1', which is not name=value"),
        (b"9a=1", "line 1, '9a=1', which is not name=value"),
        ("ä=1".encode(), "line 1, 'ä=1', which is not name=value"),
        (b"a\x1b[2J", "line 1, 'a?[2J', which is not name=value"),
        (b"a=1\nb=\xff", "line 2, whose byte 3 is not UTF-8"),
        (
            f"a=1\nb=x{secret('s').token}".encode(),
            "line 2, whose value holds a character that tasks keeps for itself (U+F5EC0 or U+F5EC1)",
        ),
        (b"a=1\0", "line 1, whose value holds a NUL character, which no program can be given"),
        (b"a=" + b"x" * (MAX_VALUE_BYTES + 1), "line 1, whose value is longer than 64 KiB"),
        (b"a=1\n" * (MAX_OUTPUT_BYTES // 4) + b"\n", "more than 1024 KiB"),
        (
            b"".join(b"a%d=\n" % number for number in range(MAX_NAMES + 1)),
            "more than 100 names, the last one in line 101",
        ),
    ],
)
def test_what_cannot_be_read_fails_the_step_and_is_named(data: bytes, what: str) -> None:
    with pytest.raises(StepFailed) as caught:
        parse_outputs(data)
    assert caught.value.message == f"the step wrote to $TASKS_OUTPUT {what}"


def test_as_many_names_as_there_may_be_are_read() -> None:
    assert len(parse_outputs(b"".join(b"a%d=\n" % number for number in range(MAX_NAMES)))) == MAX_NAMES
