from __future__ import annotations

import pytest

from tasks_engine.images.dockerfile_frontend import frontend_of


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=r.io/f:1\nFROM x",
        "#syntax = r.io/f:1 and more\n",
        "// syntax=r.io/f:1\nFROM x",
        "#!/usr/bin/env x\n# syntax=r.io/f:1\n",
        "\ufeff# SYNTAX=r.io/f:1",
        "# escape=`\n# syntax=r.io/f:1\n",
        '{"syntax": "r.io/f:1", "x": [1]} rest',
        '#!x\n  {"syntax": " r.io/f:1 "}',
    ],
)
def test_a_frontend_is_found_in_every_form(text: str) -> None:
    assert frontend_of(text) == "r.io/f:1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FROM x\n# syntax=r.io/f",
        "# a comment\n# syntax=r.io/f",
        "{",
        '{"syntax": 5}',
        "[1]",
        '{"syntax": " "}',
    ],
)
def test_a_text_without_one_asks_for_none(text: str) -> None:
    assert frontend_of(text) == ""
