from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.backends.registry.answers import (
    next_page,
    read_challenges,
    read_json_object,
    read_quota,
    retry_after_s,
    said,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="a b"'], [("basic", {"realm": "a b"})]),
        (['BEARER Realm=x,scope="a:b:pull,push"'], [("bearer", {"realm": "x", "scope": "a:b:pull,push"})]),
        (['Basic realm="x", Bearer realm="y"'], [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (["Basic", 'Bearer realm="\\"q\\""'], [("basic", {}), ("bearer", {"realm": '"q"'})]),
        (['realm="x"'], []),
    ],
)
def test_challenges(values: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(each.scheme, each.parameters) for each in read_challenges(values)] == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"ratelimit-limit": "5"}, None),
        ({"ratelimit-remaining": "x"}, None),
        ({"ratelimit-remaining": "4"}, (4, None, None)),
        ({"ratelimit-remaining": "4;w=60", "ratelimit-limit": "9;w=60"}, (4, 9, 60)),
        ({"ratelimit-remaining": "4", "ratelimit-limit": "9, 9;w=60"}, (4, 9, 60)),
    ],
)
def test_quotas(headers: dict[str, str], expected: tuple[int, int | None, int | None] | None) -> None:
    quota = read_quota(headers, NOW)
    assert (quota and (quota.remaining, quota.limit, quota.window_s)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (['</a>; rel="next"'], "/a"),
        (["</a>; rel=next"], "/a"),
        (['</a>; rel="prev", </b>; title="x"; rel="other Next"'], "/b"),
        (['</a>; rel="prev"', '</b>; rel="next"'], "/b"),
        (["</a>"], None),
        (['</a>; rel="nextish"'], None),
    ],
)
def test_links_to_the_next_page(values: list[str], expected: str | None) -> None:
    assert next_page(values) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"errors": [{"code": "A", "message": "b  c"}, {"message": "d"}, 1]}', "A b c; d"),
        (b'{"errors": [{"code": 1}]}', ""),
        (b"<html>", ""),
        (b'{"errors": [{"message": "' + b"x" * 500 + b'"}]}', "x" * 200 + "…"),
    ],
)
def test_a_registrys_words(body: bytes, expected: str) -> None:
    assert said(body) == expected


@given(st.text(max_size=200), st.binary(max_size=200))
def test_any_answer_is_read_or_left(text: str, data: bytes) -> None:
    read_challenges([text])
    read_quota({"ratelimit-remaining": text, "ratelimit-limit": text}, NOW)
    read_json_object(data)
    said(data)
    seconds = retry_after_s(text, NOW)
    assert seconds is None or seconds >= 0
    try:
        next_page([text])
    except ValueError as error:
        assert str(error) == "not a link"


@pytest.mark.parametrize(
    "text", ["<" * 50_000, "<a>;" * 20_000, '<a>; x="' * 10_000, "a=" * 50_000, '"' * 50_000]
)
def test_long_answers_take_no_time(text: str) -> None:
    read_challenges([f"Bearer {text}"])
    try:
        next_page([text])
    except ValueError as error:
        assert str(error) == "not a link"
