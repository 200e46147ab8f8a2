"""The flags of `docker build`, of its classic builder and of BuildKit's, as one table.

A flag of docker's that is not in the table does not exist; one that this engine does not honour says what
becomes of it. Flags: docker CLI 27 and buildx 0.17, and those that buildx got since.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from tasks_engine.definition import build_attributes as attributes
from tasks_engine.definition import build_values as values


class Takes(Enum):
    """What stands behind a flag."""

    #: a value, after `=` or as the next word
    VALUE = auto()
    #: nothing, or true or false after `=`
    SWITCH = auto()
    #: nothing, or a value after `=`, or a next word that looks like one
    ATTESTATION = auto()


class Use(Enum):
    HONORED = auto()
    #: accepted without a word: what it asks for is so anyway, or cannot be seen
    SILENT = auto()
    #: accepted with a warning, since an author may count on it
    WARNED = auto()
    #: the same, for what only docker's classic builder ever did
    CLASSIC = auto()
    #: an error: going on without it would do something else
    REFUSED = auto()


@dataclass(frozen=True)
class BuildFlag:
    name: str
    #: with its dash; empty when there is none
    short: str = ""
    takes: Takes = Takes.VALUE
    #: the value of one use -> the items it stands for; raises InvalidValue
    read: Callable[[str], Sequence[Any]] = values.read_text
    #: items of all uses count, not only of the last
    repeats: bool = False
    use: Use = Use.HONORED
    #: the hint for a flag that is not honoured
    note: str = ""
    #: another name
    alias: str = ""


def _switch(name: str, short: str = "", *, use: Use = Use.HONORED, note: str = "") -> BuildFlag:
    return BuildFlag(name, short, Takes.SWITCH, values.read_switch, use=use, note=note)


_NO_LIMITS = "limits of a build are those of the engine"
_NO_FILE = "the run's events and summary hold the digest"
_NO_PUSH = "a build never pushes: add a step with push: [IMAGE]"
_NO_QUESTION = "a build step builds; what asks about a Dockerfile can run in a cmd step"

_TABLE = (
    BuildFlag("--tag", "-t", repeats=True, alias="--image"),  # `az acr build` calls it --image
    BuildFlag("--file", "-f", read=values.read_dockerfile),
    BuildFlag("--build-arg", read=values.read_assignment, repeats=True),
    BuildFlag("--label", read=values.read_assignment, repeats=True),
    BuildFlag("--annotation", read=values.read_annotation, repeats=True),
    BuildFlag("--target"),
    BuildFlag("--platform", read=values.read_platforms, repeats=True),
    _switch("--no-cache"),
    BuildFlag("--no-cache-filter", read=values.read_stages, repeats=True),
    _switch("--pull"),
    BuildFlag("--secret", read=attributes.read_secret, repeats=True),
    BuildFlag("--ssh", read=values.read_ssh, repeats=True),
    BuildFlag("--build-context", read=values.read_named_context, repeats=True),
    BuildFlag("--cache-from", read=attributes.read_cache, repeats=True),
    BuildFlag("--cache-to", read=attributes.read_cache, repeats=True),
    BuildFlag("--output", "-o", read=attributes.read_output, repeats=True),
    BuildFlag("--attest", read=attributes.read_attestation, repeats=True),
    BuildFlag("--sbom", takes=Takes.ATTESTATION, read=attributes.read_sbom),
    BuildFlag("--provenance", takes=Takes.ATTESTATION, read=attributes.read_provenance),
    BuildFlag("--add-host", read=values.read_host, repeats=True),
    BuildFlag("--network", read=values.read_network),
    BuildFlag("--ulimit", read=values.read_ulimit, repeats=True),
    BuildFlag("--shm-size", read=values.read_size),
    BuildFlag("--cgroup-parent"),
    BuildFlag("--allow", read=values.read_entitlement, repeats=True),
    # intermediate containers never stay
    _switch("--rm", use=Use.SILENT),
    _switch("--force-rm", use=Use.SILENT),
    # the log is always whole, and how it is shown is up to whoever runs the task
    _switch("--quiet", "-q", use=Use.SILENT),
    BuildFlag("--progress", use=Use.SILENT),
    _switch("--debug", "-D", use=Use.SILENT),
    # only changes how files travel to the engine
    _switch("--compress", use=Use.SILENT),
    # docker itself has given up content trust
    _switch("--disable-content-trust", use=Use.SILENT),
    _switch("--load", use=Use.WARNED, note="an image is loaded whenever a later step runs it"),
    _switch("--push", use=Use.WARNED, note=_NO_PUSH),
    BuildFlag("--builder", use=Use.WARNED, note="builds run on the engine of the run"),
    BuildFlag("--iidfile", use=Use.WARNED, note=_NO_FILE),
    BuildFlag("--metadata-file", use=Use.WARNED, note=_NO_FILE),
    BuildFlag("--resource", repeats=True, use=Use.WARNED, note=_NO_LIMITS),
    BuildFlag("--memory", "-m", use=Use.CLASSIC, note=_NO_LIMITS),
    BuildFlag("--memory-swap", use=Use.CLASSIC, note=_NO_LIMITS),
    BuildFlag("--cpu-shares", "-c", use=Use.CLASSIC, note=_NO_LIMITS),
    BuildFlag("--cpu-period", use=Use.CLASSIC, note=_NO_LIMITS),
    BuildFlag("--cpu-quota", use=Use.CLASSIC, note=_NO_LIMITS),
    BuildFlag("--cpuset-cpus", use=Use.CLASSIC, note=_NO_LIMITS),
    BuildFlag("--cpuset-mems", use=Use.CLASSIC, note=_NO_LIMITS),
    _switch(
        "--squash",
        use=Use.CLASSIC,
        note="copy the result into a last stage of its own: FROM scratch, COPY --from=…",
    ),
    BuildFlag(
        "--security-opt",
        repeats=True,
        use=Use.CLASSIC,
        note="for a privileged instruction write RUN --security=insecure and --allow security.insecure",
    ),
    BuildFlag("--isolation", use=Use.CLASSIC, note="Linux has one kind of isolation"),
    BuildFlag("--call", use=Use.REFUSED, note=_NO_QUESTION),
    _switch("--check", use=Use.REFUSED, note=_NO_QUESTION),
    BuildFlag("--print", use=Use.REFUSED, note=_NO_QUESTION),
    BuildFlag("--policy", repeats=True, use=Use.REFUSED, note="a policy that is not applied protects nobody"),
)

#: every spelling -> its flag
FLAGS = {spelling: flag for flag in _TABLE for spelling in (flag.name, flag.short, flag.alias) if spelling}
_LONG_NAMES = tuple(spelling for spelling in FLAGS if spelling.startswith("--"))
_LONGEST_NAME = max(map(len, _LONG_NAMES))


def guess_flag(written: str) -> str:
    """The flag that an unknown one may stand for, or nothing."""
    if f"-{written}" in FLAGS:
        return f"-{written}"  # a long name behind one dash
    if len(written) > 2 * _LONGEST_NAME:
        return ""
    return next(iter(difflib.get_close_matches(written, _LONG_NAMES, n=1)), "")
