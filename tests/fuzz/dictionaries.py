"""Words that a fuzzer puts into its inputs, so that it need not guess the names of this project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tasks_engine.definition.build_flags import FLAGS as BUILD_FLAGS
from tasks_engine.definition.expand import task_schema
from tasks_engine.definition.run_options import FLAGS as RUN_FLAGS
from tasks_engine.definition.template.functions import function_table
from tests.fuzz.targets import INPUTS

_TEMPLATE = """
    {{ }} {{- -}} {{/* */}} .Run.ID .Values.a .Values.b .Values.c .Values.e .Values.s .Values.nope .Secrets.pw .Secrets
    .Steps.a.Outputs.b .Steps
    $x $ := | = , ( ) if else end range with define template block break continue nil true false 0x1F 1.5 'a' "t" `r`
    {{end}} {{else}} <no value> \\x41
"""
_SHELL = "&& || ; > 2>&1 /dev/null ' \" \\ $A ${A} $ ` $( # ~ echo true false al img"
_YAML = ": - [ ] { } , | > & * << !!str ? --- ... %YAML # ' \" yes null 0x1F 1e3"
_DOCKERFILE = """
    FROM AS ARG RUN COPY --from= --platform= ADD ENV ONBUILD ${A} ${A:-x} ${A:+x} $A # syntax= escape= check= \\ ` <<EOF
    EOF scratch --mount=type=bind,from=
"""
_CONTEXT = (
    "https:// git:// ssh:// git@ oci:// .git # : @ ? dev.azure.com /_git/ .visualstudio.com .tar.gz % .. -"
)


def dictionary(target: str) -> list[str]:
    """The words for a target, each once."""
    names = _WORDS.get(target, ())
    return sorted({word for words in names for word in words})


def _schema_names(part: Mapping[str, Any]) -> Iterator[str]:
    for name, value in part.items():
        if name in ("properties", "$defs"):
            yield from (f"{each}:" for each in value)
        if isinstance(value, dict):
            yield from _schema_names(value)


_FUNCTIONS = list(function_table(INPUTS.now, ""))
_PROPERTIES = list(_schema_names(task_schema()))
_RUN_FLAGS = [f"--{name}" for name in RUN_FLAGS]
_BUILD = list(BUILD_FLAGS)
_ALIASES = ["values:", "src:", "directive:", "$ID", "$Registry", "$$", "version: v1.1.0", "alias:"]
_TASK = (_TEMPLATE.split(), _YAML.split(), _PROPERTIES, _ALIASES)
_WORDS: Mapping[str, Iterable[Iterable[str]]] = {
    "template": (_TEMPLATE.split(), _FUNCTIONS),
    "expansion": (_TEMPLATE.split(), _FUNCTIONS, _ALIASES),
    "aliases": _TASK,
    "task": (*_TASK, _SHELL.split()),
    "steps": (*_TASK, _SHELL.split(), _RUN_FLAGS, _BUILD),
    "command_line": (_SHELL.split(), _RUN_FLAGS),
    "words": (_SHELL.split(),),
    "run_options": (_RUN_FLAGS, ["=true", "=", "--", "a=b"]),
    "build_string": (_SHELL.split(), _BUILD, ["type=", "id=", "src=", ",", "=", "always"]),
    "build_context": (_CONTEXT.split(),),
    "reference": (["docker.io/", "library/", ":", "@sha256:", "localhost:5000/", "0" * 64],),
    "dockerfile": (_DOCKERFILE.split(),),
    "values": (_YAML.split(),),
}
