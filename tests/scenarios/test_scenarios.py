"""Each folder in cases/ is a task, what a fake executor does with it, and the events that must come of it.

script.json:
    steps       step id -> attempts -> actions: ["stdout", text], ["stderr", text], ["exit", status],
                ["fail", message] (ours, not the author's), ["wait", "<event type> <step id>"], ["hang"]
    cancel      "<event type> <step id>" at which the run is cancelled; "at once" before it begins
    time_out    ids of steps whose time is up at once
    prepare, cleanup, release   message of the error these raise
    keep_going  run what can still run after a failure
    pushes_last the engine can only push with tags
events.json: one event after the other, without what differs from run to run (seq, at, the engine's version,
the plan); output that came in pieces is joined. `make golden` writes it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks_engine.backends.fakes import Action, FakeExecutor, FakeStore, Gate, Write, exits
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.engine.execute import execute_run
from tasks_engine.engine.sinks import EventSink
from tasks_engine.errors import BackendError
from tasks_engine.events import RunEvent, to_json
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import Plan
from tasks_engine.plan.request import RunRequest

CASES = sorted((Path(__file__).parent / "cases").iterdir())


class Script:
    """A script.json as a fake executor, and as the watcher that opens its gates."""

    def __init__(self, text: str) -> None:
        self._script = json.loads(text)
        self._gates: defaultdict[str, Gate] = defaultdict(Gate)
        self.cancel = CancelToken()
        if self._script.get("cancel") == "at once":
            self.cancel.cancel()
        steps = self._script.get("steps", {})
        self.executor = FakeExecutor(
            {
                name: [[self._action(*each) for each in attempt] for attempt in attempts]
                for name, attempts in steps.items()
            },
            prepare=self._errors("prepare"),
            cleanup=self._errors("cleanup"),
            release=self._errors("release"),
            sends_content_first=not self._script.get("pushes_last", False),
        )
        self.keep_going = bool(self._script.get("keep_going"))

    def timed(self, plan: Plan) -> Plan:
        """The plan without waits before and between attempts, and without time for the steps that must time out."""
        hurried = self._script.get("time_out", ())
        steps = (replace(step, retry_delay_s=0, start_delay_s=0) for step in plan.steps)
        return replace(
            plan, steps=tuple(replace(each, timeout_s=0) if each.id in hurried else each for each in steps)
        )

    def watch(self, event: RunEvent) -> None:
        happened = f"{event.type} {getattr(event, 'step_id', '')}".strip()
        self._gates[happened].open()
        if happened == self._script.get("cancel"):
            self.cancel.cancel()

    def _errors(self, name: str) -> list[BackendError]:
        return [BackendError(self._script[name])] if name in self._script else []

    def _action(self, verb: str, value: Any = None) -> Action:
        match verb:
            case "stdout" | "stderr":
                return Write(value.encode(), verb)
            case "exit":
                return exits(value)
            case "fail":
                return BackendError(value)
            case "wait":
                return self._gates[value]
            case "hang":
                return Gate()
        raise ValueError(f"'{verb}' is not an action")


def run(case: Path) -> list[RunEvent]:
    """What a watcher of the run sees."""
    script = Script((case / "script.json").read_text(encoding="utf-8"))
    task = load_task((case / "task.yaml").read_text(encoding="utf-8"), "task.yaml", Inputs())
    plan = script.timed(make_plan(task, RunRequest("run1", "task.yaml", keep_going=script.keep_going)))
    seen: list[RunEvent] = []
    sink = EventSink("run1", FakeStore(), [seen.append, script.watch], script.cancel.cancel)
    execute_run(plan, ".", script.executor, sink, script.cancel)
    sink.close()
    assert script.executor.calls[-1] == "cleanup"
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert all(earlier.at <= later.at for earlier, later in pairwise(seen))
    return seen


def lasting(events: list[RunEvent]) -> list[dict[str, Any]]:
    """Events as JSON, reduced to what is the same in every run."""
    kept: list[dict[str, Any]] = []
    for event in events:
        fields = to_json(event)
        for name in ("version", "run_id", "seq", "at", "engine", "plan", "offset"):
            fields.pop(name, None)
        last = kept[-1] if kept else {}
        if event.type == "step_log" and all(
            last.get(name) == fields[name] for name in ("type", "step_id", "stream")
        ):
            last["length"] += fields["length"]
            last["text"] += fields["text"]
        else:
            kept.append(fields)
    return kept


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_gives_the_expected_events(case: Path, rewrite_golden: bool) -> None:
    events = lasting(run(case))
    path = case / "events.json"
    if rewrite_golden:
        path.write_text(json.dumps(events, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert events == json.loads(path.read_bytes())
