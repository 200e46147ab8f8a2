"""The parser of `tasks`, its exit codes, and how errors are shown."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from tasks_engine._version import __version__

if TYPE_CHECKING:
    import argparse

#: problems of a task file that are printed, so that the first of them stays on the screen
_MAX_SHOWN = 10

_DESCRIPTION = """\
Builds, tests and pushes container images from a task file, with BuildKit, on this machine.

  tasks run          run the task file of this folder
  tasks build        build an image and push it, without a task file
  tasks validate     check a task file; tasks render and tasks plan show what becomes of it
  tasks runs list    see past and running runs; tasks logs prints what they printed
  tasks gc           remove what killed runs left, and old runs
  tasks doctor       see what is there and what is missing
  tasks engine start start an engine of our own on a Linux machine that has none
  tasks buildkit du  see what fills the build cache; tasks buildkit prune empties it
"""
#: module of this folder -> its commands -> what `tasks --help` says of them
COMMANDS = {
    "run": {
        "run": "run a task file",
    },
    "build": {
        "build": "build an image, without a task file",
    },
    "show": {
        "plan": "show what a task file would do",
        "validate": "check a task file",
        "render": "show a task file after aliases and templates",
        "deps": "list the base images of a Dockerfile",
        "schema": "print a JSON schema, for editors and programs",
    },
    "doctor": {
        "doctor": "show what engine, BuildKit, registry and logins there are, and fixes for what is missing",
    },
    "engine": {
        "engine": "start, stop or show the embedded engine",
    },
    "buildkit": {
        "buildkit": "show the builder, its cache and its history; prune the cache",
    },
    "runs": {
        "runs": "list, show, cancel and repeat runs",
    },
    "logs": {
        "logs": "print the log of a run, and follow it",
    },
    "gc": {
        "gc": "remove what killed runs left, old runs, and build cache",
    },
}


def entry() -> None:
    """The command `tasks`."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"tasks {__version__}")  # before any import: a version must cost nothing
        return
    sys.exit(main(sys.argv[1:]))


def main(argv: list[str]) -> int:
    """Runs one command and returns its exit code. Prints every error; raises nothing."""
    import os

    from tasks_engine.errors import DefinitionErrors, ExitCode, TasksError

    _print_any_character()
    try:
        return _run(argv)
    except DefinitionErrors as error:
        print("\n\n".join(map(_shown, error.problems[:_MAX_SHOWN])), file=sys.stderr)
        if len(error.problems) > _MAX_SHOWN:
            more = len(error.problems) - _MAX_SHOWN
            print(f"\nand {more} more; tasks validate --json shows all", file=sys.stderr)
        return error.exit_code
    except TasksError as error:
        print(_shown(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.CANCELED
    except BrokenPipeError:
        # whoever read our output is gone; Python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.ERROR
    except Exception:  # noqa: BLE001 - the edge: a bug is shown whole, with what to do about it
        import traceback

        traceback.print_exc()
        print(
            f"\ntasks {__version__}: this is a bug. Please report it with the lines above.", file=sys.stderr
        )
        return ExitCode.BUG


def _shown(error: Exception) -> str:
    return str(error) if getattr(error, "location", None) else f"tasks: {error}"


def _print_any_character() -> None:
    """What the terminal's encoding lacks shows as an escape; it is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(argv: list[str]) -> int:
    import os

    from tasks_engine.errors import ExitCode
    from tasks_engine.settings import read_settings

    parser = _parser(next((each for each in argv if not each.startswith("-")), ""))
    arguments = parser.parse_args(argv)
    if not hasattr(arguments, "execute"):
        parser.print_help(sys.stderr)
        return ExitCode.USAGE
    settings = read_settings(os.environ, registry=getattr(arguments, "registry", None))
    arguments.state_dir = settings.state_dir
    code: int = arguments.execute(arguments, settings)
    return code


def _parser(chosen: str) -> argparse.ArgumentParser:
    """Knows all commands by name and purpose, and of the chosen one everything; no other is loaded."""
    import argparse
    from importlib import import_module

    parser = argparse.ArgumentParser(
        prog="tasks", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", "-V", action="version", version=f"tasks {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module, purposes in COMMANDS.items():
        if chosen in purposes:
            import_module(f"tasks_engine.cli.{module}").add_parser(commands)
            continue
        for name, purpose in purposes.items():
            commands.add_parser(name, help=purpose, add_help=False)
    return parser
