"""One round: `tasks run` is killed with -9 at some moment, `tasks gc` cleans up, and nothing of the run may be left."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker

from tasks_engine.backends.temporary_folders import PREFIXES

#: everything that leaves something somewhere: builds, containers (detached, kept, with volumes), networks, pushes
TASK = f"""\
version: v1.1.0
stepTimeout: 60
networks:
  - {{name: backend, isDefault: true}}
  - {{name: other}}
volumes:
  - name: files
    secret: {{config: {base64.b64encode(b"content").decode()}}}
steps:
  - id: service
    cmd: busybox sh -c 'i=0; while true; do i=$((i+1)); echo "$ID service line $i"; sleep 0.02; done'
    detach: true
    volumeMounts: [{{name: files, mountPath: /files}}]
    when: ["-"]
  - id: build-a
    build: -t $Registry/soak/a:$ID --build-arg SALT=$ID .
    when: ["-"]
  - id: build-b
    build: -t $Registry/soak/b:$ID --build-arg SALT=$ID-b --output type=local,dest=out .
    when: ["-"]
  - id: kept
    cmd: -v $SharedVolume:/shared busybox sh -c 'ls /shared; cat /files/config; echo done'
    keep: true
    volumeMounts: [{{name: files, mountPath: /files}}]
    when: ["-"]
  - id: push-a
    push: [$Registry/soak/a:$ID]
    when: [build-a]
  - id: test
    cmd: $Registry/soak/a:$ID sh -c 'seq 1 2000; echo "$ID" > made; sleep 0.2'
    network: other
    when: [push-a, kept]
  - id: again
    cmd: busybox sh -c 'cat made; echo "$ID fails" >&2; exit 1'
    retries: 1
    retryDelay: 1
    ignoreErrors: true
    when: [test]
  - id: push-b
    push: [$Registry/soak/b:$ID]
    when: [build-b, again]
"""
DOCKERFILE = """\
FROM busybox
ARG SALT
RUN for i in 1 2 3 4 5; do echo "$SALT line $i"; sleep 0.1; done; echo $SALT > /salt
COPY task.yaml /
"""
LIMIT_S = 120
#: what ends by itself once the process is gone, such as a build whose client hung up, gets this long
PATIENCE_S = 20


@dataclass(frozen=True)
class Round:
    run_id: str
    killed_after_s: float
    #: the last thing that was shown
    last_line: str
    #: lines that were shown, and what gc said it removed
    shown: int
    removed: int
    #: what is wrong; empty: nothing
    problems: tuple[str, ...]


@dataclass
class Killer:
    """Runs the task and kills it. `close` removes its folder and the images that were built."""

    engine: str
    registry: str
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="tasks-soak-")))

    def __post_init__(self) -> None:
        self.state_dir = self.folder / "state"
        self.project = self.folder / "project"
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.project.mkdir()
        (self.project / "task.yaml").write_text(TASK)
        (self.project / "Dockerfile").write_text(DOCKERFILE)
        for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "soak"]):
            subprocess.run(
                ["git", "-c", "user.name=soak", "-c", "user.email=soak@localhost", *arguments],
                cwd=self.project,
                check=True,
            )
        self._api = docker.APIClient(base_url=self.engine)
        self._run_ids: set[str] = set()

    def close(self) -> None:
        tags = [tag for image in self._api.images() for tag in image["RepoTags"] or ()]
        for tag in tags:
            if tag.startswith(f"{self.registry}/soak/") and tag.rpartition(":")[2] in self._run_ids:
                self._api.remove_image(tag, force=True)
        self._api.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def undisturbed(self, run_id: str) -> float:
        """How long the run takes, in seconds, when nobody kills it."""
        begin = time.monotonic()
        with self._started(run_id, from_git=True) as process:
            output, errors = process.communicate(timeout=LIMIT_S)
        took_s = time.monotonic() - begin
        if process.returncode:
            raise AssertionError(f"the run fails without being killed:\n{output.decode()}\n{errors.decode()}")
        return took_s

    def round(self, run_id: str, kill_after_s: float, *, from_git: bool) -> Round:
        """Kills a run after so many seconds and looks at what is left."""
        began_at = time.time()
        with self._started(run_id, from_git=from_git) as process:
            try:
                output, errors = process.communicate(timeout=kill_after_s)
            except subprocess.TimeoutExpired:
                process.kill()
                output, errors = process.communicate(timeout=LIMIT_S)
        shown = output.decode(errors="replace").split("\n")[:-1]
        problems = []
        if b"Traceback" in errors:
            problems.append(f"the run printed a traceback: {errors.decode()}")
        self._let_folders_age(began_at)
        removed = self._tasks("gc")
        problems += self._failure_of("gc", removed)
        problems += self._left(run_id, began_at)
        problems += self._missing_lines(run_id, shown)
        again = self._tasks("gc", "--dry-run")
        problems += self._failure_of("gc --dry-run", again)
        # other processes of this machine may have left something in /tmp meanwhile
        own = [each for each in again.stdout.splitlines() if run_id in each or str(self.folder) in each]
        problems += [f"a second gc would remove {each}" for each in own]
        count = 0 if removed.stdout == "nothing to remove\n" else len(removed.stdout.splitlines()) - 1
        return Round(run_id, kill_after_s, (shown or [""])[-1], len(shown), count, tuple(problems))

    @property
    def _environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TASKS_STATE_DIR": str(self.state_dir),
            "DOCKER_HOST": self.engine,
            "DOCKER_CONFIG": str(self.folder / "docker-config"),
            "TMPDIR": str(self.temporary),
        }

    def _started(self, run_id: str, *, from_git: bool) -> subprocess.Popen[bytes]:
        self._run_ids.add(run_id)
        context = f"file://{self.project}" if from_git else str(self.project)
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tasks_engine", "run", "task.yaml", context),
                *("--id", run_id, "--registry", self.registry),
            ],
            cwd=self.folder,
            env={**self._environ, "TASKS_SOAK_RUN": run_id},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _tasks(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tasks_engine", *arguments],
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
        )

    def _failure_of(self, command: str, done: subprocess.CompletedProcess[str]) -> list[str]:
        if done.returncode == 0 and not done.stderr:
            return []
        return [f"tasks {command} ended with {done.returncode}: {done.stdout}{done.stderr}"]

    def _let_folders_age(self, since: float) -> None:
        """A folder without a lock is abandoned once it is a minute old, which nobody wants to wait for."""
        for path in self._temporary_folders(since):
            os.utime(path, (since - 600, since - 600))

    def _temporary_folders(self, since: float) -> Iterator[Path]:
        """Those that no process holds and that are no older than the round."""
        held = {line.split()[5].rpartition(":")[2] for line in Path("/proc/locks").read_text().splitlines()}
        for parent in (self.temporary, Path("/tmp")):
            for path in [each for prefix in PREFIXES for each in parent.glob(f"{prefix}*")]:
                try:
                    status = path.stat()
                except OSError:
                    continue
                if str(status.st_ino) not in held and status.st_ctime >= since:
                    yield path

    def _left(self, run_id: str, since: float) -> list[str]:
        left = [*self._on_engine(run_id)]
        run = self.state_dir / "runs" / run_id
        for name in ("workspace", "engine.json"):
            left += [f"{run / name} is there"] if (run / name).exists() else []
        left += [f"{path} is there" for path in run.glob("*.new")]
        left += [f"{path} is there" for path in self._temporary_folders(since)]
        left += [f"{path} is there" for path in self.temporary.iterdir() if path.name.startswith("tasks")]
        left += [f"{path} is there" for path in (self.state_dir / "runs-index/holding").glob("*")]
        left += [
            f"mounted: {line}"
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if str(self.folder) in line
        ]
        deadline = time.monotonic() + PATIENCE_S
        while (processes := list(_processes_of(run_id))) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left + [f"process {each}" for each in processes]

    def _on_engine(self, run_id: str) -> Iterator[str]:
        def names(**options: object) -> set[str]:
            containers = self._api.containers(all=True, **options)
            return {
                *(f"container {name}" for each in containers for name in each["Names"]),
                *(f"network {each['Name']}" for each in self._api.networks(**options)),
                *(f"volume {each['Name']}" for each in self._api.volumes(**options)["Volumes"] or ()),
            }

        labelled = names(filters={"label": f"tasks.run={run_id}"})
        yield from (f"{name} is there" for name in sorted(labelled))
        yield from (
            f"{name} is there, without a label" for name in sorted(names() - labelled) if run_id in name
        )

    def _missing_lines(self, run_id: str, shown: list[str]) -> list[str]:
        """What people have seen has to be in the record. Lines of one step keep their order."""
        run = self.state_dir / "runs" / run_id
        seen = _lines_by_step(shown)
        if not run.exists():
            return [f"lines were shown of a run without a folder: {shown[:3]}"] if seen else []
        logs = self._tasks("logs", run_id)
        problems = self._failure_of("logs", logs)
        stored = _lines_by_step(logs.stdout.split("\n"))
        for step_id, lines in seen.items():
            kept = stored.get(step_id, [])
            if kept[: len(lines)] != lines:
                at = next(i for i, line in enumerate(lines) if i >= len(kept) or kept[i] != line)
                problems.append(
                    f"step {step_id} showed {len(lines)} lines, and {len(kept)} are kept; line {at}: {lines[at]!r}, "
                    f"kept {kept[at : at + 1]}"
                )
        return problems


def _lines_by_step(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        step_id, mark, text = line.partition(" |")
        if mark:
            found.setdefault(step_id.strip(), []).append(text)
    return found


def _processes_of(run_id: str) -> Iterator[str]:
    """Processes of this machine, those in containers included, that carry the run's id."""
    own = str(os.getpid())
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or folder.name == own:
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            if run_id.encode() in command or run_id.encode() in (folder / "environ").read_bytes():
                yield f"{folder.name}: {command.replace(bytes(1), b' ').decode(errors='replace')}"
        except OSError:
            continue
