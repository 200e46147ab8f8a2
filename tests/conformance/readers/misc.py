"""Small rules, each by its kind. Kinds that nothing here implements have no reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from tasks_engine.backends.azure_secrets import parse_key_vault_address
from tasks_engine.backends.contexts.git_command import without_logins
from tasks_engine.backends.docker.image_digests import registry_digest
from tasks_engine.cli.task_inputs import read_values
from tasks_engine.definition.build_context import dockerfile_path, parse_build_context
from tasks_engine.definition.build_string import parse_build_string
from tasks_engine.definition.expand import registry_name, shell_quote
from tasks_engine.definition.image_names import cache_image, unique_images, with_registry
from tasks_engine.definition.load import load_task, load_values
from tasks_engine.definition.model import Inputs
from tasks_engine.errors import DefinitionErrors, SecretError
from tasks_engine.images.dependencies import parse_image
from tasks_engine.images.reference import InvalidReference, parse_reference
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import CmdWork, PlannedStep
from tasks_engine.plan.request import RunRequest
from tests.conformance.readers.retries import tries_again
from tests.conformance.readers.task_files import refusal
from tests.conformance.vectors import Vector


def _shell_quote(vector: Vector) -> dict[str, Any]:
    return {"text": shell_quote(vector.input["text"])}


def _registry_name(vector: Vector) -> dict[str, Any]:
    return {"name": registry_name(vector.input["registry"])}


def _normalize_image(vector: Vector) -> dict[str, Any]:
    try:
        return {"image": unique_images([vector.input["image"]])[0]}
    except InvalidReference:
        return {"error": "image-reference"}


def _image_reference(vector: Vector) -> dict[str, Any]:
    return {"tag": "", **parse_image(vector.input["reference"]).to_json()}


def _cache_image(vector: Vector) -> dict[str, Any]:
    given = vector.input
    try:
        return {
            "image": cache_image(
                given["tags"], registry=given["registry"], task=given["task"], step=given["step"]
            )
        }
    except InvalidReference:
        return {"error": "cache-reference"}


def _dockerfile_path(vector: Vector) -> dict[str, Any]:
    given = vector.input
    context = parse_build_context(given["context"])
    return {"path": dockerfile_path(context, given["context_dir"], given["file"])}


def _prefix_tags(vector: Vector) -> dict[str, Any]:
    """The command is made anew word by word: recorded ones hold no quotes."""
    given = vector.input
    tags = parse_build_string(given["command"].removeprefix("build ")).tags
    prefixed = {tag: with_registry(tag, given["registry"], given["known_registries"]) for tag in tags}
    words = given["command"].split(" ")
    behind_flag = {at for at, word in enumerate(words, start=1) if word in ("-t", "--tag")}
    command = [prefixed[word] if at in behind_flag else word for at, word in enumerate(words)]
    return {"command": " ".join(command), "tags": list(prefixed.values())}


def _parse_set(vector: Vector) -> dict[str, Any]:
    return {"yaml": read_values(None, vector.input["set"])}


def _working_directory(vector: Vector) -> dict[str, Any]:
    step = _only_step(f"steps: [{{cmd: img, workingDirectory: '{vector.input['workingDirectory']}'}}]")
    return {"path": step.working_directory}


def _image_of_cmd(vector: Vector) -> dict[str, Any]:
    """A step with an empty `cmd` is none, so that there is nothing to pull."""
    try:
        step = _only_step(f"steps: [{{cmd: '{vector.input['cmd']}', pull: true}}]")
    except DefinitionErrors as errors:
        outcome = refusal(errors)
        return {"image": ""} if outcome["error"] == "step-no-kind" else outcome
    assert isinstance(step.work, CmdWork)
    return {"image": step.work.image}


def _retry_on_errors(vector: Vector) -> dict[str, Any]:
    given = vector.input
    return {"retry": tries_again(given["stdout"], given["stderr"], given["retryOnErrors"])}


def _vault_url(vector: Vector) -> dict[str, Any]:
    try:
        return asdict(parse_key_vault_address(vector.input["url"]))
    except SecretError:
        return {"error": "vault-url"}


def _repo_digest(vector: Vector) -> dict[str, Any]:
    """An image that was written down in one way only; the others have the parts of their reference."""
    given = vector.input
    image = parse_reference(given["reference"] or f"{given['registry']}/{given['repository']}")
    return {"digest": registry_digest(_EngineWithOneImage(given["repo_digests"]), image)}


class _EngineWithOneImage:
    def __init__(self, repo_digests: list[str]) -> None:
        self._repo_digests = repo_digests

    def inspect_image(self, _name: str) -> dict[str, Any]:
        return {"RepoDigests": self._repo_digests}


def _redact_git(vector: Vector) -> dict[str, Any]:
    return {"text": without_logins(vector.input["text"])}


def _only_step(text: str) -> PlannedStep:
    return make_plan(load_task(text, "task.yaml", Inputs()), RunRequest("run", "task.yaml")).steps[0]


KINDS: Mapping[str, Callable[[Vector], dict[str, Any]]] = {
    "cache-image": _cache_image,
    "dockerfile-path": _dockerfile_path,
    "image-of-cmd": _image_of_cmd,
    "image-reference": _image_reference,
    "normalize-image": _normalize_image,
    "parse-set": _parse_set,
    "prefix-tags": _prefix_tags,
    "redact-git": _redact_git,
    "registry-name": _registry_name,
    "repo-digest": _repo_digest,
    "retry-on-errors": _retry_on_errors,
    "shell-quote": _shell_quote,
    "vault-url": _vault_url,
    "working-directory": _working_directory,
}


def wanted(vector: Vector) -> dict[str, Any]:
    outcome = vector.wanted
    if vector.kind == "misc/redact-git":
        outcome["text"] = outcome["text"].replace("<REDACTED>@", "")  # left out altogether here
    if "yaml" in outcome:
        outcome["yaml"] = load_values(outcome["yaml"], "values.yaml")
    return outcome
