"""`tasks buildkit info|du|prune|history`: a look at the builder, and its cache kept small."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks_engine import sizes
from tasks_engine.cli.text import safe
from tasks_engine.errors import ExitCode, UsageError
from tasks_engine.settings import Settings
from tasks_engine.sizes import size_text

if TYPE_CHECKING:
    from tasks_engine.backends.buildkit import BuildKitClient, CacheRecord, HistoryRecord

_DESCRIPTION = """\
Asks the BuildKit that builds here: the one inside the Docker Engine, or the buildkitd that BUILDKIT_HOST names."""

_EXAMPLE = """\
example:
  tasks buildkit info                     what it is and what it can do
  tasks buildkit du                       what is in its cache, the largest first
  tasks buildkit prune --keep 10GB --yes  remove what is used least until 10 GB are left
  tasks buildkit history                  the builds it remembers
  BUILDKIT_HOST=docker-container://buildkitd tasks buildkit info"""

_DURATION = re.compile(r"(\d{1,12})([smhdw])")
#: a hundred years
_MAX_SECONDS = 3_155_760_000
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def add_parser(commands: Any) -> None:
    buildkit = commands.add_parser(
        "buildkit",
        help="show the builder, its cache and its history; prune the cache",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = buildkit.add_subparsers(dest="verb", metavar="info|du|prune|history", required=True)

    def add(name: str, execute: Callable[..., int], help_text: str, description: str) -> Any:
        verb = verbs.add_parser(name, help=help_text, description=description)
        verb.add_argument(
            "--address",
            metavar="ADDRESS",
            help="unix://…, tcp://… or docker-container://… of a buildkitd (default: BUILDKIT_HOST, else the engine's)",
        )
        verb.add_argument("--json", action="store_true", help="print JSON")
        verb.set_defaults(execute=_opened(execute))
        return verb

    add(
        "info",
        _info,
        "what the builder is and can do",
        "Shows version, workers, platforms and what it can do.",
    )
    usage = add("du", _disk_usage, "what is in the build cache", "Lists the records of the build cache.")
    usage.add_argument(
        "--filter", action="append", default=[], metavar="F", help="such as type==exec.cachemount"
    )
    prune = add(
        "prune",
        _prune,
        "remove build cache that is not in use",
        "Removes build cache, the least useful first. Images, containers and running builds stay.",
    )
    prune.add_argument(
        "--keep", type=parse_size, default=0, metavar="SIZE", help="leave this much: 10GB, 512MiB"
    )
    prune.add_argument(
        "--keep-for",
        type=parse_duration,
        default=0,
        metavar="TIME",
        help="leave what was used since: 48h, 7d",
    )
    prune.add_argument("--all", action="store_true", help="internal records and frontends too")
    prune.add_argument(
        "--filter", action="append", default=[], metavar="F", help="such as type==source.local"
    )
    prune.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add("history", _history, "the builds it remembers", "Lists builds, the newest first.")


def parse_size(text: str) -> int:
    """Bytes. Raises argparse.ArgumentTypeError."""
    try:
        return sizes.parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_duration(text: str) -> int:
    """Seconds of "90s", "48h", "7d". Raises argparse.ArgumentTypeError."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no time: write 90s, 30m, 48h, 7d or 2w")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > _MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"'{text}' is longer than anything lasts")
    return seconds


def _opened(
    command: Callable[[BuildKitClient, argparse.Namespace], int],
) -> Callable[[argparse.Namespace, Settings], int]:
    def execute(arguments: argparse.Namespace, settings: Settings) -> int:
        from tasks_engine.app import open_buildkit
        from tasks_engine.backends.builds import translated

        if arguments.address:
            settings = replace(settings, buildkit_host=arguments.address)
        with translated(), open_buildkit(settings) as client:
            return command(client, arguments)

    return execute


def _info(client: BuildKitClient, arguments: argparse.Namespace) -> int:
    info = client.info()
    if arguments.json:
        _print_json(asdict(info))
        return ExitCode.SUCCEEDED
    can = info.capabilities
    print(f"kind          {info.kind}")
    print(f"version       {safe(info.version) or 'does not say (older than 0.11)'}")
    for worker in info.workers:
        print(f"worker        {safe(worker.id)}: {safe(', '.join(worker.platforms))}")
        for policy in worker.gc_policies:
            print(f"  keeps       {_policy(policy)}")
    print(
        f"exporters     {', '.join(sorted(can.exporters))}{'' if can.several_exporters else ' (one a build)'}"
    )
    print(f"cache export  {', '.join(sorted(can.cache_exports))}")
    features = {
        "pushes": can.can_push,
        "named contexts": can.named_contexts,
        "attestations": can.attestations,
        "folders of git contexts": can.git_folders,
        "limits of steps": can.step_limits,
        "places of errors": can.error_details,
        "history": can.history,
    }
    print(
        f"can           {', '.join(name for name, has in features.items() if has) or 'nothing of the rest'}"
    )
    lacks = [name for name, has in features.items() if not has]
    if lacks:
        print(f"can not       {', '.join(lacks)}")
    return ExitCode.SUCCEEDED


def _policy(policy: Any) -> str:
    parts = []
    if policy.max_used_bytes or policy.reserved_bytes:
        parts.append(f"up to {size_text(policy.max_used_bytes or policy.reserved_bytes)}")
    if policy.keep_s:
        parts.append(f"for {policy.keep_s / 3600:.0f} h")
    if policy.filters:
        parts.append(f"of {safe(', '.join(policy.filters))}")
    return " ".join(parts) or "everything"


def _disk_usage(client: BuildKitClient, arguments: argparse.Namespace) -> int:
    records = sorted(client.disk_usage(arguments.filter), key=lambda record: -record.size_bytes)
    if arguments.json:
        _print_json([asdict(record) for record in records])
        return ExitCode.SUCCEEDED
    _print_records(records)
    in_use = sum(record.size_bytes for record in records if record.in_use)
    shared = sum(record.size_bytes for record in records if record.shared)
    total = sum(record.size_bytes for record in records)
    print(f"total {size_text(total)}, in use {size_text(in_use)}, shared with images {size_text(shared)}")
    return ExitCode.SUCCEEDED


def _prune(client: BuildKitClient, arguments: argparse.Namespace) -> int:
    if not arguments.yes:
        _ask("remove build cache?")
    removed = []
    for record in client.prune(
        keep_bytes=arguments.keep,
        keep_s=arguments.keep_for,
        everything=arguments.all,
        filters=arguments.filter,
    ):
        removed.append(record)
        if not arguments.json:
            _print_records([record])
    if arguments.json:
        _print_json([asdict(record) for record in removed])
    else:
        print(f"removed {size_text(sum(record.size_bytes for record in removed))}")
    return ExitCode.SUCCEEDED


def _ask(question: str) -> None:
    """Raises UsageError where nobody can be asked, KeyboardInterrupt for a no."""
    if not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask on: {question}", hint="add `--yes`")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise KeyboardInterrupt


def _history(client: BuildKitClient, arguments: argparse.Namespace) -> int:
    never = datetime.min.replace(tzinfo=UTC)
    records = sorted(client.history(), key=lambda record: record.created_at or never, reverse=True)
    if arguments.json:
        _print_json([asdict(record) for record in records])
        return ExitCode.SUCCEEDED
    for record in records:
        print(_history_line(record))
    return ExitCode.SUCCEEDED


def _history_line(record: HistoryRecord) -> str:
    began = f"{record.created_at:%Y-%m-%d %H:%M:%S}" if record.created_at else "?"
    if record.completed_at is None:
        state = "running"
    elif record.error:
        state = f"failed: {safe(record.error)}"
    else:
        state = "ok"
    took = ""
    if record.created_at and record.completed_at:
        took = f"{(record.completed_at - record.created_at).total_seconds():.1f}s"
    steps = f"{record.completed_steps}/{record.total_steps} steps, {record.cached_steps} cached"
    what = " ".join(filter(None, (record.dockerfile, record.target)))
    return f"{began}  {took:>8}  {safe(record.ref)}  {steps}  {safe(what)}  {state}"


def _print_records(records: Iterable[CacheRecord]) -> None:
    for record in records:
        used = f"{record.last_used_at:%Y-%m-%d %H:%M}" if record.last_used_at else "never used"
        marks = "".join(
            f" [{name}]" for name, has in (("in use", record.in_use), ("shared", record.shared)) if has
        )
        print(
            f"{size_text(record.size_bytes):>9}  {safe(record.type):<20}  {used:<16}  {safe(record.id)[:12]}  "
            f"{safe(record.description)[:100]}{marks}",
            flush=True,
        )


def _print_json(value: dict[str, Any] | Sequence[Any]) -> None:
    print(json.dumps(value, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(type(value).__name__)
