"""The seam to the BuildKit client: connecting, building, and its errors as ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tasks_engine.backends import buildkit
from tasks_engine.backends.build_access import BuildAccess
from tasks_engine.backends.build_request import full_names
from tasks_engine.backends.build_transcript import Transcript
from tasks_engine.backends.buildkit.temporary import TemporaryFolder
from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import BuildKitError, EngineError, SourceLocation, StepFailed, TasksError
from tasks_engine.events import RunEvent, StepProgress
from tasks_engine.images.reference import Reference, parse_reference
from tasks_engine.ports import StepOutput

_NO_ACCESS = BuildAccess()


def address_of(buildkit_host: str, endpoint: Endpoint | None) -> str:
    """Where builds go: the standalone daemon if there is one, else the BuildKit inside the engine; "" for neither."""
    if buildkit_host or endpoint is None:
        return buildkit_host
    return f"docker+{_tcp(endpoint.url)}"


def connect(
    buildkit_host: str, endpoint: Endpoint | None, tls_folder: Path | None
) -> buildkit.BuildKitClient:
    """A client of the daemon that `address_of` names. Raises EngineError.

    `tls_folder` has ca.pem, and cert.pem and key.pem, for a standalone daemon behind TLS.
    """
    if buildkit_host and not buildkit_host.startswith("docker-container://"):
        tls = _tls_in(tls_folder) if tls_folder else None
    else:
        tls = _engine_tls(endpoint) if endpoint else None
    try:
        return buildkit.BuildKitClient.connect(
            address_of(buildkit_host, endpoint), tls=tls, docker=_tcp(endpoint.url) if endpoint else ""
        )
    except buildkit.BuildKitError as error:
        raise EngineError(error.message, hint="run `tasks doctor`", retryable=True) from error


def _tcp(url: str) -> str:
    """An engine's address with the scheme that says what travels; TLS is said elsewhere."""
    scheme, _, rest = url.partition("://")
    return f"tcp://{rest}" if scheme in ("http", "https") else url


def _engine_tls(endpoint: Endpoint) -> buildkit.TlsFiles | None:
    if endpoint.url.startswith("unix://"):
        # Docker's own tools ignore certificates there, too.
        return None
    if endpoint.tls is not None:
        files = endpoint.tls
        return buildkit.TlsFiles(files.ca, files.cert, files.key, files.verify)
    return buildkit.TlsFiles() if endpoint.url.startswith("https://") else None


def _tls_in(folder: Path) -> buildkit.TlsFiles:
    if not folder.is_dir():
        raise EngineError(
            f"{folder}, the folder with certificates for the builder, does not exist",
            hint="correct TASKS_BUILDKIT_TLS_DIR",
        )

    def existing(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    return buildkit.TlsFiles(existing("ca.pem"), existing("cert.pem"), existing("key.pem"))


@contextmanager
def translated() -> Iterator[None]:
    """Turns the client's errors, of calls that are no builds, into ours."""
    try:
        yield
    except buildkit.UnsupportedFeature as error:
        raise BuildKitError(error.what, hint=error.way_out) from error
    except buildkit.BuildKitError as error:
        raise BuildKitError(error.message) from error


@dataclass(frozen=True)
class Built:
    """A build that succeeded."""

    options: buildkit.BuildOptions
    access: BuildAccess
    result: buildkit.BuildResult
    #: what it has read; asks the daemon, so it takes some milliseconds, and raises BuildKitError of the client
    sources: Callable[[], buildkit.BuildSources]


class Builder:
    """Builds of one run. Thread-safe."""

    def __init__(self, client: buildkit.BuildKitClient, credentials: DockerConfigCredentials) -> None:
        """Takes over the client."""
        self._client = client
        self._credentials = credentials
        self._info: buildkit.DaemonInfo | None = None
        self._asking = threading.Lock()

    def build(
        self,
        options: buildkit.BuildOptions,
        output: StepOutput,
        cancel: CancelToken,
        access: BuildAccess = _NO_ACCESS,
        dockerfile_text: str = "",
    ) -> Built:
        """Builds. Raises StepFailed, EngineError, BuildKitError, or the reason of `cancel`.

        `dockerfile_text` is what errors show, where the Dockerfile that is sent is not the author's.
        """
        transcript = Transcript(output)
        try:
            build = self._client.start(
                options,
                on_event=transcript.take,
                credentials=self._credential,
                secrets=access.secrets,
                ssh=access.ssh,
            )
            with cancel.calling(build.cancel):
                result = build.wait()
            cancel.raise_if_cancelled()
            return Built(options, access, result, lambda: self._client.sources(build))
        except buildkit.BuildKitError as error:
            cancel.raise_if_cancelled()
            raise _translate(error, options, dockerfile_text) from error

    def push_stored(self, image: Reference, output: StepOutput, cancel: CancelToken) -> str:
        """Pushes an image of the engine's own store without its tag, by building nothing but `FROM image`.

        Returns the digest it got, which is that of the image where this daemon made it for one platform; another
        one, whose content is then of no use, where it did not. Raises what `build` does.
        """

        def emit(event: RunEvent) -> None:
            if isinstance(event, StepProgress) and "pushing" in event.name:
                output.emit(event)

        silent = StepOutput(output.step_id, lambda _stream, _data: None, emit)
        with TemporaryFolder() as folder:
            (folder / "Dockerfile").write_text(f"FROM {image}\n")
            options = buildkit.BuildOptions(
                context=folder, prefer_local=True, exporters=[to_registry([str(image)], by_digest=True)]
            )
            return self.build(options, silent, cancel).result.image_digest or ""

    def read_content(self, digest: str) -> Iterator[bytes]:
        """Pieces of what the engine's store has under a digest. Raises BuildKitError."""
        with translated():
            yield from self._client.read_content(digest)

    def info(self) -> buildkit.DaemonInfo:
        """What the daemon is and can do; asked once. Raises EngineError."""
        with self._asking:
            if self._info is None:
                try:
                    self._info = self._client.info()
                except buildkit.BuildKitError as error:
                    raise EngineError(error.message, hint="run `tasks doctor`", retryable=True) from error
            return self._info

    @property
    def can(self) -> buildkit.Capabilities:
        """What the daemon can do. Raises EngineError."""
        return self.info().capabilities

    def close(self) -> None:
        """Ends what still builds."""
        self._client.close()

    def _credential(self, host: str) -> buildkit.Credential | None:
        found = self._credentials.find(host)
        return buildkit.Credential(found.username, found.password or found.identity_token) if found else None


def into_its_docker(tags: Sequence[str]) -> buildkit.Exporter:
    """Into the store of the Docker Engine whose BuildKit builds."""
    return buildkit.moby(full_names(tags))


def into_docker(tags: Sequence[str], endpoint: Endpoint) -> buildkit.Exporter:
    """Into the store of another Docker Engine, as it comes."""
    return buildkit.docker_tar(
        full_names(tags), buildkit.load_into_docker(_tcp(endpoint.url), _engine_tls(endpoint))
    )


def into_nothing(tags: Sequence[str]) -> buildkit.Exporter:
    """An image that stays in the daemon's cache: its digest is all that comes back."""
    return buildkit.image(full_names(tags))


def to_registry(tags: Sequence[str], *, by_digest: bool = False, insecure: bool = False) -> buildkit.Exporter:
    """Pushed by the daemon itself; `by_digest` without the tags, `insecure` without TLS."""
    names = full_names(tags)
    if by_digest:
        names = [str(replace(parse_reference(tag), tag="")).removesuffix(":") for tag in tags]
    return buildkit.image(names, push=True, push_by_digest=by_digest, insecure=insecure)


def _translate(
    error: buildkit.BuildKitError, options: buildkit.BuildOptions, dockerfile_text: str = ""
) -> TasksError:
    match error:
        case buildkit.BuildFailed():
            location = None
            if error.line_range is not None:
                line = error.line_range[0]
                lines = dockerfile_text.splitlines()[line - 1 : line] or error.snippet.splitlines()
                shown = lines[0] if lines else ""
                location = SourceLocation(
                    Path(options.dockerfile).name, line, 1, shown, width=max(1, len(shown))
                )
            hint = ""
            if options.cache_to and error.line_range is None and not error.vertex_name.startswith("["):
                hint = (
                    "if it is the cache that cannot be kept: log in to its registry, or build without `cache`"
                )
            return StepFailed(error.message, exit_status=error.exit_code, location=location, hint=hint)
        case buildkit.UnsupportedFeature():
            return StepFailed(error.what, hint=error.way_out)
        case buildkit.ContextError() | buildkit.ExportError() | buildkit.SecretError() | buildkit.SshError():
            return StepFailed(error.message)
        case buildkit.ConnectError() | buildkit.ConnectionLost():
            return EngineError(error.message, hint="check that it runs: `tasks doctor`", retryable=True)
    return BuildKitError(error.message)
