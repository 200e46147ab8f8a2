"""Defaults < settings file < environment < flags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks_engine.errors import ExitCode, UsageError
from tasks_engine.policy import DockerSocket, Policy
from tasks_engine.settings import Settings, read_settings

Read = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Settings with a settings file of that text; flags as keywords, the environment as a mapping."""

    def read(text: str | None = None, environ: dict[str, str] | None = None, **flags: object) -> Settings:
        if text is not None:
            path = tmp_path / ".config" / "tasks" / "settings.toml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read_settings({"HOME": str(tmp_path), **(environ or {})}, **flags)  # type: ignore[arg-type]

    return read


def test_without_anything_there_are_defaults(read: Read, tmp_path: Path) -> None:
    settings = read()
    assert settings.state_dir == tmp_path / ".local/state/tasks"
    assert settings.runs_dir == tmp_path / ".local/state/tasks/runs"
    assert settings.docker_config_dir == tmp_path / ".docker"
    assert settings.home == tmp_path
    assert (settings.buildkit_host, settings.registry, settings.image_aliases) == ("", "", {})


def test_without_a_home_the_root_is_home() -> None:
    assert read_settings({"TASKS_CONFIG": ""}).home == Path("/")


def test_the_file_sets_registry_and_image_aliases(read: Read) -> None:
    settings = read('registry = "r.io"\n[image_aliases]\nbash = "r.io/bash:5"\n')
    assert (settings.registry, settings.image_aliases) == ("r.io", {"bash": "r.io/bash:5"})


def test_the_environment_wins_over_the_file_and_flags_over_both(read: Read) -> None:
    text, environ = 'registry = "file.io"', {"TASKS_REGISTRY": " env.io "}
    assert read(text, environ).registry == "env.io"
    assert read(text, environ, registry="flag.io").registry == "flag.io"
    assert read(text, environ, registry="").registry == ""
    assert read(text, {"TASKS_REGISTRY": " "}).registry == "file.io"


def test_folders_come_from_the_environment(read: Read, tmp_path: Path) -> None:
    environ = {
        "TASKS_STATE_DIR": "/state",
        "XDG_STATE_HOME": "/xdg",
        "DOCKER_CONFIG": "/docker",
        "BUILDKIT_HOST": "unix:///b ",
    }
    settings = read(environ=environ)
    assert (settings.state_dir, settings.docker_config_dir) == (Path("/state"), Path("/docker"))
    assert settings.buildkit_host == "unix:///b"
    assert read(environ={"XDG_STATE_HOME": "/xdg"}).state_dir == Path("/xdg/tasks")
    assert read(environ=environ, state_dir=tmp_path).state_dir == tmp_path


def test_a_relative_state_folder_counts_from_the_current_one(read: Read) -> None:
    assert read(environ={"TASKS_STATE_DIR": "here"}).state_dir == Path("here").absolute()


def test_the_file_may_stand_elsewhere(read: Read, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('registry = "mine.io"')
    xdg = tmp_path / "xdg" / "tasks"
    xdg.mkdir(parents=True)
    (xdg / "settings.toml").write_text('registry = "xdg.io"')
    text = 'registry = "home.io"'
    assert read(text, {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}).registry == "xdg.io"
    assert read(text, {"TASKS_CONFIG": str(tmp_path / "mine.toml")}).registry == "mine.io"
    assert read(text).registry == "home.io"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("registry = ", "cannot be read: Invalid value", ""),
        ("[image_aliases", "cannot be read: Expected ']'", ""),
        (
            "colour = 1",
            "has an unknown key 'colour'",
            "known: registry, image_aliases, registries, policy, history",
        ),
        ("[history]\nkeep = 1", "has an unknown key 'history.keep'", "known: keep_bytes, keep_runs"),
        ("history = 1", "'history' in settings file", ""),
        ("[history]\nkeep_bytes = 'much'", "'much' is no size", ""),
        ("[history]\nkeep_runs = -1", "must be a whole number, 0 or more", ""),
        ("[policy]\nprivileged = 'no'", "must be true or false", ""),
        ("[policy]\ndocker_socket = 'maybe'", "must be one of auto, always, never", ""),
        ("[policy]\nmax_cpus = true", "must be a number, 0 or more", ""),
        ("[policy]\nallowed_registries = 'a'", "must be a list of texts", ""),
        ("[registries]\nmirrors = {a = 1}", "must be a table of texts", ""),
        ("registry = 5", "'registry' in settings file", ""),
        ("registry = true", "must be text", ""),
        ("image_aliases = 'x'", "'image_aliases' in settings file", ""),
        ("image_aliases = []", "must be a table", ""),
        ("[image_aliases]\nbash = 5", "letters and digits that stand for text, unlike 'bash'", ""),
        ("[image_aliases]\n'a-b' = 'c'", "letters and digits that stand for text, unlike 'a-b'", ""),
        ("[image_aliases]\n'' = 'c'", "letters and digits that stand for text, unlike ''", ""),
        ("[image_aliases]\n'ä' = 'c'", "letters and digits that stand for text, unlike 'ä'", ""),
    ],
)
def test_what_is_wrong_with_the_file_is_told_with_its_path(
    read: Read, tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert message in caught.value.message
    assert f"settings file {tmp_path}/.config/tasks/settings.toml" in caught.value.message
    assert caught.value.hint == hint
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_file_that_is_named_must_be_there(read: Read, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist") as caught:
        read(environ={"TASKS_CONFIG": str(tmp_path / "none.toml")})
    assert caught.value.hint == "TASKS_CONFIG names it: correct or unset that variable"


def test_a_file_that_is_no_text_is_told(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        read(environ={"TASKS_CONFIG": str(path)})
    with pytest.raises(UsageError, match="cannot be read"):
        read(environ={"TASKS_CONFIG": str(tmp_path)})


def test_the_file_says_how_registries_are_reached_what_steps_may_do_and_what_is_kept(read: Read) -> None:
    settings = read(
        "[registries]\n"
        'mirrors = { "mcr.microsoft.com" = "127.0.0.1:5000/mcr" }\n'
        'insecure = ["10.0.0.5:5000"]\n'
        'ca_files = { "r.io" = "/etc/ca.pem" }\n'
        "[policy]\n"
        'docker_socket = "never"\nprivileged = false\nmax_cpus = 1.5\nmax_memory_bytes = "2GiB"\n'
        "[history]\n"
        'keep_bytes = "1.5GB"\nkeep_runs = 5\n'
    )
    assert settings.registries.mirrors == {"mcr.microsoft.com": "127.0.0.1:5000/mcr"}
    assert settings.registries.insecure == {"10.0.0.5:5000"}
    assert settings.registries.ca_files == {"r.io": Path("/etc/ca.pem")}
    assert settings.policy == Policy(
        docker_socket=DockerSocket.NEVER, privileged=False, max_cpus=1.5, max_memory_bytes=2 << 30
    )
    assert (settings.history.keep_bytes, settings.history.keep_runs) == (1_500_000_000, 5)
    assert settings.registry == ""


def test_the_example_file_changes_nothing(read: Read) -> None:
    example = (Path(__file__).parents[2] / "schemas/settings.example.toml").read_text()
    assert read(example) == read("")
