"""How a problem is shown."""

from __future__ import annotations

from tasks_engine.errors import DefinitionError, SourceLocation


def test_what_could_drive_a_terminal_is_not_printed():
    problem = DefinitionError(
        "id '\x1b[31mred\x07'", location=SourceLocation("a.yaml", 1, 1, "\x1b]0;title\x07")
    )

    assert "\x1b" not in str(problem)
    assert "\x07" not in str(problem)
