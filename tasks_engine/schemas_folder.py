"""Finds the files of `schemas/`: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path


def schema_text(name: str) -> str:
    """The text of `schemas/<name>`."""
    package = Path(__file__).parent
    packaged = package / "schemas" / name
    path = packaged if packaged.exists() else package.parent / "schemas" / name
    return path.read_text(encoding="utf-8")
