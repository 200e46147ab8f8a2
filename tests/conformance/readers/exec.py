"""Whole runs, the way of `tasks run`: from the text of a task over its plan to real calls of an engine and of BuildKit.

Both are doubles that speak the real protocols and do what the vector says. What is compared:

- how the run ends: succeeded, failed with the step that failed first, or an error outside of all steps;
- the calls in their order. Containers with what a step says of them, networks, the volume of the workspace, files in
  volumes, pulls, pushes, and the logins that steps see. A build is no container here: what its daemon gets is read into
  the same parts, with the files of its context and its Dockerfile. Looking into Dockerfiles, looking up digests, a
  helper for BuildKit and a container that writes docker's configuration have no counterpart;
- what is removed afterwards, and that nothing is left. Containers, networks and volumes have names of their own run,
  which are read back; steps that never had a container need none removed, and runs without containers no network.

A vector without a given volume is run on an engine that does not see this machine's files, where the workspace is a
volume. The engine's socket is in every container by the policy `docker_socket = "always"`. Pushes of one step go on at
the same time, so they are compared in the order of their names; so do volumes and networks. Retries and delayed
starts wait less.
"""

from __future__ import annotations

import json
import posixpath
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from tasks_engine.app import LocalRun, RunSecrets
from tasks_engine.backends import build_files, buildkit, builds
from tasks_engine.backends.buildkit.proto.control_pb2 import SolveRequest, SolveResponse
from tasks_engine.backends.contexts.model import FetchedContext, FetchOptions
from tasks_engine.backends.credential_arguments import GivenCredential, parse_credential
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.build_context import parse_build_context
from tasks_engine.definition.load import load_task
from tasks_engine.definition.model import Inputs, Task
from tasks_engine.errors import TasksError
from tasks_engine.events import RunEvent, Status, StepFinished
from tasks_engine.plan.make import make_plan
from tasks_engine.plan.model import BuildWork, CmdWork, Plan, PlannedStep
from tasks_engine.plan.request import QUICK_RUN, RunRequest, shared_volume
from tasks_engine.policy import DockerSocket, Policy
from tasks_engine.settings import Settings
from tests.conformance.readers.engine_calls import (
    WORKSPACE_VOLUME,
    build_call,
    calls_of_original,
    calls_of_ours,
    fetched_text,
    ordered,
    own_name,
)
from tests.conformance.readers.task_files import NOW, Files
from tests.conformance.scripted_engine import ScriptedEngine
from tests.conformance.vectors import Vector
from tests.unit.backends.buildkit.fake_daemon import (
    FakeDaemon,
    FakeSession,
    context_of,
    dockerfile_folder_of,
)

_RUN_ID = "r1"
_DIGEST = f"sha256:{'1' * 64}"
#: in a context that was fetched: its address
_ADDRESS_FILE = ".fetched-from"
#: instead of a second
_RETRY_DELAY_S = 0.05
#: at most; longer than the shortest time limit
_START_DELAY_S = 1.2
_FAILED_STEP = "failed to run step ID: "

#: outcomes by what was put in: the same vectors may be in several folders, and a run takes a while
_ACTUAL: dict[str, dict[str, Any]] = {}


def actual(vector: Vector) -> dict[str, Any]:
    key = json.dumps([vector.input, vector.expect.get("order")], sort_keys=True)
    if key not in _ACTUAL:
        _ACTUAL[key] = _actual(vector)
    return _ACTUAL[key]


def wanted(vector: Vector) -> dict[str, Any]:
    outcome = vector.wanted
    has_containers = _has_containers(vector)
    calls = list(calls_of_original(vector, has_containers=has_containers))
    runs = {each["step"] for each in calls if each["op"] == "run-step"}
    removals = [
        [each["op"].removesuffix("-remove"), each["name"]]
        for each in outcome["cleanup"]["then"]
        if each["op"] != "network-remove" or has_containers
    ]
    return {
        "exit": _wanted_exit(outcome),
        "calls": ordered(calls, vector),
        "early": [],
        "containers_removed": sorted(runs & set(outcome["cleanup"]["containers"])),
        "removed_then": removals,
        "left": [],
    }


def _actual(vector: Vector) -> dict[str, Any]:
    flags = vector.input["flags"]
    run_id = flags.get("id") or _RUN_ID
    engine = ScriptedEngine(vector.input.get("engine", ()), sees_files=flags.get("homevol") is not None)
    ended, plan = _run(vector, flags, run_id, engine)
    calls = list(calls_of_ours(engine.calls, run_id))
    removed = [(kind, own_name(name, run_id)) for kind, name in engine.removed]
    return {
        "exit": ended,
        "calls": ordered(calls, vector),
        "early": _early(calls, plan),
        "containers_removed": sorted({name for kind, name in removed if kind == "container"}),
        "removed_then": [
            [kind, name]
            for kind, name in removed
            if kind == "network" or (kind, name) == ("volume", WORKSPACE_VOLUME)
        ],
        "left": engine.left,
    }


# --- the run ----------------------------------------------------------------------------------------------------------


def _run(
    vector: Vector, flags: Mapping[str, Any], run_id: str, engine: ScriptedEngine
) -> tuple[str, Plan | None]:
    """How it ended, and the plan where there was one."""
    plan = None
    finished: dict[str, StepFinished] = {}

    def watch(event: RunEvent) -> None:
        if isinstance(event, StepFinished):
            finished.setdefault(event.step_id, event)

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        context = _make_context(Path(folder) / "context", vector.input.get("files", {}))
        try:
            credentials = [parse_credential(json.dumps(each)) for each in flags.get("credential", ())]
            task = _load(vector, run_id)
            plan = _with_short_waits(make_plan(task, _request(flags, run_id)))
            if flags.get("dry_run"):
                return "succeeded", plan
            stack.enter_context(engine)
            daemon = stack.enter_context(FakeDaemon(_noting_builds(engine), version=None, exporters=["moby"]))
            stack.enter_context(mock.patch.object(builds, "connect", lambda *_: _client(daemon)))
            stack.enter_context(mock.patch.object(build_files, "fetch_context", _fetcher(plan)))
            end = _execute(plan, context, _settings(Path(folder), engine), task, credentials, watch)
        except TasksError:
            return "error", plan
    if end is Status.SUCCEEDED:
        return "succeeded", plan
    bad = [
        each.step_id
        for each in finished.values()
        if each.status not in (Status.SUCCEEDED, Status.SKIPPED, Status.CANCELED) and not each.ignored
    ]
    return (f"failed: {bad[0]}" if bad else "error"), plan


def _execute(
    plan: Plan,
    context: Path,
    settings: Settings,
    task: Task,
    credentials: Sequence[GivenCredential],
    watch: Any,
) -> Status:
    run = LocalRun(settings, plan, context, CancelToken(), RunSecrets(task.secrets, credentials=credentials))
    try:
        return run.run([watch]).status
    finally:
        run.close()


def _load(vector: Vector, run_id: str) -> Task:
    flags = vector.input["flags"]
    run = {
        "ID": run_id,
        "Registry": flags.get("registry", ""),
        "OS": "linux",
        "Architecture": "amd64",
        "TaskName": flags.get("name") or QUICK_RUN,
        "SharedVolume": shared_volume(run_id),
    }
    inputs = Inputs(run=run, now=NOW, env=tuple(flags.get("env", ())))
    return load_task(vector.input["yaml"], "task.yaml", inputs, Files(vector.input.get("files", {})))


def _request(flags: Mapping[str, Any], run_id: str) -> RunRequest:
    return RunRequest(
        run_id,
        "task.yaml",
        flags.get("registry", ""),
        task_name=flags.get("name") or QUICK_RUN,
        network=flags.get("network", ""),
    )


def _with_short_waits(plan: Plan) -> Plan:
    def shorter(step: PlannedStep) -> PlannedStep:
        work = step.work
        if isinstance(work, CmdWork):
            work = replace(work, download_retry_delay_s=_RETRY_DELAY_S)
        start_delay_s = min(step.start_delay_s, _START_DELAY_S)
        return replace(step, work=work, retry_delay_s=_RETRY_DELAY_S, start_delay_s=start_delay_s)

    return replace(plan, steps=tuple(map(shorter, plan.steps)))


def _settings(folder: Path, engine: ScriptedEngine) -> Settings:
    return Settings(
        state_dir=folder / "state",
        docker_config_dir=folder / "docker",
        home=folder,
        buildkit_host="",
        registry="",
        environ={"DOCKER_HOST": engine.url},
        policy=Policy(docker_socket=DockerSocket.ALWAYS),
    )


def _make_context(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def _client(daemon: FakeDaemon) -> buildkit.BuildKitClient:
    return buildkit.BuildKitClient.connect(daemon.address)


def _fetcher(plan: Plan) -> Any:
    """Stands for `fetch_context`: nothing is fetched, and the folder says what would have been."""
    dockerfiles = {
        step.work.context: step.work.dockerfile for step in plan.steps if isinstance(step.work, BuildWork)
    }

    def fetch(address: str, into: Path, _options: FetchOptions) -> FetchedContext:
        dockerfile = into / (dockerfiles[address] or "Dockerfile")
        dockerfile.parent.mkdir(parents=True)
        dockerfile.write_text(fetched_text(dockerfiles[address]))
        (into / _ADDRESS_FILE).write_text(address)
        return FetchedContext(into, None, address)

    return fetch


def _noting_builds(engine: ScriptedEngine) -> Any:
    def solve(_daemon: FakeDaemon, request: SolveRequest, session: FakeSession) -> SolveResponse:
        attrs = request.frontend_attrs
        context = session.diff_copy(context_of(request))
        name = attrs["filename"]
        folder = session.diff_copy(dockerfile_folder_of(request), follow=[name])
        address = context.content_by_path.pop(_ADDRESS_FILE, b"").decode()
        call = build_call(
            tags=list(filter(None, request.exporter_attrs_deprecated.get("name", "").split(","))),
            target=attrs.get("target", ""),
            build_args={
                key.partition(":")[2]: value for key, value in attrs.items() if key.startswith("build-arg:")
            },
            caches_in=[each.attrs["ref"] for each in request.cache.exports if each.type == "registry"],
        )
        if address:
            subfolder = parse_build_context(address).build_subdir
            call |= {"address": address, "subfolder": posixpath.normpath(subfolder or ".")}
        else:
            call["files"] = sorted(context.content_by_path)
        engine.note({**call, "dockerfile": folder.content_by_path[name].decode()})
        return SolveResponse(exporter_response={"containerimage.digest": _DIGEST})

    return solve


def _wanted_exit(outcome: Mapping[str, Any]) -> str:
    if outcome["exit"] == 0:
        return "succeeded"
    error = outcome.get("error", "")
    if error.startswith(_FAILED_STEP):
        return f"failed: {error.removeprefix(_FAILED_STEP).partition(':')[0]}"
    return "error"


def _early(calls: Sequence[Mapping[str, Any]], plan: Plan | None) -> list[str]:
    """Steps whose container ran before that of a step they wait for."""
    if plan is None:
        return []
    order = [call["step"] for call in calls if call["op"] == "run-step"]
    return [
        step.id
        for step in plan.steps
        for parent in step.depends_on
        if {step.id, parent} <= set(order) and order.index(step.id) < order.index(parent)
    ]


def _has_containers(vector: Vector) -> bool:
    """Whether the task has steps that run containers here; one that cannot be read counts as such."""
    try:
        return any(step.commands for step in _load(vector, _RUN_ID).steps)
    except TasksError:
        return True
