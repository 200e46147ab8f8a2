"""`$ID`, `$Registry` and their like: short spellings of run variables, from version v1.1.0 on."""

from __future__ import annotations

import re

from tasks_engine.definition.source import Edit, SourceText

#: each stands for the template action of that run variable
RUN_ALIASES = frozenset(
    ["ID", "SharedVolume", "Registry", "RegistryName", "Date", "OS", "Architecture", "Commit", "Branch"],
)
_REFERENCE = re.compile(r"\$(\$|[A-Za-z0-9]*)")
#: a comment line with its line break; those that end the text take the line break before them along
_COMMENT_LINE = re.compile(r"(?:\n[^\S\n]*#[^\n]*)+\Z|^[^\S\n]*#[^\n]*(?:\n|\Z)", re.MULTILINE)


def aliases_enabled(version: str) -> bool:
    """Whether a file of this version text has aliases: a plain comparison, but for case."""
    return version.lower() >= "v1.1.0"


def expand_aliases(source: SourceText) -> SourceText:
    """The text with run aliases turned into template actions.

    A reference is the longest run of letters and digits after `$`. Unknown ones stay, so shell variables
    survive; `$$` is one `$`.
    """
    edits: list[Edit] = []
    for match in _REFERENCE.finditer(source.text):
        if match[1] == "$":
            edits.append(Edit(match.start(), match.end(), "$"))
        elif match[1] in RUN_ALIASES:
            edits.append(Edit(match.start(), match.end(), "{{.Run." + match[1] + "}}"))
    return source.rewrite(edits)


def drop_comment_lines(source: SourceText) -> SourceText:
    """The text without lines whose first non-blank character is `#`, so that nothing in them is expanded.

    Lines inside block scalars go too: templates in what looks like a comment must not run.
    """
    return source.rewrite([Edit(*match.span(), "") for match in _COMMENT_LINE.finditer(source.text)])


def find_version(text: str) -> str:
    """The value of the first `version:` line in column one, as written; empty without one."""
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        if colon and line.lstrip("\"'").startswith("version") and key.strip(" \t\"'") == "version":
            return value.strip().strip("\"'").strip()
    return ""
