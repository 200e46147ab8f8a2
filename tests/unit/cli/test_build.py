"""The command line of `tasks build`, as far as it needs no engine."""

from __future__ import annotations

import pytest


def test_a_dry_run_shows_the_plan(tasks):
    outcome = tasks("build", "-t", "app:1", "--registry", "r.io", "--id", "one", "--dry-run", "src")

    assert outcome.code == 0
    assert "r.io/app:1 from src" in outcome.out
    assert "push" in outcome.out


def test_the_registry_of_the_settings_goes_before_names_without_one(tasks):
    assert "r.io/app:one" in tasks("build", "-t", "app:$ID", "--id", "one", "--dry-run").out


def test_without_a_push_there_is_one_step(tasks):
    assert "1 step" in tasks("build", "-t", "app", "--no-push", "--dry-run").out


def test_a_warning_of_a_flag_is_shown(tasks):
    outcome = tasks("build", "--output", "type=image,push=true", "--dry-run")

    assert "does not push" in outcome.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--push", "--no-push"], "not allowed with"),
        (["--json", "--quiet"], "not allowed with"),
        (["-f", "-", "-"], "cannot both be standard input"),
        (["--timeout", "0"], "invalid seconds value"),
        (["--id", "a/b"], "cannot be the id of a run"),
        (["-t", "X"], "must be lower case"),
        (["-"], "standard input is empty"),
    ],
)
def test_what_cannot_be_meant_exits_with_usage(tasks, argv, message):
    outcome = tasks("build", "--dry-run", *argv)

    assert outcome.code == 2
    assert message in outcome.err


def test_a_dockerfile_on_standard_input_has_no_context(tasks):
    outcome = tasks("build", "--dry-run", "-", stdin="FROM scratch\n")

    assert outcome.code == 0
    assert "context" in outcome.out


def test_a_folder_may_look_like_a_flag(tasks):
    assert "from ./-x" in tasks("build", "--dry-run", "--", "-x").out
