"""Reads what `src` of an alias block names: a file of the context folder, or an http(s) address."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

from tasks_engine.definition.aliases import UnreadableSource

#: from the first byte sent to the last one read, redirects included; as in the original
TIMEOUT_S = 2.0
MAX_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_MAX_SHOWN = 200


class AliasSources:
    """Sources of one task. Paths count from the context folder and must stay in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> str:
        """The text of a source. Raises UnreadableSource."""
        is_remote = name.startswith(("http://", "https://"))
        data = _fetch(name) if is_remote else self._read(name)
        if len(data) > MAX_BYTES:
            raise UnreadableSource(f"it is larger than {MAX_BYTES >> 20} MiB")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UnreadableSource("it is not UTF-8 text") from error

    def _read(self, name: str) -> bytes:
        folder = self._folder.resolve()
        try:
            path = (folder / name).resolve()
            if not path.is_relative_to(folder):
                raise UnreadableSource(f"it lies outside of the context folder {folder}")
            if not path.is_file():
                raise UnreadableSource(f"there is no such file in {folder}")
            with path.open("rb") as reader:
                return reader.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise UnreadableSource(getattr(error, "strerror", None) or str(error)) from error


def _fetch(address: str) -> bytes:
    """The body at an address. Raises UnreadableSource, in time also for a server that sends byte by byte.

    No time limit of the library spans a whole answer, so a thread waits for it, and is left when it is late.
    """
    import requests  # noqa: F401 - only for tasks that fetch, and not in their time

    answer: Future[bytes] = Future()
    threading.Thread(target=_download, args=(address, answer), name="alias source", daemon=True).start()
    try:
        return answer.result(TIMEOUT_S)
    except TimeoutError as error:
        raise UnreadableSource(f"no complete answer within {TIMEOUT_S:g} s") from error


def _download(address: str, result: Future[bytes]) -> None:
    import requests

    try:
        with requests.get(address, timeout=TIMEOUT_S, stream=True) as answer:
            body = bytearray()
            for chunk in answer.iter_content(_CHUNK_BYTES):
                body += chunk
                if len(body) > MAX_BYTES:
                    break
            if answer.status_code > 299:
                text = " ".join(body[:_MAX_SHOWN].decode("utf-8", "replace").split())
                raise UnreadableSource(f"the server answered {answer.status_code}: {text}".rstrip(": "))
            result.set_result(bytes(body))
    except requests.Timeout:
        result.set_exception(UnreadableSource(f"no answer within {TIMEOUT_S:g} s"))
    except UnreadableSource as error:
        result.set_exception(error)
    except Exception as error:  # noqa: BLE001 - whatever a library says of an answer belongs to whoever waits for it
        result.set_exception(UnreadableSource(_reason(error)))


def _reason(error: Exception) -> str:
    """The end of a chain of library errors, which is the part that says something."""
    inner: BaseException = error
    while inner.__context__ is not None:
        inner = inner.__context__
    return str(inner) or type(error).__name__
