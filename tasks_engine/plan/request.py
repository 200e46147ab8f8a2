"""What is asked of a run, beside the task itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunRequest:
    run_id: str
    #: name of the task file, for people
    task: str
    registry: str = ""
