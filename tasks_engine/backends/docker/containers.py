"""Runs the containers of a run: create, follow, wait, kill, remove."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import docker.errors
from docker.api import APIClient

from tasks_engine.backends.docker.client import explain, translated
from tasks_engine.backends.docker.leftovers import remove_container
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import DockerError, EngineError, StepFailed, TasksError

#: after a kill the output must end within this, or the engine is not listened to any more
KILL_GRACE_S = 10
_STREAM_NAMES = {1: "stdout", 2: "stderr"}
_READ_BYTES = 256 * 1024

Write = Callable[[str, bytes], None]


class MissingImage(Exception):
    """The engine does not have the image."""


class Containers:
    """The containers of one run on one engine. Thread-safe."""

    def __init__(self, api: APIClient) -> None:
        self._api = api
        # removing takes the engine a while and nothing waits for it
        self._remover = ThreadPoolExecutor(max_workers=4, thread_name_prefix="remove")
        self._removals: list[Future[None]] = []

    def create(self, name: str, body: dict[str, Any]) -> str:
        """The id of a new container. Raises MissingImage, StepFailed for what the engine refuses."""
        with translated("creating the container"):
            try:
                created = self._api.create_container_from_config(body, name)  # type: ignore[no-untyped-call]
                return str(created["Id"])
            except docker.errors.ImageNotFound as error:
                raise MissingImage from error
            except docker.errors.APIError as error:
                if error.status_code in (400, 404):
                    raise StepFailed(f"the engine refused the container: {explain(error)}") from error
                raise

    def run(self, container: str, write: Write, cancel: CancelToken) -> None:
        """Starts a container and follows it to its end. Raises StepFailed for any exit code but 0."""
        stream = _Stream(self._api, container)
        ended = threading.Event()
        killer = _Killer(self._api, container, stream, ended)
        try:
            self._start(container, stream)
            with cancel.calling(killer.start):
                try:
                    stream.copy(write)
                finally:
                    ended.set()
                exit_code = self._wait(container, cancel)
            cancel.raise_if_cancelled()
        except EngineError:
            cancel.raise_if_cancelled()  # cut off by the killer
            raise
        finally:
            stream.close()
            killer.join()
            self._removals.append(self._remover.submit(remove_container, self._api, container))
        if exit_code:
            raise StepFailed(f"exit code {exit_code}", exit_status=exit_code, hint=_exit_hint(exit_code))

    def run_detached(self, container: str, write: Write) -> None:
        """Starts a container and returns; its output goes on to `write` until it is removed."""
        stream = _Stream(self._api, container)
        try:
            self._start(container, stream)
        except TasksError:
            stream.close()
            raise

        def follow() -> None:
            try:
                with suppress(TasksError):
                    stream.copy(write)
            finally:
                stream.close()

        threading.Thread(target=follow, name=f"follow-{container[:12]}", daemon=True).start()

    def close(self) -> None:
        """Returns when what ended is removed; what still runs is left to `remove_labelled`."""
        self._remover.shutdown(wait=True)
        for removal in self._removals:
            removal.result()

    def _start(self, container: str, stream: _Stream) -> None:
        with translated("starting the container"):
            stream.open()
            try:
                self._api.start(container)
            except docker.errors.APIError as error:
                if error.status_code in (400, 404):
                    raise StepFailed(_start_problem(explain(error)), exit_status=127) from error
                raise

    def _wait(self, container: str, cancel: CancelToken) -> int:
        with translated("waiting for the container"):
            answer: Any = self._api.wait(container, timeout=KILL_GRACE_S if cancel.is_cancelled else None)
        problem = (answer.get("Error") or {}).get("Message")
        if problem:
            raise DockerError(f"the engine lost track of the container: {problem}")
        return int(answer["StatusCode"])


class _Stream:
    """The attached output of one container: frames of an 8-byte header and data (Engine API, attach)."""

    def __init__(self, api: APIClient, container: str) -> None:
        self._api = api
        self._container = container
        self._socket: Any = None

    def open(self) -> None:
        """Attaches; to be called before the container starts, so that no byte is lost."""
        self._socket = self._api.attach_socket(
            self._container, params={"stdout": 1, "stderr": 1, "stream": 1}
        )
        with suppress(AttributeError):
            self._raw.settimeout(None)

    def copy(self, write: Write) -> None:
        """Hands on all output until the container ends or the stream is cut."""
        with translated("reading the container's output"):
            self._copy_frames(write)

    def cut(self) -> None:
        """Ends `copy` from another thread."""
        with suppress(OSError, AttributeError):
            self._raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._socket is not None:
            response = getattr(self._socket, "_response", None)
            with suppress(OSError):
                if response is not None:
                    response.close()  # before its socket: it flushes
                self._socket.close()

    @property
    def _raw(self) -> Any:
        return getattr(self._socket, "_sock", self._socket)

    def _copy_frames(self, write: Write) -> None:
        raw = self._raw
        pending = bytearray()
        while True:
            data = raw.recv(_READ_BYTES)
            if not data:
                break
            pending += data
            at = 0
            while len(pending) - at >= 8:
                length = int.from_bytes(pending[at + 4 : at + 8], "big")
                if len(pending) - at - 8 < length:
                    break
                stream = _STREAM_NAMES.get(pending[at], "stdout")
                write(stream, bytes(pending[at + 8 : at + 8 + length]))
                at += 8 + length
            del pending[:at]
        if len(pending) > 8:
            write(_STREAM_NAMES.get(pending[0], "stdout"), bytes(pending[8:]))


class _Killer:
    """Kills one container when its step is cancelled, and cuts its output when the engine does not react."""

    def __init__(self, api: APIClient, container: str, stream: _Stream, ended: threading.Event) -> None:
        self._api = api
        self._container = container
        self._stream = stream
        self._ended = ended
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._kill, name=f"kill-{self._container[:12]}", daemon=True)
        self._thread.start()

    def join(self) -> None:
        if self._thread is not None:
            self._ended.set()
            self._thread.join(timeout=KILL_GRACE_S)

    def _kill(self) -> None:
        with suppress(TasksError), translated("killing the container"):
            self._api.kill(self._container)
        if not self._ended.wait(KILL_GRACE_S):
            self._stream.cut()


def _start_problem(text: str) -> str:
    """The part of runc's long message that tells an author something."""
    for mark in ("exec: ", "error mounting "):
        at = text.find(mark)
        if at >= 0:
            return f"the container did not start: {text[at:].removesuffix(': unknown')}"
    return f"the container did not start: {text}"


def _exit_hint(exit_code: int) -> str:
    return {
        126: "the command in the image cannot be executed: check its permissions and format",
        127: "the command is not in the image: check its name and the image's PATH",
        137: "killed, perhaps for lack of memory",
    }.get(exit_code, "")
