"""Whether a failed attempt is followed by another one: a step is run by an executor that only prints and fails."""

from __future__ import annotations

from collections.abc import Sequence

from tasks_engine.cancel import CancelToken
from tasks_engine.definition.model import StepKind
from tasks_engine.engine.step import run_step
from tasks_engine.errors import StepFailed
from tasks_engine.plan.model import CmdWork, PlannedStep
from tasks_engine.ports import StepOutput


def tries_again(stdout: str, stderr: str, retry_on_errors: Sequence[str]) -> bool:
    step = PlannedStep(
        id="one",
        kind=StepKind.CMD,
        depends_on=(),
        timeout_s=60,
        retries=1,
        retry_delay_s=0,
        ignore_errors=False,
        detach=False,
        env={},
        working_directory="",
        work=CmdWork("img", ()),
        retry_on_errors=tuple(retry_on_errors),
    )
    output = StepOutput("one", lambda _stream, _data: None, lambda _event: None)
    return run_step(step, _Failing(stdout, stderr), output, CancelToken()).attempts > 1


class _Failing:
    def __init__(self, stdout: str, stderr: str) -> None:
        self._printed = {"stdout": stdout.encode(), "stderr": stderr.encode()}

    def prepare(self) -> None: ...

    def execute(self, step: PlannedStep, attempt: int, output: StepOutput, cancel: CancelToken) -> None:
        for stream, data in self._printed.items():
            output.write(stream, data)
        raise StepFailed("it failed", exit_status=1)

    def cleanup(self) -> None: ...
