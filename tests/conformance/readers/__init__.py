"""Readers: each turns the input of one kind of vector into what this project gives, in the form of `expect`.

`actual` gives that; `wanted`, where a reader has one, brings the expectation into a form that can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.conformance.readers import (
    alias,
    buildparse,
    cmdsplit,
    credentials,
    dag,
    defaults,
    dockerfile_deps,
    exec,
    gitcheckout,
    gitcontext,
    misc,
    render,
    validate,
    version,
)
from tests.conformance.vectors import Vector

Outcome = Mapping[str, Any]


def _as_written(vector: Vector) -> Outcome:
    return vector.wanted


@dataclass(frozen=True)
class Reader:
    actual: Callable[[Vector], Outcome]
    wanted: Callable[[Vector], Outcome] = _as_written


#: kind of vector -> its reader
READERS: Mapping[str, Reader] = {
    "alias": Reader(alias.actual, alias.wanted),
    "buildparse": Reader(buildparse.actual, buildparse.wanted),
    "cmdsplit": Reader(cmdsplit.actual, cmdsplit.wanted),
    "credentials": Reader(credentials.actual),
    "dag": Reader(dag.actual),
    "defaults": Reader(defaults.actual, defaults.wanted),
    "dockerfile_deps": Reader(dockerfile_deps.actual, dockerfile_deps.wanted),
    "exec": Reader(exec.actual, exec.wanted),
    "gitcheckout": Reader(gitcheckout.actual),
    "gitcontext": Reader(gitcontext.actual),
    "render": Reader(render.actual),
    "validate": Reader(validate.actual),
    "version": Reader(version.actual),
    **{f"misc/{kind}": Reader(read, misc.wanted) for kind, read in misc.KINDS.items()},
}

#: kinds without a reader, and what they need
NOT_RUN_YET: Mapping[str, str] = {
    "misc/backoff": "a rule of its own: a push is tried three times, so most of these waits never come",
    "misc/error-text": "nothing: the wording of errors is our own",
}
