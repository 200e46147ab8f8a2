"""`python -m tests.conformance.report` writes RESULTS.md, and prints the tables of all folders of vectors."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.conformance.outcomes import Result, result_of
from tests.conformance.vectors import SHIPPED, Vector, read_folder, vector_folders

RESULTS = Path(__file__).parent / "RESULTS.md"
_HEAD = """\
# Results

Written by `python -m tests.conformance.report`, for the vectors of [vectors](vectors). What is in the column
`differences` is explained, one by one, in [schemas/differences.md](../../schemas/differences.md).

"""


def results_text(vectors: Iterable[Vector]) -> str:
    """The text of RESULTS.md."""
    return _HEAD + table(vectors)


def table(vectors: Iterable[Vector]) -> str:
    """A Markdown table with a row for each file and one for all of them."""
    counts: dict[str, Counter[Result]] = {}
    for vector in vectors:
        counts.setdefault(vector.file, Counter())[result_of(vector)] += 1
    total = sum(counts.values(), Counter())
    rows = [
        ["file", "vectors", *Result],
        ["---"] * (len(Result) + 2),
        *(_row(file, count) for file, count in counts.items()),
        _row("all", total),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(name: str, count: Counter[Result]) -> list[str]:
    return [name, str(count.total()), *(str(count[result]) for result in Result)]


def main() -> int:
    failed = False
    for folder in vector_folders():
        vectors = list(read_folder(folder))
        print(f"{folder}\n\n{table(vectors)}")
        failures = [vector.name for vector in vectors if result_of(vector) is Result.FAILED]
        failed = failed or bool(failures)
        if failures:
            print("failed:", *failures, "", sep="\n")
        if folder == SHIPPED:
            RESULTS.write_text(results_text(vectors), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
