"""Aliases: the text after their step alone (`preprocess`), or the whole way from a file to a plan (`pipeline`).

Of a pipeline the lines before rendering are made anew with the aliases that the loader ended up with. What an engine
gets of a step is image and arguments; of a push its image; of a build its parts, since docker never sees a build
command of ours: the recorded words are read into the same parts.
"""

from __future__ import annotations

from typing import Any

from tasks_engine.backends.secrets import SecretBook
from tasks_engine.definition import aliases
from tasks_engine.definition.build_string import parse_build_words
from tasks_engine.definition.expand import expand_text, task_schema
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import IMAGE_ALIASES
from tasks_engine.definition.source import SourceText
from tasks_engine.errors import DefinitionError, DefinitionErrors
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import BuildWork, CmdWork, PlannedStep
from tasks_engine.plan.request import RunRequest
from tests.conformance.readers.builds import parts_of_text, parts_of_work
from tests.conformance.readers.task_files import Files, refusal, run_inputs
from tests.conformance.vectors import Vector


def actual(vector: Vector) -> dict[str, Any]:
    read_source = Files(vector.input.get("files", {}))
    if vector.input["stage"] == "preprocess":
        return _preprocessed(vector.input["yaml"], read_source)
    return _pipeline(vector.input["yaml"], vector.input["flags"], read_source)


def wanted(vector: Vector) -> dict[str, Any]:
    outcome = vector.wanted
    if "step_argv" in outcome:
        outcome["step_argv"] = [_comparable(argv) for argv in outcome["step_argv"]]
    return outcome


def _preprocessed(text: str, read_source: Files) -> dict[str, Any]:
    source = aliases.drop_comment_lines(SourceText("task.yaml", text))
    rest, blocks = aliases.split_blocks(source)
    try:
        read = [aliases.read_block(block, task_schema()) for block in blocks]
    except DefinitionError:
        return {"error": "alias-yaml"}
    problems = [problem for _, found in read for problem in found]
    if not problems:
        merged, problems = aliases.merge([structure for structure, _ in read], IMAGE_ALIASES, read_source)
    if problems:
        return refusal(DefinitionErrors(problems))
    return {"text": aliases.expand(rest, merged).text}


def _pipeline(text: str, flags: dict[str, Any], read_source: Files) -> dict[str, Any]:
    registry = flags.get("registry", "")
    inputs = run_inputs({"ID": flags.get("id", ""), "Registry": registry}, assignments=flags.get("set", ()))
    reveal = SecretBook().reveal
    try:
        expanded = expand_text(text, "task.yaml", inputs, read_source)
        outcome = {
            "aliases_enabled": expanded.aliases is not None,
            "rendered_lines": _lines(reveal(expanded.source.text)),
        }
        if expanded.aliases is not None:
            source = aliases.drop_comment_lines(SourceText("task.yaml", text))
            before = aliases.expand(aliases.split_blocks(source)[0], expanded.aliases)
            outcome["preprocessed_lines"] = _lines(reveal(before.text))
        task = load_task(text, "task.yaml", inputs, read_source)
    except DefinitionErrors as errors:
        return refusal(errors)
    plan = make_plan(task, RunRequest("run", "task.yaml", registry))
    argv = [each for step in plan.steps for each in _given_to_engine(step)]
    return {**outcome, "step_argv": argv, "exit": 0}


def _given_to_engine(step: PlannedStep) -> list[Any]:
    work = step.work
    if isinstance(work, BuildWork):
        return [parts_of_work(work)]
    if isinstance(work, CmdWork):
        reveal = SecretBook().reveal
        return [[work.image, *map(reveal, work.args)]]
    return [["push", image] for image in work.images]


def _comparable(argv: list[str]) -> Any:
    return parts_of_text(parse_build_words(argv[2:])) if argv[:2] == ["docker", "build"] else argv


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
