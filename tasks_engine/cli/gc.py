"""`tasks gc`: removes what killed runs left behind, old runs, and build cache beyond a budget."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tasks_engine.cli.buildkit import parse_size
from tasks_engine.cli.text import count, safe
from tasks_engine.errors import BackendError, ExitCode, UsageError
from tasks_engine.settings import Settings
from tasks_engine.sizes import size_text

if TYPE_CHECKING:
    from tasks_engine.backends.abandoned import Garbage

_DESCRIPTION = """\
Removes containers, networks, volumes and files of runs whose process was killed, and the oldest finished runs beyond
the bounds of the settings (history). Runs that are alive are never touched, nor what others made on the same engine."""
_EXAMPLE = """\
example:
  tasks gc --dry-run              say what would go
  tasks gc --cache --keep 10GB    build cache, too, until 10 GB are left"""


def add_parser(commands: Any) -> None:
    collect = commands.add_parser(
        "gc",
        help="remove what killed runs left, old runs, and build cache",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    collect.add_argument(
        "--cache", action="store_true", help="build cache that is not in use, too, the least useful first"
    )
    collect.add_argument(
        "--keep", type=parse_size, metavar="SIZE", help="with --cache: leave this much: 10GB, 512MiB"
    )
    collect.add_argument("--dry-run", action="store_true", help="only say what would go")
    collect.add_argument("--json", action="store_true", help="print JSON")
    collect.set_defaults(execute=gc_command)


def gc_command(arguments: argparse.Namespace, settings: Settings) -> int:
    from tasks_engine.backends.abandoned import collect

    if arguments.keep is not None and not arguments.cache:
        raise UsageError("--keep is about the build cache", hint="add --cache")
    collected = collect(settings, dry_run=arguments.dry_run)
    garbage, problems = collected.garbage, collected.problems
    if arguments.cache:
        try:
            garbage += _cache(settings, arguments.keep or 0, dry_run=arguments.dry_run)
        except BackendError as error:
            problems.append(error)
    if arguments.json:
        _print_json(garbage, problems, dry_run=arguments.dry_run)
    else:
        _print(garbage, dry_run=arguments.dry_run)
        for problem in problems:
            print(f"tasks: {problem}", file=sys.stderr)
    return ExitCode.ERROR if problems else ExitCode.SUCCEEDED


def _cache(settings: Settings, keep_bytes: int, *, dry_run: bool) -> Iterator[Garbage]:
    """Build cache that went. Of a dry run one entry, with what the daemon may remove to get there."""
    from tasks_engine.app import open_buildkit
    from tasks_engine.backends.abandoned import Garbage
    from tasks_engine.backends.builds import translated

    with translated(), open_buildkit(settings) as client:
        if not dry_run:
            for record in client.prune(keep_bytes=keep_bytes):
                yield Garbage("build cache", record.description or record.id, "", record.size_bytes)
            return
        records = [each for each in client.disk_usage() if not each.shared]
        total = sum(each.size_bytes for each in records)
        idle = sum(each.size_bytes for each in records if not each.in_use)
        size = min(idle, max(0, total - keep_bytes))
        if size:
            yield Garbage("build cache", f"up to {size_text(size)} of {size_text(total)}", "", size)


def _print(garbage: list[Garbage], *, dry_run: bool) -> None:
    for each in garbage:
        size = f"  {size_text(each.size_bytes)}" if each.size_bytes else ""
        of = f"  of run {safe(each.run_id)}" if each.run_id not in ("", each.name) else ""
        print(f"{each.kind}  {safe(each.name)[:100]}{of}{size}")
    total = sum(each.size_bytes for each in garbage)
    freed = f", {size_text(total)}" if total else ""
    if not garbage:
        print("nothing to remove")
    else:
        print(f"{'would remove' if dry_run else 'removed'} {count(len(garbage), 'thing')}{freed}")


def _print_json(garbage: list[Garbage], problems: list[BackendError], *, dry_run: bool) -> None:
    data = {
        "dry_run": dry_run,
        "size_bytes": sum(each.size_bytes for each in garbage),
        "removed": [each.to_json() for each in garbage],
        "problems": [each.to_json() for each in problems],
    }
    print(json.dumps(data, indent=2))
