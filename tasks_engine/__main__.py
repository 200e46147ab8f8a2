"""`python -m tasks_engine` is `tasks`."""

from tasks_engine.cli.main import entry

entry()
