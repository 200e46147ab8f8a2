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
#: what a detached container with a stop signal of its own has to end, unless it says otherwise
STOP_GRACE_S = 3
_STREAM_NAMES = {1: "stdout", 2: "stderr"}
_READ_BYTES = 256 * 1024
#: The engine has no code for these: (part of its message, what to do)
_START_HINTS = (
    ("port is already allocated", "another container publishes that port: choose another, or stop it"),
    ("address already in use", "a program of the machine has that port: choose another, or stop it"),
    ("could not select device driver", "this engine has no such devices, or lacks their container toolkit"),
)

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
        self._detached: dict[str, _Detached] = {}
        self._lock = threading.Lock()

    def create(self, name: str, body: dict[str, Any], platform: str = "") -> str:
        """The id of a new container. Raises MissingImage, StepFailed for what the engine refuses."""
        with translated("creating the container"):
            try:
                created = self._api.create_container_from_config(body, name, platform or None)  # type: ignore[no-untyped-call]
                return str(created["Id"])
            except docker.errors.ImageNotFound as error:
                raise MissingImage from error
            except docker.errors.APIError as error:
                if error.status_code in (400, 404):
                    reason = " ".join(explain(error).split())
                    raise StepFailed(
                        f"the engine refused the container: {reason}", exit_status=125
                    ) from error
                raise

    def run(self, container: str, write: Write, cancel: CancelToken, *, keep: bool = False) -> None:
        """Starts a container and follows it to its end. Raises StepFailed for any exit code but 0.

        Unless it is to be kept, it is removed afterwards.
        """
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
            if not keep:
                self.remove_soon(container)
        if exit_code:
            raise StepFailed(f"exit code {exit_code}", exit_status=exit_code, hint=_exit_hint(exit_code))

    def run_detached(self, container: str, write: Write, *, stop_timeout_s: int | None = None) -> None:
        """Starts a container and returns; its output goes on to `write` until it ends or is stopped.

        With `stop_timeout_s` it is asked to stop, and has that long, before it is killed.
        """
        stream = _Stream(self._api, container)
        try:
            self._start(container, stream)
        except TasksError:
            stream.close()
            self.remove_soon(container)
            raise
        detached = _Detached(self._api, container, stream, write, stop_timeout_s)
        with self._lock:
            self._detached[container] = detached
        detached.start()

    def remove_soon(self, container: str) -> None:
        """Removes a container that does not run any more, some time before `close` returns."""
        self._removals.append(self._remover.submit(remove_container, self._api, container))

    def remove(self, container: str) -> None:
        """Stops and removes a container at once; all it printed has come by then. Raises BackendError."""
        with self._lock:
            detached = self._detached.pop(container, None)
        if detached is not None:
            detached.stop()
        remove_container(self._api, container)

    def close(self) -> None:
        """Stops what is detached, and returns when all it printed has come and what ended is removed.

        What is kept is left to `remove_labelled`.
        """
        with self._lock:
            detached = list(self._detached.values())
            self._detached.clear()
        if detached:
            with ThreadPoolExecutor(max_workers=16, thread_name_prefix="stop") as pool:
                list(pool.map(_Detached.stop, detached))
        self._remover.shutdown(wait=True)
        for removal in self._removals:
            removal.result()

    def _start(self, container: str, stream: _Stream) -> None:
        with translated("starting the container"):
            stream.open()
            try:
                self._api.start(container)
            except docker.errors.APIError as error:
                text = explain(error)
                if error.status_code in (400, 404):
                    raise StepFailed(_start_problem(text), exit_status=127) from error
                hint = next((hint for part, hint in _START_HINTS if part in text), "")
                if hint:
                    raise DockerError(f"starting the container: {text}", hint=hint) from error
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
        while data := raw.recv(_READ_BYTES):
            pending += data
            for stream, output in _whole_frames(pending):
                write(stream, output)
        if len(pending) > 8:
            write(_STREAM_NAMES.get(pending[0], "stdout"), bytes(pending[8:]))


def _whole_frames(pending: bytearray) -> list[tuple[str, bytes]]:
    """Takes the frames that are complete out of `pending`; those of one stream in a row are put together."""
    taken: list[tuple[int, list[bytearray]]] = []
    at = 0
    while len(pending) - at >= 8:
        end = at + 8 + int.from_bytes(pending[at + 4 : at + 8], "big")
        if len(pending) < end:
            break
        kind = pending[at]
        if not taken or taken[-1][0] != kind:
            taken.append((kind, []))
        taken[-1][1].append(pending[at + 8 : end])
        at = end
    del pending[:at]
    return [(_STREAM_NAMES.get(kind, "stdout"), b"".join(parts)) for kind, parts in taken]


class _Detached:
    """A container that nobody waits for, and the thread that hands on what it prints."""

    def __init__(
        self, api: APIClient, container: str, stream: _Stream, write: Write, stop_timeout_s: int | None
    ) -> None:
        self._api = api
        self._container = container
        self._stream = stream
        self._write = write
        self._stop_timeout_s = stop_timeout_s
        self._ended = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._follow, name=f"follow-{container[:12]}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the container and returns when all it printed has come."""
        if not self._ended.is_set():
            self._is_stopped = True
            with suppress(TasksError), translated("stopping a detached container"):
                if self._stop_timeout_s is None:
                    self._api.kill(self._container)
                else:
                    self._api.stop(self._container, timeout=self._stop_timeout_s)
        self._thread.join(KILL_GRACE_S)
        if self._thread.is_alive():
            self._stream.cut()
            self._thread.join(KILL_GRACE_S)

    def _follow(self) -> None:
        try:
            with suppress(TasksError):
                self._stream.copy(self._write)
                self._ended.set()
                self._say_how_it_ended()
        finally:
            self._ended.set()
            self._stream.close()

    def _say_how_it_ended(self) -> None:
        if self._is_stopped:
            self._write("engine", b"the container was stopped at the end of the run\n")
            return
        with translated("waiting for a detached container"):
            answer: Any = self._api.wait(self._container, timeout=KILL_GRACE_S)
        self._write("engine", f"the container exited with {answer['StatusCode']}\n".encode())


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
