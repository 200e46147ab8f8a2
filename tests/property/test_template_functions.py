"""Whatever a template hands to a function: it returns a Value or says in a FunctionError what it refuses."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.functions.octets import to_bytes
from tasks_engine.definition.template.values import FunctionError, Int32, Int64, Record, Uint8, Value

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
TABLE = function_table(NOW, "seed")
#: derives a key for a fifth of a second; it has tests of its own
NAMES = sorted(set(TABLE) - {"derivePassword"})

scraps = st.sampled_from(
    [
        *("", "a", " ", ",", "/", "1", "-1", "1.5", "x.y", "v1.2.3-a", ">=1.2", "~1.2 || 2.x - 3", "A_b-C d"),
        *("%d", "%[2]*.3f", "%v %q %x", "[a-z]+(b)?", "a*", "(", "$1-${2}", "aGk=", "NBUQ====", "é"),
        *("2006-01-02", "15:04:05.000 MST", "1h30m", "Europe/Paris", "http://u:p@h:80/p?q#f"),
        *("\udcff", "\ud800", "\n", "\x00"),
    ]
)
texts = scraps | st.text(max_size=12) | st.text("aA1 _-.%$/:\\\n", max_size=12)
zones = st.sampled_from(
    [UTC, timezone(timedelta(hours=-3, minutes=-30), "NST"), timezone(timedelta(hours=14))]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 20)
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-(2**63), 2**63 - 1).map(Int64)
    | st.integers(-(2**31), 2**31 - 1).map(Int32)
    | st.integers(0, 255).map(Uint8)
    | st.floats()
    | texts
    | st.datetimes(timezones=zones)
    | st.just(Record("*semver.Version", "1.2.3", {"Major": Int64(1)}))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


def is_value(value: object) -> bool:
    if isinstance(value, list):
        return all(map(is_value, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_value(each) for key, each in value.items())
    if isinstance(value, datetime):
        return value.tzinfo is not None
    return value is None or type(value) in (bool, str, float, int, Int64, Int32, Uint8, Record)


@given(st.sampled_from(NAMES), st.lists(values, max_size=4))
@settings(max_examples=400, deadline=None)
def test_a_function_returns_a_value_or_refuses(name: str, arguments: list[Value]) -> None:
    try:
        result = TABLE[name](*arguments)
    except FunctionError as error:
        assert str(error)
    else:
        assert is_value(result)


@given(st.sampled_from(NAMES), st.lists(texts | st.integers(-5, 20), min_size=1, max_size=3))
@settings(max_examples=400, deadline=None)
def test_a_function_of_texts_and_numbers_returns_a_value_or_refuses(
    name: str, arguments: list[Value]
) -> None:
    try:
        result = TABLE[name](*arguments)
    except FunctionError as error:
        assert str(error)
    else:
        assert is_value(result)


formats = st.lists(
    st.sampled_from(list("%%%%#0+- 123.*[]vTtbcdoOqxXUeEfFgGsw")) | st.text(max_size=1), max_size=12
).map("".join)


@given(formats, st.lists(values, max_size=3))
@settings(max_examples=400, deadline=None)
def test_printf_never_refuses_a_format(template: str, arguments: list[Value]) -> None:
    assert isinstance(TABLE["printf"](template.replace("p", ""), *arguments), str)


@given(texts)
@example("\udcff\ud800")
def test_base64_and_base32_come_back(text: str) -> None:
    same = to_bytes(text).decode("utf-8", "surrogateescape")
    assert TABLE["b64dec"](TABLE["b64enc"](text)) == same
    assert TABLE["b32dec"](TABLE["b32enc"](text)) == same
    assert base64.b64decode(TABLE["b64enc"](text)) == to_bytes(text)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-999, 999).map(lambda n: n / 8)
    # what is no text becomes a sign for that
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(plain)
def test_json_reads_back(value: Value) -> None:
    assert json.loads(TABLE["toJson"](value)) == value
    assert json.loads(TABLE["toPrettyJson"](value)) == value


@given(values)
def test_a_copy_is_deeply_equal_unless_it_holds_nan(value: Value) -> None:
    copy = TABLE["deepCopy"](value)
    assert TABLE["deepEqual"](copy, value) is TABLE["deepEqual"](value, copy)
    assert TABLE["print"](copy) == TABLE["print"](value)


@given(st.text(max_size=8), st.integers(0, 40))
@settings(deadline=None)
def test_random_functions_follow_from_the_seed(seed: str, count: int) -> None:
    first, second, other = (function_table(NOW, each) for each in (seed, seed, f"{seed}x"))
    for name in ("randAlpha", "randAlphaNum", "randNumeric", "randAscii"):
        drawn = first[name](count)
        assert drawn == second[name](count)
        assert len(drawn) == count
    assert first["uuidv4"]() != other["uuidv4"]()


@given(st.datetimes(timezones=zones, min_value=datetime(1000, 1, 2), max_value=datetime(9998, 1, 1)))
def test_a_moment_comes_back_from_its_text(moment: datetime) -> None:
    layout = "2006-01-02T15:04:05.999999999Z07:00"
    text = TABLE["date"](layout, moment)
    assert TABLE["toDate"](layout, text) == moment


@given(st.lists(st.integers(0, 30), max_size=20))
def test_lists_keep_what_they_should(numbers: list[int]) -> None:
    assert TABLE["reverse"](TABLE["reverse"](numbers)) == numbers
    assert sorted(TABLE["uniq"](numbers)) == sorted(set(numbers))
    assert TABLE["without"](numbers, *numbers) == []
    assert [TABLE["has"](number, numbers) for number in range(31)] == [
        number in numbers for number in range(31)
    ]
    if numbers:
        assert [*TABLE["initial"](numbers), TABLE["last"](numbers)] == numbers
        assert [TABLE["first"](numbers), *TABLE["rest"](numbers)] == numbers
