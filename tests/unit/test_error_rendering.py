"""How a problem is shown."""

from __future__ import annotations

from tasks_engine.errors import DefinitionError, SourceLocation


def test_what_could_drive_a_terminal_is_not_printed():
    problem = DefinitionError(
        "id '\x1b[31mred\x07'", location=SourceLocation("a.yaml", 1, 1, "\x1b]0;title\x07")
    )

    assert "\x1b" not in str(problem)
    assert "\x07" not in str(problem)


def test_of_a_long_line_the_part_around_the_place_is_shown():
    problem = DefinitionError(
        "wrong", location=SourceLocation("a.yaml", 1, 5001, "x" * 5000 + "here" + "y" * 5000, 4)
    )

    _, line, mark = str(problem).splitlines()

    assert len(line) < 230
    assert line[mark.index("^") : mark.rindex("^") + 1] == "here"


def test_the_end_of_a_long_line_is_shown_to_its_end():
    problem = DefinitionError("wrong", location=SourceLocation("a.yaml", 1, 501, "x" * 500 + "end", 3))

    assert str(problem).splitlines()[1].endswith("xend")
