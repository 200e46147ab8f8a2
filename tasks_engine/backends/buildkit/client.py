"""A client of one BuildKit daemon.

Importing this module imports grpcio. Never use a client in a forked child: open it after the fork.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tasks_engine.backends.buildkit import control as controls
from tasks_engine.backends.buildkit.build import Build
from tasks_engine.backends.buildkit.capabilities import Capabilities, Probe
from tasks_engine.backends.buildkit.control import Control
from tasks_engine.backends.buildkit.errors import BuildKitError
from tasks_engine.backends.buildkit.ids import random_id
from tasks_engine.backends.buildkit.progress import Event
from tasks_engine.backends.buildkit.proto import control_pb2
from tasks_engine.backends.buildkit.session import Logins, Offer, Session
from tasks_engine.backends.buildkit.sockets import Dial
from tasks_engine.backends.buildkit.solve import (
    BuildOptions,
    BuildResult,
    folders,
    shared_key,
    solve_request,
)

if TYPE_CHECKING:  # the rest is loaded when it is used
    from tasks_engine.backends.buildkit.build_secrets import Secret
    from tasks_engine.backends.buildkit.docker_config import Credentials
    from tasks_engine.backends.buildkit.records import CacheRecord, DaemonInfo, HistoryRecord
    from tasks_engine.backends.buildkit.registry_tokens import TokenMemory
    from tasks_engine.backends.buildkit.sources import BuildSources
    from tasks_engine.backends.buildkit.ssh_agent import Agent
    from tasks_engine.backends.buildkit.tls import TlsFiles

#: a large cache takes long to be counted
_LISTING_TIMEOUT_S = 120.0


class BuildKitClient:
    """Many builds over one connection; all methods may be called from any thread."""

    def __init__(self, control: Control, *, timeout_s: float, silence_s: float, send_passwords: bool) -> None:
        """Use `connect`."""
        self._control = control
        self._timeout_s = timeout_s
        self._silence_s = silence_s
        self._send_passwords = send_passwords
        self._probe = Probe(control, timeout_s)
        self._lock = threading.Lock()
        self._builds: set[Build] = set()
        self._closed = False

    @classmethod
    def connect(
        cls,
        address: str,
        timeout_s: float = 10.0,
        *,
        tls: TlsFiles | None = None,
        docker: str = "",
        dial: Dial | None = None,
        silence_s: float = 30.0,
        send_passwords: bool = True,
    ) -> BuildKitClient:
        """A client of the daemon at `address`; raises ConnectError after at most about `timeout_s`.

        Addresses: docker+unix:///path and docker+tcp://host:port for a Docker Engine; unix:///path,
        tcp://host:port and docker-container://NAME for a buildkitd, the latter in a container of the Docker
        Engine at `docker` (unix:///var/run/docker.sock). `tls` is for those with a port. `dial` makes the
        streams instead; `address` then only says what it leads to, and shows in errors. A daemon silent for
        `silence_s` in a build is given up (DaemonLost). One that is not trusted with passwords of registries
        gets only tokens.
        """
        control = controls.connect(address, timeout_s, dial=dial, tls=tls, docker=docker)
        return cls(control, timeout_s=timeout_s, silence_s=silence_s, send_passwords=send_passwords)

    def __enter__(self) -> BuildKitClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancels what still builds and ends the connection; no thread, socket or file of ours is left."""
        with self._lock:
            self._closed = True
            running = list(self._builds)
        for build in running:
            build.cancel()
        for build in running:
            build.join()
        self._control.close()

    # --- builds -------------------------------------------------------------------------------------------------

    def start(
        self,
        options: BuildOptions,
        *,
        on_event: Callable[[Event], None],
        credentials: Credentials | None = None,
        secrets: Mapping[str, Secret] | None = None,
        ssh: Mapping[str, Agent] | None = None,
        timeout_s: float | None = None,
    ) -> Build:
        """Starts a build; `Build.wait` gives its result, `Build.cancel` ends it.

        `on_event` is called from one other thread, in order; what it raises cancels the build and comes out
        of `wait`. `secrets` are by id, and so are the agents of `ssh`, with "default" for the one without.
        After `timeout_s` the build is cancelled (BuildTimedOut). Raises UnsupportedFeature, SecretError and
        SshError for what cannot work, ConnectError, ConnectionLost and BuildKitError.
        """
        self._check_open()
        for each in (*(secrets or {}).values(), *(ssh or {}).values()):
            each.check()
        with controls.answers("what it can do"):
            self._probe.require(options)
            logins = self._logins(credentials) if credentials else None
        offer = Offer(
            folder_by_name=folders(options),
            logins=logins,
            secrets=secrets or {},
            ssh=ssh or {},
            destinations=[exporter.to for exporter in options.exporters],
        )
        request = solve_request(options, ref=random_id())
        session = Session(offer, shared_key=shared_key(options), open_pipe=self._control.open_pipe)
        request.session = session.id
        try:
            build = Build(
                ref=request.ref,
                session=session,
                status_call=self._control.status(control_pb2.StatusRequest(ref=request.ref)),
                solve_call=self._control.solve.future(request, timeout=timeout_s),
                dockerfile=options.local_dockerfile or options.dockerfile,
                daemon=self._control.address,
                on_event=on_event,
                silence_s=self._silence_s,
                timeout_s=timeout_s,
                on_end=self._forget,
            )
            with self._lock:
                self._builds.add(build)
            build.begin()
        except BaseException:
            session.close()
            # It may have failed because of `close`, which says more.
            self._check_open()
            raise
        if self._closed:
            build.cancel()
            build.join()
            self._check_open()
        return build

    def build(
        self,
        options: BuildOptions,
        *,
        on_event: Callable[[Event], None] = lambda _: None,
        credentials: Credentials | None = None,
        secrets: Mapping[str, Secret] | None = None,
        ssh: Mapping[str, Agent] | None = None,
        timeout_s: float | None = None,
    ) -> BuildResult:
        """Starts a build and waits for it; see `start` and `Build.wait`. An interrupt cancels it."""
        build = self.start(
            options,
            on_event=on_event,
            credentials=credentials,
            secrets=secrets,
            ssh=ssh,
            timeout_s=timeout_s,
        )
        try:
            return build.wait()
        except BaseException:
            build.cancel()
            build.join()
            raise

    def sources(self, build: Build) -> BuildSources:
        """What a build that succeeded has read: images with their digests, repositories, files by URL.

        Raises ConnectionLost and BuildKitError.
        """
        from tasks_engine.backends.buildkit.sources import read_sources, sources_of_steps

        with controls.answers("what it is"):
            keeps_history = self._probe.is_recent
        if not keeps_history:
            return sources_of_steps(build.steps)
        return read_sources(self._control, build.ref, build.steps, timeout_s=self._timeout_s)

    def read_content(self, digest: str) -> Iterator[bytes]:
        """Pieces of what the daemon keeps under a digest: manifests and layers, compressed as they are pushed.

        In a Docker Engine with containerd's store these are all its images. Nothing is checked here. Raises
        BuildKitError for what is not there, ConnectionLost.
        """
        from tasks_engine.backends.buildkit.proto import content_pb2

        self._check_open()
        with controls.answers("for content"):
            call = self._control.read_content(content_pb2.ReadContentRequest(digest=digest))
            try:
                for piece in call:
                    yield piece.data
            finally:
                call.cancel()  # type: ignore[no-untyped-call]

    @cached_property
    def _tokens(self) -> TokenMemory:
        from tasks_engine.backends.buildkit.registry_tokens import TokenMemory

        return TokenMemory()

    def _logins(self, credentials: Credentials) -> Logins:
        return Logins(
            credentials,
            lambda: self._tokens,
            takes_tokens=self._probe.is_recent,
            send_passwords=self._send_passwords,
        )

    def _check_open(self) -> None:
        """Raises BuildKitError after `close`."""
        if self._closed:
            raise BuildKitError("the BuildKit client is closed")

    def _forget(self, build: Build) -> None:
        with self._lock:
            self._builds.discard(build)

    # --- the daemon ---------------------------------------------------------------------------------------------

    def info(self) -> DaemonInfo:
        """Asks the daemon what it is and can do, in some ten milliseconds. Raises ConnectionLost."""
        from tasks_engine.backends.buildkit.records import daemon_info

        self._check_open()
        with controls.answers("what it is"):
            workers = self._control.list_workers(control_pb2.ListWorkersRequest(), timeout=self._timeout_s)
            return daemon_info(workers.record, self._probe.version or "", self._probe.everything())

    def capabilities(self) -> Capabilities:
        """What the daemon can do; asked once. Raises ConnectionLost."""
        self._check_open()
        with controls.answers("what it can do"):
            return self._probe.everything()

    def disk_usage(self, filters: Sequence[str] = ()) -> tuple[CacheRecord, ...]:
        """What is in the build cache; `filters` as in "type==exec.cachemount". Raises BuildKitError."""
        from tasks_engine.backends.buildkit.records import cache_record

        self._check_open()
        with controls.answers("its disk usage"):
            response = self._control.disk_usage(
                control_pb2.DiskUsageRequest(filter=filters), timeout=_LISTING_TIMEOUT_S
            )
        return tuple(cache_record(record) for record in response.record)

    def prune(
        self,
        *,
        keep_bytes: int = 0,
        keep_s: float = 0,
        everything: bool = False,
        filters: Sequence[str] = (),
    ) -> Iterator[CacheRecord]:
        """Removes build cache that is not in use, the least valuable first; gives each record as it goes.

        Stops when no more than `keep_bytes` are left, and leaves alone what was used within `keep_s`.
        `everything` takes what is internal and the frontends' too. `filters` are as for `disk_usage`, but daemons
        do not compare descriptions here. Raises BuildKitError.
        """

        self._check_open()
        request = control_pb2.PruneRequest(
            filter=filters,
            all=everything,
            keep_duration=int(keep_s * 1e9),
            reserved_space=keep_bytes,
            max_used_space=keep_bytes,
        )
        return self._removed(self._control.prune(request))

    def _removed(self, records: Iterable[control_pb2.UsageRecord]) -> Iterator[CacheRecord]:
        from tasks_engine.backends.buildkit.records import cache_record

        with controls.answers("to prune"):
            for record in records:
                yield cache_record(record)

    def history(self) -> Sequence[HistoryRecord]:
        """The builds that the daemon remembers, as it lists them. Raises UnsupportedFeature, BuildKitError."""
        from tasks_engine.backends.buildkit.records import history_record

        self._check_open()
        request = control_pb2.BuildHistoryRequest(early_exit=True)
        with controls.answers("its history"):
            self._probe.require_history()
            listed = self._control.history(request, timeout=_LISTING_TIMEOUT_S)
            return [history_record(event.record) for event in listed]
