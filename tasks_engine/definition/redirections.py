"""Redirections of a command line: to /dev/null and to each other; the host has no files for a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tasks_engine.definition.words import IN_CONTAINER, Operator, Word, WordError, shorten

_BOTH = ("&>", "&>>")
#: the operators that `read_redirection` reads
REDIRECTIONS = (">", ">>", ">&", *_BOTH, "<")

_DEV_NULL = "/dev/null"
_NO_READING = "reads a file of the host, which does not exist here"
_NO_WRITING = "writes to a file of the host, which does not exist here"
_NO_STREAM = "is about another stream than standard output (1) and standard error (2)"


class Stream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Redirect:
    """From here on `stream` goes where `target` goes now."""

    stream: Stream
    target: Stream


_STREAMS = {"1": Stream.STDOUT, "2": Stream.STDERR}


def final_targets(redirects: Iterable[Redirect]) -> tuple[Stream, Stream]:
    """Where standard output and standard error end up, when the redirects are made one after the other."""
    goes_to = {stream: stream for stream in Stream}
    for redirect in redirects:
        goes_to[redirect.stream] = goes_to[redirect.target]
    return goes_to[Stream.STDOUT], goes_to[Stream.STDERR]


def read_redirection(line: str, operator: Operator, target: Word | Operator | None) -> list[Redirect]:
    """What an operator and the word behind it do; none if that changes nothing. Raises WordError."""
    if not isinstance(target, Word):
        raise WordError(
            f"nothing stands behind '{operator.text}'",
            operator.offset,
            hint="redirections go to /dev/null or, as in 2>&1, to the other stream",
            length=operator.end - operator.offset,
        )
    name = target.fields[0] if len(target.fields) == 1 else ""
    if operator.text == "<":
        if name != _DEV_NULL or operator.descriptor not in ("", "0"):
            raise _refused(line, operator, target, _NO_READING)
        return []
    if operator.text in _BOTH or (operator.text == ">&" and not operator.descriptor and name not in _STREAMS):
        if name != _DEV_NULL:
            raise _refused(line, operator, target, _NO_WRITING)
        return [Redirect(Stream.STDOUT, Stream.NULL), Redirect(Stream.STDERR, Stream.NULL)]
    stream = _STREAMS.get(operator.descriptor or "1")
    if stream is None:
        raise _refused(line, operator, target, _NO_STREAM)
    if operator.text == ">&":
        if name not in _STREAMS:
            raise _refused(line, operator, target, _NO_STREAM)
        return [Redirect(stream, _STREAMS[name])] if _STREAMS[name] is not stream else []
    if name != _DEV_NULL:
        raise _refused(line, operator, target, _NO_WRITING)
    return [Redirect(stream, Stream.NULL)]


def _refused(line: str, operator: Operator, target: Word, reason: str) -> WordError:
    written = line[operator.offset : target.end]
    instead = {"/dev/stdout": "write >&1", "/dev/stderr": "write >&2"}.get("".join(target.fields))
    return WordError(
        f"'{shorten(written)}' {reason}",
        operator.offset,
        instead or f"only /dev/null and the other stream are possible here; {IN_CONTAINER}",
        len(written),
    )
