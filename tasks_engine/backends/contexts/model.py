"""What fetching a context takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tasks_engine.cancel import CancelToken

TIME_LIMIT_S = 600.0


@dataclass(frozen=True)
class Revision:
    """Which state of a repository a context is; what is not known is empty."""

    #: full id
    commit: str
    branch: str = ""
    tag: str = ""
    #: address of the repository, without a login; empty for a local one
    repository: str = ""


@dataclass(frozen=True)
class FetchedContext:
    folder: Path
    #: None for what is no repository
    revision: Revision | None
    #: what it is, for people: the address without login and query, and the digest of an artifact
    description: str
    #: what is amiss although it could be fetched, whole sentences without a final full stop
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FetchOptions:
    #: the address comes from the person in whose name we run: local folders and repositories and standard
    #: input are allowed, and SSH is as that person has set it up
    trusted: bool = False
    #: where relative paths of local folders count from
    current: Path = field(default_factory=Path)
    #: gives standard input, for the address `-`
    stdin: Callable[[], BinaryIO] | None = None
    #: pulls an artifact, named without `oci://`, into an empty folder; returns its digest
    fetch_oci: Callable[[str, Path], str] | None = None
    #: for everything together, in seconds
    time_limit_s: float = TIME_LIMIT_S
    #: fetching ends with its reason when it fires
    cancel: CancelToken = field(default_factory=CancelToken)
