"""RESULTS.md says what the shipped vectors give."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.outcomes import Result, result_of
from tests.conformance.report import RESULTS, results_text
from tests.conformance.vectors import SHIPPED, read_folder


def test_the_results_are_fresh():
    hint = "run: python -m tests.conformance.report"

    assert RESULTS.read_text(encoding="utf-8") == results_text(read_folder(SHIPPED)), hint


def test_no_shipped_vector_fails():
    assert [vector.name for vector in read_folder(SHIPPED) if result_of(vector) is Result.FAILED] == []


def test_a_folder_without_vectors_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        list(read_folder(tmp_path))
