"""Fetches a context over http(s): a tar archive, or a lone Dockerfile.

What it is tells its content, not its name. It is unpacked as it arrives, and never held as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_engine.backends.contexts.cleared import cleared_on_error
from tasks_engine.backends.contexts.decompress import (
    BROKEN_STREAM,
    CHUNK_BYTES,
    Counted,
    Peeked,
    read_up_to,
)
from tasks_engine.backends.contexts.model import FetchedContext
from tasks_engine.backends.contexts.subfolder import folder_inside
from tasks_engine.backends.contexts.unpack import LIMITS, UnpackLimits, is_tar, open_content, unpack_content
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.build_context import BuildContext
from tasks_engine.errors import SourceError

if TYPE_CHECKING:
    from requests import Response

TRIES = 3
#: to connect, and between two pieces of an answer
_CONNECT_S, _SILENCE_S = 30.0, 30.0
_PAUSE_S = 1.0
MAX_REDIRECTS = 10
#: of a lone Dockerfile
MAX_DOCKERFILE_BYTES = 1 << 20
_MAX_SHOWN_BYTES = 300
_HEADERS = {"Accept-Encoding": "identity", "Accept": "*/*", "User-Agent": "tasks-engine"}
_HINTS = {
    401: "give a login in the address: https://USER:TOKEN@HOST/…",
    403: "the login or signature of the address does not reach this file, or has expired",
    404: "check the address",
    410: "check the address",
}


def fetch_download(
    context: BuildContext,
    into: Path,
    cancel: CancelToken,
    time_limit_s: float,
    limits: UnpackLimits = LIMITS,
) -> FetchedContext:
    """The unpacked archive, or a folder with nothing but a Dockerfile, in the empty folder `into`.

    Tries again, from the start, where a server or the network fails. Raises SourceError, or the reason of
    `cancel`; `into` is empty then. While a server has not begun to answer, `cancel` is not looked at: no longer than
    `time_limit_s` and half a minute.
    """
    for attempt in range(1, TRIES + 1):
        try:
            with cleared_on_error(into):
                _download(context, into, cancel, time_limit_s, limits)
                folder = folder_inside(into, context.subdir, context.shown)
            return FetchedContext(folder, None, context.shown)
        except SourceError as error:
            cancel.raise_if_cancelled()
            if not error.retryable or attempt == TRIES:
                raise
        cancel.wait(_PAUSE_S * attempt)
    raise AssertionError("the last attempt returns or raises")


def _download(
    context: BuildContext, into: Path, cancel: CancelToken, time_limit_s: float, limits: UnpackLimits
) -> None:
    with _answer(context, time_limit_s) as answer, cancel.calling(answer.raw.shutdown):
        length = _announced_length(answer)
        body = Counted(_Body(answer, context.shown), lambda _: cancel.raise_if_cancelled())  # type: ignore[arg-type]
        try:
            content = open_content(body, limits)  # type: ignore[arg-type]
            if is_tar(content.head):
                unpack_content(content, into, limits)
            else:
                _write_dockerfile(content, context, into)
        except SourceError as error:
            if error.retryable:
                raise
            raise SourceError(f"{context.shown}: {error.message}", hint=error.hint) from error
        while body.read(CHUNK_BYTES):
            pass
        if length is not None and body.count != length:
            raise SourceError(
                f"{context.shown} has {body.count} bytes, but the server said {length}", retryable=True
            )


class _Body:
    """The bytes of an answer as they came, without the library's errors."""

    def __init__(self, answer: Response, shown: str) -> None:
        self._answer = answer
        self._shown = shown

    def read(self, size: int = -1) -> bytes:
        import urllib3

        try:
            data: bytes = self._answer.raw.read1(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise SourceError(
                f"the download of {self._shown} broke off: {_kind(error)}", hint="try again", retryable=True
            ) from error
        return data


@contextmanager
def _answer(context: BuildContext, time_limit_s: float) -> Iterator[Response]:
    """A good answer, after redirects. Raises SourceError, whose text holds nothing of a login or signature."""
    import requests

    shown = context.shown
    with requests.Session() as session:
        session.max_redirects = MAX_REDIRECTS
        try:
            answer = session.get(
                context.address,
                headers=_HEADERS,
                stream=True,
                timeout=(min(_CONNECT_S, time_limit_s), min(_SILENCE_S, time_limit_s)),
            )
        except requests.TooManyRedirects as error:
            raise SourceError(f"{shown} redirects more than {MAX_REDIRECTS} times") from error
        except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
            raise SourceError(
                f"{shown} cannot be reached: {_kind(error)}",
                hint="check certificates and proxy of this machine",
            ) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise SourceError(
                f"{shown} cannot be reached: {_kind(error)}", hint="check the address", retryable=True
            ) from error
        except (requests.RequestException, ValueError) as error:
            raise SourceError(
                f"{shown} cannot be fetched: {_kind(error)}", hint="check the address"
            ) from error
        with answer:
            if answer.url.startswith("http://") and context.address.startswith("https://"):
                raise SourceError(
                    f"{shown} redirects from https to http", hint="give the address it leads to"
                )
            if answer.status_code != requests.codes.ok:
                raise _refusal(answer, shown)
            yield answer


def _refusal(answer: Response, shown: str) -> SourceError:
    code = answer.status_code
    try:
        text = " ".join(answer.raw.read(_MAX_SHOWN_BYTES).decode("utf-8", "replace").split())
    except Exception:  # noqa: BLE001 - whatever breaks here, the status is what is to be told
        text = ""
    shown_text = f": {text}" if text and not text.startswith("<") else ""
    is_passing = code >= 500 or code in (408, 429)
    return SourceError(
        f"{shown}: the server answered {code} {answer.reason or ''}".rstrip() + shown_text,
        hint=_HINTS.get(code, ""),
        retryable=is_passing,
    )


def _announced_length(answer: Response) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _write_dockerfile(content: Peeked, context: BuildContext, into: Path) -> None:
    """A text is a Dockerfile, as for `docker build`."""
    hint = "a context is a tar archive (plain, gzip, bzip2, xz or zstd), or a Dockerfile"
    try:
        text = read_up_to(content, MAX_DOCKERFILE_BYTES + 1)  # type: ignore[arg-type]
    except BROKEN_STREAM as error:
        raise SourceError(f"it is damaged: {error}", hint=hint) from error
    if not text:
        raise SourceError("it is empty", hint=hint)
    if text.startswith(b"PK\x03\x04"):
        raise SourceError("it is a zip archive", hint=hint)
    if text.lstrip()[:1] == b"<":
        raise SourceError("it is a web page, neither an archive nor a Dockerfile", hint=hint)
    if len(text) > MAX_DOCKERFILE_BYTES or b"\0" in text or not _is_utf8(text):
        raise SourceError("it is neither an archive nor a Dockerfile", hint=hint)
    if context.subdir:
        raise SourceError(f"it is a lone Dockerfile, so there is no folder '{context.subdir}'")
    (into / "Dockerfile").write_bytes(text)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _kind(error: BaseException) -> str:
    """The innermost cause: outer ones repeat the address with all that is secret in it."""
    while error.__context__ is not None:
        error = error.__context__
    text = getattr(error, "strerror", None)
    return str(text) if text else type(error).__name__
