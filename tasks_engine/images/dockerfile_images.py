"""What a scan of a Dockerfile gives: images, stages, remarks, or the error that prevents it. Plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Reason = Literal["from-syntax", "no-from", "arg-empty", "build-arg-malformed", "bad-reference"]
Use = Literal["from", "copy", "mount", "syntax"]

_SHOWN = 200


class DockerfileError(ValueError):
    """What keeps a Dockerfile from being scanned; `line` counts from 1, 0 is outside the file."""

    def __init__(self, reason: Reason, message: str, line: int, hint: str = "") -> None:
        super().__init__(message)
        self.reason, self.message, self.line, self.hint = reason, message, line, hint


@dataclass(frozen=True)
class Remark:
    """What a build would refuse, or read in another way, but a scan can pass over."""

    message: str
    line: int
    hint: str = ""


@dataclass(frozen=True)
class ImageUse:
    #: with its variables filled in, otherwise as the author spelled it
    written: str
    how: Use
    line: int
    #: index of the stage it is used in; -1 for the frontend
    stage: int

    @property
    def reference(self) -> str:
        """As written, but never without tag and digest."""
        return with_tag(self.written)


@dataclass(frozen=True)
class Stage:
    #: empty when it has none; compared without case
    name: str
    line: int
    #: what it is built on: an image, or an earlier stage by its index
    base: ImageUse | int
    #: of `FROM --platform=`, empty without
    platform: str
    #: whether the target is built from it, or copies or mounts something of it
    needed: bool


@dataclass(frozen=True)
class DockerfileImages:
    """Read up to the target; stages behind it are left out."""

    #: in the order of the file
    stages: tuple[Stage, ...]
    #: in the order of the file, repeated where the file repeats them
    uses: tuple[ImageUse, ...]
    remarks: tuple[Remark, ...] = ()

    @property
    def runtime(self) -> str:
        """The image that the target's files begin with."""
        return self._origin.reference

    @property
    def buildtime(self) -> tuple[str, ...]:
        """All other images, each once, whether the target needs them or not. The frontend is not among them."""
        runtime = self._origin.written
        return _references(use for use in self.uses if use.how != "syntax" and use.written != runtime)

    @property
    def copied_from(self) -> tuple[str, ...]:
        return _references(use for use in self.uses if use.how == "copy")

    @property
    def mounted(self) -> tuple[str, ...]:
        return _references(use for use in self.uses if use.how == "mount")

    @property
    def frontend(self) -> str | None:
        """The image of the `# syntax=` line."""
        return next((use.reference for use in self.uses if use.how == "syntax"), None)

    @property
    def _origin(self) -> ImageUse:
        base = self.stages[-1].base
        while isinstance(base, int):
            base = self.stages[base].base
        return base

    def to_json(self) -> dict[str, Any]:
        return {
            "runtime": self.runtime,
            "buildtime": list(self.buildtime),
            "copied_from": list(self.copied_from),
            "mounted": list(self.mounted),
            "frontend": self.frontend,
            "images": [
                {"reference": use.reference, "use": use.how, "line": use.line}
                | ({"stage": use.stage} if use.stage >= 0 else {})
                for use in self.uses
            ],
            "stages": [_stage_to_json(stage) for stage in self.stages],
            "remarks": [
                {"message": each.message, "line": each.line} | ({"hint": each.hint} if each.hint else {})
                for each in self.remarks
            ],
        }


def with_tag(written: str) -> str:
    """With `:latest` if there is neither tag nor digest. The text is a valid reference."""
    return written if "@" in written or ":" in written.rpartition("/")[2] else f"{written}:latest"


def shortened(text: str) -> str:
    """A text of the author as messages show it."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _references(uses: Iterable[ImageUse]) -> tuple[str, ...]:
    """Each once, in the order of the file, without the `library/` that goes without saying."""
    return tuple(dict.fromkeys(use.reference.removeprefix("library/") for use in uses))


def _stage_to_json(stage: Stage) -> dict[str, Any]:
    base = {"from_stage": stage.base} if isinstance(stage.base, int) else {"image": stage.base.reference}
    return (
        {"name": stage.name, "line": stage.line} | base | {"platform": stage.platform, "needed": stage.needed}
    )
