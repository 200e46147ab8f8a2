"""`tasks runs list|show|cancel|rerun`: runs of this machine, those of other processes, too."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_engine.cli.text import safe
from tasks_engine.errors import BackendError, ExitCode, UsageError
from tasks_engine.settings import Settings

if TYPE_CHECKING:
    from tasks_engine.backends.run_history import RunSummary
    from tasks_engine.cli.run_record import RunRecord

RUN_HELP = "its id or the beginning of it (default: the newest run)"
_DESCRIPTION = """\
Lists, shows, cancels and repeats the runs whose record is on this machine. RUN is an id, the beginning of one,
or `last`."""
_EXAMPLE = """\
example:
  tasks runs list --status failed       what went wrong lately
  tasks runs show                       steps, images and errors of the newest run
  tasks runs cancel 02v1                stop a run of another terminal
  TOKEN=… tasks runs rerun 02v1         again, with the same file, values and context"""
#: how long a run may take to remove everything it made
_CANCEL_PATIENCE_S = 60


def add_parser(commands: Any) -> None:
    runs = commands.add_parser(
        "runs",
        help="list, show, cancel and repeat runs",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = runs.add_subparsers(dest="verb", metavar="list|show|cancel|rerun", required=True)

    def add(name: str, execute: Callable[..., int], help_text: str, description: str) -> Any:
        verb = verbs.add_parser(name, help=help_text, description=description)
        verb.set_defaults(execute=execute)
        return verb

    listing = add("list", _list_command, "the newest runs", "Lists runs, the newest first.")
    listing.add_argument(
        "--status", type=_status, metavar="STATUS", help="such as failed, running or abandoned"
    )
    listing.add_argument("--task", default="", metavar="NAME", help="of this task, or of this task file")
    listing.add_argument(
        "--top", type=_count, default=15, metavar="N", help="at most so many; 0: all (default: %(default)s)"
    )
    listing.add_argument("--json", action="store_true", help="print JSON")

    show = add(
        "show",
        _show_command,
        "steps, times, images and errors of a run",
        "Shows what a run did, or does: steps, times, images with their digests, errors, and where its log is.",
    )
    show.add_argument("run", nargs="?", default="", metavar="RUN", help=RUN_HELP)
    show.add_argument("--json", action="store_true", help="print JSON")

    cancel = add(
        "cancel",
        _cancel_command,
        "stop a run",
        "Stops a run of another process of this machine, as Ctrl-C would, and waits until it has removed what it "
        "made. A second time ends it at once and leaves the rest to `tasks gc`.",
    )
    cancel.add_argument("run", metavar="RUN", help="its id or the beginning of it, or `last`")
    cancel.add_argument(
        "--wait",
        type=_count,
        default=_CANCEL_PATIENCE_S,
        metavar="SECONDS",
        help="how long to wait for its end (default: %(default)s)",
    )

    rerun = add(
        "rerun",
        _rerun_command,
        "run the same again",
        "Runs the same file with the same values and context again, as they are now, under a new id. Secrets are "
        "not kept: they come from the environment again, or from here.",
    )
    rerun.add_argument("run", nargs="?", default="", metavar="RUN", help=RUN_HELP)
    rerun.add_argument(
        "--set-secret", action="append", default=[], metavar="NAME[=VALUE]", help="as in `tasks run`"
    )
    rerun.add_argument("--credential", action="append", default=[], metavar="JSON", help="as in `tasks run`")
    rerun.add_argument("--json", action="store_true", help="print events as JSON lines, one event a line")


def _status(text: str) -> str:
    from tasks_engine.backends.run_history import STATUSES

    status = text.strip().lower().replace("-", "_").replace(" ", "_")
    if status not in STATUSES:
        raise argparse.ArgumentTypeError(f"'{text}' is no status: one of {', '.join(STATUSES)}")
    return status


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 0 on")
    return int(text)


# --- list ---------------------------------------------------------------------------------------------------------


def _list_command(arguments: argparse.Namespace, settings: Settings) -> int:
    from tasks_engine.backends.run_history import list_runs

    found = list_runs(
        settings.runs_dir, status=arguments.status or "", task=arguments.task, top=arguments.top
    )
    if arguments.json:
        print(json.dumps([each.to_json() for each in found], indent=2))
    elif found:
        print("\n".join(_table(found)))
    else:
        print("no such runs" if arguments.status or arguments.task else "no runs yet", file=sys.stderr)
    return ExitCode.SUCCEEDED


def _table(runs: Sequence[RunSummary]) -> list[str]:
    from tasks_engine.cli.render.text import cut, width_of
    from tasks_engine.cli.render.words import reason_of

    rows = [
        (each.id, each.status.replace("_", " "), _local(each.started_at), _took(each), safe(each.task))
        for each in runs
    ]
    heads = ("RUN", "STATUS", "STARTED", "TIME", "TASK")
    widths = [max(width_of(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = ["  ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True)).rstrip()]
    for row, each in zip(rows, runs, strict=True):
        cells = [cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True)]
        lines.append(cut("  ".join((*cells, safe(reason_of(each.error)))).rstrip(), 200))
    return lines


def _local(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else ""


def _took(run: RunSummary) -> str:
    from tasks_engine.cli.render.text import duration

    if run.started_at is None:
        return ""
    end = run.finished_at or datetime.now(run.started_at.tzinfo)
    return duration((end - run.started_at).total_seconds())


# --- show ---------------------------------------------------------------------------------------------------------


def _show_command(arguments: argparse.Namespace, settings: Settings) -> int:
    from tasks_engine.backends.run_history import find_run, summarize
    from tasks_engine.cli.run_record import read_record

    run = find_run(settings.runs_dir, arguments.run)
    record = read_record(run)
    summary = summarize(run)
    if summary is None:
        raise UsageError(f"run {run.name} was removed just now")
    if arguments.json:
        print(json.dumps(_shown_json(run, summary, record), indent=2))
    else:
        print("\n".join(_shown(run, summary, record)))
    return ExitCode.SUCCEEDED


def _shown(run: Path, summary: RunSummary, record: RunRecord) -> list[str]:
    from tasks_engine.backends.run_history import ABANDONED
    from tasks_engine.cli.render.summary import find_culprit, summary_lines
    from tasks_engine.cli.run_record import last_lines
    from tasks_engine.events import Status

    lines = [f"run      {run.name}: {summary.status.replace('_', ' ')}"]
    lines += [f"task     {safe(summary.task)}"] if summary.task else []
    lines += [f"context  {safe(summary.context)}"] if summary.context else []
    if summary.started_at is not None:
        lines.append(f"started  {_local(summary.started_at)}, took {_took(summary)}")
    lines += [f"warning  {safe(each.message)}" for each in record.warnings]
    lines.append("")
    for each in record.built:
        lines += [f"built {safe(tag)}{f'@{each.digest}' if each.digest else ''}" for tag in each.tags]
    if record.plan is None:
        return [*lines, f"run {run.name} ended before its first step"]
    culprit = find_culprit(record.plan, record.state) if record.state.status.is_final else None
    tails = {culprit[0].id: last_lines(run, record, culprit[0].id)} if culprit else {}
    told = summary_lines(record.plan, record.state, run / "log", tails)
    if summary.status == ABANDONED:
        told[-1] = f"run {run.name} was abandoned: its process is gone; `tasks gc` removes what it left"
    elif not record.state.status.is_final and summary.status == Status.RUNNING:
        told[-1] = f"run {run.name} is running: `tasks logs -f {run.name}` follows it"
    return lines + told


def _shown_json(run: Path, summary: RunSummary, record: RunRecord) -> dict[str, Any]:
    from tasks_engine.backends.run_folder import holder_of, is_alive

    ids = [step.id for step in record.plan.steps] if record.plan else list(record.state.steps)
    kind_by_id = {step.id: step.kind.value for step in record.plan.steps} if record.plan else {}
    holder = holder_of(run) if is_alive(run) else None
    return {
        **summary.to_json(),
        "folder": str(run),
        "log": str(run / "log"),
        **({"pid": holder.pid} if holder else {}),
        "steps": [
            {
                "id": step_id,
                **({"kind": kind_by_id[step_id]} if step_id in kind_by_id else {}),
                **{
                    name: value.isoformat() if isinstance(value, datetime) else value
                    for name, value in asdict(record.state.step(step_id)).items()
                },
            }
            for step_id in ids
        ],
        "built": [
            {
                "step_id": each.step_id,
                "tags": list(each.tags),
                "digest": each.digest,
                "image_id": each.image_id,
            }
            for each in record.built
        ],
        "pushed": [
            {
                "step_id": each.step_id,
                "image": each.image,
                "digest": each.digest,
                "size_bytes": each.size_bytes,
            }
            for each in record.state.pushed
        ],
        "warnings": [{"message": each.message, "hint": each.hint} for each in record.warnings],
    }


# --- cancel and rerun -----------------------------------------------------------------------------------------------


def _cancel_command(arguments: argparse.Namespace, settings: Settings) -> int:
    from tasks_engine.backends.run_folder import holder_of, is_alive
    from tasks_engine.backends.run_history import ABANDONED, find_run, summarize
    from tasks_engine.backends.run_holder import stop

    run = find_run(settings.runs_dir, arguments.run)
    if not is_alive(run):
        summary = summarize(run)
        status = summary.status if summary else "removed"
        hint = "`tasks gc` removes what it left" if status == ABANDONED else ""
        raise UsageError(f"run {run.name} is over: {status.replace('_', ' ')}", hint=hint)
    holder = holder_of(run)
    if holder is None or not holder.is_comparable:
        raise BackendError(
            f"the process of run {run.name} cannot be told: it runs on another machine, in another container, or "
            "only just began",
            hint="cancel it where it runs",
        )
    try:
        has_ended = stop(holder, arguments.wait)
    except PermissionError as error:
        raise UsageError(
            f"run {run.name} is somebody else's: process {holder.pid} may not be signalled",
            hint="cancel it as its user, or as root",
        ) from error
    if not has_ended:
        raise BackendError(
            f"run {run.name} was asked to stop and is still there after {arguments.wait} s, as process {holder.pid}",
            hint="wait; or once more, which ends it at once, and `tasks gc` for what it leaves",
        )
    summary = summarize(run)
    print(f"run {run.name}: {summary.status.replace('_', ' ') if summary else 'removed'}")
    return ExitCode.SUCCEEDED


def _rerun_command(arguments: argparse.Namespace, settings: Settings) -> int:
    from tasks_engine.backends.run_folder import task_text_of
    from tasks_engine.backends.run_history import find_run, read_request
    from tasks_engine.backends.run_request import KeptRequest
    from tasks_engine.cli.main import main
    from tasks_engine.cli.run_request import command_line

    run = find_run(settings.runs_dir, arguments.run)
    try:
        request = KeptRequest.from_json(read_request(run))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"run {run.name} cannot be run again: what it was asked for is not kept, or by another version of tasks",
            hint="only runs of `tasks run` can be repeated; give the command again",
        ) from error
    again = command_line(request, run.name, task_text_of(run), arguments.set_secret, arguments.credential)
    try:
        os.chdir(request.folder)
    except OSError as error:
        raise UsageError(
            f"run {run.name} cannot be run again: its folder {request.folder} {error.strerror}"
        ) from error
    return main(["run", *(["--json"] if arguments.json else []), *again])
