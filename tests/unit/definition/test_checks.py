"""Rules of a task besides its steps, each with the exact place of its problem. Hints stand in tests/golden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks_engine.errors import DefinitionErrors

BAD_FILE = "is empty or has other characters than letters, digits, '-', '_' and '.'"

ProblemsOf = Callable[..., list[str]]
WarningsOf = Callable[..., list[str]]
STEPS = "\nsteps: [{cmd: a}]"
SECRET = "'{{.Secrets.s}}'"


@pytest.fixture
def rules_of(load: Callable[..., Any]) -> Callable[[str], list[str]]:
    def rules_of(text: str) -> list[str]:
        with pytest.raises(DefinitionErrors) as caught:
            load(text)
        return [problem.rule for problem in caught.value.problems]

    return rules_of


@pytest.mark.parametrize("version", ["v7", "1.1.0", "v1", "1.0-preview-2"])
def test_version_must_be_known(problems_of: ProblemsOf, version: str) -> None:
    assert problems_of(f"version: {version}{STEPS}") == [f"1:10: version '{version}' is not known"]


@pytest.mark.parametrize(
    ("secrets", "problem", "rule"),
    [
        ("[{keyvault: a}]", "1:12: a secret needs an id", "secret-missing-id"),
        ("[{id: '', keyvault: a}]", "1:12: a secret needs an id", "secret-missing-id"),
        ("[{id: a b, keyvault: a}]", "1:16: secret id 'a b' contains a blank", "secret-id-whitespace"),
        (
            '[{id: "a\\u2003b", keyvault: a}]',
            "1:16: secret id 'a\u2003b' contains a blank",
            "secret-id-whitespace",
        ),
        ("[{id: a}]", "1:12: secret 'a' does not say where its value is", "secret-missing-source"),
        (
            "[{id: a, keyvault: ''}]",
            "1:12: secret 'a' does not say where its value is",
            "secret-missing-source",
        ),
        ("[{id: a, keyvault: b, clientID: me}]", "1:42: 'me' is no client id", "secret-bad-client-id"),
        (
            "[{id: a, keyvault: b}, {id: a, keyvault: c}]",
            "1:38: secret id 'a' is already taken",
            "secret-duplicate-id",
        ),
    ],
)
def test_a_secret_has_an_id_and_an_address(
    problems_of: ProblemsOf, rules_of: ProblemsOf, secrets: str, problem: str, rule: str
) -> None:
    assert problems_of(f"secrets: {secrets}{STEPS}") == [problem]
    assert rules_of(f"secrets: {secrets}{STEPS}") == [rule]


@pytest.mark.parametrize(
    "address", ["env:NAME", "file:path", "https://v.vault.azure.net/secrets/a", "other:x"]
)
def test_who_reads_an_address_is_asked_when_the_task_runs(load: Callable[..., Any], address: str) -> None:
    assert load(f"secrets: [{{id: a, keyvault: '{address}'}}]{STEPS}").secrets[0].keyvault == address


@pytest.mark.parametrize(
    "client",
    [
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "6BA7B8109DAD11D180B400C04FD430C8",
        "'{6ba7b810-9dad-11d1-80b4-00c04fd430c8}'",
        "'urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
    ],
)
def test_a_client_id_is_a_uuid(load: Callable[..., Any], client: str) -> None:
    assert load(f"secrets: [{{id: a, keyvault: b, clientID: {client}}}]{STEPS}").secrets


def test_secrets_differ_by_case(load: Callable[..., Any]) -> None:
    assert len(load(f"secrets: [{{id: a, keyvault: b}}, {{id: A, keyvault: b}}]{STEPS}").secrets) == 2


@pytest.mark.parametrize(
    ("volumes", "problem", "rule"),
    [
        ("[{secret: {a: b}}]", "1:12: a volume needs a name", "volume-missing-name"),
        (
            "[{name: a.b, secret: {a: b}}]",
            "1:18: volume name 'a.b' has other characters than letters, digits, '-' and '_'",
            "volume-bad-name",
        ),
        ("[{name: a}]", "1:12: volume 'a' does not say what is in it", "volume-missing-source"),
        ("[{name: a, secret: {}}]", "1:29: volume 'a' has no files", "volume-empty-secret"),
        ("[{name: a, secret: }]", "1:29: volume 'a' has no files", "volume-empty-secret"),
        (
            "[{name: a, secret: {b/c: d}}]",
            f"1:30: file name 'b/c' of volume 'a' {BAD_FILE}",
            "volume-bad-file-name",
        ),
        (
            "[{name: a, secret: {'': d}}]",
            f"1:30: file name '' of volume 'a' {BAD_FILE}",
            "volume-bad-file-name",
        ),
        (
            "[{name: a, secret: {b: c}}, {name: a, secret: {b: c}}]",
            "1:45: volume name 'a' is already taken",
            "volume-duplicate-name",
        ),
    ],
)
def test_a_volume_has_a_name_and_files(
    problems_of: ProblemsOf, rules_of: ProblemsOf, volumes: str, problem: str, rule: str
) -> None:
    assert problems_of(f"volumes: {volumes}{STEPS}") == [problem]
    assert rules_of(f"volumes: {volumes}{STEPS}") == [rule]


@pytest.mark.parametrize(
    ("env", "problem", "rule"),
    [
        ("[A=1, B]", "1:12: environment entry 'B' has no '='", "env-malformed"),
        ("['']", "1:7: environment entry '' has no '='", "env-malformed"),
        ("['=1']", "1:7: environment entry '=1' has no name before '='", "env-malformed"),
        ("['A=1,=2']", "1:7: environment entry 'A=1,=2' has no name before '='", "env-malformed"),
        (
            "['{{.Secrets.s}}=1']",
            "1:7: environment entry '***=1' takes its name from a secret",
            "secret-misplaced",
        ),
        (
            "['{{.Secrets.s}}']",
            "1:7: environment entry '***' takes its name from a secret",
            "secret-misplaced",
        ),
    ],
)
def test_environment_of_the_task_is_names_with_values(
    problems_of: ProblemsOf, rules_of: ProblemsOf, env: str, problem: str, rule: str
) -> None:
    assert problems_of(f"env: {env}{STEPS}") == [problem]
    assert rules_of(f"env: {env}{STEPS}") == [rule]


@pytest.mark.parametrize("env", ["['A=1,2']", "['A=1,B=2']", "[A=]", "['A={{.Secrets.s}},B=2']"])
def test_a_comma_may_be_part_of_a_value(load: Callable[..., Any], env: str) -> None:
    assert load(f"env: {env}{STEPS}").steps[0].env


def test_networks_have_names_of_their_own(problems_of: ProblemsOf) -> None:
    assert problems_of(f"networks: [{{name: a}}, {{name: b}}, {{name: a}}]{STEPS}") == [
        "1:41: network 'a' is declared twice"
    ]


def test_a_network_without_a_name_is_warned_about(warnings_of: WarningsOf) -> None:
    assert warnings_of(f"networks: [{{driver: a}}, {{name: ''}}]{STEPS}") == [
        "1:13: a network without a name cannot be made",
        "1:26: a network without a name cannot be made",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"version: {SECRET}", "1:10: version '***' is not known"),
        (f"workingDirectory: {SECRET}", "1:19: 'workingDirectory' must not come from a secret"),
        (f"networks: [{{name: {SECRET}}}]", "1:19: 'networks: name' must not come from a secret"),
        (
            f"networks: [{{name: a, driver: {SECRET}}}]",
            "1:30: 'networks: driver' must not come from a secret",
        ),
        (
            f"secrets: [{{id: {SECRET}, keyvault: a}}]",
            "1:12: where a secret comes from must not be a secret itself",
        ),
        (
            f"secrets: [{{id: a, keyvault: {SECRET}}}]",
            "1:12: where a secret comes from must not be a secret itself",
        ),
        (
            f"volumes: [{{name: {SECRET}, secret: {{a: b}}}}]",
            "1:18: volume name '***' has other characters than letters, digits, '-' and '_'",
        ),
    ],
)
def test_what_the_plan_needs_must_not_come_from_a_secret(
    problems_of: ProblemsOf, text: str, problem: str
) -> None:
    assert problems_of(text + STEPS) == [problem]


def test_files_of_a_volume_may_come_from_a_secret(load: Callable[..., Any]) -> None:
    assert load(f"volumes: [{{name: a, secret: {{b: '{{{{.Secrets.s | b64enc}}}}'}}}}]{STEPS}").volumes


def test_a_file_name_from_a_secret_is_refused_without_showing_it(problems_of: ProblemsOf) -> None:
    [problem] = problems_of(f"volumes: [{{name: a, secret: {{{SECRET}: b}}}}]{STEPS}")
    assert problem.startswith("1:30: file name '***' of volume 'a'")
