"""What becomes of a vector: passed, a listed difference, failed, or not run yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.conformance.readers import NOT_RUN_YET, READERS
from tests.conformance.vectors import Vector


class Result(StrEnum):
    PASSED = "passed"
    DIFFERENT = "differences"
    NOT_RUN = "not run yet"
    FAILED = "failed"


@dataclass(frozen=True)
class ListedDifference:
    #: of schemas/differences.md
    rows: tuple[int, ...]
    #: what is given instead, as `deviation` tells it
    gives: Mapping[str, Any]


def _listed_differences() -> Mapping[str, ListedDifference]:
    data = json.loads((Path(__file__).parent / "differences.json").read_bytes())
    return {name: ListedDifference(tuple(each["rows"]), each["gives"]) for name, each in data.items()}


#: id of a vector -> how this project deliberately differs from it
DIFFERENCES = _listed_differences()


def deviation(vector: Vector) -> dict[str, Any]:
    """How the outcome differs from the wanted one: the whole refusal, or what stands there instead, None for nothing.

    Empty for a pass.
    """
    reader = READERS[vector.kind]
    actual, wanted = reader.actual(vector), reader.wanted(vector)
    if actual == wanted:
        return {}
    if actual.keys() == {"error"}:
        return dict(actual)
    keys = {**wanted, **actual}
    return {key: actual.get(key) for key in keys if actual.get(key) != wanted.get(key)}


def expected_deviation(vector: Vector) -> Mapping[str, Any]:
    listed = DIFFERENCES.get(vector.id)
    return listed.gives if listed is not None else {}


def result_of(vector: Vector) -> Result:
    if vector.kind in NOT_RUN_YET:
        return Result.NOT_RUN
    try:
        is_expected = deviation(vector) == expected_deviation(vector)
    except Exception:  # noqa: BLE001 - a report tells of a crash as of any other failure
        is_expected = False
    if not is_expected:
        return Result.FAILED
    return Result.DIFFERENT if vector.id in DIFFERENCES else Result.PASSED
