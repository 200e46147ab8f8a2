"""Parts of a build that can be compared, whatever the order of its words.

Images stand in their full form: `app` and `app:latest` name the same one.
"""

from __future__ import annotations

from typing import Any

from tasks_engine.definition.build_string import BuildArguments
from tasks_engine.images.reference import parse_reference
from tasks_engine.plan.model import BuildWork


def full_image(image: str) -> str:
    return str(parse_reference(image))


def parts_of_text(arguments: BuildArguments) -> dict[str, Any]:
    """Of the text of a build, as the original hands it to docker."""
    return {
        "context": arguments.context,
        "dockerfile": arguments.dockerfile,
        "target": arguments.target,
        "tags": [full_image(tag) for tag in arguments.tags],
        "build_args": arguments.build_args,
        "caches_in": [entry.attributes.get("ref") for entry in arguments.cache_to],
    }


def parts_of_work(work: BuildWork) -> dict[str, Any]:
    """Of a planned build."""
    return {
        "context": work.context,
        "dockerfile": work.dockerfile,
        "target": work.target,
        "tags": [full_image(tag) for tag in work.tags],
        "build_args": dict(work.build_args),
        "caches_in": [work.cache] if work.cache else [],
    }
