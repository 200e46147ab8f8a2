"""What `tasks plan` prints for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from shlex import quote

from tasks_engine.cli.text import count, safe
from tasks_engine.definition.template.secret_text import has_token, mask_tokens
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep, PushWork

_MAX_SHOWN = 10
_JOINERS = {"success": "&& ", "failure": "|| ", "always": "; "}


def print_plan(plan: Plan) -> None:
    """Warnings on standard error, then two lines for every step."""
    _print_warnings(plan)
    print(
        f"{plan.task}: {count(len(plan.steps), 'step')}, run {plan.run_id}, registry {plan.registry or '(none)'}"
    )
    width = max((len(step.id) for step in plan.steps), default=0)
    for step in plan.steps:
        after = ", ".join(step.depends_on) or "at once"
        print(safe(f"  {step.id:<{width}}  {step.kind:<5}  {_describe(step)}"))
        print(safe(f"  {'':<{width}}         after {after}; at most {step.timeout_s} s{_extras(step)}"))


def _print_warnings(plan: Plan) -> None:
    for warning in plan.warnings[:_MAX_SHOWN]:
        place = warning.get("location") or {}
        where = f"{place['source']}:{place['line']}:{place['column']}: " if place else ""
        hint = f" ({warning['hint']})" if warning.get("hint") else ""
        print(safe(f"warning: {where}{warning['message']}{hint}"), file=sys.stderr)
    if len(plan.warnings) > _MAX_SHOWN:
        more = len(plan.warnings) - _MAX_SHOWN
        print(f"warning: and {more} more; tasks validate --json shows all", file=sys.stderr)


def _describe(step: PlannedStep) -> str:
    match step.work:
        case BuildWork() as work:
            return f"{', '.join(work.tags) or '(no tag)'} from {work.context}"
        case PushWork() as work:
            return ", ".join(work.images)
        case CmdWork() as work if work.commands:
            shown = (
                _JOINERS[each.run_if] + _line(each.builtin or each.image, each.args) for each in work.commands
            )
            return " ".join(shown).removeprefix("; ")
        case CmdWork() as work:
            return _line(work.image, work.args)


def _line(first: str, args: Sequence[str]) -> str:
    """A command as one would type it; what is not known yet shows as `***` or as the output of a step."""
    return " ".join(mask_tokens(each) if has_token(each) else quote(each) for each in (first, *args))


def _extras(step: PlannedStep) -> str:
    extras = []
    if step.start_delay_s:
        extras.append(f"starts {step.start_delay_s} s later")
    if step.retries:
        extras.append(f"{count(step.retries + 1, 'attempt')}, {step.retry_delay_s} s apart")
    if step.repeat:
        extras.append(f"{step.repeat + 1} times")
    if step.detach:
        extras.append("detached")
    if step.ignore_errors:
        extras.append("errors ignored")
    if isinstance(step.work, BuildWork) and step.work.cache:
        extras.append(f"cache {step.work.cache}")
    return "".join(f"; {extra}" for extra in extras)
