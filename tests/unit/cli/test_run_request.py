"""The command line of a run, kept and given again."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tasks_engine.cli import run
from tasks_engine.cli.run_request import KNOWN_OPTIONS, command_line, kept_request
from tasks_engine.errors import UsageError

CREDENTIAL = json.dumps(
    {
        "registry": "r.io",
        "username": "u",
        "userNameProviderType": "opaque",
        "password": "hunter22",
        "passwordProviderType": "opaque",
    }
)


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    run.add_parser(parser.add_subparsers())
    return parser.parse_args(["run", *argv])


def again(*argv: str, secrets: tuple[str, ...] = (), credentials: tuple[str, ...] = ()) -> argparse.Namespace:
    request = kept_request(parse(*argv), Path("/work"))
    return parse(*command_line(request, "r1", Path("/runs/r1/task.yaml"), secrets, credentials))


def test_every_option_of_a_run_is_kept_or_left_out_on_purpose() -> None:
    assert set(vars(parse())) - {"execute"} == KNOWN_OPTIONS


@pytest.mark.parametrize(
    "argv",
    [
        ["task.yaml"],
        ["task.yaml", "src"],
        ["https://host/repo.git#main:dir"],
        ["git@host:repo.git"],
        ["task.yaml", "--set", "a=1", "--set", "b=-x y", "--values", "v.yaml", "--env", "N=V"],
        ["--registry", "r.io", "--commit", "c", "--branch", "b", "--repository", "r", "--git-tag", "t"],
        ["--triggered-by", "me", "--task-name", "n", "--working-directory", "/w", "--network", "net"],
        ["--strict", "--timeout", "9", "--credential", "@login.json"],
        ["--cmd", "-e A=1 busybox sh -c 'exit 1'", "src", "--keep-going", "--platform", "linux/arm64"],
        ["--secret", "id=a,env=A", "--secret", "id=b,src=f", "--ssh", "default"],
    ],
)
def test_the_same_arguments_come_back(argv: list[str]) -> None:
    assert vars(again(*argv)) == vars(parse(*argv))


def test_the_id_is_a_new_one() -> None:
    assert again("--id", "mine").id is None


def test_secrets_are_kept_by_name_and_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "x")
    request = kept_request(parse("--set-secret", "TOKEN=hunter22"), Path("/work"))

    assert "hunter22" not in json.dumps(request.to_json())
    assert again("--set-secret", "TOKEN=hunter22").set_secret == ["TOKEN"]


def test_a_secret_that_is_nowhere_is_an_error_and_may_be_given_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(UsageError, match="TOKEN") as caught:
        again("--set-secret", "TOKEN=hunter22")

    assert "environment" in caught.value.hint
    assert again("--set-secret", "TOKEN=hunter22", secrets=("TOKEN=new",)).set_secret == ["TOKEN=new"]


def test_a_login_is_kept_by_its_registry() -> None:
    request = kept_request(parse("--credential", CREDENTIAL), Path("/work"))

    assert request.credentials == ("r.io",)
    assert "hunter22" not in json.dumps(request.to_json())
    with pytest.raises(UsageError, match=r"r\.io"):
        again("--credential", CREDENTIAL)
    assert again("--credential", CREDENTIAL, credentials=(CREDENTIAL,)).credential == [CREDENTIAL]


@pytest.mark.parametrize(
    "address", ["https://hunter22@host/r.git", "https://u:hunter22@host/r.git", "ssh://u:hunter22@host/r.git"]
)
def test_a_login_in_an_address_is_not_kept(address: str) -> None:
    request = kept_request(parse("task.yaml", address), Path("/work"))

    assert "hunter22" not in json.dumps(request.to_json())
    with pytest.raises(UsageError, match="login in the address"):
        again("task.yaml", address)


def test_a_task_file_from_standard_input_is_read_from_where_it_was_kept() -> None:
    assert again("-").paths == ["/runs/r1/task.yaml", "."]
    assert again("-", "src").paths == ["/runs/r1/task.yaml", "src"]


def test_a_context_from_standard_input_cannot_come_again() -> None:
    with pytest.raises(UsageError, match="standard input"):
        again("task.yaml", "-")
