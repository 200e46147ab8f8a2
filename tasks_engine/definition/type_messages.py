"""What is said of values of the wrong type: errors of the JSON schema in the words of people who write task files."""

from __future__ import annotations

import re
from typing import Any

from tasks_engine.definition.template.secret_text import mask_tokens

#: characters of the author's text that a message quotes, and of a whole message
MAX_SHOWN = 60
LONGEST_MESSAGE = 500
_DOCKERFILE = re.compile(r"(?:FROM|ARG|# *syntax)\b", re.IGNORECASE)


def explain(error: Any) -> str:
    """What an error of the JSON schema means for the author."""
    where = _name_of(tuple(error.absolute_path))
    expected = {
        "string": "text",
        "array": "a list",
        "object": "a map of keys to values",
        "integer": "a whole number",
        "boolean": "true or false",
    }
    if error.validator == "type":
        return f"{where} must be {expected[error.validator_value]}, not {_describe(error.instance)}"
    if error.validator == "minimum":
        return f"{where} must be {error.validator_value} or more, not {error.instance}"
    return f"{where}: {error.message}"


def hint_for(error: Any) -> str:
    """What to do about an error of the JSON schema; may be empty."""
    if error.validator != "type":
        return ""
    is_env = "env" in error.absolute_path
    match error.validator_value, error.instance:
        case "object", str(text) if not error.absolute_path and _DOCKERFILE.match(text):
            return "this looks like a Dockerfile; a task that builds it: steps: [{build: -f DOCKERFILE .}]"
        case "object", _ if not error.absolute_path:
            return "a task begins with: steps:"
        case "array", str(text):
            return f'write it as a list: ["{shown(text)}"]'
        case "array", dict():
            return "begin each entry with '- '" + (" and write it NAME=value" if is_env else "")
        case "string", [_]:
            return "write it without the list around it"
        case "string", list():
            return "write it as one text, with blanks between the words"
        case "string", dict():
            return "write NAME=value" if is_env else "put text that contains ': ' in quotes"
        case "integer", str(text) if text.isdecimal():
            return "write it without quotes"
        case "integer", _:
            return "write a whole number, such as 60"
        case "boolean", _:
            return "write true or false without quotes"
    return ""


def _name_of(path: tuple[str | int, ...]) -> str:
    names = [part for part in path if isinstance(part, str)]
    if not path:
        return "the file"
    if isinstance(path[-1], int):
        return f"entry {path[-1] + 1} of '{names[-1]}'"
    return f"'{path[-1]}'"


def _describe(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a map"
    return f"'{shown(value)}'" if isinstance(value, str) else str(value)


def shown(text: str, at_most: int = MAX_SHOWN) -> str:
    """The author's text as it may be shown."""
    text = mask_tokens(text)
    return text if len(text) <= at_most else f"{text[: at_most - 1]}…"
