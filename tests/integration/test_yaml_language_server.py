"""The schema in an editor: what a real YAML language server says with it, as VS Code, Neovim and Helix show it.

TASKS_TEST_LANGUAGE_SERVER is its program; `python runners/local/language_server.py` installs one and prints it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.language_server.client import Json, LanguageServer, language_server
from tests.services import require

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(__file__).parent / "language_server" / "samples"
SCHEMA_FILE = ROOT / "schemas" / "task.schema.json"
SCHEMA: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())
STEP: dict[str, Any] = SCHEMA["$defs"]["step"]
KINDS = ("build", "push", "cmd")
#: where the cursor is in a text
CURSOR = "¦"
SETTINGS = {
    "yaml": {
        "schemas": {SCHEMA_FILE.as_uri(): ["*.yaml"]},
        "schemaStore": {"enable": False},
        "validate": True,
        "hover": True,
        "completion": True,
    },
    # a port where nobody listens: whatever it wants from the internet fails at once
    "http": {"proxy": "http://127.0.0.1:9", "proxyStrictSSL": True},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    command = [require("TASKS_TEST_LANGUAGE_SERVER"), "--stdio"]
    log = tmp_path_factory.mktemp("language-server") / "log"
    with language_server(command, SETTINGS, log) as running:
        yield running


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return (tmp_path / "task.yaml").as_uri()


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.yaml").read_text()


def diagnostics(server: LanguageServer, uri: str, text: str) -> list[tuple[int, str]]:
    """(line counted from 1, message), in file order."""
    server.open(uri, text)
    found = server.diagnostics(uri)
    return sorted((each["range"]["start"]["line"] + 1, each["message"]) for each in found)


def open_at_cursor(server: LanguageServer, uri: str, text: str) -> tuple[str, int, int]:
    """Opens the text without its cursor; the document's address and where the cursor was."""
    before, _, after = text.partition(CURSOR)
    server.open(uri, before + after)
    return uri, before.count("\n"), len(before.rpartition("\n")[2])


def completions(server: LanguageServer, uri: str, text: str) -> dict[str, Json]:
    """Label -> completion item at the cursor."""
    return {item["label"]: item for item in server.complete(*open_at_cursor(server, uri, text))}


def hover(server: LanguageServer, uri: str, text: str) -> str:
    """The text shown for what the cursor is on, without the escapes of Markdown."""
    return server.hover(*open_at_cursor(server, uri, text)).replace("\\", "")


# --- diagnostics ------------------------------------------------------------------------------------------------------


def test_a_good_file_has_no_diagnostics(server: LanguageServer, uri: str) -> None:
    assert diagnostics(server, uri, sample("good")) == []


def test_every_property_of_a_step_may_be_written_like_its_examples(server: LanguageServer, uri: str) -> None:
    steps = [
        {"cmd": "busybox true", name: example}
        for name, schema in STEP["properties"].items()
        for example in schema.get("examples", [])
        if name not in KINDS
    ]
    messages = {message for _, message in diagnostics(server, uri, json.dumps({"steps": steps}))}

    deprecated = [schema for schema in STEP["properties"].values() if schema.get("deprecated")]
    assert messages == {schema["deprecationMessage"] for schema in deprecated}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unknown-key", [(3, "Property entrypoint is not allowed.")]),
        (
            "wrong-types",
            [
                (3, 'Incorrect type. Expected "integer".'),
                (4, 'Incorrect type. Expected "array".'),
                (5, "Value is below the minimum of 0."),
            ],
        ),
        ("no-kind", [(2, "A step needs one of build, push and cmd.")]),
        ("two-kinds", [(3, "A step does one thing: build, push or cmd. Make a step of each.")]),
        ("without-effect", [(3, "exitedWith has no effect.")]),
        ("incomplete-maps", [(4, 'Missing property "mountPath".'), (6, 'Missing property "keyvault".')]),
    ],
)
def test_what_is_wrong_is_told_at_its_line(
    server: LanguageServer, uri: str, name: str, expected: list[tuple[int, str]]
) -> None:
    assert diagnostics(server, uri, sample(name)) == expected


def test_a_first_line_in_the_file_names_the_schema(server: LanguageServer, tmp_path: Path) -> None:
    """A name beside the file is enough; the settings do not cover this file's ending."""
    shutil.copyfile(SCHEMA_FILE, tmp_path / ".task.schema.json")
    text = "# yaml-language-server: $schema=.task.schema.json\n" + sample("unknown-key")

    assert diagnostics(server, (tmp_path / "a.yml").as_uri(), sample("unknown-key")) == []
    assert diagnostics(server, (tmp_path / "b.yml").as_uri(), text) == [
        (4, "Property entrypoint is not allowed.")
    ]


def test_a_comment_silences_the_line_of_a_template(server: LanguageServer, uri: str) -> None:
    step, line = "steps:\n  - cmd: busybox true\n", "    timeout: {{.Values.seconds}}\n"
    silenced = step + "    # yaml-language-server-disable\n" + line

    assert diagnostics(server, f"{uri}.1.yaml", step + line) == [(3, 'Incorrect type. Expected "integer".')]
    assert diagnostics(server, f"{uri}.2.yaml", silenced) == []


# --- completion -------------------------------------------------------------------------------------------------------


def test_the_properties_of_a_step_are_offered_with_their_descriptions(
    server: LanguageServer, uri: str
) -> None:
    offered = completions(server, uri, f"steps:\n  - {CURSOR}\n")

    for name, schema in STEP["properties"].items():
        if schema.get("deprecated"):
            assert name not in offered
        else:
            assert offered[name]["documentation"] == schema["description"]
    assert {"entryPoint", "retryOnErrors", "when", "cmd"} <= set(offered)


def test_only_properties_that_are_not_there_yet_are_offered(server: LanguageServer, uri: str) -> None:
    offered = completions(server, uri, f"steps:\n  - cmd: busybox true\n    {CURSOR}\n")

    assert "retryOnErrors" in offered
    assert "cmd" not in offered


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"version: {CURSOR}\n", {"v1.1.0", "v1.0.0", "1.0-preview-1"}),
        (f"steps:\n  - build: .\n    cache: {CURSOR}\n", {"enabled", "disabled"}),
        (f"steps:\n  - cmd: x\n    detach: {CURSOR}\n", {"true", "false"}),
        (f"steps:\n  - push:\n      - {CURSOR}\n", {"$Registry/app:$ID"}),
    ],
)
def test_values_are_offered(server: LanguageServer, uri: str, text: str, expected: set[str]) -> None:
    assert set(completions(server, uri, text)) == expected


def test_whole_steps_are_offered(server: LanguageServer, uri: str) -> None:
    offered = completions(server, uri, f"steps:\n  - {CURSOR}\n")

    assert offered["build step"]["insertText"].splitlines() == [
        "id: ${1:build}",
        "  build: -t \\$Registry/${2:app}:\\$ID ${3:.}",
    ]
    assert {"push step", "cmd step"} <= set(offered)


def test_an_empty_file_is_offered_a_whole_task(server: LanguageServer, uri: str) -> None:
    offered = completions(server, uri, CURSOR)

    assert offered["task: build, test and push"]["insertText"].startswith(
        "version: v1.1.0\nsteps:\n  - id: build\n"
    )
    assert set(SCHEMA["properties"]) <= set(offered)


def test_beginning_the_steps_writes_no_defaults(server: LanguageServer, uri: str) -> None:
    assert completions(server, uri, CURSOR)["steps"]["insertText"].split() == ["steps:", "-"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("secret", f"secrets:\n  - {CURSOR}\n"),
        ("network", f"networks:\n  - {CURSOR}\n"),
        ("volume", f"volumes:\n  - {CURSOR}\n"),
        ("volumeMount", f"steps:\n  - cmd: x\n    volumeMounts:\n      - {CURSOR}\n"),
    ],
)
def test_required_properties_of_a_map_are_written_together(
    server: LanguageServer, uri: str, name: str, text: str
) -> None:
    schema = SCHEMA["$defs"][name]
    whole = completions(server, uri, text)[schema["title"]]["insertText"]

    assert re.findall(r"(\w+):(?: |$)", whole, re.MULTILINE) == schema["required"]


# --- hover ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in STEP["properties"] if name not in KINDS])
def test_hovering_over_a_property_shows_its_description(server: LanguageServer, uri: str, name: str) -> None:
    schema = STEP["properties"][name]
    value = json.dumps(schema.get("examples", [[]])[0])
    shown = hover(server, uri, f"steps:\n  - cmd: busybox true\n    {CURSOR}{name}: {value}\n")

    assert shown.startswith(f"#### {schema['title']}\n\n{schema['description']}")


# --- how it is installed ----------------------------------------------------------------------------------------------


def test_the_locked_packages_name_no_place_and_have_checksums() -> None:
    lock = json.loads((ROOT / "runners/local/language_server/package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}

    assert "node_modules/yaml-language-server" in packages
    assert all("resolved" not in package and package["integrity"] for package in packages.values())
