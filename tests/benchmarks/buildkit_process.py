"""The process of ours that is measured: nothing but the BuildKit client.

python buildkit_process.py ADDRESS BUILD CONTEXT [LOG]        one build, its output to a file
python buildkit_process.py ADDRESS MEMORY REPORT CONTEXT...   all at once; the peak in MB goes to the report
"""

from __future__ import annotations

import sys
from pathlib import Path

from tasks_engine.backends.buildkit import BuildKitClient, BuildOptions, Event, LogOutput


def build(address: str, project: Path, log_path: Path | None) -> None:
    """One build; its output with the number of the step before each line, as the peer writes it."""
    if log_path is None:
        with BuildKitClient.connect(address) as client:
            client.build(BuildOptions(project))
        return
    with BuildKitClient.connect(address) as client, log_path.open("wb") as file:
        number_by_vertex: dict[str, int] = {}

        def write(event: Event) -> None:
            if isinstance(event, LogOutput):
                number = number_by_vertex.setdefault(event.vertex, len(number_by_vertex))
                file.write(event.data.replace(b"\n", b"\n#%d " % number))

        client.build(BuildOptions(project), on_event=write)


def build_all(address: str, report: Path, projects: list[Path]) -> None:
    import resource

    with BuildKitClient.connect(address) as client:
        running = [client.start(BuildOptions(project), on_event=lambda _: None) for project in projects]
        for each in running:
            each.wait()
    report.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000))


if __name__ == "__main__":
    if sys.argv[2] == "BUILD":
        build(sys.argv[1], Path(sys.argv[3]), Path(sys.argv[4]) if len(sys.argv) > 4 else None)
    else:
        build_all(sys.argv[1], Path(sys.argv[3]), [Path(name) for name in sys.argv[4:]])
