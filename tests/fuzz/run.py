"""Feeds parsers with what a coverage-guided fuzzer (atheris) finds: no crash, no hang, no error without a place.

    python tests/fuzz/run.py [--seconds 600] [--target NAME ...] [--jobs 2]

`--seconds` is the time of each target; with `--together` it is that of all. What was found stays in .state/fuzz and is
where the next run begins. A failure prints the input's file; `python tests/fuzz/run.py --replay NAME FILE` repeats it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

STATE = ROOT / ".state" / "fuzz"
#: of one input
TIMEOUT_S = 5
MEMORY_MB = 2048
MAX_BYTES = 4096
#: vectors whose inputs are good beginnings -> name of the input's field
SEED_FIELDS = {
    "template": ("render", "template"),
    "expansion": ("render", "template"),
    "aliases": ("alias", "yaml"),
    "task": ("validate", "yaml"),
    "steps": ("defaults", "yaml"),
    "command_line": ("cmdsplit", "cmd"),
    "words": ("cmdsplit", "cmd"),
    "build_string": ("buildparse", "build"),
    "build_context": ("gitcontext", "context"),
    "dockerfile": ("dockerfile_deps", "dockerfile"),
    "values": ("render", "values"),
}


TEMPLATES = (
    '{{ define "t" }}{{ . }}{{ $ }}{{ end }}{{ template "t" .Values.a }}{{ block "b" . }}{{ .Run.ID }}{{ end }}',
    "{{ range $i, $x := .Values.c }}{{ if $i }}{{ continue }}{{ end }}{{ $x }}{{ else }}{{ break }}{{ end }}",
    "a {{- with $x := .Values.e -}} {{ $x.f }} {{ else with .Values.h }}b{{ else }}c{{ end }}{{/* c */}}",
    "{{ $d := dict `k` (list 1 .Secrets.pw) }}{{ $_ := set $d `x` $d }}{{ ($d.k | first).x }}{{ toJson $d }}",
    '{{ printf "%s%d%v" .Values.s 0x1F (1.5 | print) | upper | b64enc }}{{ index .Secrets "a-b" | quote }}',
)


@dataclass(frozen=True)
class Outcome:
    target: str
    ok: bool
    line: str


def main() -> int:
    arguments = parse_arguments()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("fuzz: atheris is not installed; it has wheels for Linux on x86-64 only", file=sys.stderr)
        return 1
    if arguments.worker:
        fuzz(arguments.worker, arguments.rest)
    from tests.fuzz.targets import TARGETS

    if arguments.replay:
        name, file = arguments.replay
        TARGETS[name](Path(file).read_bytes())
        return 0
    names = arguments.target or list(TARGETS)
    seconds = arguments.seconds * arguments.jobs // len(names) if arguments.together else arguments.seconds
    with ThreadPoolExecutor(arguments.jobs) as pool:
        outcomes = []
        for outcome in pool.map(lambda name: run_target(name, max(1, seconds)), names):
            print(outcome.line, flush=True)
            outcomes.append(outcome)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--together", action="store_true", help="--seconds is for all targets together")
    parser.add_argument("--target", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--replay", nargs=2, metavar=("NAME", "FILE"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_target(name: str, seconds: int) -> Outcome:
    """Fuzzes one target in a process of its own."""
    from tests.fuzz.dictionaries import dictionary

    folder = STATE / name
    corpus, found = folder / "corpus", folder / "found"
    for each in (corpus, found):
        each.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(seeds(name)):
        (corpus / f"seed-{index}").write_bytes(seed[:MAX_BYTES])
    words = folder / "words"
    words.write_text("".join(f'"{escaped(word)}"\n' for word in dictionary(name)))
    flags = [
        str(corpus),
        f"-dict={words}",
        f"-artifact_prefix={found}/",
        f"-max_total_time={seconds}",
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={MAX_BYTES}",
        "-print_final_stats=1",
    ]
    log = folder / "log"
    started = time.monotonic()
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, __file__, "--worker", name, "--", *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=ROOT,
        )
    text = log.read_text(errors="replace")
    figures = f"{statistic(text, r'number_of_executed_units: *([0-9]+)')} inputs"
    figures += f", {statistic(text, r'cov: ([0-9]+)')} edges, {time.monotonic() - started:.0f} s"
    if done.returncode == 0:
        return Outcome(name, True, f"{name}: ok, {figures}")
    artifact = statistic(text, r"Test unit written to (\S+)")
    end = "\n".join(text.splitlines()[-40:])
    again = f"python tests/fuzz/run.py --replay {name} {artifact}"
    return Outcome(name, False, f"{name}: FAILED, {figures}\n{end}\nto repeat it: {again}")


def escaped(word: str) -> str:
    """As dictionaries of libFuzzer are written."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


def statistic(text: str, pattern: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else "?"


def seeds(name: str) -> Iterator[bytes]:
    if name in SEED_FIELDS:
        file, field = SEED_FIELDS[name]
        path = ROOT / "tests" / "conformance" / "vectors" / f"{file}.json"
        for vector in json.loads(path.read_bytes())["vectors"]:
            text = vector["input"].get(field)
            if text:
                yield text.encode()
    if name in ("task", "template", "expansion"):
        for path in (*ROOT.glob("examples/*/task.yaml"), *ROOT.glob("tests/golden/cases/*/task.yaml")):
            yield path.read_bytes()
    if name == "template":
        from tests.fuzz.targets import FUNCTIONS

        for function in FUNCTIONS:
            yield f'{{{{ {function} 1 "a" .Values.c }}}}'.encode()
            yield f"{{{{ {function} .Secrets.pw | {function} .Values.a }}}}".encode()
        yield from map(str.encode, TEMPLATES)
    if name == "reference":
        yield from (b"busybox", b"localhost:5000/a/b:1", b"a.b/c@sha256:" + b"0" * 64)


def fuzz(name: str, flags: list[str]) -> None:
    """Does not return."""
    import atheris

    with atheris.instrument_imports(include=["tasks_engine"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *flags], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
