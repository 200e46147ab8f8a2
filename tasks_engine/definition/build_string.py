"""The text of a `build` step, read like the command line of `docker build`.

One table holds the flags that are honoured; any other flag is refused, with a guess at what was meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks_engine.definition.words import split_words


class BuildStringError(ValueError):
    """`word` is the part of the text that is wrong."""

    def __init__(self, message: str, word: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.word, self.hint = message, word, hint


@dataclass(frozen=True)
class BuildArguments:
    context: str
    #: relative to the working directory; empty: `Dockerfile` in the context
    dockerfile: str = ""
    tags: tuple[str, ...] = ()
    #: name -> value; None takes the value from the step's environment
    build_args: dict[str, str | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    no_cache: bool = False
    pull: bool = False


#: flag -> (name of its long form, whether it takes a value)
_FLAGS = {
    "-t": ("--tag", True),
    "--tag": ("--tag", True),
    "--image": ("--tag", True),
    "-f": ("--file", True),
    "--file": ("--file", True),
    "--build-arg": ("--build-arg", True),
    "--label": ("--label", True),
    "--target": ("--target", True),
    "--platform": ("--platform", True),
    "--no-cache": ("--no-cache", False),
    "--pull": ("--pull", False),
    # accepted, without meaning here: progress is always shown, intermediate containers never stay
    "--rm": ("--rm", False),
    "--force-rm": ("--rm", False),
    "-q": ("--rm", False),
    "--quiet": ("--rm", False),
    "--progress": ("--progress", True),
}


def parse_build_string(text: str) -> BuildArguments:
    """The arguments. Raises BuildStringError, or WordError for quotes and shell operators."""
    values: dict[str, list[str]] = {}
    contexts: list[str] = []
    for flag, value in _options(split_words(text, line_breaks_separate=True)):
        (values.setdefault(flag, []) if flag else contexts).append(value)
    if not contexts:
        raise BuildStringError("build has no context", text.strip(), hint="end it with a folder, usually '.'")
    if len(contexts) > 1:
        raise BuildStringError(
            f"build takes one context, but '{contexts[0]}' and '{contexts[1]}' stand here", contexts[1]
        )
    platforms = _last(values, "--platform")
    return BuildArguments(
        context=contexts[0],
        dockerfile=_last(values, "--file"),
        tags=tuple(dict.fromkeys(values.get("--tag", ()))),
        build_args=dict(_assignment(each, "--build-arg") for each in values.get("--build-arg", ())),
        labels={
            name: value or ""
            for name, value in (_assignment(each, "--label") for each in values.get("--label", ()))
        },
        target=_last(values, "--target"),
        platform=platforms,
        no_cache=_switch(values, "--no-cache"),
        pull=_switch(values, "--pull"),
    )


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of long flag and value; the flag of a positional word is empty."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            yield "", word
            continue
        if word == "--":
            yield from (("", each) for each in rest)
            return
        name, equals, value = word.partition("=")
        if name not in _FLAGS and not word.startswith("--") and word[:2] in _FLAGS and _FLAGS[word[:2]][1]:
            name, equals, value = word[:2], "=", word[2:]  # -tname
        if name not in _FLAGS:
            guess = difflib.get_close_matches(name, _FLAGS, n=1)
            raise BuildStringError(
                f"build flag '{name}' is not supported",
                name,
                hint=f"did you mean '{guess[0]}'?" if guess else f"supported: {', '.join(_long_flags())}",
            )
        flag, takes_value = _FLAGS[name]
        if takes_value and not equals:
            following = next(rest, None)
            if following is None:
                raise BuildStringError(f"build flag '{name}' needs a value", name)
            value = following
        yield flag, value if takes_value or equals else "true"


def _long_flags() -> list[str]:
    return sorted({flag for flag in _FLAGS if flag.startswith("--")})


def _last(values: dict[str, list[str]], flag: str) -> str:
    return values.get(flag, [""])[-1]


def _switch(values: dict[str, list[str]], flag: str) -> bool:
    value = _last(values, flag).lower()
    if value not in ("", "true", "false", "1", "0", "t", "f"):
        raise BuildStringError(f"build flag '{flag}' takes true or false, not '{value}'", f"{flag}={value}")
    return value in ("true", "1", "t")


def _assignment(text: str, flag: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name:
        raise BuildStringError(f"build flag '{flag}' needs a name before '='", text)
    return name, value if equals else None
