"""schemas/differences.md and differences.json say the same, and what no shipped vector shows is shown here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks_engine.backends.docker.engine_socket import gets_socket
from tasks_engine.definition.build_context import parse_build_context
from tasks_engine.definition.build_string import BuildStringError, parse_build_string
from tasks_engine.definition.model import Task
from tasks_engine.definition.template.secret_text import has_token
from tasks_engine.errors import DefinitionErrors
from tasks_engine.policy import DockerSocket, Policy
from tests.conformance.outcomes import DIFFERENCES
from tests.conformance.readers import NOT_RUN_YET
from tests.conformance.vectors import SHIPPED, read_folder

DOCUMENT = (Path(__file__).resolve().parents[2] / "schemas/differences.md").read_text(encoding="utf-8")
MOST_ROWS = 30
#: rows that no shipped vector shows; each has a test below
SHOWN_HERE = {4, 19, 20, 21, 22, 23, 30}


def rows() -> dict[int, list[str]]:
    """Number -> the other cells: the original, here, why, quirk or rule, vectors."""
    lines = [line.strip("| ").split(" | ") for line in DOCUMENT.splitlines() if re.match(r"\| \d+ \|", line)]
    return {int(number): cells for number, *cells in lines}


def vectors_of(cells: list[str]) -> list[str]:
    return [] if cells[-1] == "test" else cells[-1].split(", ")


def test_rows_are_numbered_whole_and_few():
    assert list(rows()) == list(range(1, len(rows()) + 1))
    assert len(rows()) <= MOST_ROWS
    assert all(len(cells) == 5 and all(cells) for cells in rows().values())


def test_every_row_names_a_quirk_or_a_rule_that_is_explained():
    rules = re.findall(r"^- \*\*(.+)\*\*: ", DOCUMENT, re.MULTILINE)
    named = [cells[3] for cells in rows().values()]

    assert {name for name in named if not re.fullmatch(r"`Q-[A-Z0-9-]+`", name)} == set(rules)


def test_the_document_and_the_data_list_the_same_vectors():
    rows_by_vector: dict[str, tuple[int, ...]] = {}
    for number, cells in rows().items():
        for vector in vectors_of(cells):
            rows_by_vector[vector] = (*rows_by_vector.get(vector, ()), number)

    assert {name: each.rows for name, each in DIFFERENCES.items()} == rows_by_vector
    assert all(each.gives for each in DIFFERENCES.values())


def test_every_row_is_shown_by_a_shipped_vector_or_by_a_test_below():
    shipped = {vector.id for vector in read_folder(SHIPPED)}
    without = {number for number, cells in rows().items() if shipped.isdisjoint(vectors_of(cells))}

    assert without == SHOWN_HERE


def test_every_quirk_that_a_vector_shows_is_spoken_of():
    codes = {vector.quirk for vector in read_folder(SHIPPED) if vector.kind not in NOT_RUN_YET}

    assert {code for code in codes if code and f"`{code}`" not in DOCUMENT} == set()


def test_an_unknown_build_flag_is_refused_with_a_guess():
    with pytest.raises(BuildStringError) as caught:
        parse_build_string("-t a --buildarg b=c .")

    assert "--buildarg" in caught.value.message
    assert "--build-arg" in caught.value.hint


@pytest.mark.parametrize("address", ["git@h:o/r.git", "git://h/r.git", "github.com/o/r", "https://h/r.git"])
def test_every_git_context_is_built_in_its_folder(address: str):
    assert parse_build_context(f"{address}#main:some/folder").build_subdir == "some/folder"


def test_secrets_work_in_aliases(load: Callable[..., Task]):
    task = load("""\
        version: v1.1.0
        alias:
          values:
            login: -p {{.Secrets.token}}
        secrets: [{id: token, keyvault: 'env:TOKEN'}]
        steps:
          - cmd: bash $login
        """)

    assert has_token(task.steps[0].commands[0].args[1])


def rules_of(load: Callable[..., Task], text: str) -> list[str]:
    with pytest.raises(DefinitionErrors) as caught:
        load(text)
    return [problem.rule for problem in caught.value.problems]


def test_a_template_must_not_decide_by_a_secret(load: Callable[..., Task]):
    assert rules_of(load, "steps: [{cmd: img {{if .Secrets.token}}a{{end}}}]") == ["template-exec"]


@pytest.mark.parametrize(
    "call", ['genPrivateKey "rsa"', 'genCA "name" 1', 'getHostByName "h"', 'genSelfSignedCert "h" nil nil 1']
)
def test_templates_make_no_keys_and_look_up_no_hosts(load: Callable[..., Task], call: str):
    assert rules_of(load, f"steps: [{{cmd: img {{{{{call}}}}}}}]") == ["template-exec"]


def test_a_long_line_does_not_end_the_file(load: Callable[..., Task]):
    task = load(f"version: v1.1.0\nsteps:\n  - cmd: img {'x' * 70_000}\n  - cmd: img\n")

    assert len(task.steps) == 2


@pytest.mark.parametrize("field", ["isbuildtask: true", "tags: [a]", "initbuildkitcontainer: true"])
def test_internal_fields_of_the_original_are_unknown_keys(load: Callable[..., Task], field: str):
    task: Any = load(f"{field}\nsteps: [{{cmd: img, {field}}}]")

    name = field.partition(":")[0]
    assert [warning.message for warning in task.warnings] == [f"unknown key '{name}' is ignored"] * 2


@pytest.mark.parametrize(
    ("image", "socket", "gets"),
    [
        ("busybox", DockerSocket.AUTO, False),
        ("docker:26", DockerSocket.AUTO, True),
        ("busybox", DockerSocket.ALWAYS, True),
        ("docker:26", DockerSocket.NEVER, False),
    ],
)
def test_the_engine_s_socket_goes_to_docker_clients_unless_a_policy_says_otherwise(
    image: str, socket: DockerSocket, gets: bool
):
    assert gets_socket(image, Policy(docker_socket=socket)) is gets
