"""What stands for `~`, `$NAME` and `${NAME}` in a command line: texts of the step's own environment.

As in `sh -c` there are no positional parameters: `$1`, `$@` and `$*` are empty, `$#` is 0. What only a running shell
knows (`$?`, `$$`) and operators in braces (`${X:-y}`) are refused with their place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tasks_engine.definition.words import IN_CONTAINER, WordError

#: how many expansions one line may have, and how many characters they may give
MAX_EXPANSIONS = 10_000
MAX_EXPANDED = 1 << 20

_TOO_MUCH = "hand large texts to the container in env, and expand them in its own shell"
_NAME = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*+)|\{([A-Za-z_][A-Za-z0-9_]*+)\})")
#: a shell joins the lines before it reads the name
_CUT_BY_LINE_BREAK = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*+)?\\\n[A-Za-z0-9_{\\]|\$\\\n")
_POSITIONAL = re.compile(r"\$(?:([1-9@*#])|\{([1-9][0-9]*+|[@*#])\})")
_OF_A_SHELL = re.compile(r"\$(?:[?$!0-]|\{(?:[?$!-]|0+)\})")
_BRACES = re.compile(r"\$\{[^}\n]{0,200}+\}?")


class Expansion:
    """Expands the variables of one line; `unset` maps the names that were not there to their first place."""

    def __init__(self, env: Mapping[str, str], home: str) -> None:
        self.unset: dict[str, int] = {}
        self._env = env
        self._home = home
        self._expansions_left = MAX_EXPANSIONS
        self._characters_left = MAX_EXPANDED

    def tilde(self, at: int) -> str:
        self.spend(len(self._home), at)
        return self._home

    def dollar(self, line: str, at: int) -> tuple[str | None, int]:
        """See `Expand` in words. Raises WordError."""
        cut = _CUT_BY_LINE_BREAK.match(line, at)
        if cut is not None:
            raise WordError("a line break stands inside a variable", at, "write the variable on one line")
        found = _NAME.match(line, at)
        if found is None:
            text, end = _special(line, at)
            self.spend(0, at)
            return text, end
        name = found[1] or found[2]
        text = self._env.get(name)
        if text is None:
            self.unset.setdefault(name, at)
            text = ""
        self.spend(len(text), at)
        return text, found.end()

    def spend(self, size: int, at: int) -> None:
        """Counts an expansion of that many characters. Raises WordError for too much in one line."""
        self._expansions_left -= 1
        self._characters_left -= size
        if self._expansions_left < 0:
            raise WordError(f"more than {MAX_EXPANSIONS} expansions in one line", at, _TOO_MUCH)
        if self._characters_left < 0:
            raise WordError(
                f"the expansions of this line give more than {MAX_EXPANDED} characters", at, _TOO_MUCH
            )


def _special(line: str, at: int) -> tuple[str | None, int]:
    positional = _POSITIONAL.match(line, at)
    if positional is not None:
        name = positional[1] or positional[2]
        return {"#": "0", "@": None}.get(name, ""), positional.end()
    of_a_shell = _OF_A_SHELL.match(line, at)
    if of_a_shell is not None:
        raise WordError(
            f"'{of_a_shell[0]}' is known to a shell only, and tasks never starts one on the host",
            at,
            hint=f"{IN_CONTAINER}; a literal '$' is written '\\$'",
            length=len(of_a_shell[0]),
        )
    braces = _BRACES.match(line, at)
    if braces is None:
        return "$", at + 1
    raise WordError(
        f"'{braces[0]}' is more than ${{NAME}}, which is all that is expanded here",
        at,
        hint=f"{IN_CONTAINER}; a literal '$' is written '\\$'",
        length=len(braces[0]),
    )
