"""The frontend that a Dockerfile asks for, in any of the forms that BuildKit knows.

Source: BuildKit, frontend/dockerfile/parser, DetectSyntax: `# syntax=`, `// syntax=` and a JSON object, each behind a
shebang or not.
"""

from __future__ import annotations

import json
import re

_DIRECTIVE = re.compile(r"\s*(?:#|//)\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*\Z")


def frontend_of(text: str) -> str:
    """Name of the frontend's image; empty when the text asks for none."""
    text = text.removeprefix("\ufeff")
    if text.startswith("#!"):
        text = text.partition("\n")[2]
    for line in text.splitlines():
        match = _DIRECTIVE.match(line)
        if match is None:
            break
        if match[1].lower() == "syntax":
            return match[2].split()[0]
    try:
        content, _ = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return ""
    syntax = content.get("syntax") if isinstance(content, dict) else None
    return syntax.split()[0] if isinstance(syntax, str) and syntax.strip() else ""
