"""What images were built on, as a few lines. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tasks_engine.cli.render.text import safe_name
from tasks_engine.events import ImageDependencies

#: of a digest, as people compare them
_SHOWN_DIGEST = len("sha256:") + 12
_MAX_NAMES = 5


def dependency_lines(events: Sequence[ImageDependencies]) -> list[str]:
    """For every build its images, and below them the image they are based on and those used on the way."""
    tags_by_build: dict[tuple[str, str], list[str]] = {}
    for event in events:
        data = event.dependencies
        rest = json.dumps({name: value for name, value in data.items() if name != "image"}, sort_keys=True)
        tags = tags_by_build.setdefault((event.step_id, rest), [])
        if data.get("image"):
            tags.append(str(data["image"]["reference"]))
    lines = []
    for (step_id, rest), tags in tags_by_build.items():
        lines.append(f"built {_listed(tags) or f'without a name (step {safe_name(step_id, 64)})'}")
        needed = json.loads(rest)
        runtime, others = needed.get("runtime-dependency"), needed.get("buildtime-dependency") or []
        lines += [f"  from {_image(runtime)}"] if runtime else []
        lines += [f"  with {_image(each)}" for each in others]
        commit = needed.get("git", {}).get("git-head-revision")
        lines += [f"  at commit {safe_name(commit, 12)}"] if commit else []
    return lines


def _listed(tags: Sequence[str]) -> str:
    more = f" and {len(tags) - _MAX_NAMES} more" if len(tags) > _MAX_NAMES else ""
    return ", ".join(safe_name(tag) for tag in tags[:_MAX_NAMES]) + more


def _image(image: Mapping[str, Any]) -> str:
    reference = safe_name(str(image["reference"]))
    digest = str(image.get("digest", ""))
    if reference == "scratch:latest":
        return "scratch"
    return (
        f"{reference}@{safe_name(digest[:_SHOWN_DIGEST])}" if digest and "@" not in reference else reference
    )
