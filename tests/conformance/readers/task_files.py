"""What readers of task files share: inputs as the original's command line gives them, and refusals as slugs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks_engine.cli.task_inputs import read_values
from tasks_engine.definition.aliases import UnreadableSource
from tasks_engine.definition.load import load_values
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import DefinitionErrors

#: the moment of every recorded run
NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def run_inputs(
    run: Mapping[str, str], *, values: str = "", assignments: Sequence[str] = (), has_secrets: bool = True
) -> Inputs:
    """Raises UsageError for an assignment, DefinitionError for a values file."""
    assigned = read_values(None, assignments)
    return Inputs(
        run={"OS": "linux", "Architecture": "amd64", **run},
        values=load_values(values, "values.yaml") | assigned,
        now=NOW,
        has_secrets=has_secrets,
    )


class Files:
    """Alias sources out of the files of a vector."""

    def __init__(self, text_by_name: Mapping[str, str]) -> None:
        self._text_by_name = text_by_name

    def __call__(self, name: str) -> str:
        if name not in self._text_by_name:
            raise UnreadableSource("there is no such file")
        return self._text_by_name[name]


def refusal(errors: DefinitionErrors) -> dict[str, Any]:
    """The first problem in the order of the file."""
    first = errors.problems[0]
    return {"error": first.rule or f"without a rule: {first.message}"}
