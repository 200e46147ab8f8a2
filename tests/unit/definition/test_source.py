from __future__ import annotations

from tasks_engine.definition.source import Edit, Piece, SourceText


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


def test_pieces_stand_in_any_order_and_as_often_as_one_likes() -> None:
    source = SourceText("f", "one two\nthree\n").assemble([Piece(8, 13), Piece(0, 4), Piece(8, 13)])
    assert source.text == "threeone three"
    assert [place(source, part) for part in ("three", "one ")] == [(2, 1, 5), (1, 1, 4)]
    assert (source.locate(9).line, source.locate(9).column) == (2, 1)


def test_a_piece_with_a_replacement_stands_for_all_it_replaces() -> None:
    source = SourceText("f", "a {{ .x }} b").assemble(
        [Piece(0, 2), Piece(2, 10, "value", True), Piece(10, 12)]
    )
    assert source.text == "a value b"
    assert place(source, "value") == place(source, "lu") == (1, 3, 8)
    assert place(source, " b") == (1, 11, 2)


def test_empty_pieces_leave_nothing() -> None:
    source = SourceText("f", "abc").assemble([Piece(0, 0), Piece(0, 3, ""), Piece(2, 1), Piece(1, 2)])
    assert source.text == "b"
    assert place(source, "b") == (1, 2, 1)


def test_a_text_of_no_pieces_is_empty() -> None:
    source = SourceText("f", "abc").assemble([])
    assert source.text == ""
    assert (source.locate(0).line, source.locate(0).column) == (1, 1)
    assert list(source.values()) == []


def test_a_replacement_for_nothing_has_the_place_where_it_was_put() -> None:
    source = SourceText("f", "ab").assemble([Piece(0, 1), Piece(1, 1, "new"), Piece(1, 2)])
    assert source.text == "anewb"
    assert place(source, "new") == (1, 2, 1)


def test_pieces_across_replacements_keep_what_they_are_made_of() -> None:
    source = SourceText("f", "a $ID b $ID c")
    source = source.rewrite([Edit(2, 5, "1234"), Edit(8, 11, "5678")])
    assert source.text == "a 1234 b 5678 c"
    source = source.assemble([Piece(4, 11), Piece(0, 3)])
    assert source.text == "34 b 56a 1"
    assert place(source, "34") == (1, 3, 3)
    assert place(source, " b ") == (1, 6, 3)
    assert place(source, "56") == (1, 9, 3)
    assert place(source, "1") == (1, 3, 3)


def test_values_are_the_stretches_that_came_out_of_actions() -> None:
    source = SourceText("f", "ab").assemble(
        [
            Piece(0, 1, "one", True),
            Piece(0, 1),
            Piece(0, 1, "two", True),
            Piece(0, 1, "3", True),
            Piece(1, 2, "x"),
        ]
    )
    assert [source.text[start:end] for start, end in source.values()] == ["one", "two", "3"]


def test_values_at_the_end_and_after_another_rewrite_are_known() -> None:
    source = SourceText("f", "ab").assemble([Piece(0, 1), Piece(1, 2, "value", True)])
    assert [source.text[start:end] for start, end in source.values()] == ["value"]
    source = source.rewrite([Edit(0, 1, ""), Edit(2, 3, "")])
    assert source.text == "vlue"
    assert [source.text[start:end] for start, end in source.values()] == ["v", "lue"]


def test_places_of_many_pieces_are_found_fast() -> None:
    count = 50_000
    source = SourceText("f", "line\n" * count)
    source = source.assemble([Piece(at, at + 5) for at in range(0, 5 * count, 5)])
    assert source.text == source.original
    assert [source.locate(at).line for at in range(0, 5 * count, 5)] == list(range(1, count + 1))
