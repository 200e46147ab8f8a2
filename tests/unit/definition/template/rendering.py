"""What tests of templates share: data, the functions at a fixed time, and texts and problems in short form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks_engine.definition.source import SourceText
from tasks_engine.definition.template import Rendered, render
from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.secret_text import Secrets, reveal, secret_value
from tasks_engine.errors import DefinitionError

FUNCTIONS = function_table(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "seed")
SECRETS = {"pw": "p@ss 'w'", "a-b": "dashed", "empty": ""}


def data(**values: Any) -> dict[str, Any]:
    """What a template sees: some values, more of them, and secrets."""
    return {
        "Run": {"ID": "r1", "Registry": ""},
        "Values": {
            "text": "x",
            "yes": True,
            "no": False,
            "none": None,
            "number": 1.10,
            "list": ["a", "b", "c"],
            "empty": [],
            "map": {"b": 2, "a": 1},
            "nested": {"list": [1, {"deep": "d"}]},
            "token": secret_value("token"),
            **values,
        },
        "Secrets": Secrets(),
    }


def rendered(template: str, **values: Any) -> Rendered:
    return render(SourceText("f", template), data(**values), lambda: FUNCTIONS)


def text_of(template: str, **values: Any) -> str:
    return rendered(template, **values).source.text


def problem_of(template: str, **values: Any) -> str:
    """The problem as `line:column-width: message`, with the action left out that the message begins with."""
    error = error_of(template, **values)
    place = error.location
    assert place is not None
    message = error.message
    if message.startswith("in {{"):
        message = message.partition(" }}: ")[2]
    return f"{place.line}:{place.column}-{place.width}: {message}"


def error_of(template: str, **values: Any) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        rendered(template, **values)
    return caught.value


def revealed(text: str, secrets: dict[str, str] | None = None) -> str:
    """The text with the values of secrets."""
    known = {**SECRETS, "token": "given"} if secrets is None else secrets
    return reveal(text, lambda _kind, name: known.get(name), FUNCTIONS)
