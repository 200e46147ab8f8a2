"""What a failed Solve means to the author of the Dockerfile. Pure.

Newer daemons attach the place in the Dockerfile, the failed vertex and the exit code; 0.8 sends one line of
text, so there, and only for the text shown, messages are read by the one table here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from tasks_engine.backends.buildkit.dockerfile_lines import find_lines, instruction_of
from tasks_engine.backends.buildkit.errors import BuildFailed
from tasks_engine.backends.buildkit.proto.rpc_status_pb2 import Status

# What daemons put in front of a cause: where in their code it passed by.
_NOISE = re.compile(
    r"^(?:failed to solve(?: with frontend \S+)?|failed to create LLB definition|failed to load cache key"
    r"|failed to compute cache key|failed to calculate checksum of ref \S+|failed to build LLB): "
)
#: of a message that is read: the expressions take time by the square of it
_READ_CHARS = 2000
_EXIT_CODE = re.compile(
    r"(?:did not complete successfully|executor failed running \[.*\]): exit code: (\d+)", re.DOTALL
)
_PARSE_LINE = re.compile(r"dockerfile parse error(?: on)? line (\d+): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Details:
    """What a daemon attached to the error; all of it may be missing."""

    vertex_digest: str = ""
    exit_code: int | None = None
    line_range: tuple[int, int] | None = None
    #: text of the Dockerfile as the daemon had it
    dockerfile: str = ""


@dataclass(frozen=True)
class FailedVertex:
    """The vertex that failed, as Status told it."""

    name: str
    last_output: bytes


def read_details(trailer: bytes) -> Details:
    """Reads `grpc-status-details-bin`, whose values are JSON. The daemon's stacks stay out."""
    try:
        return _read_details(Status.FromString(trailer).details)
    except (DecodeError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError):
        # Not what it should be; the message is still there.
        return Details()


def _read_details(attached: Iterable[AnyMessage]) -> Details:
    values = {any_value.type_url.rpartition("/")[2]: _json_object(any_value.value) for any_value in attached}
    source = values.get("errdefs.Source+json", {})
    lines = [
        int(span.get(end, {}).get("line", 0))
        for span in source.get("ranges") or ()
        for end in ("start", "end")
    ]
    data = (source.get("info") or {}).get("data") or ""
    exit_message = values.get("gatewayapi.ExitMessage+json")
    return Details(
        vertex_digest=str(values.get("errdefs.Vertex+json", {}).get("digest", "")),
        exit_code=int(exit_message.get("Code", 0)) if exit_message is not None else None,
        line_range=(min(lines), max(lines)) if lines and min(lines) > 0 else None,
        dockerfile=base64.b64decode(data).decode("utf-8", "replace"),
    )


def _json_object(value: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(value)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def build_failed(
    message: str,
    details: Details,
    vertex_by_digest: Mapping[str, FailedVertex],
    dockerfile: str,
    dockerfile_path: str = "",
) -> BuildFailed:
    """The error of a Solve that ended with `message`.

    `vertex_by_digest` are the vertexes that Status showed with an error, in their order; `dockerfile` is the
    text we sent, for daemons that do not send it back.
    """
    failed = vertex_by_digest.get(details.vertex_digest) or next(iter(vertex_by_digest.values()), None)
    vertex_name = failed.name if failed else ""
    text = details.dockerfile or dockerfile
    exit_code = details.exit_code
    cause = _strip_noise(message)
    line_range = details.line_range
    parse_error = _PARSE_LINE.search(cause, 0, _READ_CHARS)
    if parse_error:
        line_range = line_range or (int(parse_error[1]), int(parse_error[1]))
    exited = _EXIT_CODE.search(cause[:_READ_CHARS]) or _EXIT_CODE.search(cause[-_READ_CHARS:])
    if exited and exit_code is None:
        exit_code = int(exited[1])
    if line_range is None:
        line_range = find_lines(text, vertex_name)
    return BuildFailed(
        _readable(cause, " ".join(instruction_of(vertex_name).split()), exit_code),
        dockerfile=dockerfile_path,
        line_range=line_range,
        snippet=_snippet(text, line_range),
        vertex_name=vertex_name,
        exit_code=exit_code,
        last_output=failed.last_output if failed else b"",
    )


def _strip_noise(message: str) -> str:
    while (shorter := _NOISE.sub("", message)) != message:
        message = shorter
    return message


def _snippet(dockerfile: str, line_range: tuple[int, int] | None) -> str:
    if line_range is None:
        return ""
    return "\n".join(dockerfile.splitlines()[line_range[0] - 1 : line_range[1]])


# --- the table of messages ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wording:
    #: searched in the daemon's message
    pattern: re.Pattern[str]
    #: (match, instruction or "") -> text for the user
    say: Callable[[re.Match[str], str], str]


_WORDINGS = (
    _Wording(_PARSE_LINE, lambda match, _: match[2]),
    _Wording(
        re.compile(r"failed to read dockerfile: open (?:\S*/)?([^/\s]+): no such file or directory"),
        lambda match, _: f"there is no {match[1]} in the folder of the Dockerfile",
    ),
    _Wording(
        re.compile(r'target stage "?([^"\s]+)"? could not be found'),
        lambda match, _: f"the Dockerfile has no stage '{match[1]}'",
    ),
    _Wording(
        re.compile(r"^secret (.+?):? not found(?:: not found)?$"),
        lambda match, _: f"the build was not given the secret '{match[1]}'",
    ),
    _Wording(
        re.compile(r'no SSH key "([^"]*)" forwarded from the client'),
        lambda match, _: f"the build was not given the SSH agent '{match[1] or 'default'}'",
    ),
    _Wording(
        re.compile(r'"([^"]+)":? not found'),
        lambda match, instruction: (
            f"{instruction}: '{match[1]}' not found" if instruction else f"'{match[1]}' not found"
        ),
    ),
    _Wording(
        re.compile(r"\b(401 Unauthorized|403 Forbidden)\b"),
        lambda match, _: f"the registry refused access{_to_what(match.string)}: {match[1]}",
    ),
    _Wording(
        re.compile(r"(?:failed to resolve source metadata for \S+: )?(\S+): not found$"),
        lambda match, _: f"image {match[1]} not found",
    ),
    _Wording(
        re.compile(r"pull access denied(?: for (?P<name>[^\s,]+))?"),
        lambda match, _: (
            f"image {match['name']} does not exist, or needs a login" if match["name"] else match[0]
        ),
    ),
    _Wording(
        re.compile(r"failed to resolve source metadata for (\S+): (.*)", re.DOTALL),
        lambda match, _: f"image {match[1]}: {match[2]}",
    ),
)


def _to_what(cause: str) -> str:
    match = re.search(r"source metadata for (\S+): ", cause)
    return f" to {match[1]}" if match else ""


def _readable(cause: str, instruction: str, exit_code: int | None) -> str:
    """One line a user understands."""
    if exit_code is not None:
        return f"{instruction or 'a RUN step'}: exit code {exit_code}"
    for wording in _WORDINGS:
        match = wording.pattern.search(cause, 0, _READ_CHARS)
        if match:
            return wording.say(match, instruction)
    return cause
