"""What every view for people remembers of a run: its state and the last lines of its steps."""

from __future__ import annotations

from tasks_engine.cli.render.log_lines import Tail, line_source
from tasks_engine.events import ImageDependencies, RunEvent, Status, StepFinished, StepLog, StepRetrying
from tasks_engine.plan.model import Plan
from tasks_engine.plan.state import RunState, apply


class Watched:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.state = RunState()
        #: what the images were built on
        self.dependencies: list[ImageDependencies] = []
        #: step id -> its last lines, of the attempt that runs or ended in failure
        self.tail_by_step: dict[str, Tail] = {}

    def take(self, event: RunEvent) -> None:
        match event:
            case StepLog():
                tail = self.tail_by_step.get(event.step_id)
                if tail is None:
                    if self.state.step(event.step_id).status is Status.SUCCEEDED:
                        return  # a detached step goes on writing
                    tail = self.tail_by_step[event.step_id] = Tail()
                step = self.plan.step_by_id.get(event.step_id)
                tail.feed(line_source(step, event.stream), event.stream, event.text)
                return
            case ImageDependencies():
                self.dependencies.append(event)
            case StepRetrying():
                self.tail_by_step.pop(event.step_id, None)
            case StepFinished(status=Status.SUCCEEDED):
                self.tail_by_step.pop(event.step_id, None)
        self.state = apply(self.state, event)

    def tails(self) -> dict[str, list[str]]:
        return {step_id: tail.lines() for step_id, tail in self.tail_by_step.items()}
