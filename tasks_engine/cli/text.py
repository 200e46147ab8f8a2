"""Small pieces of text that several commands print."""

from __future__ import annotations

from tasks_engine.definition.template.secret_text import mask_tokens


def safe(text: str) -> str:
    """The text on one line, without secrets and without what could drive a terminal: files come from strangers."""
    line = " ".join(mask_tokens(text).splitlines())
    return "".join(each if each.isprintable() else "?" for each in line)


def count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
