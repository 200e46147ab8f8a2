"""Names of volumes on an engine that several runs use."""

from __future__ import annotations

import pytest

from tasks_engine.backends.docker.volumes import is_of_another_run


@pytest.mark.parametrize(
    "name", ["tasks-r2-workspace", "tasks-r2-home", "tasks-r2-volume-keys", "tasks-r-1-volume-a"]
)
def test_volumes_of_another_run_are_known_by_their_names(name: str) -> None:
    assert is_of_another_run(name, "r1")


@pytest.mark.parametrize(
    "name", ["tasks-r1-workspace", "tasks-r1-volume-keys", "cache", "tasks-cache", "tasks-volume-x"]
)
def test_other_volumes_are_not(name: str) -> None:
    assert not is_of_another_run(name, "r1")
