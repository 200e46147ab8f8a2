"""What `tasks deps` prints of a Dockerfile."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from tasks_engine.errors import DefinitionError, ExitCode, SourceLocation
from tasks_engine.images.dockerfile import scan_dockerfile
from tasks_engine.images.dockerfile_images import DockerfileError, DockerfileImages
from tasks_engine.images.dockerfile_variables import parse_build_args


def show_dependencies(
    text: str, name: str, build_args: Sequence[str], target: str, *, as_json: bool
) -> ExitCode:
    """Prints the images a Dockerfile builds on. Raises DefinitionError."""
    try:
        values = parse_build_args(build_args, os.environ)
        images = scan_dockerfile(text, build_args=values, target=target)
    except DockerfileError as error:
        location = _locate(text, name, error.line) if error.line else None
        raise DefinitionError(error.message, location=location, hint=error.hint, rule=error.reason) from error
    if as_json:
        print(json.dumps(images.to_json(), indent=2))
        return ExitCode.SUCCEEDED
    for remark in images.remarks:
        location = _locate(text, name, remark.line)
        print(
            f"warning: {DefinitionError(remark.message, location=location, hint=remark.hint)}\n",
            file=sys.stderr,
        )
    _print_table(images)
    return ExitCode.SUCCEEDED


def _print_table(images: DockerfileImages) -> None:
    print(f"runtime    {images.runtime}")
    for reference in images.buildtime:
        print(f"buildtime  {reference}")
    if images.frontend:
        print(f"frontend   {images.frontend}")


def _locate(text: str, name: str, line: int) -> SourceLocation:
    lines = text.split("\n")
    shown = lines[line - 1].rstrip("\r") if 0 < line <= len(lines) else ""
    return SourceLocation(name, line, 1, shown[:200], width=max(1, min(200, len(shown))))
