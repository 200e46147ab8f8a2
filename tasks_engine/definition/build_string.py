"""The text of a `build` step, read like the command line of `docker build`.

Words are split and variables expanded as a shell would, but no shell is there: what needs one is refused.
Words become flags in `build_words`, after the table in `build_flags`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

from tasks_engine.definition.build_attributes import Attestation, BuildOutput, BuildSecret, CacheEntry
from tasks_engine.definition.build_context import BuildContext, parse_build_context
from tasks_engine.definition.build_values import Annotation, HostEntry, SshForward, Ulimit
from tasks_engine.definition.build_words import (
    BuildStringError,
    BuildWarning,
    Place,
    PlaceOf,
    read_build_words,
)
from tasks_engine.definition.expansion import Expansion
from tasks_engine.definition.words import (
    IN_CONTAINER,
    Word,
    WordError,
    read_tokens,
    refuse_operator,
)

__all__ = ["BuildArguments", "BuildStringError", "BuildWarning", "parse_build_string", "parse_build_words"]

_Item = TypeVar("_Item")

_REDIRECTION = "a step has no standard input: name a file with -f, and a folder as the context"
_ONE_BUILD = "a build step is one docker build: put other commands into cmd steps, and such characters in single quotes"


@dataclass(frozen=True)
class BuildArguments:
    #: as written; `.` when there is none
    context: str
    #: relative to the working directory; empty: `Dockerfile` in the context
    dockerfile: str = ""
    #: as written, each once
    tags: tuple[str, ...] = ()
    #: name -> value; None takes the value from the step's environment
    build_args: dict[str, str | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    annotations: tuple[Annotation, ...] = ()
    target: str = ""
    #: as written, such as `linux/arm64`, `arm64` or `local`, each once; none: the engine's own
    platforms: tuple[str, ...] = ()
    no_cache: bool = False
    #: stages that are built without cache
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    secrets: tuple[BuildSecret, ...] = ()
    ssh: tuple[SshForward, ...] = ()
    #: name in the Dockerfile -> folder or address
    build_contexts: dict[str, str] = field(default_factory=dict)
    cache_from: tuple[CacheEntry, ...] = ()
    cache_to: tuple[CacheEntry, ...] = ()
    outputs: tuple[BuildOutput, ...] = ()
    #: one of a type
    attestations: tuple[Attestation, ...] = ()
    add_hosts: tuple[HostEntry, ...] = ()
    #: of `RUN`: default, none or host
    network: str = "default"
    ulimits: tuple[Ulimit, ...] = ()
    #: 0: the engine's default
    shm_size_bytes: int = 0
    cgroup_parent: str = ""
    #: entitlements such as `network.host`, each once
    allow: tuple[str, ...] = ()
    #: further words where one context stands; docker takes none
    extra_contexts: tuple[str, ...] = ()
    warnings: tuple[BuildWarning, ...] = field(default=(), compare=False)

    @property
    def source(self) -> BuildContext:
        """What the context is."""
        return parse_build_context(self.context)


def parse_build_string(text: str, env: Mapping[str, str] | None = None) -> BuildArguments:
    """The arguments of a build step. Raises BuildStringError, also for open quotes and shell operators.

    `env` is the step's environment, which `$NAME` and `${NAME}` stand for; without it `$` stays as it is.
    """
    expansion = None if env is None else Expansion(env, home="~")  # a build has no home folder
    try:
        words = _read_words(text, expansion)
    except WordError as error:
        written = text[error.offset : error.offset + error.length]
        hint = _REDIRECTION if "<" in written else error.hint.replace(IN_CONTAINER, _ONE_BUILD)
        raise BuildStringError(error.message, written, hint, error.offset) from error
    fields = [field for word in words for field in word.fields]
    arguments = parse_build_words(fields, lambda number: _place(text, words, number))
    if expansion is None or not expansion.unset:
        return arguments
    unset = (_unset(name, offset) for name, offset in expansion.unset.items())
    return replace(arguments, warnings=(*arguments.warnings, *unset))


def parse_build_words(words: Sequence[str], place_of: PlaceOf | None = None) -> BuildArguments:
    """The arguments, from words that are split and expanded already. Raises BuildStringError.

    `place_of` tells where word number N, from 0, stands in the text; it is only asked for errors and warnings.
    """
    read = read_build_words(words, place_of or (lambda number: Place(words[number], None)))
    contexts = [words[number] for number in read.contexts] or ["."]
    given: dict[str, Any] = {}
    for flag, items in read.items.items():
        if flag in _FIELDS and items:
            name, combine = _FIELDS[flag]
            given[name] = combine(items)
    attestations = [each for flag in _ATTESTATIONS for each in read.items.get(flag, ())]
    return BuildArguments(
        context=contexts[-1],
        extra_contexts=tuple(contexts[:-1]),
        attestations=_first_of_each_type(attestations),
        warnings=tuple(read.warnings),
        **given,
    )


def _read_words(text: str, expansion: Expansion | None) -> list[Word]:
    """Raises WordError, also for an operator; a line break is a blank."""
    words: list[Word] = []
    for token in read_tokens(text, expansion):
        if isinstance(token, Word):
            words.append(token)
        elif token.text != "\n":
            raise refuse_operator(token)
    return words


def _place(text: str, words: Iterable[Word], number: int) -> Place:
    """Where field `number` of all words stands."""
    for word in words:
        if number < len(word.fields):
            break
        number -= len(word.fields)
    written = text[word.offset : word.end]
    if len(word.fields) > 1 and tuple(written.split()) == word.fields:
        field = next(islice(re.finditer(r"\S+", written), number, None))
        return Place(field[0], word.offset + field.start())
    return Place(written, word.offset)


def _unset(name: str, offset: int) -> BuildWarning:
    message = f"${name} is not set in the environment of the step and becomes nothing"
    return BuildWarning(message, f"${name}", offset, "a literal '$' is written '\\$'")


def _unique(items: list[_Item]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys(items))


def _last_of_each(key: str) -> Callable[[list[_Item]], tuple[_Item, ...]]:
    """Of items with the same key the last one, at the place of the first."""
    return lambda items: tuple({getattr(item, key): item for item in items}.values())


def _labels(items: list[tuple[str, str | None]]) -> dict[str, str]:
    return {name: value or "" for name, value in items}


def _first_of_each_type(items: Iterable[Attestation]) -> tuple[Attestation, ...]:
    first: dict[str, Attestation] = {}
    for item in items:
        first.setdefault(item.type, item)
    return tuple(first.values())


_last = itemgetter(-1)

#: flag -> the field of BuildArguments, and what makes it of all the items that were given
_FIELDS: Mapping[str, tuple[str, Callable[[list[Any]], Any]]] = {
    "--file": ("dockerfile", _last),
    "--tag": ("tags", _unique),
    "--build-arg": ("build_args", dict),
    "--label": ("labels", _labels),
    "--annotation": ("annotations", tuple),
    "--target": ("target", _last),
    "--platform": ("platforms", _unique),
    "--no-cache": ("no_cache", _last),
    "--no-cache-filter": ("no_cache_filter", _unique),
    "--pull": ("pull", _last),
    "--secret": ("secrets", _last_of_each("id")),
    "--ssh": ("ssh", _last_of_each("id")),
    "--build-context": ("build_contexts", dict),
    "--cache-from": ("cache_from", tuple),
    "--cache-to": ("cache_to", tuple),
    "--output": ("outputs", tuple),
    "--add-host": ("add_hosts", _unique),
    "--network": ("network", _last),
    "--ulimit": ("ulimits", _last_of_each("name")),
    "--shm-size": ("shm_size_bytes", _last),
    "--cgroup-parent": ("cgroup_parent", _last),
    "--allow": ("allow", _unique),
}
#: an explicit `--attest` counts before the short forms
_ATTESTATIONS = ("--attest", "--provenance", "--sbom")
