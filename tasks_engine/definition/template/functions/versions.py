"""Sprig's `semver` and `semverCompare`, with the rules of version 1 of the Go package Masterminds/semver.

A constraint is made of comparisons: `,` joins those that must all hold, `||` those of which one must. `x` or
nothing in place of a number leaves it open, `~1.2` keeps the minor and `^1.2` the major number, `1.2 - 2` is a
range. A pre-release only fits a comparison that names one itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tasks_engine.definition.template.functions.signatures import TEXT, Takes
from tasks_engine.definition.template.values import FunctionError, Int64, Record, Value

_LABELS = r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
_VERSION = re.compile(rf"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?{_LABELS}")
_PART = r"[0-9xX*|]+"
_OPEN_VERSION = rf"v?({_PART})(?:\.({_PART}))?(?:\.({_PART}))?{_LABELS}"
_BLANKS = r"[\t\n\f\r ]"
_COMPARISON = re.compile(rf"{_BLANKS}*(=>|=<|!=|>=|<=|~>|[=<>~^]|){_BLANKS}*({_OPEN_VERSION}){_BLANKS}*")
_RANGE = re.compile(rf"{_BLANKS}*({_OPEN_VERSION}){_BLANKS}+-{_BLANKS}+({_OPEN_VERSION}){_BLANKS}*")
#: characters; to look for ranges takes time with the square of the length
_MAX_CONSTRAINT = 1000
_OPEN = ("x", "X", "*")
_LARGEST = 2**63 - 1
_LARGEST_LABEL = 2**64 - 1


@dataclass(frozen=True)
class Version:
    major: int
    minor: int
    patch: int
    prerelease: str
    metadata: str
    original: str

    def __str__(self) -> str:
        labels = (f"-{self.prerelease}" if self.prerelease else "") + (
            f"+{self.metadata}" if self.metadata else ""
        )
        return f"{self.major}.{self.minor}.{self.patch}{labels}"

    @property
    def numbers(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.patch


@dataclass(frozen=True)
class Comparison:
    operator: str
    version: Version
    #: the minor or the patch number is left open
    is_open: bool
    minor_is_open: bool
    patch_is_open: bool

    def holds(self, version: Version) -> bool:
        # a pre-release is only wanted by who names one; any full version differs from it
        unwanted = version.prerelease and not self.version.prerelease
        if unwanted and (self.operator != "!=" or self.is_open):
            return False
        return _OPERATORS[self.operator](version, self)


def parse_version(text: str) -> Version:
    """Reads `v1.2.3-beta+build`; missing numbers are 0. Raises FunctionError."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise FunctionError("this is not a semantic version")
    numbers = [_number(part or "0", _LARGEST) for part in match.groups()[:3]]
    major, minor, patch = (number if number is not None else -1 for number in numbers)
    if -1 in (major, minor, patch):
        raise FunctionError("a number of the version is too large")
    return Version(major, minor, patch, match[4] or "", match[5] or "", text)


def parse_constraint(text: str) -> list[list[Comparison]]:
    """The comparisons: one of the outer lists must hold as a whole. Raises FunctionError."""
    if len(text) > _MAX_CONSTRAINT:
        raise FunctionError(f"the constraint is longer than {_MAX_CONSTRAINT} characters")
    text = _RANGE.sub(lambda match: f">= {match[1]}, <= {match[7]}", text)
    return [[_parse_comparison(part) for part in choice.split(",")] for choice in text.split("||")]


def compare(first: Version, second: Version) -> int:
    """-1, 0 or 1; metadata does not count."""
    if first.numbers != second.numbers:
        return 1 if first.numbers > second.numbers else -1
    if not first.prerelease or not second.prerelease:
        return bool(second.prerelease) - bool(first.prerelease)
    return _compare_labels(first.prerelease, second.prerelease)


def satisfies(constraint: str, version: str) -> bool:
    choices = parse_constraint(constraint)
    parsed = parse_version(version)
    return any(all(comparison.holds(parsed) for comparison in choice) for choice in choices)


def version_record(text: str) -> Value:
    """A version with its parts as fields; it prints in its full form."""
    version = parse_version(text)
    return Record(
        "*semver.Version",
        str(version),
        {
            "Major": Int64(version.major),
            "Minor": Int64(version.minor),
            "Patch": Int64(version.patch),
            "Prerelease": version.prerelease,
            "Metadata": version.metadata,
            "Original": version.original,
        },
    )


def _parse_comparison(text: str) -> Comparison:
    match = _COMPARISON.fullmatch(text)
    if match is None:
        raise FunctionError(f"'{text.strip()}' is not a constraint of versions")
    operator, written, major, minor, patch, prerelease, _ = match.groups()
    open_minor = open_patch = False
    if major in _OPEN:
        written = "0.0.0"
        return Comparison(operator, parse_version(written), True, False, False)
    suffix = f"-{prerelease}" if prerelease else ""
    if minor is None or minor in _OPEN:
        open_minor = True
        written = f"{major}.0.0{suffix}"
    elif patch in _OPEN:
        open_patch = True
        written = f"{major}.{minor}.0{suffix}"
    return Comparison(operator, parse_version(written), open_minor or open_patch, open_minor, open_patch)


def _compare_labels(first: str, second: str) -> int:
    """Pre-releases part by part: a missing one is smallest, a number smaller than letters."""
    firsts, seconds = first.split("."), second.split(".")
    length = max(len(firsts), len(seconds))
    padded_firsts = firsts + [""] * (length - len(firsts))
    padded_seconds = seconds + [""] * (length - len(seconds))
    for one, other in zip(padded_firsts, padded_seconds, strict=True):
        if one != other:
            return 1 if _label_rank(one) > _label_rank(other) else -1
    return 0


def _label_rank(label: str) -> tuple[int, int, str]:
    if not label:
        return 0, 0, ""
    number = _number(label, _LARGEST_LABEL) if label.isdigit() else None
    return (2, 0, label) if number is None else (1, number, "")


def _number(text: str, largest: int) -> int | None:
    figures = text.lstrip("0")
    number = int(figures or "0") if len(figures) < 30 else largest + 1
    return number if number <= largest else None


def _is_equal(version: Version, wanted: Comparison) -> bool:
    return _is_close(version, wanted) if wanted.is_open else compare(version, wanted.version) == 0


def _differs(version: Version, wanted: Comparison) -> bool:
    if not wanted.is_open:
        return compare(version, wanted.version) != 0
    return version.major != wanted.version.major or (
        version.minor != wanted.version.minor and not wanted.minor_is_open
    )


def _is_below(version: Version, wanted: Comparison) -> bool:
    return _is_within(version, wanted) if wanted.is_open else compare(version, wanted.version) < 0


def _is_at_most(version: Version, wanted: Comparison) -> bool:
    return _is_within(version, wanted) if wanted.is_open else compare(version, wanted.version) <= 0


def _is_within(version: Version, wanted: Comparison) -> bool:
    """Not beyond the numbers that are not left open; each is looked at by itself."""
    return version.major <= wanted.version.major and (
        version.minor <= wanted.version.minor or wanted.minor_is_open
    )


def _is_close(version: Version, wanted: Comparison) -> bool:
    """`~`: not below, with the same major and minor number; `~0.0.0` and `~*` take anything."""
    if compare(version, wanted.version) < 0:
        return False
    if not any(wanted.version.numbers) and not (wanted.minor_is_open or wanted.patch_is_open):
        return True
    return version.major == wanted.version.major and (
        version.minor == wanted.version.minor or wanted.minor_is_open
    )


def _is_compatible(version: Version, wanted: Comparison) -> bool:
    """`^`: not below, with the same major number."""
    return compare(version, wanted.version) >= 0 and version.major == wanted.version.major


_OPERATORS: dict[str, Callable[[Version, Comparison], bool]] = {
    "": _is_equal,
    "=": _is_equal,
    "!=": _differs,
    ">": lambda version, wanted: compare(version, wanted.version) > 0,
    "<": _is_below,
    ">=": lambda version, wanted: compare(version, wanted.version) >= 0,
    "=>": lambda version, wanted: compare(version, wanted.version) >= 0,
    "<=": _is_at_most,
    "=<": _is_at_most,
    "~": _is_close,
    "~>": _is_close,
    "^": _is_compatible,
}

SIGNATURES = {
    "semver": Takes(version_record, TEXT),
    "semverCompare": Takes(satisfies, TEXT, TEXT),
}
