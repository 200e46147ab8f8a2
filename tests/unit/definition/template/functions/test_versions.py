from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.functions.versions import compare, parse_version
from tasks_engine.definition.template.values import FunctionError, Int64

TABLE = function_table(datetime(2024, 1, 2, tzinfo=UTC), "seed")


def test_a_version_has_fields() -> None:
    version = TABLE["semver"]("v1.2.3-beta.1+build.5")
    assert version.fields == {
        "Major": Int64(1),
        "Minor": Int64(2),
        "Patch": Int64(3),
        "Prerelease": "beta.1",
        "Metadata": "build.5",
        "Original": "v1.2.3-beta.1+build.5",
    }
    assert (version.type_name, version.printed) == ("*semver.Version", "1.2.3-beta.1+build.5")


@pytest.mark.parametrize(
    ("text", "full"),
    [("1", "1.0.0"), ("v1.2", "1.2.0"), ("1.2-a", "1.2.0-a"), ("01.002.3", "1.2.3"), ("1+b", "1.0.0+b")],
)
def test_parts_may_be_missing(text: str, full: str) -> None:
    assert TABLE["semver"](text).printed == full


@pytest.mark.parametrize(
    "text", ["", "v", "a", "1.2.3.4", "1.2.x", "1-", "1.2.3-", "1..2", " 1", "1\n", "V1", "1.2.3-é"]
)
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["semver"](text)
    assert str(caught.value) == "semver: this is not a semantic version"


@pytest.mark.parametrize("number", ["9223372036854775808", "9" * 5000])
def test_a_number_of_a_version_is_limited(number: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["semver"](f"1.{number}")
    assert str(caught.value) == "semver: a number of the version is too large"


ORDER = [
    *("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1"),
    *("1.0.0", "1.0.1", "1.1.0", "2.0.0"),
]


def test_versions_have_an_order() -> None:
    versions = [parse_version(text) for text in ORDER]
    for index, version in enumerate(versions):
        expected = [(index > other) - (index < other) for other in range(len(versions))]
        assert [compare(version, other) for other in versions] == expected


def test_metadata_does_not_count() -> None:
    assert compare(parse_version("1.0.0+a"), parse_version("1.0.0+b")) == 0


@pytest.mark.parametrize(
    ("constraint", "version", "holds"),
    [
        ("1.2.3", "1.2.3", True),
        ("=1.2.3", "v1.2.3", True),
        ("1.2.3", "1.2.4", False),
        ("!=1.2.3", "1.2.4", True),
        ("!=1.2.3", "1.2.3", False),
        (">1.2", "1.2.0", False),
        (">1.2", "1.2.1", True),
        ("<1.2", "1.1.9", True),
        (">=1.2", "1.2.0", True),
        ("=>1.2", "1.2.0", True),
        ("<=1.2", "1.2.1", False),
        (" >= 1.2 ", "1.3.0", True),
        # an open number
        ("*", "1.2.3", True),
        ("1.x", "1.9.0", True),
        ("1.x", "2.0.0", False),
        ("1.2.*", "1.2.9", True),
        ("4.1", "4.1.3", False),
        ("!=4.x", "4.1.0", False),
        ("!=4.x", "5.1.0", True),
        ("<1.x", "1.9.0", True),
        ("<=1.1.x", "1.2.0", False),
        # ~ and ^
        ("~1", "1.9.9", True),
        ("~1", "2.0.0", False),
        ("~1.2", "1.2.9", True),
        ("~1.2", "1.3.0", False),
        ("~>1.2.3", "1.2.2", False),
        ("~0.0.0", "9.9.9", True),
        ("^1.2", "1.9.0", True),
        ("^1.2", "1.1.0", False),
        ("^1.2", "2.0.0", False),
        ("^0.0.1", "0.1.3", True),
        # together
        (">=1.2, <2.0", "1.9.0", True),
        (">=1.2, <2.0", "2.0.0", False),
        # so it is there: an open number takes all of its versions
        ("<2", "2.5.0", True),
        ("<1 || >=3", "3.0.0", True),
        (">=1.1, <2, !=1.2.3 || > 3", "1.2.3", False),
        # ranges
        ("1.1 - 2", "1.5.0", True),
        ("1.1 - 2", "3.0.0", False),
        ("1 - 2 || 4 - 5", "4.5.0", True),
        # pre-releases
        (">=1.0", "1.1.0-beta", False),
        (">=1.0-0", "1.1.0-beta", True),
        ("*", "1.0.0-beta", False),
        ("!=1.0", "1.0.0-beta", True),
        ("!=1.x", "2.0.0-beta", False),
        ("~1.1-alpha", "1.1.1-beta", True),
        ("^1.1.2-alpha", "1.2.1-beta1", True),
    ],
)
def test_constraints(constraint: str, version: str, holds: bool) -> None:
    assert TABLE["semverCompare"](constraint, version) is holds


@pytest.mark.parametrize(
    "constraint", ["", "foo", ">= bar", "1.2.3.4", "> 1 <2", "1,", "||", "==1", ">=1.2-é"]
)
def test_what_is_no_constraint(constraint: str) -> None:
    with pytest.raises(FunctionError, match="is not a constraint of versions"):
        TABLE["semverCompare"](constraint, "1.0.0")


def test_a_constraint_is_of_limited_length() -> None:
    with pytest.raises(FunctionError, match="longer than 1000 characters"):
        TABLE["semverCompare"]("1" * 2000, "1.0.0")
