"""SSH agents for RUN --mount=type=ssh: a build may list keys and sign with them, and nothing else.

A message of the agent protocol is a type byte and a body; on a stream its length stands before it, 4 bytes,
most significant first. Source: draft-miller-ssh-agent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks_engine.backends.buildkit.build_secrets import reason_of, shown
from tasks_engine.backends.buildkit.errors import SshError

FAILURE = 5
REQUEST_IDENTITIES = 11
IDENTITIES_ANSWER = 12
SIGN_REQUEST = 13
SIGN_RESPONSE = 14
#: longer messages are a mistake or an attack; OpenSSH has the same limit
MAX_MESSAGE_BYTES = 256 * 1024

_CONNECT_TIMEOUT_S = 10.0
_CHECK_TIMEOUT_S = 10.0
# An agent may ask its user for a confirmation, or for a touch of a security key.
_ANSWER_TIMEOUT_S = 120.0
_FORMS = (
    "write default or ID for the agent of SSH_AUTH_SOCK, ID=SOCKET for another agent, or ID=KEY[,KEY...] for "
    "files of private keys"
)


class AgentConnection(Protocol):
    """One conversation with an agent, by one thread at a time."""

    def answer(self, request: bytes) -> bytes:
        """The agent's answer to one message, both without their length; raises SshError."""
        ...

    def close(self) -> None:
        """Ends it; again does nothing."""
        ...


class Agent(Protocol):
    """Something that signs with private keys; for any thread."""

    def open(self) -> AgentConnection:
        """A new conversation; raises SshError."""
        ...

    def check(self) -> None:
        """Raises SshError when the agent cannot be used."""
        ...


@dataclass(frozen=True)
class AgentSocket:
    """A running agent that listens on a unix socket."""

    path: Path

    def open(self) -> AgentConnection:
        """Raises SshError when nothing listens there."""
        return self._connect(_ANSWER_TIMEOUT_S)

    def check(self) -> None:
        """Asks for the list of keys; raises SshError when no proper answer comes within 10 seconds."""
        with contextlib.closing(self._connect(_CHECK_TIMEOUT_S)) as connection:
            answer = connection.answer(bytes([REQUEST_IDENTITIES]))
        if answer[0] != IDENTITIES_ANSWER:
            raise SshError(f"the SSH agent at {shown(self.path)} does not list its keys; is it locked?")

    def _connect(self, answer_timeout_s: float) -> _SocketConnection:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_CONNECT_TIMEOUT_S)
            connection.connect(os.fspath(self.path))
            connection.settimeout(answer_timeout_s)
        except (OSError, ValueError) as error:
            connection.close()
            raise SshError(
                f"no SSH agent can be reached at {shown(self.path)}: {reason_of(error)}; is it running?"
            ) from error
        return _SocketConnection(connection, self.path)


class _SocketConnection:
    def __init__(self, connection: socket.socket, path: Path) -> None:
        self._connection = connection
        self._path = path

    def answer(self, request: bytes) -> bytes:
        try:
            self._connection.sendall(len(request).to_bytes(4, "big") + request)
            length = int.from_bytes(self._read(4), "big")
            if not 0 < length <= MAX_MESSAGE_BYTES:
                raise SshError(f"what listens at {shown(self._path)} does not speak as an SSH agent does")
            return self._read(length)
        except OSError as error:
            raise SshError(
                f"the SSH agent at {shown(self._path)} did not answer: {reason_of(error)}"
            ) from error

    def close(self) -> None:
        self._connection.close()

    def _read(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            piece = self._connection.recv(count - len(received))
            if not piece:
                raise SshError(f"the SSH agent at {shown(self._path)} closed the connection")
            received += piece
        return bytes(received)


def agent_from_environment() -> AgentSocket:
    """The agent that SSH_AUTH_SOCK names; raises SshError when it names none."""
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        raise SshError(
            "no SSH agent to forward: SSH_AUTH_SOCK is not set; start one with: eval $(ssh-agent) && ssh-add"
        )
    return AgentSocket(Path(path))


def parse_ssh(text: str) -> tuple[str, Agent]:
    """Id and agent as `docker build --ssh` takes them: `default`, `ID`, `ID=SOCKET` or `ID=KEY[,KEY...]`.

    Key files are read here. Raises ValueError for another text, SshError for a socket or key that cannot be
    used. Source: docker buildx build, --ssh.
    """
    agent_id, equals, places = text.partition("=")
    if not agent_id:
        raise ValueError(f"an SSH agent needs an id: {_FORMS}")
    if not equals:
        return agent_id, agent_from_environment()
    paths = [Path(each) for each in places.split(",") if each]
    if not paths or len(paths) != places.count(",") + 1:
        raise ValueError(f"the SSH agent '{shown(agent_id)}' has an empty path: {_FORMS}")
    sockets = [path for path in paths if _is_socket(path)]
    if not sockets:
        from tasks_engine.backends.buildkit.ssh_keys import PrivateKeys

        return agent_id, PrivateKeys(paths)
    if len(paths) > 1:
        raise ValueError(
            f"the SSH agent '{shown(agent_id)}' has the socket {shown(sockets[0])} beside other paths; give the socket "
            f"alone: {_FORMS}"
        )
    return agent_id, AgentSocket(sockets[0])


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except (OSError, ValueError):
        # Told by whoever reads it as a key.
        return False


def serve(agent: Agent, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The answers to one stream of requests, which comes in pieces of any size; answers carry their length.

    Everything but listing and signing is refused in the agent's name. A damaged request ends the stream.
    Raises SshError when the agent cannot be reached or goes away. The conversation with the agent is closed in
    every case.
    """
    connection = agent.open()
    try:
        for request in _messages(pieces):
            allowed = request[0] in (REQUEST_IDENTITIES, SIGN_REQUEST)
            answer = connection.answer(request) if allowed else bytes([FAILURE])
            yield len(answer).to_bytes(4, "big") + answer
    finally:
        connection.close()


def _messages(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Whole messages without their length, until the end or the first one that is none."""
    received = bytearray()
    for piece in pieces:
        received += piece
        while len(received) >= 4:
            length = int.from_bytes(received[:4], "big")
            if not 0 < length <= MAX_MESSAGE_BYTES:
                return
            if len(received) < 4 + length:
                break
            yield bytes(received[4 : 4 + length])
            del received[: 4 + length]
