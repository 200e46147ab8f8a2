"""Vectors: folders of JSON files, each vector an input with what the original gives for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parent / "vectors"
FORMAT = 1


@dataclass(frozen=True)
class Vector:
    folder: Path
    #: name of its file without extension, which is the kind of its input
    file: str
    id: str
    input: Mapping[str, Any]
    #: what the original gives
    expect: Mapping[str, Any]
    #: what a better executor gives; empty where the original is right
    improved: Mapping[str, Any]
    #: code of a known quirk of the original
    quirk: str

    @property
    def name(self) -> str:
        return f"{self.folder.name}/{self.file}/{self.id}"

    @property
    def kind(self) -> str:
        """What reads it; `misc` holds several kinds."""
        return f"misc/{self.input['kind']}" if self.file == "misc" else self.file

    @property
    def wanted(self) -> dict[str, Any]:
        """What counts as a pass: the improved outcome where there is one.

        That one only repeats keys that differ, unless the outcome is another one altogether.
        """
        is_partial = self.improved.keys() <= self.expect.keys()
        wanted = {**self.expect, **self.improved} if is_partial else dict(self.improved)
        return {key: value for key, value in wanted.items() if key != "acb_message"}


def vector_folders() -> list[Path]:
    """The shipped folder, and those of the environment variable CONFORMANCE_DIR."""
    more = os.environ.get("CONFORMANCE_DIR", "").split(os.pathsep)
    return [SHIPPED, *(Path(folder).resolve() for folder in more if folder)]


def read_folder(folder: Path) -> Iterator[Vector]:
    """All vectors of a folder, file by file."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no vectors")
    for file in files:
        data = json.loads(file.read_bytes())
        if data["format"] != FORMAT:
            raise ValueError(f"{file} has format {data['format']}, not {FORMAT}")
        for each in data["vectors"]:
            yield Vector(
                folder,
                file.stem,
                each["id"],
                each["input"],
                each["expect"],
                each.get("improved_expect", {}),
                each.get("quirk", ""),
            )
