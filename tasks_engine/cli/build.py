"""`tasks build`: one image without a task file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tasks_engine.cli.running import run_plan_here, seconds
from tasks_engine.errors import ExitCode, UsageError
from tasks_engine.settings import Settings

if TYPE_CHECKING:
    from tasks_engine.cli.build_task import AskedBuild
    from tasks_engine.events import RunEvent

_HELP = """\
Builds one image, and pushes it if its name has a registry. It is a run like any other: with events, a log, and the
images that it depends on.

CONTEXT is a folder (default: the current one), a git address (https://host/repo.git#branch:folder), the URL of a
tar archive or of a Dockerfile, oci://HOST/NAME:TAG, or - for a tar archive or a Dockerfile on standard input.
"""
_EXAMPLES = """\
examples:
  tasks build -t app:1                               the Dockerfile of this folder; the image stays on the engine
  tasks build -t localhost:5000/app:1 src            builds and pushes
  tasks build -t 'app:{{.Run.ID}}' --registry localhost:5000 .
  tasks build -t app -f docker/app.Dockerfile --target test --build-arg VERSION=3 --build-arg HTTP_PROXY .
  tasks build -t app --secret id=token,env=TOKEN --ssh default .
  tasks build -t localhost:5000/app:1 --platform linux/amd64,linux/arm64 .
  tasks build --output out https://github.com/owner/repo.git#main:docs
  tasks build -t localhost:5000/app:1 --cache-to type=registry,ref=localhost:5000/app:cache,mode=max \\
              --cache-from localhost:5000/app:cache .
  tasks build -t app - < Dockerfile

A secret given with --secret-build-arg reaches the build only as a mounted secret: in the Dockerfile write
RUN --mount=type=secret,id=NAME. Exit codes are those of `tasks run`.
"""
#: flag -> metavar, or None for a switch; and help. All of them mean what they mean for `docker build`
_FLAGS: dict[str, tuple[str | None, str]] = {
    "--build-arg": ("NAME[=VALUE]", "a build argument; NAME alone takes the value from the environment"),
    "--target": ("STAGE", "the stage to build (default: the last)"),
    "--platform": ("OS/ARCH", "what to build for, several with commas (default: the engine's own)"),
    "--label": ("NAME=VALUE", "a label of the image"),
    "--annotation": ("NAME=VALUE", "an annotation of its manifest"),
    "--no-cache": (None, "use nothing that was built before"),
    "--no-cache-filter": ("STAGE", "a stage that is built anew"),
    "--pull": (None, "look base images up in their registries although they are there"),
    "--secret": ("id=NAME[,src=FILE|,env=NAME]", "a file or variable for RUN --mount=type=secret"),
    "--ssh": ("default|ID=PATH", "your SSH agent, or keys, for RUN --mount=type=ssh"),
    "--build-context": ("NAME=PATH|URL", "a further context, for FROM and COPY --from"),
    "--cache-from": ("CACHE", "a cache to read: an image, or type=registry,ref=IMAGE"),
    "--cache-to": ("CACHE", "a cache to write: type=registry,ref=IMAGE,mode=max or type=inline"),
    "--output": ("OUTPUT", "write the result here: a folder, or type=tar,dest=FILE (also oci, docker)"),
    "--attest": ("ATTESTATION", "type=provenance,mode=max or type=sbom"),
    "--add-host": ("NAME:ADDRESS", "a line of /etc/hosts for RUN"),
    "--network": ("MODE", "of RUN: default, none or host"),
    "--ulimit": ("NAME=SOFT[:HARD]", "a limit of processes in RUN"),
    "--shm-size": ("SIZE", "of /dev/shm in RUN"),
    "--cgroup-parent": ("NAME", "of the containers of RUN"),
    "--allow": ("ENTITLEMENT", "network.host or security.insecure"),
}
_SHORT = {"--output": "-o"}


def add_parser(commands: Any) -> None:
    """Adds `build` to the parser of `tasks`."""
    build = commands.add_parser(
        "build",
        usage="tasks build [options] [CONTEXT]",
        help="build an image, without a task file",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    build.add_argument("context", nargs="?", default=".", metavar="CONTEXT")
    build.add_argument(
        "-t",
        "--image",
        "--tag",
        dest="image",
        action="append",
        default=[],
        metavar="IMAGE",
        help="name of the image, may hold $ID or {{.Run.ID}}; may be repeated",
    )
    build.add_argument(
        "-f", "--file", metavar="FILE", help="the Dockerfile: a path, a URL, or - for standard input"
    )
    for flag, (metavar, text) in _FLAGS.items():
        names = (*filter(None, (_SHORT.get(flag),)), flag)
        if metavar is None:
            build.add_argument(*names, action="store_true", help=text)
        else:
            build.add_argument(*names, action="append", default=[], metavar=metavar, help=text)
    for flag, text in (("--sbom", "a bill of materials"), ("--provenance", "how it was built")):
        build.add_argument(flag, nargs="?", const="true", metavar="VALUE", help=f"attach {text} to the image")
    build.add_argument(
        "--secret-build-arg",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a build argument that is shown nowhere",
    )
    build.add_argument(
        "--allow-secret-in-history",
        action="store_true",
        help="let --secret-build-arg become an argument that whoever gets the image can read",
    )
    pushing = build.add_mutually_exclusive_group()
    pushing.add_argument(
        "--push", action="store_true", help="push all images (default: those with a registry)"
    )
    pushing.add_argument("--no-push", action="store_true", help="push nothing")
    build.add_argument(
        "--registry", metavar="HOST", help="goes before images without a registry (default: $TASKS_REGISTRY)"
    )
    build.add_argument("--credential", action="append", default=[], metavar="JSON", help="as for tasks run")
    build.add_argument("--timeout", type=seconds, metavar="SECONDS", help="time limit of it all")
    build.add_argument("--id", metavar="ID", help="$ID (default: a new one)")
    build.add_argument("--iidfile", metavar="FILE", help="write the image's id there")
    build.add_argument("--metadata-file", metavar="FILE", help="write digests and names there, as JSON")
    build.add_argument("--dry-run", action="store_true", help="print the plan instead of running it")
    shown = build.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print events as JSON lines, one event a line")
    shown.add_argument(
        "-q", "--quiet", "--no-logs", dest="quiet", action="store_true", help="print only the image's id"
    )
    build.set_defaults(execute=build_command)


def build_command(arguments: argparse.Namespace, settings: Settings) -> int:
    with _standard_input(arguments) as given:
        return _build(arguments, settings, given)


@dataclass(frozen=True)
class _StandardInput:
    """What standard input stands for."""

    #: file with what was read; None where nothing was
    file: Path | None = None
    is_dockerfile: bool = False
    #: an empty folder, for a Dockerfile without a context
    nothing: Path | None = None

    def open(self) -> BinaryIO:
        assert self.file is not None
        return self.file.open("rb")


def _build(arguments: argparse.Namespace, settings: Settings, given: _StandardInput) -> int:
    from tasks_engine.app import RunSecrets
    from tasks_engine.backends.build_places import GivenToBuilds
    from tasks_engine.cli.build_task import build_task
    from tasks_engine.cli.plan_text import print_plan
    from tasks_engine.cli.render import Mode
    from tasks_engine.cli.task_options import credentials_of, quick_inputs
    from tasks_engine.plan.make import make_plan
    from tasks_engine.plan.policy import check_policy
    from tasks_engine.plan.request import RunRequest

    folder = Path.cwd()
    registry = settings.registry
    inputs = quick_inputs(arguments.id, registry)
    made = build_task(_asked(arguments, registry, given), os.environ, inputs)
    forbidden = check_policy(made.task, settings.policy)
    if forbidden:
        raise UsageError(forbidden[0].message, hint=forbidden[0].hint)
    request = RunRequest(run_id=inputs.run["ID"], task="tasks build", registry=registry)
    plan = make_plan(made.task, request)
    if arguments.dry_run:
        print_plan(plan)
        return ExitCode.SUCCEEDED
    builds = GivenToBuilds(
        paths_from=folder,
        secrets_in_history=arguments.allow_secret_in_history,
        stdin=given.open if given.file is not None and not given.is_dockerfile else None,
    )
    secrets = RunSecrets((), made.secret_values, folder, credentials_of(arguments.credential), builds)
    result = _Result()
    code = run_plan_here(
        settings,
        plan,
        folder,
        secrets,
        mode=Mode.JSON if arguments.json else Mode.QUIET if arguments.quiet else Mode.AUTO,
        timeout_s=arguments.timeout,
        watchers=[result.take],
    )
    if code is ExitCode.SUCCEEDED:
        result.write(arguments)
    return code


def _asked(arguments: argparse.Namespace, registry: str, given: _StandardInput) -> AskedBuild:
    from tasks_engine.cli.build_task import AskedBuild

    words: list[str] = []
    for flag, (metavar, _) in _FLAGS.items():
        value = getattr(arguments, flag.removeprefix("--").replace("-", "_"))
        if metavar is None:
            words += [flag] if value else []
        else:
            words += [f"{flag}={each}" for each in value]
    words += [
        f"--{name}={value}"
        for name in ("sbom", "provenance")
        if (value := getattr(arguments, name)) is not None
    ]
    file = str(given.file) if given.is_dockerfile else arguments.file
    if file:
        words.append(f"--file={file}")
    # an address may begin like a flag, a folder of that name does not
    context = str(given.nothing) if given.nothing is not None else arguments.context
    if context.startswith("-") and context != "-":
        context = f"./{context}"
    push = True if arguments.push else False if arguments.no_push else None
    return AskedBuild(
        [*words, context],
        arguments.image,
        arguments.secret_build_arg,
        registry,
        push,
        arguments.timeout or 0,
    )


@contextmanager
def _standard_input(arguments: argparse.Namespace) -> Iterator[_StandardInput]:
    """Reads standard input where an argument is `-`: a Dockerfile, or a tar archive for the context."""
    if "-" not in (arguments.context, arguments.file):
        yield _StandardInput()
        return
    if arguments.context == arguments.file == "-":
        raise UsageError("Dockerfile and context cannot both be standard input", hint="put one into a file")
    import shutil

    from tasks_engine.backends.temporary_folders import context_folder

    with context_folder() as folder:
        file = folder / "Dockerfile"
        with file.open("wb") as writer:
            shutil.copyfileobj(sys.stdin.buffer, writer, 1 << 20)
        if arguments.file == "-":
            yield _StandardInput(file, is_dockerfile=True)
        elif _is_text(file):
            (folder / "context").mkdir()
            yield _StandardInput(file, is_dockerfile=True, nothing=folder / "context")
        else:
            yield _StandardInput(file)


def _is_text(file: Path) -> bool:
    with file.open("rb") as reader:
        data = reader.read(1 << 20)
    if not data.strip():
        raise UsageError("standard input is empty", hint="it is to hold a Dockerfile or a tar archive")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.end >= len(data) > (1 << 20) - 4 and b"\0" not in data
    return b"\0" not in data


@dataclass
class _Result:
    """What came of the build, for the files that other programs read."""

    digest: str = ""
    image_id: str = ""
    tags: tuple[str, ...] = ()
    dependencies: list[Any] = field(default_factory=list)

    def take(self, event: RunEvent) -> None:
        from tasks_engine.events import ImageBuilt, ImageDependencies, ImagePushed

        match event:
            case ImageBuilt():
                self.digest, self.image_id, self.tags = event.digest, event.image_id, event.tags
            case ImagePushed():
                self.digest = event.digest or self.digest
            case ImageDependencies():
                self.dependencies.append(event.dependencies)

    def write(self, arguments: argparse.Namespace) -> None:
        """Raises UsageError for a file that cannot be written."""
        shown = self.image_id or self.digest
        if arguments.quiet:
            print(shown)
        if arguments.iidfile:
            _write(Path(arguments.iidfile), shown)
        if arguments.metadata_file:
            data = {
                "containerimage.digest": self.digest,
                "containerimage.config.digest": self.image_id,
                "image.name": ",".join(self.tags),
                "dependencies": self.dependencies,
            }
            _write(Path(arguments.metadata_file), json.dumps(data, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
