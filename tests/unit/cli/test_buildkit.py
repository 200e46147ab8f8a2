from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tasks_engine.cli.buildkit import parse_duration, parse_size
from tests.unit.cli.conftest import Tasks


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1500", 1500),
        ("10GB", 10**10),
        ("10g", 10**10),
        ("512MiB", 512 << 20),
        ("1.5 kB", 1500),
        ("2TiB", 2 << 40),
        ("7b", 7),
    ],
)
def test_size(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "x", "-1", "1XB", "1.GB", "GB", "1 2"])
def test_no_size(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="10GB"):
        parse_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("48h", 172800), ("2w", 1209600)])
def test_duration(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "1.5h", "1y"])
def test_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="48h"):
        parse_duration(text)


@pytest.mark.parametrize("verb", ["info", "du", "history"])
def test_no_daemon_is_told(tasks: Tasks, tmp_path: Path, verb: str) -> None:
    outcome = tasks("buildkit", verb, "--address", f"unix://{tmp_path}/none")
    assert (outcome.code, outcome.out) == (3, "")
    assert "none: No such file" in outcome.err


def test_pruning_asks_and_needs_somebody_to_ask(tasks: Tasks, tmp_path: Path) -> None:
    outcome = tasks("buildkit", "prune", "--address", f"unix://{tmp_path}/none")
    assert outcome.code != 0
    assert outcome.out == ""
