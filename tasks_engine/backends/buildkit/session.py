"""What the daemon may ask of us while it builds: folders, logins, secrets, agents, a place for its results.

A session is a byte pipe to the daemon that carries a second HTTP/2 connection, in which the daemon is the
client and we are the server (call_server.py).
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from google.protobuf.message import DecodeError, Message

from tasks_engine.backends.buildkit.call_server import (
    INTERNAL,
    NOT_FOUND,
    UNIMPLEMENTED,
    Call,
    CallFailed,
    CallOver,
    CallServer,
    Handler,
)
from tasks_engine.backends.buildkit.errors import (
    BuildKitError,
    ConnectionLost,
    ContextError,
    CredentialError,
    ExportError,
)
from tasks_engine.backends.buildkit.filesync import FIN, FolderSender, Selection, error_packet
from tasks_engine.backends.buildkit.ids import random_id
from tasks_engine.backends.buildkit.proto import filesync_pb2, secrets_pb2, ssh_pb2
from tasks_engine.backends.buildkit.session_pipe import OpenPipe

if TYPE_CHECKING:  # loaded when a daemon asks for what they do
    from tasks_engine.backends.buildkit.build_secrets import Secret
    from tasks_engine.backends.buildkit.destinations import TarDestination, TarWriter
    from tasks_engine.backends.buildkit.docker_config import Credentials
    from tasks_engine.backends.buildkit.registry_tokens import TokenAuthority, TokenMemory
    from tasks_engine.backends.buildkit.ssh_agent import Agent

#: HealthCheckResponse with status SERVING. As bytes: the name grpc.health.v1 belongs to
#: grpcio-health-checking
_SERVING = b"\x08\x01"
_KEPT_FAILURES = 100
_MARK = re.compile(r"\[client error ([a-z0-9]{25})\]")


@dataclass(frozen=True)
class Offer:
    """What one build may have of ours, if the daemon asks for it by name."""

    #: name -> folder
    folder_by_name: Mapping[str, Path] = field(default_factory=dict)
    logins: Logins | None = None
    #: id -> value, for RUN --mount=type=secret; GIT_AUTH_TOKEN and GIT_AUTH_HEADER serve private git contexts
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    #: id -> agent, for RUN --mount=type=ssh and git over ssh; "default" is the one without an id
    ssh: Mapping[str, Agent] = field(default_factory=dict)
    #: where results go that come back to us, by the number of the exporter; None for others
    destinations: Sequence[Path | TarDestination | None] = ()


class Session:
    """The session of one build.

    Builds do not share one, though the protocol would let them: the daemon takes a folder once per session, so
    a later build would get what an earlier one sent, however it has changed since.
    """

    def __init__(self, offer: Offer, *, shared_key: str, open_pipe: OpenPipe) -> None:
        """Serves at once. The daemon keeps what was sent to it by name of the folder and `shared_key`.

        Raises ConnectError.
        """
        self.id = random_id()
        #: time.monotonic() of the last bytes from the daemon
        self.last_heard_s = time.monotonic()
        self._offer = offer
        #: mark -> exception of ours that made a call fail; the daemon repeats the mark
        self._failure_by_mark: dict[str, BaseException] = {}
        #: the first one in sending a folder or taking a result, or a breach of the protocol: no build survives it
        self._fatal: BaseException | None = None
        self._writers: list[TarWriter] = []
        #: numbers of exporters whose result began to come, and of those whose came whole
        self._begun: set[int] = set()
        self._whole: set[int] = set()
        self._lock = threading.Lock()
        handlers = self._handlers()
        identity = [
            ("x-docker-expose-session-uuid", self.id),
            ("x-docker-expose-session-name", ""),
            ("x-docker-expose-session-sharedkey", shared_key),
            *(("x-docker-expose-session-grpc-method", path) for path in handlers),
        ]
        self._server = CallServer(
            open_pipe(identity),
            handlers,
            on_heard=self._heard,
            describe=self._describe,
            on_breach=self._broken,
        )

    def failure(self, message: str) -> BaseException | None:
        """The exception of ours that made a solve fail with `message`, if it was one."""
        for mark in _MARK.findall(message):
            if mark in self._failure_by_mark:
                return self._failure_by_mark[mark]
        return self._fatal

    def finish_results(self) -> None:
        """Makes what was exported visible, after a build that succeeded. Raises ExportError."""
        for number, destination in enumerate(self._offer.destinations):
            if destination is not None and number not in self._whole:
                raise self._fatal or ExportError(
                    "the daemon says that the build succeeded, but the result did not come whole"
                )
        for writer in self._writers:
            writer.finish()

    def give_up_results(self) -> None:
        """Removes what has come of results that are not finished, and wakes up who waits for them."""
        for writer in list(self._writers):
            # The others must not stay behind because of one.
            with contextlib.suppress(Exception):
                writer.abort()

    def close(self) -> None:
        """Ends the session; nothing of it is left when this returns, but for finished results.

        A handler that is stuck in a caller's code is left alone after a few seconds.
        """
        self.give_up_results()
        self._server.close()
        # One may have been opened meanwhile.
        self.give_up_results()

    # --- the services -------------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Handler]:
        """Path of a method -> its handler. The daemon takes what is not announced as not offered."""
        handlers: dict[str, Handler] = {
            "/grpc.health.v1.Health/Check": _check_health,
            "/moby.filesync.v1.FileSync/DiffCopy": self._send_folder,
        }
        if self._offer.logins:
            for method, handler in self._offer.logins.handlers().items():
                handlers[f"/moby.filesync.v1.Auth/{method}"] = handler
        if self._offer.secrets:
            handlers["/moby.buildkit.secrets.v1.Secrets/GetSecret"] = unary(
                secrets_pb2.GetSecretRequest, self._give_secret
            )
        if self._offer.ssh:
            handlers["/moby.sshforward.v1.SSH/CheckAgent"] = unary(
                ssh_pb2.CheckAgentRequest, self._check_agent
            )
            handlers["/moby.sshforward.v1.SSH/ForwardAgent"] = self._forward_agent
        if any(destination is not None for destination in self._offer.destinations):
            handlers["/moby.filesync.v1.FileSend/DiffCopy"] = self._receive_result
        return handlers

    def _send_folder(self, call: Call) -> None:
        name = "".join(call.metadata.get("dir-name", ()))
        folder = self._offer.folder_by_name.get(name)
        if folder is None:
            raise CallFailed(NOT_FOUND, "no such folder")
        selection = Selection(
            include=_values(call, "include-patterns"),
            exclude=_values(call, "exclude-patterns"),
            follow=_values(call, "followpaths"),
        )
        try:
            for packets in FolderSender(folder, selection).batches(call):
                call.send(packets)
        except (ContextError, OSError, RecursionError) as error:
            if isinstance(error, RecursionError):
                error = ContextError(f"folders in {folder} are nested too deeply")
            self._fatal = self._fatal or error
            call.send([error_packet(self._describe(error))])

    def _give_secret(self, request: secrets_pb2.GetSecretRequest) -> Message:
        secret = self._offer.secrets.get(request.id)
        if secret is None:
            raise CallFailed(NOT_FOUND, f"no secret '{request.id}'")
        return secrets_pb2.GetSecretResponse(data=secret.read())

    def _check_agent(self, request: ssh_pb2.CheckAgentRequest) -> Message:
        self._agent(request.id).check()
        return ssh_pb2.CheckAgentResponse()

    def _forward_agent(self, call: Call) -> None:
        from tasks_engine.backends.buildkit.ssh_agent import serve

        agent = self._agent("".join(call.metadata.get("buildkit.ssh.id", ())))
        pieces = (_parsed(ssh_pb2.BytesMessage, message).data for message in call.messages())
        for answer in serve(agent, pieces):
            call.send([ssh_pb2.BytesMessage(data=answer).SerializeToString()])

    def _agent(self, agent_id: str) -> Agent:
        agent = self._offer.ssh.get(agent_id or "default")
        if agent is None:
            raise CallFailed(NOT_FOUND, f"no SSH agent '{agent_id or 'default'}'")
        return agent

    def _receive_result(self, call: Call) -> None:
        number = _exporter_number(call)
        destination = self._offer.destinations[number] if number < len(self._offer.destinations) else None
        with self._lock:
            if destination is None or number in self._begun:
                raise CallFailed(NOT_FOUND, "no result is wanted there")
            self._begun.add(number)
        try:
            self._receive(call, number, destination)
        except (CallOver, CallFailed):
            # The daemon's doing: `finish_results` misses what did not come.
            raise
        except BaseException as error:
            self._fatal = self._fatal or error
            raise

    def _receive(self, call: Call, number: int, destination: Path | TarDestination) -> None:
        if isinstance(destination, Path):
            from tasks_engine.backends.buildkit.receive import FolderReceiver

            for packet in FolderReceiver(destination).packets(call.messages()):
                if packet == FIN:
                    # All is written. The daemon may end the call, and the build, before we see its own FIN.
                    self._whole.add(number)
                call.send([packet])
            return
        writer = destination.open()
        self._writers.append(writer)
        for message in call.messages():
            writer.write(_parsed(filesync_pb2.BytesMessage, message).data)
        self._whole.add(number)

    # --- what goes wrong ----------------------------------------------------------------------------------------

    def _heard(self) -> None:
        self.last_heard_s = time.monotonic()

    def _describe(self, error: BaseException) -> str:
        """What the daemon is told of an exception of ours, and shows to others: of a caller's own only a mark."""
        mark = random_id()
        with self._lock:
            if len(self._failure_by_mark) < _KEPT_FAILURES:
                self._failure_by_mark[mark] = error
        text = error.message if isinstance(error, BuildKitError) else "the client failed"
        return f"{text} [client error {mark}]"

    def _broken(self, error: Exception) -> None:
        breach = ConnectionLost(f"the daemon's session is not HTTP/2 as it should be: {error}")
        self._fatal = self._fatal or breach


class Logins:
    """The Auth service.

    Where a registry gives tokens and can be asked from here, the daemon never gets the password: we fetch the
    tokens. For other registries, and daemons that can not take tokens, there is no way without.
    """

    def __init__(
        self,
        credentials: Credentials,
        memory: Callable[[], TokenMemory],
        *,
        takes_tokens: bool,
        send_passwords: bool,
    ) -> None:
        """`takes_tokens`: the daemon can; it is recent enough."""
        self._credentials = credentials
        self._memory = memory
        self._takes_tokens = takes_tokens
        self._send_passwords = send_passwords

    @cached_property
    def _authority(self) -> TokenAuthority:
        from tasks_engine.backends.buildkit.registry_tokens import TokenAuthority

        return TokenAuthority(self._credentials, memory=self._memory())

    def handlers(self) -> dict[str, Handler]:
        return {
            "Credentials": unary(filesync_pb2.CredentialsRequest, self._log_in),
            "GetTokenAuthority": unary(filesync_pb2.GetTokenAuthorityRequest, self._public_key),
            "VerifyTokenAuthority": unary(filesync_pb2.VerifyTokenAuthorityRequest, self._sign),
            "FetchToken": unary(filesync_pb2.FetchTokenRequest, self._fetch),
        }

    def _log_in(self, request: filesync_pb2.CredentialsRequest) -> Message:
        credential = self._credentials(request.host)
        if credential is None:
            return filesync_pb2.CredentialsResponse()
        if not self._send_passwords:
            raise CredentialError(
                f"the builder asks for the password of registry {request.host}, which must not be sent to it",
                hint="use a registry that gives tokens, or connect with send_passwords=True",
            )
        if self._takes_tokens and self._authority.reaches(request.host):
            raise CallFailed(UNIMPLEMENTED, "this registry gives tokens: ask for these")
        return filesync_pb2.CredentialsResponse(username=credential.username, secret=credential.secret)

    def _public_key(self, request: filesync_pb2.GetTokenAuthorityRequest) -> Message:
        key = self._authority.public_key(request.host, request.salt)
        if key is None or (self._send_passwords and not self._authority.reaches(request.host)):
            raise CallFailed(UNIMPLEMENTED, "ask for credentials instead")
        return filesync_pb2.GetTokenAuthorityResponse(public_key=key)

    def _sign(self, request: filesync_pb2.VerifyTokenAuthorityRequest) -> Message:
        return filesync_pb2.VerifyTokenAuthorityResponse(
            signed=self._authority.sign(request.host, request.salt, request.payload)
        )

    def _fetch(self, request: filesync_pb2.FetchTokenRequest) -> Message:
        from tasks_engine.backends.buildkit.registry_tokens import TokenRequest

        token = self._authority.fetch(
            TokenRequest(
                request.client_id, request.host, request.realm, request.service, tuple(request.scopes)
            )
        )
        return filesync_pb2.FetchTokenResponse(
            token=token.token, expires_in=token.expires_in_s, issued_at=token.issued_at_s
        )


def unary(request_type: type[Any], answer: Callable[[Any], Message]) -> Handler:
    """A handler of one request and one answer."""

    def handle(call: Call) -> None:
        message = call.next_message()
        if message is None:
            raise CallFailed(INTERNAL, "a request is missing")
        call.send([answer(_parsed(request_type, message)).SerializeToString()])

    return handle


def _check_health(call: Call) -> None:
    call.next_message()
    call.send([_SERVING])


def _parsed(message_type: type[Any], message: bytes) -> Any:
    try:
        return message_type.FromString(message)
    except DecodeError as error:
        raise CallFailed(INTERNAL, "a message cannot be read") from error


def _exporter_number(call: Call) -> int:
    """Which of a solve's exporters; daemons with only one do not say."""
    text = "".join(call.metadata.get("buildkit-attachable-exporter-id", ("0",)))
    if not re.fullmatch("[0-9]{1,3}", text):
        raise CallFailed(NOT_FOUND, "no such exporter")
    return int(text)


def _values(call: Call, key: str) -> list[str]:
    """The values of `key`; newer daemons escape all of them when one is not ASCII, and say so."""
    values = list(call.metadata.get(key, ()))
    escaped = call.metadata.get(f"{key}-encoded") == ["1"]
    return [unquote_plus(value) for value in values] if escaped else values
