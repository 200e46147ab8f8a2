"""Rules of a task as a whole that no schema can say. Every problem is told, not only the first."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from tasks_engine.definition.environment import fault_of_name, inherited_entries
from tasks_engine.definition.misplaced import misplaced_rule, origin, right_places
from tasks_engine.definition.structure import Path, Structure
from tasks_engine.definition.template.secret_text import has_secret, has_token, mask_tokens
from tasks_engine.definition.words import shorten
from tasks_engine.errors import DefinitionError

VERSIONS = ("1.0-preview-1", "v1.0.0", "v1.1.0")
_UUID = re.compile(
    r"(urn:uuid:)?\{?[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\}?\Z", re.I
)
_VOLUME_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
_FILE_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")


def task_problems(structure: Structure, mistyped: Collection[Path]) -> Iterator[DefinitionError]:
    """What is wrong with a task besides its steps, leaving out `mistyped`: paths of the wrong type."""
    broken = {path[0] for path in mistyped if path}
    for name, problems in (
        ("secrets", _secret_problems),
        ("volumes", _volume_problems),
        ("version", _version_problems),
        ("env", _env_problems),
        ("networks", _network_problems),
        ("workingDirectory", _working_directory_problems),
    ):
        if name not in broken:
            yield from problems(structure, structure.data.get(name) or [])


def task_warnings(structure: Structure) -> Iterator[DefinitionError]:
    """What the original lets pass although it cannot be meant."""
    if not structure.data.get("steps"):
        hint = "add: steps: [{cmd: busybox echo hello}]"
        yield structure.problem("the task has no steps", ("steps",), hint=hint)
    for index, network in enumerate(structure.data.get("networks") or []):
        if not network.get("name"):
            yield structure.problem("a network without a name cannot be made", ("networks", index))


def _version_problems(structure: Structure, version: Any) -> Iterator[DefinitionError]:
    if version and version.lower() not in VERSIONS:
        yield structure.problem(
            f"version '{version}' is not known",
            ("version",),
            hint=f"use one of {', '.join(VERSIONS)}",
            rule="version-unsupported",
        )


def _secret_problems(structure: Structure, secrets: list[dict[str, str]]) -> Iterator[DefinitionError]:
    seen: set[str] = set()
    for index, secret in enumerate(secrets):
        path: Path = ("secrets", index)
        name, address, client = (secret.get(key, "") for key in ("id", "keyvault", "clientID"))
        if not name:
            yield structure.problem("a secret needs an id", path, rule="secret-missing-id")
        if re.search(r"\s", name):
            yield structure.problem(
                f"secret id '{name}' contains a blank", (*path, "id"), rule="secret-id-whitespace"
            )
        if not address:
            yield structure.problem(
                f"secret '{name}' does not say where its value is",
                path,
                hint="keyvault: env:VARIABLE, file:PATH, vault:MOUNT/PATH#FIELD or https://…",
                rule="secret-missing-source",
            )
        if client and not _UUID.match(client):
            yield structure.problem(
                f"'{client}' is no client id",
                (*path, "clientID"),
                hint="it is a UUID",
                rule="secret-bad-client-id",
            )
        if name and name in seen:
            yield structure.problem(
                f"secret id '{name}' is already taken", (*path, "id"), rule="secret-duplicate-id"
            )
        if any(has_secret(text) for text in (name, address, client)):
            yield structure.problem(
                "where a secret comes from must not be a secret itself", path, rule="secret-misplaced"
            )
        elif any(has_token(text) for text in (name, address, client)):
            yield structure.problem(
                "where a secret comes from must not be an output of a step",
                path,
                hint="secrets are fetched before the first step",
                rule="output-misplaced",
            )
        seen.add(name)


def _volume_problems(structure: Structure, volumes: list[dict[str, Any]]) -> Iterator[DefinitionError]:
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        path: Path = ("volumes", index)
        name = volume.get("name", "")
        if not name:
            yield structure.problem("a volume needs a name", path, rule="volume-missing-name")
        elif not _VOLUME_NAME.match(name):
            yield structure.problem(
                f"volume name '{name}' has other characters than letters, digits, '-' and '_'",
                (*path, "name"),
                rule="volume-bad-name",
            )
        yield from _volume_file_problems(structure, path, name, volume.get("secret"))
        if name and name in seen:
            yield structure.problem(
                f"volume name '{name}' is already taken", (*path, "name"), rule="volume-duplicate-name"
            )
        seen.add(name)


def _volume_file_problems(
    structure: Structure, path: Path, name: str, files: dict[str, str] | None
) -> Iterator[DefinitionError]:
    if files is None:
        yield structure.problem(
            f"volume '{name}' does not say what is in it",
            path,
            hint="secret: {FILE: CONTENT IN BASE64}, such as {{ .Secrets.name | b64enc }}",
            rule="volume-missing-source",
        )
    elif not files:
        yield structure.problem(
            f"volume '{name}' has no files", (*path, "secret"), rule="volume-empty-secret"
        )
    for file in files or ():
        if not _FILE_NAME.match(file):
            key = structure.key((*path, "secret", file))
            yield DefinitionError(
                f"file name '{shorten(mask_tokens(file))}' of volume '{name}' is empty or has other characters than "
                "letters, digits, '-', '_' and '.'",
                location=structure.source.locate(key.start, max(key.end, key.start + 1)),
                rule="volume-bad-file-name",
            )
    for file, content in (files or {}).items():
        if has_token(content) and not has_secret(content):
            yield structure.problem(
                f"file '{shorten(mask_tokens(file))}' of volume '{name}' must not come from an output of a step",
                (*path, "secret", file),
                hint="volumes are made before the first step; steps leave files for each other in /workspace",
                rule="output-misplaced",
            )


def _env_problems(structure: Structure, entries: list[str]) -> Iterator[DefinitionError]:
    for position, entry in enumerate(entries):
        fault = next(filter(None, map(fault_of_name, inherited_entries([entry]))), "")
        if fault:
            yield structure.problem(
                f"environment entry '{shorten(mask_tokens(entry))}' {fault}",
                ("env", position),
                hint="write NAME=value"
                + (f", where only the value comes from {origin(entry)}" if has_token(entry) else ""),
                rule=misplaced_rule(entry) if has_token(entry) else "env-malformed",
            )
        elif has_token(entry) and not has_secret(entry):
            yield structure.problem(
                "variables of all steps must not come from an output of a step",
                ("env", position),
                hint="write it into env of the steps that come after that one",
                rule="output-misplaced",
            )
        elif "=" not in entry:
            yield structure.problem(
                f"environment entry '{entry}' has no '='",
                ("env", position),
                hint=f'write "{entry}=value", or "{entry}=" for an empty one' if entry else "",
                rule="env-malformed",
            )


def _working_directory_problems(structure: Structure, path: Any) -> Iterator[DefinitionError]:
    if path and has_token(path):
        yield _misplaced(structure, "workingDirectory", ("workingDirectory",), path)


def _misplaced(structure: Structure, name: str, path: Path, text: str) -> DefinitionError:
    return structure.problem(
        f"'{name}' must not come from {origin(text)}",
        path,
        hint=right_places(text),
        rule=misplaced_rule(text),
    )


def _network_problems(structure: Structure, networks: list[dict[str, Any]]) -> Iterator[DefinitionError]:
    seen: set[str] = set()
    for index, network in enumerate(networks):
        name = network.get("name", "")
        for key in ("name", "driver"):
            if has_token(network.get(key, "")):
                yield _misplaced(structure, f"networks: {key}", ("networks", index, key), network[key])
        if name and name in seen:
            yield structure.problem(
                f"network '{name}' is declared twice",
                ("networks", index, "name"),
                rule="network-duplicate-name",
            )
        seen.add(name)
