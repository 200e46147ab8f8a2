"""The embedded engine's file and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_engine.backends.embedded.state import EngineFile, EnginePaths, read_engine_file, write_engine_file
from tasks_engine.errors import EngineError

ENGINE = EngineFile("unix:///run/tasks-engine-0/docker.sock", "127.0.0.1:5000", "172.30.0.0/16")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "engine" / "engine.json"
    assert read_engine_file(path) is None
    write_engine_file(path, ENGINE)
    assert read_engine_file(path) == ENGINE
    assert ENGINE.registry_port == 5000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"docker_host": 1, "registry": "a:1", "address_block": "10.0.0.0/8"}',
        '{"docker_host": "tcp://h", "registry": "a:1", "address_block": "10.0.0.0/8"}',
        '{"docker_host": "unix:///x", "registry": "a:b", "address_block": "10.0.0.0/8"}',
        '{"docker_host": "unix:///x", "registry": "a:1", "address_block": "10.0.0.1/8"}',
    ],
)
def test_damaged_file_is_an_error_that_names_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text(text)
    with pytest.raises(EngineError, match=r"engine\.json cannot be read") as caught:
        read_engine_file(path)
    assert "delete that file" in caught.value.hint


def test_sockets_and_bridge_fit_the_kernel_however_deep_the_state_folder_lies() -> None:
    paths = EnginePaths(Path("/") / "/".join(["folder"] * 40))
    assert len(str(paths.containerd_socket)) + len(".ttrpc") <= 107
    assert len(paths.bridge) <= 15


def test_two_state_folders_have_two_engines(tmp_path: Path) -> None:
    assert EnginePaths(tmp_path / "a").run_dir != EnginePaths(tmp_path / "b").run_dir
