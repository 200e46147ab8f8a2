"""Installs the YAML language server that tests of `schemas/task.schema.json` talk to; prints where it is.

    python runners/local/language_server.py

The versions are those of `language_server/package-lock.json`; they go to `.state/language-server` and stay there
between runs. Needs node (18 or newer) and npm, which root on Debian or Ubuntu gets from the system's packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKED = Path(__file__).with_suffix("")
FOLDER = ROOT / ".state" / "language-server"
PROGRAM = FOLDER / "node_modules" / ".bin" / "yaml-language-server"
OLDEST_NODE = 18


class LanguageServerError(Exception):
    """Why there is no language server here."""


def language_server_environ(say: Callable[[str], None]) -> dict[str, str]:
    """TASKS_TEST_LANGUAGE_SERVER, the program to start; empty where there is none, which is an error in CI."""
    try:
        return {"TASKS_TEST_LANGUAGE_SERVER": str(ensure_language_server(say))}
    except LanguageServerError as error:
        if os.environ.get("CI"):
            raise
        say(f"no YAML language server: {error}")
        return {}


def ensure_language_server(say: Callable[[str], None]) -> Path:
    """The program of the language server, installed if it is not there in the locked versions."""
    lock = (LOCKED / "package-lock.json").read_text()
    installed = FOLDER / "installed.json"
    ensure_node(say)
    if not PROGRAM.exists() or not installed.exists() or installed.read_text() != lock:
        say(f"installing a YAML language server into {FOLDER}")
        installed.unlink(missing_ok=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(LOCKED / name, FOLDER / name)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", cwd=FOLDER)
        installed.write_text(lock)
    return PROGRAM


def ensure_node(say: Callable[[str], None]) -> None:
    """node and npm, from the system's packages if they are missing and we may install them."""
    missing = [
        package for program, package in (("node", "nodejs"), ("npm", "npm")) if not shutil.which(program)
    ]
    if missing:
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise LanguageServerError(f"{' and '.join(missing)} not found")
        say(f"installing {' and '.join(missing)}")
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
    version = run("node", "--version").strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        raise LanguageServerError(f"node {version} is too old, it needs {OLDEST_NODE} or newer")


def run(*command: str, cwd: Path = ROOT) -> str:
    """What a command prints. Raises LanguageServerError with all of it when it fails."""
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except OSError as error:
        raise LanguageServerError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise LanguageServerError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def main() -> int:
    try:
        print(ensure_language_server(lambda text: print(text, file=sys.stderr)))
    except LanguageServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
