from __future__ import annotations

import base64
import json
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.engine.masking import MASK, MaskedStream, Masker
from tasks_engine.events import RunFinished, RunWarning, Status, StepFinished, StepRetrying

SECRET = b'p@ss "word"/1'


def masker(*values: bytes) -> Masker:
    made = Masker()
    for value in values:
        made.add(value)
    return made


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        base64.b64encode(SECRET),
        base64.urlsafe_b64encode(SECRET).rstrip(b"="),
        quote(SECRET, safe="").encode(),
        json.dumps(SECRET.decode())[1:-1].encode(),
    ],
)
def test_a_value_is_masked_in_every_form(form: bytes) -> None:
    masked = masker(SECRET).mask(b"a " + form + b" z")
    assert masked.startswith(b"a " + MASK) and masked.endswith(b" z")
    assert form.rstrip(b"=") not in masked


def test_lines_of_a_value_are_masked_one_by_one() -> None:
    assert masker(b"first line\n}\nsecond line\n").mask(b"} second line first line") == b"} *** ***"


def test_short_values_are_not_masked() -> None:
    assert masker(b"abc", b"").mask(b"abc") == b"abc"


def test_of_two_values_the_longer_one_goes_first() -> None:
    assert masker(b"pass", b"password").mask(b"password pass") == b"*** ***"


def test_without_values_output_passes_as_it_is() -> None:
    stream = MaskedStream(Masker())
    assert stream.feed(b"any") == b"any"
    assert stream.flush() == b""


def test_only_what_may_become_a_value_is_held_back() -> None:
    stream = MaskedStream(masker(b"secret"))
    assert stream.feed(b"a line\nsec") == b"a line\n"
    assert stream.feed(b"tor\n") == b"sector\n"
    assert stream.feed(b"se") == b""
    assert stream.flush() == b"se"


def test_a_value_added_later_is_masked_from_then_on() -> None:
    values = Masker()
    stream = MaskedStream(values)
    assert stream.feed(b"secret ") == b"secret "
    values.add(b"secret")
    assert stream.feed(b"secret ") == b"*** "


@given(
    st.lists(
        st.sampled_from([b"secret", b"secrets-too", b"sec", b"ret", b"x", b"\n", b"c2VjcmV0"]), max_size=20
    ),
    st.lists(st.integers(0, 80), max_size=10),
)
def test_wherever_output_is_cut_the_same_is_masked(parts: list[bytes], cuts: list[int]) -> None:
    output = b"".join(parts)
    values = masker(b"secret", b"secrets-too")
    stream = MaskedStream(values)
    places = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    pieces = [output[start:end] for start, end in pairwise(places)]

    masked = b"".join([*map(stream.feed, pieces), stream.flush()])

    assert masked == values.mask(output)
    assert b"secret" not in masked


@pytest.mark.parametrize(
    "event",
    [
        RunWarning(message="not secret-1", hint="secret-1"),
        StepRetrying(step_id="s", attempt=1, attempts=2, delay_s=1, reason="secret-1"),
        StepFinished(step_id="s", status=Status.FAILED, attempts=1, error={"message": "said secret-1"}),
        RunFinished(status=Status.FAILED, error={"message": "said secret-1", "hint": "h"}),
    ],
)
def test_texts_of_events_are_masked(event: object) -> None:
    assert "secret-1" in repr(event)
    assert "secret-1" not in repr(masker(b"secret-1").mask_event(event))  # type: ignore[arg-type]
