"""Sizes as people write them."""

from __future__ import annotations

import pytest

from tasks_engine.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("10GB", 10**10),
        (" 1.5 gib ", 3 << 29),
        ("2k", 2000),
        ("1TiB", 1 << 40),
        ("7b", 7),
    ],
)
def test_a_size_has_a_unit_of_thousands_or_of_1024s(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1PB", "1 2", "1,5GB", "9" * 31, "٣"])
def test_other_text_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size: write 10GB"):
        parse_size(text)


def test_a_size_beyond_any_disk_is_refused() -> None:
    with pytest.raises(ValueError, match="more than any disk has"):
        parse_size("99999999999TB")


def test_sizes_are_shown_with_three_to_four_digits() -> None:
    assert [size_text(each) for each in (0, 999, 1000, 1_500_000, 10**9, 10**15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 MB",
        "1.0 GB",
        "1000.0 TB",
    ]
