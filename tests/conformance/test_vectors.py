"""Every vector with a reader gives what is wanted, or what its listed difference says.

Folders: the one beside this file, and those of the environment variable CONFORMANCE_DIR.
"""

from __future__ import annotations

import pytest

from tests.conformance.outcomes import deviation, expected_deviation
from tests.conformance.readers import NOT_RUN_YET, READERS
from tests.conformance.vectors import Vector, read_folder, vector_folders

VECTORS = [vector for folder in vector_folders() for vector in read_folder(folder)]


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS if vector.kind not in NOT_RUN_YET],
    ids=lambda vector: vector.name,
)
def test_a_vector_passes_or_differs_as_listed(vector: Vector) -> None:
    assert deviation(vector) == expected_deviation(vector)


def test_every_kind_of_vector_is_known():
    assert {vector.kind for vector in VECTORS} <= {*READERS, *NOT_RUN_YET}
    assert not READERS.keys() & NOT_RUN_YET


def test_ids_of_a_folder_are_unique():
    names = [vector.name for vector in VECTORS]

    assert len(names) == len(set(names))
