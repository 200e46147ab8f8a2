"""The seam to the BuildKit client: a planned build becomes its options, its progress becomes our events."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks_engine.backends import buildkit
from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import BuildKitError, EngineError, SourceLocation, StepFailed, TasksError
from tasks_engine.events import StepProgress
from tasks_engine.images.reference import parse_reference
from tasks_engine.plan.make import WORKSPACE
from tasks_engine.plan.model import BuildWork, PlannedStep
from tasks_engine.ports import StepOutput

#: progress of one transfer is told at most this often
_PROGRESS_INTERVAL_S = 0.1


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


def build_options(
    step: PlannedStep, work: BuildWork, workspace: Path, context: Path, exporters: Sequence[buildkit.Exporter]
) -> buildkit.BuildOptions:
    """The options of one build. `context` is the user's folder: its name keys what the daemon remembers.

    Raises StepFailed when the context or Dockerfile is not in the workspace.
    """
    folder = _inside(workspace, step.working_directory, work.context, "build context")
    if not folder.is_dir():
        raise StepFailed(f"build context '{work.context}' is not a folder of the workspace")
    if work.dockerfile:
        dockerfile = _inside(workspace, step.working_directory, work.dockerfile, "Dockerfile")
    else:
        dockerfile = folder / "Dockerfile"
    if not dockerfile.is_file():
        raise StepFailed(
            f"there is no Dockerfile '{work.dockerfile or f'{work.context}/Dockerfile'}' in the workspace",
            hint="name it with -f; the path counts from the step's working directory",
        )
    return buildkit.BuildOptions(
        context=folder,
        dockerfile=dockerfile,
        build_args=work.build_args,
        target=work.target,
        labels=work.labels,
        platforms=work.platforms,
        no_cache=work.no_cache,
        pull=work.pull,
        exporters=exporters,
        shared_key=_shared_key(context, step.working_directory, work.context),
    )


class Builder:
    """Builds of one run. Thread-safe."""

    def __init__(self, client: buildkit.BuildKitClient, credentials: DockerConfigCredentials) -> None:
        """Takes over the client."""
        self._client = client
        self._credentials = credentials

    def build(
        self, options: buildkit.BuildOptions, output: StepOutput, cancel: CancelToken
    ) -> buildkit.BuildResult:
        """Builds. Raises StepFailed, EngineError, BuildKitError, or the reason of `cancel`."""
        transcript = Transcript(output)
        try:
            build = self._client.start(options, on_event=transcript.take, credentials=self._credential)
            with cancel.calling(build.cancel):
                result = build.wait()
            cancel.raise_if_cancelled()
            return result
        except buildkit.BuildKitError as error:
            cancel.raise_if_cancelled()
            raise _translate(error, options) from error

    def close(self) -> None:
        """Ends what still builds."""
        self._client.close()

    def _credential(self, host: str) -> buildkit.Credential | None:
        found = self._credentials.find(host)
        return buildkit.Credential(found.username, found.password or found.identity_token) if found else None


class Transcript:
    """Writes a build's progress as lines, `#3 [2/4] RUN make` and its output behind `#3`, and as events."""

    def __init__(self, output: StepOutput) -> None:
        self._output = output
        self._number_by_vertex: dict[str, int] = {}
        self._finished: set[str] = set()
        #: the vertex whose output stands on an unfinished line
        self._open_line: str | None = None
        self._told_at: dict[tuple[str, str], float] = {}

    def take(self, event: buildkit.Event) -> None:
        match event:
            case buildkit.VertexChanged():
                self._vertex(event)
            case buildkit.TransferChanged():
                self._transfer(event)
            case buildkit.LogOutput():
                self._log(event)
            case buildkit.LogClipped():
                self._line(
                    f"#{self._number(event.vertex)} the engine dropped output beyond its log limit of "
                    f"{event.limit_text}; `tasks doctor` tells how to raise it"
                )
            case buildkit.BuildWarning():
                place = f" (line {event.line})" if event.line else ""
                self._line(f"warning: {event.message}{place}")

    def _vertex(self, vertex: buildkit.VertexChanged) -> None:
        if vertex.started_at is None:
            return
        if vertex.digest not in self._number_by_vertex:
            self._line(f"#{self._number(vertex.digest)} {vertex.name}")
        number = self._number(vertex.digest)
        over = vertex.completed_at is not None
        state = "failed" if vertex.error else "cached" if vertex.cached else "done" if over else "running"
        self._output.emit(
            StepProgress(step_id=self._output.step_id, item=vertex.digest, name=vertex.name, state=state)
        )
        if not over or vertex.digest in self._finished:
            return
        self._finished.add(vertex.digest)
        if vertex.error:
            self._line(f"#{number} ERROR: {vertex.error}")
        elif vertex.cached:
            self._line(f"#{number} CACHED")
        elif vertex.completed_at is not None:
            self._line(f"#{number} DONE {(vertex.completed_at - vertex.started_at).total_seconds():.1f}s")

    def _transfer(self, transfer: buildkit.TransferChanged) -> None:
        over = transfer.completed_at is not None
        key = (transfer.vertex, transfer.id)
        now = time.monotonic()
        if not over and now - self._told_at.get(key, 0.0) < _PROGRESS_INTERVAL_S:
            return
        self._told_at[key] = now
        self._output.emit(
            StepProgress(
                step_id=self._output.step_id,
                item=f"{transfer.vertex} {transfer.id}",
                parent=transfer.vertex,
                name=transfer.id
                if transfer.id.startswith(transfer.name)
                else f"{transfer.name} {transfer.id}",
                state="done" if over else "running",
                current=transfer.current,
                total=transfer.total,
            )
        )

    def _log(self, log: buildkit.LogOutput) -> None:
        prefix = f"#{self._number(log.vertex)} ".encode()
        stream = "stderr" if log.stream == 2 else "stdout"
        begins_line = self._open_line != log.vertex
        head = (b"\n" if self._open_line not in (None, log.vertex) else b"") + (
            prefix if begins_line else b""
        )
        ends_line = log.data.endswith(b"\n")
        body = log.data[:-1] if ends_line else log.data
        self._open_line = None if ends_line else log.vertex
        data = head + body.replace(b"\n", b"\n" + prefix) + (b"\n" if ends_line else b"")
        self._output.write(stream, data)

    def _line(self, text: str) -> None:
        head = "\n" if self._open_line is not None else ""
        self._open_line = None
        self._output.write("engine", f"{head}{text}\n".encode())

    def _number(self, vertex: str) -> int:
        return self._number_by_vertex.setdefault(vertex, len(self._number_by_vertex) + 1)


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


def to_registry(tags: Sequence[str]) -> buildkit.Exporter:
    """Pushed by the daemon itself."""
    return buildkit.image(full_names(tags), push=True)


def full_names(tags: Iterable[str]) -> list[str]:
    """Names with registry and tag, which BuildKit takes as they are."""
    return [str(parse_reference(tag)) for tag in tags]


def _inside(workspace: Path, working_directory: str, path: str, what: str) -> Path:
    """A path of the step on our side. Steps see the workspace as `/workspace`."""
    absolute = os.path.normpath(os.path.join(working_directory, path))  # noqa: PTH118 - a path in the container
    if absolute != WORKSPACE and not absolute.startswith(f"{WORKSPACE}/"):
        raise StepFailed(f"{what} '{path}' lies outside of {WORKSPACE}")
    found = workspace / os.path.relpath(absolute, WORKSPACE)
    if not found.resolve().is_relative_to(workspace.resolve()):
        raise StepFailed(f"{what} '{path}' leads outside of {WORKSPACE} through a link")
    return found


def _shared_key(context: Path, working_directory: str, path: str) -> str:
    """The same for the same folder of the same machine, so that only changes are sent."""
    identity = "\0".join((socket.gethostname(), str(context.resolve()), working_directory, path))
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _translate(error: buildkit.BuildKitError, options: buildkit.BuildOptions) -> TasksError:
    match error:
        case buildkit.BuildFailed():
            location = None
            if error.line_range is not None:
                location = SourceLocation(
                    Path(options.dockerfile).name,
                    error.line_range[0],
                    1,
                    error.snippet.splitlines()[0] if error.snippet else "",
                    width=max(1, len(error.snippet.splitlines()[0])) if error.snippet else 1,
                )
            return StepFailed(error.message, exit_status=error.exit_code, location=location)
        case buildkit.UnsupportedFeature():
            return StepFailed(error.what, hint=error.way_out)
        case buildkit.ContextError() | buildkit.ExportError():
            return StepFailed(error.message)
        case buildkit.ConnectError() | buildkit.ConnectionLost():
            return EngineError(error.message, hint="check that it runs: `tasks doctor`", retryable=True)
    return BuildKitError(error.message)
