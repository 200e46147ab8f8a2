"""A small client of the Language Server Protocol over a child process: just what the editor tests ask.

One thread reads what the server says and answers its questions; everything else waits on queues.
"""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

Json = dict[str, Any]
ANSWERS_WITHIN_S = 60


@contextmanager
def language_server(
    command: Sequence[str], settings: Mapping[str, Any], log: Path
) -> Iterator[LanguageServer]:
    """A server that is ready, and ended with the block.

    settings: section -> what the server gets when it asks for that section. Its standard error goes to `log`.
    """
    server = LanguageServer(command, settings, log)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.kill()


class LanguageServer:
    """One running server. What it is asked raises AssertionError when it answers with an error or not in time."""

    def __init__(self, command: Sequence[str], settings: Mapping[str, Any], log: Path) -> None:
        self._settings = settings
        self._log = log
        self._ids = itertools.count(1)
        self._writing = threading.Lock()
        self._configured = threading.Event()
        self._answers: dict[int, queue.SimpleQueue[Json | None]] = {}
        self._diagnostics: dict[str, queue.SimpleQueue[list[Json] | None]] = defaultdict(queue.SimpleQueue)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output
            )
        self._reader = threading.Thread(target=self._read_all, name="language server")
        self._reader.start()

    def start(self) -> None:
        capabilities = {
            "workspace": {"configuration": True},
            "textDocument": {
                "completion": {"completionItem": {"snippetSupport": True}},
                "hover": {"contentFormat": ["markdown", "plaintext"]},
            },
        }
        self.request("initialize", {"processId": None, "rootUri": None, "capabilities": capabilities})
        self.notify("initialized", {})
        assert self._configured.wait(ANSWERS_WITHIN_S), f"no question for the settings; {self._said()}"

    def stop(self) -> None:
        self.request("shutdown", None)
        self.notify("exit", None)
        self._process.wait(ANSWERS_WITHIN_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def request(self, method: str, params: Any) -> Any:
        """The server's result."""
        number = next(self._ids)
        answers = self._answers[number] = queue.SimpleQueue()
        self._send({"id": number, "method": method, "params": params})
        answer = self._wait(answers, method)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def notify(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def open(self, uri: str, text: str) -> None:
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def diagnostics(self, uri: str) -> list[Json]:
        """What the server says about an opened document; once for each time it is opened."""
        found: list[Json] = self._wait(self._diagnostics[uri], f"diagnostics of {uri}")
        return found

    def complete(self, uri: str, line: int, character: int) -> list[Json]:
        """Completion items at a place, both counted from 0."""
        found = self.request("textDocument/completion", _at(uri, line, character))
        return list(found["items"])

    def hover(self, uri: str, line: int, character: int) -> str:
        """The hover text at a place as Markdown, both counted from 0."""
        found = self.request("textDocument/hover", _at(uri, line, character))
        return str(found["contents"]["value"]) if found else ""

    def _wait(self, answers: queue.SimpleQueue[Any], what: str) -> Any:
        try:
            answer = answers.get(timeout=ANSWERS_WITHIN_S)
        except queue.Empty:
            answer = None
        assert answer is not None, f"no answer to {what}; {self._said()}"
        return answer

    def _said(self) -> str:
        return f"the server said: {self._log.read_text(errors='replace')[-3000:]}"

    def _send(self, message: Json) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        with self._writing:
            self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
            self._process.stdin.flush()

    def _read_all(self) -> None:
        assert self._process.stdout is not None
        while (message := _read_message(self._process.stdout)) is not None:
            if "method" not in message:
                self._answers[message["id"]].put(message)
            elif "id" in message:
                self._reply(message)
            elif message["method"] == "textDocument/publishDiagnostics":
                self._diagnostics[message["params"]["uri"]].put(message["params"]["diagnostics"])
        waiting: list[queue.SimpleQueue[Any]] = [*self._answers.values(), *self._diagnostics.values()]
        for each in waiting:
            each.put(None)

    def _reply(self, question: Json) -> None:
        """Settings when it asks for them, else nothing: it may register what it likes."""
        asks_settings = question["method"] == "workspace/configuration"
        items = question["params"]["items"] if asks_settings else []
        settings = [self._settings.get(item.get("section")) for item in items]
        with suppress(BrokenPipeError):
            self._send({"id": question["id"], "result": settings if asks_settings else None})
        if asks_settings:
            self._configured.set()


def _at(uri: str, line: int, character: int) -> Json:
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}


def _read_message(stream: IO[bytes]) -> Json | None:
    """The next message; None at the end of the stream."""
    length = 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body = stream.read(length) if line else b""
    message: Json | None = json.loads(body) if body else None
    return message
