"""The command line in this process, in an empty folder and with an environment of its own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks_engine.cli.main import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Tasks = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty; no setting of this machine reaches the program."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("TASKS_CONFIG", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "TASKS_STATE_DIR", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TASKS_REGISTRY", "r.io")
    return folder


@pytest.fixture
def tasks(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tasks:
    """Runs one command; `files` are written into the current folder before, `stdin` is what it may read."""

    def tasks(*argv: str, files: dict[str, str] | None = None, stdin: str = "") -> Outcome:
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            code = main(list(argv))
        except SystemExit as end:  # argparse's way to refuse a flag or to print help
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return tasks
