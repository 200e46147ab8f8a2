"""Lines of output as they come, and what went wrong in terms of the Dockerfile."""

import os
import sys
from pathlib import Path

from tasks_engine.backends.buildkit import (
    BuildFailed,
    BuildKitClient,
    BuildOptions,
    Event,
    LogLines,
    VertexChanged,
    moby,
)

lines = LogLines()


def show(event: Event) -> None:
    if isinstance(event, VertexChanged) and event.completed_at:
        print("cached" if event.cached else "failed" if event.error else "done  ", event.name)
    for line in lines.take(event):
        print("      |", line.text)


with BuildKitClient.connect(os.environ.get("BUILDKIT_HOST", "docker+unix:///var/run/docker.sock")) as client:
    options = BuildOptions(context=Path(), exporters=[moby([sys.argv[1]])])
    try:
        build = client.start(options, on_event=show)
        print(build.wait().image_id)
    except BuildFailed as failure:
        sys.exit(f"Dockerfile:{failure.dockerfile_line}: {failure.message}\n{failure.snippet}")
    for base in client.sources(build).images:
        print("read", base.reference, base.digest)
