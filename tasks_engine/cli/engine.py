"""`tasks engine start|stop|status`: the embedded engine from the command line.

Output for programs goes to stdout, everything that happens on the way to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks_engine.errors import ExitCode, UsageError

_DESCRIPTION = """\
A Linux machine without a container engine gets one with `tasks engine start`: Docker Engine with BuildKit and
a registry, unpacked from Debian packages into the state folder and started in the background. An engine that
is already there is always preferred and never touched."""

_EXAMPLE = """\
example:
  tasks engine start --yes          unpack and start; a running one is left alone
  eval "$(tasks engine status --env)"   let docker and other programs use it too
  tasks engine stop                 stop it; images stay
  tasks engine stop --purge         stop it and remove everything it has left"""


def add_parser(subparsers: Any) -> None:
    """Add `engine` to what `ArgumentParser.add_subparsers()` returned."""
    engine = subparsers.add_parser(
        "engine",
        help="start, stop or show the embedded engine",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    engine.set_defaults(
        execute=lambda arguments, settings: run(arguments, environ=settings.environ, home=settings.home)
    )
    verbs = engine.add_subparsers(dest="engine_verb", metavar="start|stop|status", required=True)

    start = verbs.add_parser(
        "start",
        help="start the engine and its registry; repairs one that died",
        description="Start the embedded engine and its registry. Needs root, on Debian or Ubuntu.",
        epilog="example: tasks engine start --yes",
    )
    start.add_argument("-y", "--yes", action="store_true", help="download without asking")
    start.add_argument("--force", action="store_true", help="start it even though there is another engine")

    stop = verbs.add_parser(
        "stop",
        help="stop the engine and its registry; images stay",
        description="Stop the embedded engine, its registry and all its containers. Images and volumes stay.",
        epilog="example: tasks engine stop --purge",
    )
    stop.add_argument(
        "--purge", action="store_true", help="also remove images, volumes, registry content and downloads"
    )

    status = verbs.add_parser(
        "status",
        help="show what runs and where",
        description="Show the embedded engine's state. Exit code 0 also where it is stopped.",
        epilog='example: eval "$(tasks engine status --env)"',
    )
    form = status.add_mutually_exclusive_group()
    form.add_argument("--env", action="store_true", help="print the export lines for a shell")
    form.add_argument("--json", action="store_true", help="print one JSON object")


def run(
    args: argparse.Namespace, *, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> int:
    """Exit code of the parsed command. `args.state_dir`: Path. Errors: EngineError, UsageError."""
    # heavier than the parser, which every `tasks` command builds
    from tasks_engine.backends.embedded.engine import EmbeddedEngine

    engine = EmbeddedEngine(args.state_dir)
    if args.engine_verb == "start":
        return _start(engine, args, os.environ if environ is None else environ, home or Path.home())
    if args.engine_verb == "stop":
        engine.stop(_show_progress, purge=args.purge)
        return ExitCode.SUCCEEDED
    return _status(engine, args)


def _start(engine: Any, args: argparse.Namespace, environ: Mapping[str, str], home: Path) -> int:
    from tasks_engine.backends.embedded.engine import check_machine

    if not args.force:
        existing = engine.existing_engine(environ, home)
        if existing is not None:
            _show_progress(f"using the engine that is already there: {existing.url} ({existing.origin})")
            print(existing.url)
            return ExitCode.SUCCEEDED
    check_machine()
    if not engine.is_unpacked and not args.yes and not _agrees_to_download(engine):
        _show_progress("nothing was downloaded or started")
        return ExitCode.CANCELED
    endpoint = engine.start(_show_progress, environ=environ, home=home, force=args.force)
    print(endpoint.url)
    return ExitCode.SUCCEEDED


def _agrees_to_download(engine: Any) -> bool:
    from tasks_engine.backends.embedded.engine import (
        DOWNLOAD_MB,
        HOST_PACKAGE_BY_PROGRAM,
        PACKAGES,
        UNPACKED_MB,
    )

    _show_progress(
        f"this downloads about {DOWNLOAD_MB} MB of Debian packages ({', '.join(PACKAGES)})\n"
        f"with apt and unpacks them to {engine.paths.engine_dir} (about {UNPACKED_MB} MB).\n"
        "They are not installed; only "
        f"{' and '.join(HOST_PACKAGE_BY_PROGRAM.values())} are, where they are missing."
    )
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on whether to download", hint="add `--yes`")
    print("go on? [Y/n] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    # no line at all is the end of input, which is no agreement
    return answer != "" and answer.strip().lower() in ("", "y", "yes")


def _status(engine: Any, args: argparse.Namespace) -> int:
    from tasks_engine.backends.embedded.engine import EngineStatus
    from tasks_engine.errors import EngineError

    status: EngineStatus = engine.status()
    if args.env:
        if not status.running:
            raise EngineError("the embedded engine is not running", hint="run `tasks engine start`")
        print(f"export DOCKER_HOST={status.docker_host}")
        print(f"export TASKS_REGISTRY={status.registry}")
        return ExitCode.SUCCEEDED
    if args.json:
        print(
            json.dumps({**asdict(status), "disk_use_bytes": engine.disk_use_bytes()}, default=str, indent=2)
        )
        return ExitCode.SUCCEEDED
    for name, value in _status_lines(status, engine.disk_use_bytes()):
        print(f"{name + ':':<12}{value}")
    return ExitCode.SUCCEEDED


def _status_lines(status: Any, disk_use_bytes: int | None) -> list[tuple[str, str]]:
    if not status.docker_host:
        return [("engine", "never started here; `tasks engine start` starts it")]
    lines = [("engine", "running" if status.running else "stopped; `tasks engine start` starts it")]
    dead = [name for name, is_alive in status.is_alive_by_daemon.items() if not is_alive]
    if dead and len(dead) < len(status.is_alive_by_daemon):
        lines = [("engine", f"broken: {', '.join(dead)} not running; `tasks engine start` repairs it")]
    lines += [("address", status.docker_host), ("registry", status.registry)]
    if status.version is not None:
        parts = [f"{name} {version}" for name, version in status.version.component_version_by_name.items()]
        lines.append(("versions", f"API {status.version.api_version}, " + ", ".join(parts)))
    lines += [("images", str(status.data_root)), ("logs", str(status.log_dir))]
    lines.append(("disk", "unknown" if disk_use_bytes is None else f"{disk_use_bytes / 1e6:.0f} MB"))
    return lines


def _show_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
