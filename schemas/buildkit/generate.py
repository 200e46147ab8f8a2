"""Turns the .proto files of this folder into tasks_engine/backends/buildkit/proto/.

    python schemas/buildkit/generate.py            writes the generated files
    python schemas/buildkit/generate.py --check    exit 1 when they differ from what it would write

Needs grpcio-tools. The files are compiled under the path of the package that they end in, so that their
imports of one another are right as they come.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

SCHEMAS = Path(__file__).resolve().parent
PROJECT = SCHEMAS.parent.parent
PACKAGE = "tasks_engine/backends/buildkit/proto"
GOOGLE = Path(protoc.__file__).parent / "_proto"


def generate(project: Path) -> None:
    """Writes `*_pb2.py` and `*_pb2.pyi` below `project`."""
    names = [f"{PACKAGE}/{source.name}" for source in sorted(SCHEMAS.glob("*.proto"))]
    arguments = [f"-I{PACKAGE}={SCHEMAS}", f"-I{GOOGLE}", f"--python_out={project}", f"--pyi_out={project}"]
    if protoc.main(["protoc", *arguments, *names]) != 0:
        raise SystemExit("protoc failed")


def generated_files(project: Path) -> dict[str, bytes]:
    """File name -> content, of everything protoc made."""
    return {path.name: path.read_bytes() for path in (project / PACKAGE).glob("*_pb2.py*")}


def check() -> int:
    """0 when the files in the tree are what the .proto files give; else names those that are not, and 1."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = generated_files(Path(scratch))
    present = generated_files(PROJECT)
    stale = sorted(name for name in fresh.keys() | present.keys() if fresh.get(name) != present.get(name))
    for name in stale:
        sys.stderr.write(f"{PACKAGE}/{name} is not what schemas/buildkit says: run `make proto`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        raise SystemExit(check())
    for stale_file in (PROJECT / PACKAGE).glob("*_pb2.py*"):
        stale_file.unlink()
    generate(PROJECT)
