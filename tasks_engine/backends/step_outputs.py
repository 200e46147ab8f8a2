"""Outputs of a step: lines `name=value` that its commands write, for the steps after it. Pure.

A value is the rest of its line, so it holds no line break; of a name that stands twice the last line counts, and empty
lines mean nothing. What has several lines goes through Base64: `echo text=$(base64 -w0 FILE)` there, and `b64dec` where
it is used.
"""

from __future__ import annotations

from tasks_engine.definition.step_outputs import OUTPUT_NAME
from tasks_engine.definition.template.secret_text import find_mark
from tasks_engine.definition.words import shorten
from tasks_engine.errors import StepFailed

#: the variable of a step's containers that holds the path of the file
OUTPUT_VARIABLE = "TASKS_OUTPUT"
#: of one file
MAX_OUTPUT_BYTES = 1024 * 1024
MAX_VALUE_BYTES = 64 * 1024
MAX_NAMES = 100
#: the step did its work, but nobody can use what it says of it
_EXIT_STATUS = 125


def parse_outputs(data: bytes) -> dict[str, str]:
    """Name -> value of what a step wrote. Lines end with LF or CR LF.

    Raises StepFailed that names the first line which cannot be read, or the limit that is exceeded.
    """
    if len(data) > MAX_OUTPUT_BYTES:
        raise _failed(
            f"more than {MAX_OUTPUT_BYTES >> 10} KiB", "outputs are short texts; files stay in /workspace"
        )
    outputs: dict[str, str] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if line:
            name, value = _read(number, line)
            outputs[name] = value
            if len(outputs) > MAX_NAMES:
                raise _failed(f"more than {MAX_NAMES} names, the last one in line {number}")
    return outputs


def _read(number: int, line: bytes) -> tuple[str, str]:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise _failed(
            f"line {number}, whose byte {error.start + 1} is not UTF-8",
            "write it in Base64, and use it with b64dec",
        ) from error
    name, equals, value = text.partition("=")
    if not equals or not OUTPUT_NAME.match(name):
        shown = shorten("".join(each if each.isprintable() else "?" for each in text[:200]))
        raise _failed(
            f"line {number}, '{shown}', which is not name=value",
            "names have letters, digits and '_'; a value with line breaks goes in Base64, for b64dec",
        )
    if find_mark(value) >= 0:
        # what a step writes must not become the token of a secret
        raise _failed(
            f"line {number}, whose value holds a character that tasks keeps for itself (U+F5EC0 or U+F5EC1)"
        )
    if "\0" in value:
        raise _failed(f"line {number}, whose value holds a NUL character, which no program can be given")
    if len(line) - len(name) - 1 > MAX_VALUE_BYTES:
        raise _failed(
            f"line {number}, whose value is longer than {MAX_VALUE_BYTES >> 10} KiB",
            "outputs are short texts; files stay in /workspace",
        )
    return name, value


def _failed(what: str, hint: str = "") -> StepFailed:
    return StepFailed(f"the step wrote to ${OUTPUT_VARIABLE} {what}", exit_status=_EXIT_STATUS, hint=hint)
