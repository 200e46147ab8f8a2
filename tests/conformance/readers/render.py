"""The text after the template. Tokens of secrets are revealed with the vector's vault before texts are compared.

Secrets are looked up where the original does: when the text mentions `secrets`. `secret-phase-task-invalid` is
what the original calls any problem with the declarations of secrets, since it reads them while rendering.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks_engine.backends.secrets import SecretBook
from tasks_engine.definition.expand import expand_text
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs, Secret
from tasks_engine.errors import DefinitionError, DefinitionErrors, UsageError
from tests.conformance.readers.task_files import refusal, run_inputs
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    given = vector.input
    has_secrets = given["mode"] == "exec"
    try:
        inputs = run_inputs(
            given["run"], values=given["values"], assignments=given["set"], has_secrets=has_secrets
        )
    except UsageError:
        return {"error": "set-malformed"}
    except DefinitionError as error:
        return {"error": error.rule if error.rule == "values-not-serialisable" else "values-yaml"}
    try:
        text = expand_text(given["template"], "task.yaml", inputs).source.text
    except DefinitionErrors as errors:
        return refusal(errors)
    return _with_secrets(text, given["template"], inputs, given["secrets"] if has_secrets else {})


def _with_secrets(text: str, template: str, inputs: Inputs, vault: Mapping[str, str]) -> dict[str, Any]:
    declared: tuple[Secret, ...] = ()
    if "secrets" in text:
        try:
            declared = load_task(template, "task.yaml", inputs).secrets
        except DefinitionErrors as errors:
            if any(problem.rule.startswith("secret-") for problem in errors.problems):
                return {"error": "secret-phase-task-invalid"}
    if any(secret.keyvault not in vault for secret in declared):
        return {"error": "secret-resolve"}
    book = SecretBook()
    book.add({secret.id: vault[secret.keyvault].encode() for secret in declared})
    return {"text": book.reveal(text)}
