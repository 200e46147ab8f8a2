from __future__ import annotations

from tasks_engine.definition.source import Edit, SourceText


def place(source: SourceText, part: str) -> tuple[int, int, int]:
    """Line, column and width in the original of a part of the text."""
    start = source.text.index(part)
    location = source.locate(start, start + len(part))
    return location.line, location.column, location.width


def replace(source: SourceText, old: str, new: str) -> SourceText:
    start = source.text.index(old)
    return source.rewrite([Edit(start, start + len(old), new)])


def test_unchanged_text_is_located_where_it_stands() -> None:
    assert place(SourceText("f", "one\ntwo three\n"), "three") == (2, 5, 5)


def test_a_location_shows_the_whole_line_without_its_line_break() -> None:
    location = SourceText("f", "one\r\ntwo\r\n").locate(5)
    assert (location.source_name, location.text) == ("f", "two")


def test_text_behind_a_replacement_keeps_its_place() -> None:
    source = replace(SourceText("f", "a $ID b"), "$ID", "a-long-replacement")
    assert place(source, "b") == (1, 7, 1)


def test_a_replacement_stands_for_all_it_replaced() -> None:
    source = replace(SourceText("f", "a $ID b"), "$ID", "value")
    assert place(source, "value") == (1, 3, 3)
    assert place(source, "lu") == (1, 3, 3)


def test_a_part_across_a_replacement_covers_both() -> None:
    source = replace(SourceText("f", "x-$ID-y z"), "$ID", "1")
    assert place(source, "x-1-y") == (1, 1, 7)


def test_text_after_a_deleted_line_keeps_its_line() -> None:
    source = replace(SourceText("f", "# gone\nkept\n"), "# gone\n", "")
    assert source.text == "kept\n"
    assert place(source, "kept") == (2, 1, 4)


def test_places_survive_three_rewrites() -> None:
    source = SourceText("f", "# comment\nid: $ID {{.V}} end\n")
    source = replace(source, "# comment\n", "")
    source = replace(source, "$ID", "{{.Run.ID}}")
    source = source.rewrite([Edit(4, 15, "r1"), Edit(16, 22, "")])
    assert source.text == "id: r1  end\n"
    assert place(source, "r1") == (2, 5, 3)
    assert place(source, "end") == (2, 16, 3)


def test_a_replacement_inside_a_replacement_stands_for_the_first_one() -> None:
    source = replace(SourceText("f", "a $ID b"), "$ID", "one two")
    source = replace(source, "two", "2")
    assert source.text == "a one 2 b"
    assert place(source, "2") == (1, 3, 3)
    assert place(source, "b") == (1, 7, 1)


def test_a_width_never_leaves_its_line() -> None:
    location = SourceText("f", "abc\ndef\n").locate(1, 7)
    assert (location.line, location.column, location.width) == (1, 2, 2)


def test_the_end_of_the_text_has_a_place() -> None:
    source = SourceText("f", "ab")
    assert (source.locate(2).line, source.locate(2).column) == (1, 3)


def test_an_emptied_text_has_a_place() -> None:
    source = replace(SourceText("f", "gone"), "gone", "")
    assert (source.locate(0).line, source.locate(0).column) == (1, 1)


def test_no_edits_change_nothing() -> None:
    source = SourceText("f", "a")
    assert source.rewrite([]) is source


def test_the_line_of_a_character_is_that_of_its_location() -> None:
    source = replace(SourceText("f", "a\n# b\nc\n"), "# b\n", "")
    assert [source.line(at) for at in range(4)] == [1, 1, 3, 3]
