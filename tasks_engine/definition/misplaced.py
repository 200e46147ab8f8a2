"""What is said of secrets and outputs of steps that stand where nobody knows their values in time."""

from __future__ import annotations

from tasks_engine.definition.template.secret_text import has_secret


def origin(text: str) -> str:
    """What the tokens of a text stand for, in the words of a message."""
    return "a secret" if has_secret(text) else "an output of a step"


def misplaced_rule(text: str) -> str:
    return "secret-misplaced" if has_secret(text) else "output-misplaced"


def right_places(text: str) -> str:
    """A hint where the tokens of a text may stand."""
    if has_secret(text):
        return "a secret may stand in cmd, build and env, and in the files of a volume"
    return "an output may stand in cmd, build, push and env of later steps"
