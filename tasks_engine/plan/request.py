"""What is asked of a run, beside the task itself."""

from __future__ import annotations

from dataclasses import dataclass

#: name of a run that belongs to no stored task
QUICK_RUN = "quickrun"


@dataclass(frozen=True)
class RunRequest:
    run_id: str
    #: name of the task file, for people
    task: str
    registry: str = ""
    #: name of the task; part of the names of its caches
    task_name: str = QUICK_RUN
    #: for tasks and steps without their own
    working_directory: str = ""
    #: a network that exists already; steps without their own get it
    network: str = ""
    #: run what can still run after a failure
    keep_going: bool = False


def shared_volume(run_id: str) -> str:
    """`$SharedVolume`: the volume with the files that the steps of a run share."""
    return f"tasks-{run_id}-workspace"
