"""No stream shows a value of a secret, however it is cut and whichever form the value takes."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.engine.masking import MASK, MaskedStream, Masker

VALUES = st.binary(min_size=4, max_size=40).filter(lambda value: len(value.strip()) >= 4)
#: of the plain form, which lets pieces of values meet
NARROW_VALUES = st.lists(st.sampled_from(b"ab"), min_size=4, max_size=12).map(bytes)
CUTS = st.lists(st.integers(0, 200), max_size=12)
FORMS = (
    lambda value: value,
    base64.b64encode,
    base64.urlsafe_b64encode,
    lambda value: base64.b64encode(value).rstrip(b"="),
    lambda value: base64.urlsafe_b64encode(value).rstrip(b"="),
    lambda value: quote(value, safe="").encode(),
    lambda value: re.sub("%..", lambda byte: byte[0].lower(), quote(value, safe="")).encode(),
    lambda value: quote_plus(value).encode(),
    lambda value: json.dumps(value.decode("utf-8", "surrogateescape"))[1:-1].encode(),
    lambda value: (
        json.dumps(value.decode("latin-1"))[1:-1].encode("latin-1")
        if value.isascii()
        else json.dumps(value.decode("utf-8", "surrogateescape"), ensure_ascii=False)[1:-1].encode(
            "utf-8", "surrogateescape"
        )
    ),
)


def streamed(values: Masker, output: bytes, cuts: list[int]) -> bytes:
    stream = MaskedStream(values)
    places = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    return b"".join([*(stream.feed(output[start:end]) for start, end in pairwise(places)), stream.flush()])


@given(
    st.lists(VALUES, min_size=1, max_size=3), st.data(), st.binary(max_size=60), st.binary(max_size=60), CUTS
)
def test_no_form_of_a_value_leaves(
    secrets: list[bytes], data: st.DataObject, before: bytes, behind: bytes, cuts: list[int]
) -> None:
    values = Masker()
    for value in secrets:
        values.add(value)
    form = data.draw(st.sampled_from(FORMS))(data.draw(st.sampled_from(secrets)).strip())
    if form in MASK + behind or form in before + MASK:
        return  # what masking leaves looks like the value
    output = before + form + behind

    masked = streamed(values, output, cuts)

    assert form not in masked
    assert MASK in masked


@given(
    st.lists(NARROW_VALUES, min_size=1, max_size=4), st.lists(st.sampled_from(b"abx\n"), max_size=200), CUTS
)
def test_wherever_output_is_cut_the_same_is_masked(
    secrets: list[bytes], output: list[int], cuts: list[int]
) -> None:
    values = Masker()
    for value in secrets:
        values.add(value)

    masked = streamed(values, bytes(output), cuts)

    assert masked == values.mask(bytes(output))
    assert not any(value in masked for value in secrets)


@given(st.lists(NARROW_VALUES, min_size=1, max_size=4), st.lists(st.sampled_from(b"abx"), max_size=60))
def test_what_is_held_back_could_still_become_a_value(secrets: list[bytes], output: list[int]) -> None:
    values = Masker()
    for value in secrets:
        values.add(value)

    _, held = values.split(bytes(output))

    assert not held or any(form.startswith(held) and form != held for form in values._forms)
