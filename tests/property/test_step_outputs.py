"""Whatever a step writes stays one text in the place where it is used: no template and no shell reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_engine.backends.revealing import revealed
from tasks_engine.backends.secrets import SecretBook
from tasks_engine.backends.step_outputs import OUTPUT_NAME, parse_outputs
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs
from tasks_engine.definition.template.secret_text import find_mark
from tasks_engine.errors import StepFailed
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import BuildWork, CmdWork, Plan
from tasks_engine.plan.request import RunRequest

#: what would mean something in a template, a shell, a command line, an environment or YAML
pieces = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{{.Secrets.s}}",
            "{{.Run.ID}}",
            "$",
            "$ID",
            "${HOME}",
            "$(id)",
            "`id`",
            "'",
            '"',
            "\\",
            " ",
            "\t",
        ),
        *("&&", "||", ";", "|", ">", "#", "--label", "-e A=1", ",", "=", ":", "@", "...", "<no value>", "é"),
        *("~", "*", "%s", "null", "- ", "!"),
    ]
)
values = st.lists(st.one_of(pieces, st.text("ab1")), max_size=8).map("".join)
TASK = """
version: v1.1.0
secrets: [{id: s, keyvault: env:S}]
steps:
  - id: a
    cmd: x
  - cmd: >-
      x before{{.Steps.a.Outputs.o}} "{{.Steps.a.Outputs.o}}" '{{.Steps.a.Outputs.o}}' {{.Steps.a.Outputs.o | quote}}
      last
    env: ["E={{.Steps.a.Outputs.o}}", "Q='{{.Steps.a.Outputs.o}}'"]
  - build: -t x --build-arg A={{.Steps.a.Outputs.o}} --label "l={{.Steps.a.Outputs.o}}" .
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    """As it comes back from its JSON."""
    made = make_plan(load_task(TASK, "task.yaml", Inputs()), RunRequest("r", "task.yaml"))
    return Plan.from_json(made.to_json())


@given(value=values)
def test_a_value_is_never_read_as_anything_but_itself(plan: Plan, value: str) -> None:
    book = SecretBook()
    book.add({"s": b"the secret"})
    book.add_outputs("a", parse_outputs(f"o={value}\n".encode()))
    _, cmd, build = (revealed(step, book) for step in plan.steps)
    assert isinstance(cmd.work, CmdWork)
    assert cmd.work.args == (f"before{value}", value, value, value, "last")
    assert cmd.env == {"E": value, "Q": value}
    assert isinstance(build.work, BuildWork)
    assert (build.work.build_args, build.work.labels) == ({"A": value}, {"l": value})


@given(outputs=st.dictionaries(st.from_regex(OUTPUT_NAME, fullmatch=True), values, max_size=20))
def test_what_was_written_is_read(outputs: dict[str, str]) -> None:
    data = "".join(f"{name}={value}\n" for name, value in outputs.items()).encode()
    assert parse_outputs(data) == outputs


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        outputs = parse_outputs(data)
    except StepFailed as error:
        assert "$TASKS_OUTPUT" in error.message
    else:
        assert all("\n" not in value and "\0" not in value for value in outputs.values())
        assert all(find_mark(value) < 0 for value in outputs.values())
