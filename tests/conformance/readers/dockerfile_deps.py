"""The images a Dockerfile builds on, and the dependency list of what is built from it.

Build-time images have no order. Where a vector has an improved outcome, its recorded list still shows the original's.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from tasks_engine.images.dependencies import list_dependencies
from tasks_engine.images.dockerfile import scan_dockerfile
from tasks_engine.images.dockerfile_images import DockerfileError
from tasks_engine.images.dockerfile_variables import parse_build_args
from tasks_engine.images.reference import InvalidReference
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    given = vector.input
    try:
        build_args = parse_build_args(given["build_args"], environment={})
        images = scan_dockerfile(given["dockerfile"], build_args=build_args, target=given["target"])
        entries = list_dependencies(images, given["tags"])
    except DockerfileError as error:
        return {"error": error.reason}
    except InvalidReference:
        return {"error": "bad-reference"}
    outcome = {
        "runtime": images.runtime,
        "buildtime": sorted(images.buildtime),
        "dependencies": [_unordered(entry.to_json()) for entry in entries],
    }
    if vector.improved:
        del outcome["dependencies"]
    return outcome


def wanted(vector: Vector) -> dict[str, Any]:
    outcome = vector.wanted
    if "buildtime" in outcome:
        outcome["buildtime"] = sorted(outcome["buildtime"])
    if vector.improved:
        outcome.pop("dependencies", None)
    elif "dependencies" in outcome:
        outcome["dependencies"] = [_unordered(entry) for entry in outcome["dependencies"]]
    return outcome


def _unordered(entry: dict[str, Any]) -> dict[str, Any]:
    buildtime = entry["buildtime-dependency"]
    in_order = buildtime and sorted(buildtime, key=itemgetter("reference"))
    return {**entry, "buildtime-dependency": in_order}
