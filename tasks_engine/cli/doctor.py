"""`tasks doctor`: what is there, what is missing, and the fix."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from tasks_engine.errors import ExitCode
from tasks_engine.settings import Settings

_MARKS = {"ok": "ok", "note": "note", "missing": "MISSING"}


def add_parser(commands: Any) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="show what engine, BuildKit, registry and logins there are, and fixes for what is missing",
        description="Looks at everything a run needs. Exit code 3 when something is missing. Changes nothing.",
    )
    doctor.add_argument(
        "--registry", metavar="HOST", help="the registry to look at (default: as in tasks run)"
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(execute=doctor_command)


def doctor_command(arguments: argparse.Namespace, settings: Settings) -> int:
    from tasks_engine.app import find_engine
    from tasks_engine.backends.diagnosis import diagnose

    def engine() -> Any:
        found = find_engine(settings)
        return found.endpoint, found.registry

    findings = []
    for finding in diagnose(settings, engine):
        findings.append(finding)
        if not arguments.json:
            print(f"{_MARKS[finding.state]:>7}  {finding.name}: {finding.text}", flush=True)
            if finding.fix:
                print(f"{'':>7}  fix: {finding.fix}", flush=True)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    missing = any(finding.state == "missing" for finding in findings)
    return ExitCode.ERROR if missing else ExitCode.SUCCEEDED
