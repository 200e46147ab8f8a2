"""The list of commands, and that only the chosen one is loaded."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module

import pytest

from tasks_engine.cli.main import COMMANDS


@pytest.mark.parametrize("module", COMMANDS)
def test_the_list_says_what_the_command_itself_says(module: str) -> None:
    commands = argparse.ArgumentParser().add_subparsers()
    import_module(f"tasks_engine.cli.{module}").add_parser(commands)

    purposes = {each.dest: each.help for each in commands._choices_actions}
    assert purposes == COMMANDS[module]


def test_help_lists_all_commands(tasks: Callable) -> None:
    shown = " ".join(tasks("--help").out.split())
    for purposes in COMMANDS.values():
        for name, purpose in purposes.items():
            assert f"{name} {purpose}" in shown


def test_an_unknown_command_is_refused_with_all_that_there_are(tasks: Callable) -> None:
    outcome = tasks("rum")
    assert outcome.code == 2
    assert all(name in outcome.err for purposes in COMMANDS.values() for name in purposes)


def test_without_a_command_there_is_the_help_and_a_usage_error(tasks: Callable) -> None:
    outcome = tasks()
    assert outcome.code == 2
    assert "usage: tasks" in outcome.err


@pytest.mark.parametrize("name", [name for purposes in COMMANDS.values() for name in purposes])
def test_every_command_has_its_own_help(tasks: Callable, name: str) -> None:
    outcome = tasks(name, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: tasks {name}")


@pytest.mark.parametrize(
    ("arguments", "unloaded"),
    [
        (["--help"], ["tasks_engine.cli.run", "tasks_engine.cli.show", "tasks_engine.settings_file", "yaml"]),
        (["runs", "--help"], ["tasks_engine.cli.run", "tasks_engine.cli.build", "yaml"]),
        (["runs", "list"], ["tasks_engine.cli.render.views", "rich", "docker", "grpc", "requests"]),
        (["logs", "--help"], ["tasks_engine.cli.render.live", "yaml"]),
    ],
)
def test_only_the_chosen_command_is_loaded(arguments: list[str], unloaded: list[str], tmp_path) -> None:
    program = (
        "import sys, contextlib\n"
        "from tasks_engine.cli.main import main\n"
        f"with contextlib.suppress(SystemExit): main({arguments!r})\n"
        f"loaded = [each for each in {unloaded!r} if each in sys.modules]\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
