"""Puts a run together: settings, engine, run folder, executor, views. The only place that knows them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_engine.backends.build_places import GivenToBuilds
from tasks_engine.backends.credential_arguments import GivenCredential
from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.docker.endpoint import Endpoint, find_embedded, find_endpoint
from tasks_engine.backends.executors import Machine, RunExecutor
from tasks_engine.backends.given_logins import resolve_logins
from tasks_engine.backends.managed_identity import ManagedIdentity
from tasks_engine.backends.run_folder import RunFolder
from tasks_engine.backends.run_history import keep_within, note_started
from tasks_engine.backends.run_request import KeptRequest
from tasks_engine.backends.secrets import SecretBook, all_resolvers, resolve_all
from tasks_engine.backends.unsupported import refuse_unsupported, unused
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.model import Secret
from tasks_engine.engine.execute import execute_run
from tasks_engine.engine.masking import Masker
from tasks_engine.engine.sinks import EventSink, Watcher
from tasks_engine.errors import EngineError, StoreError
from tasks_engine.events import RunFinished
from tasks_engine.plan.model import Plan
from tasks_engine.settings import Settings

if TYPE_CHECKING:  # loads grpcio
    from tasks_engine.backends.buildkit import BuildKitClient


@dataclass(frozen=True)
class LocalEngine:
    #: None when there is none and a standalone BuildKit may do
    endpoint: Endpoint | None
    #: the registry that belongs to the engine; empty unless it is the embedded one
    registry: str


def find_engine(settings: Settings) -> LocalEngine:
    """The engine a run uses. Raises EngineError when there is none."""
    try:
        endpoint = find_endpoint(settings.environ, settings.home, settings.state_dir)
    except EngineError:
        if settings.buildkit_host:
            return LocalEngine(None, "")
        raise
    return LocalEngine(endpoint, _registry_of(endpoint, settings.state_dir))


def default_registry(settings: Settings) -> str:
    """`$Registry` when nothing was given: the embedded engine's registry, if that engine is in use."""
    try:
        return settings.registry or find_engine(settings).registry
    except EngineError:
        return settings.registry


def open_buildkit(settings: Settings) -> BuildKitClient:
    """A client of the BuildKit that a run would build with; close it. Raises EngineError."""
    from tasks_engine.backends import builds

    return builds.connect(settings.buildkit_host, find_engine(settings).endpoint, settings.buildkit_tls_dir)


@dataclass(frozen=True)
class RunSecrets:
    """What a run is given besides its plan, and what is never part of the plan."""

    #: of the task
    declared: Sequence[Secret] = ()
    #: name -> value of values that were given as secrets
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: where relative paths of `file:` addresses count from
    folder: Path = Path()
    credentials: Sequence[GivenCredential] = ()
    #: what builds may use beyond the workspace
    builds: GivenToBuilds = field(default_factory=GivenToBuilds)


class LocalRun:
    """A run of this process: connected when made, run once, closed."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        context: Path,
        cancel: CancelToken,
        secrets: RunSecrets,
        request: KeptRequest | None = None,
        task_text: str = "",
    ) -> None:
        """Raises UsageError for what cannot be run here, SecretError for a secret that cannot be had, EngineError
        when no engine answers, StoreError when the run cannot be kept; then no trace stays.

        `request` and the text of the task file are kept, for another run like this one.
        """
        refuse_unsupported(plan)
        plan = replace(plan, warnings=(*plan.warnings, *unused(plan)))
        self._masker = Masker()
        book = SecretBook(secrets.values, self._masker.add)
        resolvers = all_resolvers(settings.environ, secrets.folder)
        book.add(resolve_all(secrets.declared, resolvers, cancel))
        identity = ManagedIdentity(settings.environ)
        logins = resolve_logins(secrets.credentials, resolvers, identity, self._masker.add, cancel)
        self._settings = settings
        self._plan = plan
        self._max_log_bytes = settings.policy.max_log_bytes
        self._context = context
        self._cancel = cancel
        engine = find_engine(settings)
        self.folder = RunFolder.create(settings.runs_dir, plan.run_id)
        self._executor = RunExecutor(
            plan,
            context,
            self.folder,
            Machine(
                engine.endpoint,
                settings.buildkit_host,
                settings.buildkit_tls_dir,
                settings.registries,
                settings.policy,
            ),
            DockerConfigCredentials(settings.docker_config_dir, logins, self._masker.add),
            book,
            secrets.builds,
        )
        try:
            self._executor.open()
            self.folder.write_plan(self._masker.mask_plan(plan))
            if request is not None:
                self.folder.write_request(request.masked(self._masker.mask_text), task_text)
            note_started(settings.runs_dir, plan.run_id)
        except BaseException:
            self.folder.discard()
            raise

    def run(self, watchers: Sequence[Watcher]) -> RunFinished:
        """Runs the plan and returns how it ended."""
        sink = EventSink(
            self._plan.run_id,
            self.folder,
            watchers,
            self._store_failed,
            masker=self._masker,
            max_log_bytes=self._max_log_bytes,
            detached=[step.id for step in self._plan.steps if step.detach],
        )
        try:
            return execute_run(self._plan, str(self._context), self._executor, sink, self._cancel)
        finally:
            sink.close()

    def close(self) -> None:
        """Ends the run's record, and removes the oldest ones beyond the bounds."""
        self.folder.close()
        keep_within(self._settings.runs_dir, self._settings.history, self.folder.path.name)

    def _store_failed(self, error: StoreError) -> None:
        self._cancel.cancel(error)


def _registry_of(endpoint: Endpoint, state_dir: Path) -> str:
    from tasks_engine.backends.embedded.state import EnginePaths, read_engine_file

    embedded = find_embedded(state_dir)
    if embedded is None or embedded.url != endpoint.url:
        return ""
    engine = read_engine_file(EnginePaths(state_dir).engine_file)
    return engine.registry if engine is not None else ""
