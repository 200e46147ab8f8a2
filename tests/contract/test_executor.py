"""The Executor port: the fake and the real one behave the same, so that the fake may be trusted elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.backends.executors import Machine, RunExecutor
from tasks_engine.backends.fakes import FakeExecutor, Gate, Write, exits
from tasks_engine.backends.run_folder import RunFolder
from tasks_engine.backends.run_ids import new_run_id
from tasks_engine.backends.secrets import SecretBook
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import Canceled, StepFailed, TimedOut
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import Plan
from tasks_engine.plan.request import RunRequest
from tasks_engine.ports import Executor, StepOutput
from tests.services import require

TASK = """
steps:
  - {id: greet, cmd: busybox sh -c "echo hello; echo trouble >&2"}
  - {id: fail, cmd: busybox sh -c "echo last words; exit 3"}
  - {id: hang, cmd: busybox sh -c "echo up; sleep 300"}
"""
SCRIPT = {
    "greet": [[Write(b"hello\n"), Write(b"trouble\n", "stderr")]],
    "fail": [[Write(b"last words\n"), exits(3)]],
    "hang": [[Write(b"up\n"), Gate()]],
}


class Case:
    """An executor with its plan, and what its steps print."""

    def __init__(self, plan: Plan, executor: Executor) -> None:
        self.plan = plan
        self.executor = executor
        self.printed: dict[str, bytes] = {}
        self.came = threading.Event()

    def execute(self, step_id: str, cancel: CancelToken | None = None) -> None:
        def write(stream: str, data: bytes) -> None:
            self.printed[stream] = self.printed.get(stream, b"") + data
            self.came.set()

        output = StepOutput(step_id, write, lambda _: None)
        self.executor.execute(self.plan.step_by_id[step_id], 1, output, cancel or CancelToken())


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    run_id = new_run_id(1_800_000_000)
    plan = make_plan(load_task(TASK, "task.yaml", Inputs()), RunRequest(run_id, "task.yaml"))
    if request.param == "fake":
        yield Case(plan, FakeExecutor(SCRIPT))
        return
    context = tmp_path / "context"
    context.mkdir()
    folder = RunFolder.create(tmp_path / "runs", run_id)
    endpoint = Endpoint(require("TASKS_TEST_ENGINE"), "the tests")
    executor = RunExecutor(
        plan, context, folder, Machine(endpoint), DockerConfigCredentials(tmp_path), SecretBook()
    )
    executor.open()
    executor.prepare()
    yield Case(plan, executor)
    executor.cleanup()
    folder.close()


def test_a_step_that_succeeds_returns_and_all_it_printed_has_come(case):
    case.execute("greet")

    assert case.printed == {"stdout": b"hello\n", "stderr": b"trouble\n"}


def test_a_step_that_fails_raises_with_its_exit_status(case):
    with pytest.raises(StepFailed) as caught:
        case.execute("fail")

    assert caught.value.exit_status == 3
    assert case.printed["stdout"] == b"last words\n"


@pytest.mark.parametrize("reason", [Canceled("enough"), TimedOut("too long")])
def test_a_cancelled_step_ends_with_the_reason(case, reason):
    cancel = CancelToken()
    canceller = threading.Thread(target=lambda: (case.came.wait(60), cancel.cancel(reason)))
    canceller.start()

    with pytest.raises(type(reason)) as caught:
        case.execute("hang", cancel)

    canceller.join()
    assert caught.value is reason


def test_steps_run_at_the_same_time_from_several_threads(case):
    cancel = CancelToken()
    ended: list[str] = []

    def run(step_id: str, token: CancelToken | None = None) -> Callable[[], None]:
        def body() -> None:
            try:
                case.execute(step_id, token)
            except (Canceled, StepFailed):
                ended.append(step_id)

        return body

    hanging = threading.Thread(target=run("hang", cancel))
    failing = threading.Thread(target=run("fail"))
    hanging.start()
    failing.start()
    failing.join(60)
    cancel.cancel()
    hanging.join(60)

    assert ended == ["fail", "hang"]
