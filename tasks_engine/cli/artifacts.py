"""Contexts `oci://…` of a command line, fetched with the logins and settings of whoever starts the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks_engine.cli.task_inputs import FetchArtifact
from tasks_engine.settings import Settings


def artifact_fetcher(settings: Settings, credentials: Sequence[str]) -> FetchArtifact:
    """Puts an artifact into a folder and returns its digest. `credentials` are arguments of `--credential`.

    What it returns raises SourceError, RegistryError, and UsageError for a login that cannot be read.
    """

    def fetch(name: str, into: Path) -> str:
        from tasks_engine.backends.contexts.unpack import unpack_tar
        from tasks_engine.backends.credentials import DockerConfigCredentials
        from tasks_engine.backends.given_logins import resolve_logins
        from tasks_engine.backends.managed_identity import ManagedIdentity
        from tasks_engine.backends.registry import RegistryClient, fetch_artifact
        from tasks_engine.backends.secrets import all_resolvers
        from tasks_engine.cli.task_options import credentials_of

        given = credentials_of(credentials)
        if given:
            environ = settings.environ
            given = tuple(resolve_logins(given, all_resolvers(environ, Path.cwd()), ManagedIdentity(environ)))
        logins = DockerConfigCredentials(settings.docker_config_dir, given)
        with RegistryClient(logins, settings.registries) as client:
            return fetch_artifact(client, name, into, unpack_tar)

    return fetch
