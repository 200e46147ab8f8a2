"""`tasks plan`, `validate`, `render`, `deps` and `schema`: what a file says, without running anything."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from tasks_engine.backends.alias_sources import AliasSources
from tasks_engine.cli.task_inputs import TaskInput, read_named
from tasks_engine.cli.task_options import add_task_options, given_task, given_task_input
from tasks_engine.cli.text import count
from tasks_engine.definition.template.secret_text import mask_tokens
from tasks_engine.errors import DefinitionError, DefinitionErrors, ExitCode, TasksError
from tasks_engine.settings import Settings

PATHS_HELP = """\
FILE is a task file, or - for standard input; CONTEXT is what its steps work on: a folder, a git address
(https://host/repo.git#branch:folder), an archive (https://host/x.tar.gz#:folder), oci://REGISTRY/NAME:TAG, - for a
tar on standard input, or /dev/null for nothing. A lone folder or address is CONTEXT. Without FILE the first of
acb.yaml, acr-task.yaml, task.yaml in CONTEXT is taken; without CONTEXT it is the folder of FILE."""
#: problems and warnings that are printed, so that the first of them stays on the screen
_MAX_SHOWN = 10
_SCHEMAS = {"task": "task.schema.json", "plan": "plan.schema.json", "run-event": "run-event.schema.json"}


def add_parser(commands: Any) -> None:
    """Adds the commands to the parser of `tasks`."""
    plan = _task_parser(
        commands,
        "plan",
        "show what a task file would do",
        "Prints the steps as they would run, with all defaults filled in.",
    )
    plan.add_argument("--json", action="store_true", help="print the whole plan as JSON (tasks schema plan)")
    plan.set_defaults(execute=plan_command)

    validate = _task_parser(
        commands,
        "validate",
        "check a task file",
        "Prints everything that is wrong with a task file. Needs no engine.",
    )
    validate.add_argument("--json", action="store_true", help="print problems and warnings as JSON")
    validate.set_defaults(execute=_validate_command)

    render = _task_parser(
        commands,
        "render",
        "show a task file after aliases and templates",
        "Prints the text of a file after its aliases and templates; it need not be a valid task. Secrets show as ***.",
    )
    render.set_defaults(execute=_render_command)

    deps = commands.add_parser(
        "deps",
        help="list the base images of a Dockerfile",
        description="Prints the images that a Dockerfile builds on. Reads only the file, asks no registry.",
        epilog="examples:\n  tasks deps Dockerfile --build-arg VERSION=3\n  tasks deps Dockerfile --target test --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    deps.add_argument("dockerfile", metavar="DOCKERFILE", help="a Dockerfile, or - for standard input")
    deps.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="may be repeated"
    )
    deps.add_argument(
        "--target", default="", metavar="STAGE", help="the stage that is built (default: the last)"
    )
    deps.add_argument("--json", action="store_true", help="print JSON")
    deps.set_defaults(execute=_deps_command)

    schema = commands.add_parser(
        "schema",
        help="print a JSON schema, for editors and programs",
        description="Prints the JSON schema of the task file, of `tasks plan --json`, or of `tasks run --json`.",
    )
    schema.add_argument(
        "name", nargs="?", default="task", choices=tuple(_SCHEMAS), help="default: %(default)s"
    )
    schema.set_defaults(execute=_schema_command)


def plan_command(arguments: argparse.Namespace, settings: Settings) -> int:
    from tasks_engine.app import default_registry
    from tasks_engine.cli.plan_text import print_plan
    from tasks_engine.plan.make import make_plan

    with given_task_input(arguments, settings) as found:
        given = given_task(arguments, settings, found, default_registry(settings))
        plan = make_plan(given.load(), given.request)
    if arguments.json:
        print(mask_tokens(json.dumps(plan.to_json(), indent=2, ensure_ascii=False)))
        return ExitCode.SUCCEEDED
    print_plan(plan)
    return ExitCode.SUCCEEDED


def _validate_command(arguments: argparse.Namespace, settings: Settings) -> int:
    with given_task_input(arguments, settings) as found:
        return _validate(arguments, settings, found)


def _validate(arguments: argparse.Namespace, settings: Settings, found: TaskInput) -> int:
    problems: tuple[DefinitionError, ...] = ()
    warnings: Sequence[TasksError] = ()
    steps = 0
    try:
        task = given_task(arguments, settings, found, settings.registry or "registry.invalid").load()
        warnings, steps = task.warnings, len(task.steps)
    except DefinitionErrors as error:
        problems, warnings = error.problems, error.warnings
    if arguments.json:
        print(
            json.dumps(
                {
                    "valid": not problems,
                    "steps": steps,
                    "problems": [each.to_json() for each in problems],
                    "warnings": [each.to_json() for each in warnings],
                },
                indent=2,
            )
        )
    else:
        _print_all(problems)
        _print_all(warnings, "warning: ", at_most=_MAX_SHOWN - len(problems))
        if problems:
            print(f"{found.name}: {count(len(problems), 'problem')}", file=sys.stderr)
        else:
            print(f"{found.name} is valid: {count(steps, 'step')}")
    return ExitCode.USAGE if problems else ExitCode.SUCCEEDED


def _render_command(arguments: argparse.Namespace, settings: Settings) -> int:
    from tasks_engine.app import default_registry
    from tasks_engine.definition.expand import expand_text

    with given_task_input(arguments, settings) as found:
        given = given_task(arguments, settings, found, default_registry(settings))
        expanded = expand_text(found.text, found.name, given.inputs, AliasSources(found.context))
    if arguments.strict and expanded.warnings:
        raise DefinitionErrors(expanded.warnings)
    _print_all(expanded.warnings, "warning: ")
    text = mask_tokens(expanded.source.text)
    print(text, end="" if text.endswith("\n") or not text else "\n")
    return ExitCode.SUCCEEDED


def _deps_command(arguments: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001 - the commands' form
    from tasks_engine.cli.dependencies import show_dependencies

    text, name = read_named(arguments.dockerfile)
    return show_dependencies(text, name, arguments.build_arg, arguments.target, as_json=arguments.json)


def _schema_command(arguments: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001 - the commands' form
    from tasks_engine.schemas_folder import schema_text

    print(schema_text(_SCHEMAS[arguments.name]), end="")
    return ExitCode.SUCCEEDED


def _task_parser(commands: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        usage=f"tasks {name} [FILE] [CONTEXT] [options]",
        help=summary,
        description=f"{description}\n\n{PATHS_HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_task_options(parser)
    return parser


def _print_all(problems: Sequence[TasksError], prefix: str = "", at_most: int = _MAX_SHOWN) -> None:
    """The first ones, and how many there are."""
    shown = problems[: max(0, at_most)]
    for problem in shown:
        print(f"{prefix}{problem}\n", file=sys.stderr)
    if len(problems) > len(shown):
        more = len(problems) - len(shown)
        print(f"{prefix}{'and ' if shown else ''}{more} more; --json shows all\n", file=sys.stderr)
